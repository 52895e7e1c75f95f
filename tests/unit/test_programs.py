"""Programs as models write them: in which fences, with which imports left out, and how their output is compared."""

import ast
import math
import subprocess
import sys
import time
from decimal import Decimal, InvalidOperation

import pytest

from stages.config import SandboxConfig
from stages.rewards.grading import explain
from stages.rewards.verifiers.code import CodeGrader
from stages.rewards.verifiers.code_blocks import find_program
from stages.rewards.verifiers.code_checks import read_checks
from stages.rewards.verifiers.code_compare import same_output
from stages.rewards.verifiers.code_preload import with_preloaded
from tests.support.sandboxes import answer, code_prompt, needs_bubblewrap, stdin_prompt

F, T = "```", "~~~"


@pytest.mark.parametrize(
    "text, program",
    [
        (f"{F}python\nx\n{F}", "x\n"),
        (f"{F} python\nx\n{F}", "x\n"),
        (f"{F}python \nx\n{F} ", "x\n"),
        (f"{F}Python\nx\n{F}", "x\n"),
        (f"{F}python3.11\nx\n{F}", "x\n"),
        (f"{F}py3\nx\n{F}", "x\n"),
        (f'{F}python title="main.py"\nx\n{F}', "x\n"),
        (f"{F}python {{.line-numbers}}\nx\n{F}", "x\n"),
        (f"{F}{{.python .numberLines}}\nx\n{F}", "x\n"),
        (f"{F}{{python}}\nx\n{F}", "x\n"),
        (f"{F}python:main.py\nx\n{F}", "x\n"),
        (f"{F}python\r\nx\r\ny\r\n{F}\r\n", "x\ny\n"),
        (f"{F}python\rx\r{F}\r", "x\n"),
        (f"{T}python\nx\n{T}", "x\n"),
        (f"{T}\nx\n{T}", "x\n"),
        (f"{F}`python\nx\n{F}\ny\n{F}`", f"x\n{F}\ny\n"),
        (f"{F}python\nx\n{T}\n{F}", f"x\n{T}\n"),
        (f"{F}python\nx\n{F}`", "x\n"),
        (f"1. So:\n   {F}python\n   if x:\n       y\n   {F}", "if x:\n    y\n"),
        (f"\t{F}python\n\tx\n\t{F}", "x\n"),
        (f"{F}python\nx\n{F}\nor\n{F}python\ny\n{F}", "y\n"),
        (f"{F}python\nx\n{F}\nprints\n{F}\n3\n{F}", "x\n"),
        (f"{F}\nx\n{F}\nprints\n{F}text\n3\n{F}", "x\n"),
        (f"{F}python\nx\n{F} and that is all", "x\n"),
        (f"{F}python\nx\n{F}\n{F}python\ny", "x\n"),  # the last one is not closed
        (f"{F}python\nx\n{F}python\ny\n{F}", "y\n"),  # nor is the first one
        (f"{F}markdown\n{F}python\nx\n{F}\n{F}", "x\n"),
        (f"use {F}a{F} and {F}b{F}\n{F}python\nx\n{F}", "x\n"),
        (f"{F}python\nprint('{F}')\n{F}", f"print('{F}')\n"),
        (f"{F}python\n\n{F}", "\n"),
        (f"The program: {F}python\nx\n{F}", "x\n"),
        (f"{F}python\nx", None),
        (f"{F}python x {F}", None),
        (f"{F}rust\nx\n{F}", None),
        ("x", None),
        ("", None),
    ],
)
def test_fences(text, program):
    assert find_program(f"<think>{F}python\nthought\n{F}</think>{text}", "python") == ("python", program)
    if program is not None:
        assert find_program(f"<think>.</think><answer>{text}\n</answer>", "python") == ("python", program)


def test_fences_are_read_in_linear_time():
    start = time.process_time()
    for text in (f"{F}python\n" * 20000, "`" * 50000, f"{F} " * 20000, " " * 50000, "x" * 50000, f"{F}{{" * 10000):
        find_program(text, None)
    assert time.process_time() - start < 3


def lcb_same(given: str, expected: str) -> bool:
    """LiveCodeBench's comparison of one line (testing_util.py, grade_stdio)."""
    if given.strip() == expected.strip():
        return True
    try:
        return [Decimal(word) for word in given.split()] == [Decimal(word) for word in expected.split()]
    except InvalidOperation:
        return False


NUMBERS = [
    "5",
    "05",
    "+5",
    "-5",
    "-05",
    "0",
    "-0",
    "+0",
    "00",
    "5.0",
    "5.",
    "0.5",
    ".5",
    "-.5",
    "1e1",
    "10",
    "a",
    "05a",
]
NUMBERS += ["0" * 30 + "7", "7", "9" * 5000, "9" * 4999 + "8", "0x5", "5,0", "--5", "+-5", "5-", "\u0665"]


@pytest.mark.parametrize("expected", NUMBERS)
def test_numbers_are_compared_as_by_livecodebench(expected):
    for given in NUMBERS:
        if "\u0665" not in (given, expected):  # a digit of Arabic, which Decimal reads
            assert same_output(given, expected) == lcb_same(given, expected), (given, expected)
    assert same_output(expected, expected)


def test_what_is_not_a_number_is_compared_as_text():
    assert not same_output("\u0665", "5") and not same_output("1_0", "10") and not same_output("nan", "NaN")
    assert not same_output("05", "5", "exact") and not same_output("5.0", "9" * 400)


def test_a_list_is_unwrapped_only_if_it_is_a_list_of_one():
    def expected(value):
        return read_checks(code_prompt(fn_name="f", inputs=[[1]], outputs=[value]).checks).tests[0]["expected"]

    assert expected([3]) == [[3], 3] and expected([[1, 2]]) == [[[1, 2]], [1, 2]]
    assert expected([3, 4]) == [[3, 4]] and expected([]) == [[]] and expected(3) == [3]


def test_calls_written_as_lines_of_json():
    (test,) = read_checks(code_prompt(fn_name="f", inputs=['[1, 2]\n"a"'], outputs=["[3]"]).checks).tests
    assert test["args"] == [[1, 2], "a"] and test["expected"] == [[3], 3]
    with pytest.raises(ValueError, match="or lines of JSON"):
        read_checks(code_prompt(fn_name="f", inputs=["1 2"], outputs=["3"]).checks)


PROGRAMS = [
    ("def f(x: List[int]) -> Optional[int]: return x[0]", "f([7])"),
    ("def f(x): return math.gcd(x, 6) + gcd(x, 4) + lcm(2, 3)", "f(8)"),
    ("def f(x): return Counter(x).most_common(1)[0][0]", "f('aab')"),
    ("def f(x: Counter) -> Deque: return deque(x)", "f([1])"),
    ("def f(x): heapify(x); heappush(x, 0); return heapq.heappop(x)", "f([3, 2])"),
    ("def f(x): return bisect.bisect(x, 2) + bisect_left(x, 2)", "f([1, 2])"),
    ("f = lru_cache(None)(lambda n: n if n < 2 else f(n - 1) + f(n - 2))", "f(30)"),
    ("def f(x): return list(accumulate(x)) + list(permutations(x))[0:1]", "f([1, 2])"),
    ("def f(x): return reduce(add, x) + itemgetter(0)(x)", "f([1, 2])"),
    ("def f(x): return ascii_lowercase[x] + string.digits[x] + re.sub('a', 'b', 'a')", "f(3)"),
    ("def f(x): return datetime.date(2024, 1, x).year + timedelta(1).days", "f(3)"),
    ("def f(x): return json.loads('[1]') + copy.deepcopy(x) + deepcopy(x)", "f([2])"),
    ("def f(x): return sys.maxsize > x < inf and pi > 3", "f(3)"),
    ("from datetime import datetime\ndef f(x): return datetime(2024, 1, x).day", "f(3)"),
    ("def gcd(a, b): return 'mine'\ndef f(x): return gcd(x, 2)", "f(4)"),
    ("gcd = 5\ndef f(x): return gcd + x", "f(4)"),
    ("def f(count): mean = count + 1; return mean", "f(4)"),
    ("from __future__ import annotations\ndef f(x: List[Nowhere]): return math.floor(x)", "f(1.5)"),
    ("'''A program.'''\nfrom __future__ import (annotations,\n    division)\ndef f(x): return ceil(x)", "f(1.5)"),
    ("# -*- coding: utf-8 -*-\ndef f(x): return 'ä' * x", "f(1)"),
    ("\ufeffdef f(x): return x", "f(1)"),
    ("def f(x): return max(abs(x), pow(2, 3)) + sum(map(int, '12')) + len(str(print))", "f(-9)"),
    ("def f(n): return 0 if n == 0 else 1 + f(n - 1)", "f(20000)"),
    ("def f(n): return len(str(10 ** n))", "f(5000)"),
]


@pytest.mark.parametrize("source, call", PROGRAMS)
def test_what_graders_preload_is_there(source, call):
    """The same value as after LiveCodeBench's own imports."""
    modules = (
        "string re datetime collections heapq bisect copy math random statistics itertools functools operator io sys"
    )
    star = "".join(f"from {module} import *\n" for module in [*modules.split(), "json", "builtins", "typing"])
    theirs = (
        star + "".join(f"import {module}\n" for module in [*modules.split(), "json"]) + "sys.setrecursionlimit(50000)\n"
    )
    theirs += "sys.set_int_max_str_digits(0)\n" + source.removeprefix("\ufeff").replace(
        "from __future__", "from __future__"
    )
    if "__future__" in source:
        theirs = source.removeprefix("\ufeff")[: source.index("def f")] + theirs.replace(
            source[: source.index("def f")], ""
        )
    values = [
        subprocess.run(
            [sys.executable, "-c", f"{text}\nprint(repr({call}))"], capture_output=True, text=True, check=True
        )
        for text in (with_preloaded(source), theirs)
    ]
    assert values[0].stdout == values[1].stdout != ""


def test_a_program_without_need_gets_one_line():
    line, rest = with_preloaded("print(2 * int(input()))").split("\n", 1)
    assert "exec" not in line and rest == "print(2 * int(input()))"
    method = "class Solution:\n    def shuffle(self): pass"
    assert with_preloaded(method, own="shuffle") == f"{line}\n{method}" != with_preloaded(method)
    for source in ("", "((((", "def f(:", "x = '\x00'", "\\"):
        assert with_preloaded(source).endswith(source)
    ast.parse(with_preloaded("from __future__ import annotations\nx: List = deque()"))


@pytest.mark.slow
@needs_bubblewrap
def test_preloaded_programs_in_the_box():
    grader = CodeGrader(SandboxConfig())
    deep = "n = int(input())\ndef f(n): return 0 if n == 0 else 1 + f(n - 1)\nprint(f(n))"
    assert grader.grade(answer(deep), stdin_prompt(("30000", "30000"))) == (1.0, "")
    assert grader.grade(answer("print(factorial(int(input())))"), stdin_prompt(("2000", str_of(2000)))) == (1.0, "")
    method = "class Solution:\n    def shuffle(self, x: List[int]) -> List[int]: return x[::-1]"
    calls = {"type": "call", "fn_name": "shuffle", "tests": [{"args": [[1, 2, 3]], "expected": [3, 2, 1]}]}
    assert grader.grade(answer(method), code_prompt(**calls)) == (1.0, "")
    helper = "def shuffle(x): return x\n" + method  # the class comes first, as in LiveCodeBench
    assert grader.grade(answer(helper), code_prompt(**calls)) == (1.0, "")
    first = code_prompt(fn_name="f", inputs=[[1]], outputs=[[3, 4]])
    assert grader.grade(answer("def f(x): return 3"), first) == (0.0, "")
    assert grader.grade(answer("def f(x): return [3, 4]"), first) == (1.0, "")


@pytest.mark.slow
@needs_bubblewrap
def test_what_is_explained():
    prompt = stdin_prompt(("1", "2"), ("2", "4"))
    assert explain(answer("print(2 * int(input()))"), prompt) == (
        "2 tests of type stdin",
        "print(2 * int(input()))\n",
        "The program passes all tests.",
    )
    assert explain(answer("print(3)"), prompt).why == "The program earns 0 of 1."
    assert explain("no program", prompt)[1:] == (None, "The answer has no closed block of code in python.")
    assert explain(answer("x"), code_prompt(type="x")).why.startswith("The tests cannot be used: checks.type must be")


def str_of(n: int) -> str:
    """n! as text, which is over 4,300 digits long."""
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        return str(math.factorial(n))
    finally:
        sys.set_int_max_str_digits(limit)
