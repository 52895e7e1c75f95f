"""Verifier `code`: which program is taken from an answer, how outputs are compared, what tests may look like, what a
program earns.
"""

import json

import pytest

from stages.config import DataConfig, SandboxConfig
from stages.data.file_prompts import FilePrompts
from stages.rewards.grading import GraderAway, grade_many, reference_problem_many
from stages.rewards.verifiers import code
from stages.rewards.verifiers.code import CodeGrader, find_program, free_cores
from stages.rewards.verifiers.code_checks import read_checks
from stages.rewards.verifiers.code_compare import same_output, same_value
from stages.sandbox import SandboxError
from tests.support.paths import FIXTURES
from tests.support.sandboxes import answer, code_prompt, needs_bubblewrap, needs_compiler, stdin_prompt

pytestmark = pytest.mark.slow  # runs programs in boxes

FENCE = "```"


def block(text: str, tag: str = "") -> str:
    return f"{FENCE}{tag}\n{text}\n{FENCE}\n"


def test_the_last_block_of_the_answer_is_the_program():
    completion = (
        f"<think>{block('thought', 'python')}</think><answer>{block('first', 'python')} or "
        f"{block('second', 'python')}</answer>"
    )
    assert find_program(completion, "python") == ("python", "second\n")
    assert find_program(f"<think>{block('thought', 'python')}</think><answer>none</answer>", "python") == (
        "python",
        None,
    )
    assert find_program(f"thought</think>{block('x', 'py')}", None) == ("python", "x\n")


def test_the_tag_says_the_language():
    both = block("p", "python") + block("c", "C++") + block("output", "text")
    assert find_program(both, "python") == ("python", "p\n")
    assert find_program(both, "cpp") == ("cpp", "c\n")
    assert find_program(both, None) == ("cpp", "c\n")
    assert find_program(block("plain"), "cpp") == ("cpp", "plain\n")
    assert find_program(block("plain"), None) == ("python", "plain\n")
    assert find_program(block("x", "rust"), None) == ("python", None)


def test_a_block_that_does_not_end_is_no_program():
    assert find_program(f"{FENCE}python\nprint(1)", "python") == ("python", None)
    assert find_program(f"{FENCE}python\nprint('{FENCE}')\n{FENCE}", "python") == ("python", f"print('{FENCE}')\n")
    assert find_program(f"use {FENCE}x{FENCE} now\n{block('y', 'python')}", "python") == ("python", "y\n")


@pytest.mark.parametrize(
    "given, expected, is_same",
    [
        ("1 2 3\n", "1 2 3", True),
        ("1\n2\n3", "1 2 3", True),
        ("1 2", "1 2 3", False),
        ("", "", True),
        ("", "1", False),
        ("0.3333333", "0.33333333", True),
        ("0.334", "0.333", False),
        ("3.0", "3", True),
        ("1e3", "1000.0", True),
        ("-0.0", "0.0", True),
        ("12345678901234567890", "12345678901234567891", False),
        ("007", "7", True),  # as LiveCodeBench compares them
        ("nan", "0.5", False),
        ("inf", "1e400", False),
        ("1000000.5", "1000000.9", True),
        ("yes", "YES", False),
        ("1_000", "1000.0", False),
        ("0x10", "16.0", False),
    ],
)
def test_words_and_numbers(given, expected, is_same):
    assert same_output(given, expected) == is_same


def test_exact_output_counts_spaces_but_not_at_the_ends():
    assert (
        same_output(" a  b \n\n", " a  b", "exact")
        and not same_output("a b", "a  b", "exact")
        and not same_output("a\nb", "a b", "exact")
    )
    assert same_output("a  b", "a b", "tokens")


@pytest.mark.parametrize(
    "given, expected, is_same",
    [
        (3, 3, True),
        (3, 3.0, True),
        (0.1 + 0.2, 0.3, True),
        (3, 4, False),
        ("3", 3, False),
        (True, True, True),
        (True, 1, True),
        (True, 1.0, False),
        (None, None, True),
        (None, 0, False),
        ([1, [2.0]], [1, [2]], True),
        ([1], [1, 2], False),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1}, {"b": 1}, False),
        (float("nan"), float("nan"), False),
        (float("inf"), 1e308, False),
        (10**400, 1.0, False),
        ("a", "a", True),
        ([], {}, False),
    ],
)
def test_values(given, expected, is_same):
    assert same_value(given, expected) == is_same


@pytest.mark.parametrize(
    "checks, message",
    [
        ("", "checks are empty"),
        ("{", "not JSON"),
        ("[]", "must be an object"),
        ({"type": "magic"}, "one of stdin, call, unit"),
        ({"type": "stdin", "tests": []}, "at least one test"),
        ({"type": "stdin", "tests": [{"input": "1"}]}, r"tests\[0\] has no output"),
        ({"type": "stdin", "tests": [{"input": 1, "output": "1"}]}, "needs input as text"),
        ({"type": "stdin", "tets": []}, "unknown key tets"),
        ({"type": "call", "tests": [{"args": [], "expected": 1}]}, "fn_name must name"),
        ({"type": "call", "fn_name": "os.system", "tests": [{"args": [], "expected": 1}]}, "fn_name must name"),
        ({"type": "call", "fn_name": "f", "tests": [{"args": 1, "expected": 1}]}, "args as a list"),
        ({"type": "call", "language": "cpp", "fn_name": "f", "tests": [{"args": [], "expected": 1}]}, "is for python"),
        ({"type": "unit", "tests": [{"code": "assert ("}]}, "is not Python"),
        ({"type": "stdin", "language": "cobol", "tests": [{"input": "", "output": ""}]}, "one of python, cpp"),
        ({"type": "stdin", "tests": [{"input": "", "output": "", "weight": -1}]}, "weight of at least 0"),
        ({"type": "stdin", "tests": [{"input": "", "output": "", "weight": 0}]}, "no weight"),
        (
            {"type": "stdin", "tests": [{"input": "", "output": ""}], "time_limit_s": 1000},
            "time_limit_s must be a number from 0.1 to 60",
        ),
        ({"type": "stdin", "tests": [{"input": "", "output": ""}], "memory_mib": "1G"}, "memory_mib must be a number"),
        ({"type": "stdin", "tests": [{"input": "", "output": ""}], "compare": "fuzzy"}, "tokens or exact"),
        ({"inputs": ["1"], "outputs": []}, "same length"),
    ],
)
def test_what_is_wrong_with_checks_is_said(checks, message):
    with pytest.raises(ValueError, match=message):
        read_checks(checks if isinstance(checks, str) else json.dumps(checks))


def test_the_published_form_is_read():
    stdin = read_checks(json.dumps({"inputs": ["1\n", ["2", "3"]], "outputs": ["1\n", ["5"]]}))
    assert stdin.type == "stdin" and stdin.tests[1] == {"input": "2\n3", "output": "5", "weight": 1.0}
    call = read_checks(json.dumps({"fn_name": "f", "inputs": [[1, 2]], "outputs": [[3]]}))
    assert (
        call.type == "call"
        and call.tests[0]["args"] == [1, 2]
        and call.tests[0]["expected"] == [[3], 3]
        and call.tests[0]["any_of"]
    )


HALF = "n = int(input())\nprint(2 * n if n < 10 else 0)"
DOUBLE = [("1", "2"), ("5", "10"), ("21", "42"), ("50", "100")]


@needs_bubblewrap
@pytest.mark.parametrize("credit, value", [("all", 0.0), ("fraction", 0.5), ("weighted", 0.25)])
def test_credit(credit, value):
    checks = {
        "type": "stdin",
        "tests": [{"input": given, "output": wanted, "weight": 3 if int(given) > 9 else 1} for given, wanted in DOUBLE],
    }
    grader = CodeGrader(SandboxConfig(credit=credit))
    assert grader.grade(answer(HALF), code_prompt(**checks)) == (value, "")
    assert grader.grade(answer("print(2 * int(input()))"), code_prompt(**checks)) == (1.0, "")


@needs_bubblewrap
@needs_compiler
def test_cpp_is_compiled_once_and_run_for_each_test(monkeypatch):
    grader = CodeGrader(SandboxConfig())
    builds = []
    build = type(grader.executor).build
    monkeypatch.setattr(type(grader.executor), "build", lambda self, *args: builds.append(args) or build(self, *args))
    source = "#include <iostream>\nint main() { int n; std::cin >> n; std::cout << 2 * n << std::endl; }"
    assert grader.grade(answer(source, "cpp"), stdin_prompt(*DOUBLE, language="cpp")) == (1.0, "") and len(builds) == 1
    assert grader.grade(answer(source.replace("2 *", "3 *"), "cpp"), stdin_prompt(*DOUBLE)) == (0.0, "")
    assert "was not declared" in grader.executor.build("cpp", "int main() { return x; }").compile_error


@needs_bubblewrap
def test_calls_of_functions_and_methods():
    grader = CodeGrader(SandboxConfig())
    checks = {
        "type": "call",
        "fn_name": "pairs",
        "tests": [{"args": [[1, 2], "ab"], "expected": [[1, "a"], [2, "b"]]}, {"args": [[], ""], "expected": []}],
    }
    for source in (
        "def pairs(a, b): return list(zip(a, b))",
        "class Solution:\n    def pairs(self, a, b): return tuple(zip(a, b))",
    ):
        assert grader.grade(answer(source), code_prompt(**checks)) == (1.0, "")
    assert grader.grade(answer("def pairs(a, b): return set(zip(a, b))"), code_prompt(**checks)) == (0.0, "")
    published = code_prompt(fn_name="double", inputs=[[3]], outputs=[[6]])
    assert grader.grade(answer("def double(n): return 2 * n"), published) == (1.0, "")


UNIT = """
from solution import Counter, count_to, root
import unittest

counter = Counter(step=2)
counter.add()
assert counter.add().total == 4 and counter.log == [(0, 2), (2, 4)]
assert list(count_to(3)) == [0, 1, 2] and root((4, 9)) == {2.0, 3.0}
node = counter
while node:
    node = node.next

class TestRoot(unittest.TestCase):
    def test_negative(self):
        with self.assertRaisesRegex(ValueError, "negative"):
            root([-1])
"""
SOLUTION = """
class Counter:
    def __init__(self, step): self.step, self.total, self.log, self.next = step, 0, [], None
    def add(self):
        self.log.append((self.total, self.total + self.step))
        self.total += self.step
        return self
def count_to(n):
    yield from range(n)
def root(numbers):
    if min(numbers) < 0: raise ValueError("negative")
    return {number ** 0.5 for number in numbers}
"""


@needs_bubblewrap
def test_unit_tests_use_functions_classes_generators_and_exceptions():
    grader, prompt = CodeGrader(SandboxConfig()), code_prompt(type="unit", tests=[{"code": UNIT}])
    assert grader.grade(answer(SOLUTION), prompt) == (1.0, "")
    for right, wrong in (
        ("(4, 9)", ""),
        ('"negative"', '"other"'),
        ("self.total += self.step", "self.total += 1"),
        ("range(n)", "range(n + 1)"),
    ):
        assert grader.grade(
            answer(SOLUTION.replace(right, wrong) if right in SOLUTION else SOLUTION + "\nroot = None"), prompt
        ) == (0.0, "")


@needs_bubblewrap
def test_equal_programs_run_once_and_grades_keep_their_order(monkeypatch):
    code.configure(SandboxConfig(workers=2))
    runs = []
    graded = CodeGrader.grade
    monkeypatch.setattr(CodeGrader, "grade", lambda self, *pair: runs.append(pair) or graded(self, *pair))
    prompt, other = stdin_prompt(("1", "2")), stdin_prompt(("1", "3"))
    right, wrong = answer("print(2 * int(input()))"), answer("print(3)")
    grades = grade_many(
        [(right, prompt), (wrong, prompt), (right, prompt), (right, other), (wrong, other), ("nothing", prompt)]
    )
    assert [grade.value for grade in grades] == [1, 0, 1, 0, 1, 0] and len(runs) == 5


@needs_bubblewrap
def test_a_program_with_too_many_slow_tests_is_cut_off():
    grader = CodeGrader(SandboxConfig(credit="fraction", program_limit_s=1.5))
    slow = "import time\nn = int(input())\ntime.sleep(0 if n == 1 else 2)\nprint(2 * n)"
    assert grader.grade(answer(slow), stdin_prompt(*DOUBLE, time_limit_s=2)).value == 0.5


class Broken:
    """Fails for programs; `cause`: for every one."""

    def __init__(self, cause: str | None):
        self.cause = cause

    def build(self, *_):
        raise SandboxError("no box today")

    def setup_problem(self, _):
        return self.cause


def test_a_sandbox_that_fails_for_one_program_is_a_counted_zero():
    grader = CodeGrader(SandboxConfig())
    grader.executor = Broken(None)
    assert grader.grade(answer("print(1)"), stdin_prompt(("", "1"))) == (0.0, "code: no box today")


def test_a_sandbox_that_fails_for_every_program_is_no_grade_at_all(monkeypatch):
    monkeypatch.setattr("stages.rewards.verifiers.code._grader", CodeGrader(SandboxConfig()))
    monkeypatch.setattr(code.grader(), "executor", Broken("bubblewrap is gone"))
    with pytest.raises(GraderAway, match="bubblewrap is gone.*same command again"):
        grade_many([(answer("print(1)"), stdin_prompt(("", "1")))])


def test_rows_of_a_file_are_checked_before_anything_starts(tmp_path, monkeypatch):
    path = tmp_path / "problems.jsonl"
    rows = [
        {"prompt": "double", "checks": {"type": "stdin", "tests": [{"input": "1", "output": "2"}]}},
        {"prompt": "triple", "checks": {"type": "stdin", "tests": []}},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    config = DataConfig(name="file", path=str(path), verifier="code", checks_column="checks", eval_fraction=0.0)
    monkeypatch.setattr(CodeGrader, "sandbox_problem", None)
    with pytest.raises(ValueError, match="line 2: .*checks.tests must be a list with at least one test"):
        FilePrompts(config)
    monkeypatch.setattr(CodeGrader, "sandbox_problem", "bubblewrap is not installed: apt-get install bubblewrap")
    with pytest.raises(ValueError, match="the verifier code cannot work here: bubblewrap is not installed"):
        FilePrompts(config)


HONEST = {
    "Read a whole number": "print(2 * int(input()))",
    "Read two whole numbers": "print(sum(map(int, input().split())))",
    "Read a line": "print(input()[::-1])",
    "Read n, then n numbers": "n = int(input())\nprint(sum(map(int, input().split())) / n)",
    "Write a function add": "def add(a, b):\n    return a + b",
    "Write a function is_even": "class Solution:\n    def is_even(self, n):\n        return n % 2 == 0",
    "Write a class Stack": "class Stack(list):\n    push = list.append\n    def size(self):\n        return len(self)",
    "In C++": "#include <iostream>\nint main() {\n    long long n, a = 0, b = 1;\n    std::cin >> n;\n    while "
    "(--n) { long long c = a + b; a = b; b = c; }\n"
    "    std::cout << b;\n}",
}


@needs_bubblewrap
@needs_compiler
def test_a_file_of_problems_from_rows_to_grades(repository):
    """Rows -> prompts -> grades: each problem by its own program, and by that of another."""
    code.configure(SandboxConfig(workers=2))
    source = FilePrompts(
        DataConfig(
            name="file",
            path=str(FIXTURES / "data" / "programs.jsonl"),
            verifier_column="verifier",
            checks_column="checks",
            eval_fraction=0.0,
        )
    )
    prompts = [prompt for of_source in source.prompts().values() for prompt in of_source]
    assert len(prompts) == len(HONEST) and {prompt.verifier for prompt in prompts} == {"code"}
    programs = [
        answer(
            next(text for start, text in HONEST.items() if prompt.text.startswith(start)),
            "cpp" if prompt.text.startswith("In C++") else "python",
        )
        for prompt in prompts
    ]
    assert [grade.value for grade in grade_many(list(zip(programs, prompts)))] == [1.0] * len(prompts)
    assert [grade.value for grade in grade_many(list(zip(programs[1:] + programs[:1], prompts)))] == [0.0] * len(
        prompts
    )


def test_problems_of_good_tests(monkeypatch):
    monkeypatch.setattr(CodeGrader, "sandbox_problem", None)
    assert reference_problem_many([stdin_prompt(("1", "2")), code_prompt(type="x")]) == [
        None,
        "checks.type must be one of stdin, call, unit, got 'x'",
    ]


def test_workers_are_what_training_leaves(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)))
    for ranks, threads, workers in (("1", "1", 15), ("2", "1", 7), ("4", "4", 1), ("8", "1", 1)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", ranks)
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        assert free_cores() == workers
