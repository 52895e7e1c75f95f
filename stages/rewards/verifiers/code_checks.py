"""Reads the tests of a program: the JSON in `checks` of a prompt with verifier `code`. docs/sandbox.md has examples.

    type           "stdin" (input to output), "call" (arguments to value) or "unit" (test programs); call and unit:
                   Python only
    language       "python" or "cpp"; without it the tag of the code block decides, and python where there is no tag
    tests          stdin {"input", "output"}; unit {"code"}; call {"args": [...], "expected"}, with "any_of": true a
                   list of values that are right; each with an optional "weight" (1)
    fn_name        call: the function, or a method of a class Solution
    time_limit_s   processor seconds of one test; memory_mib: memory of one run; without them the configuration's
    compare        stdin: "tokens" (words, numbers within `tolerance`) or "exact" (white space at line ends and at the
                   end is ignored)
    tolerance      absolute or relative, of numbers that are not both integers (1e-6)

The form of published sets (APPS, TACO, PRIME) is read too: {"inputs": [...], "outputs": [...], "fn_name"?}.
"""

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from stages.sandbox.languages import LANGUAGES

FIELDS = {"stdin": ("input", "output"), "call": ("args", "expected"), "unit": ("code",)}
KEYS = {"type", "language", "tests", "fn_name", "time_limit_s", "memory_mib", "compare", "tolerance"}
PUBLISHED_KEYS = {"inputs", "outputs"}
MAX_TIME_LIMIT_S, MIN_MEMORY_MIB, MAX_MEMORY_MIB = 60.0, 64, 16384


@dataclass(frozen=True)
class Checks:
    """The tests of one program and their limits; the keys are explained at the head of this file.

    Every test in `tests` is a dict with the fields of its type and a `weight`.
    """

    type: str
    tests: tuple[dict[str, Any], ...]
    language: str | None = None
    fn_name: str = ""
    time_limit_s: float | None = None
    memory_mib: int | None = None
    compare: str = "tokens"
    tolerance: float = 1e-6


@lru_cache(maxsize=64)
def read_checks(text: str) -> Checks:
    """Reads and checks the JSON of `Prompt.checks`; raises ValueError that says what is wrong and where."""
    if not text.strip():
        raise ValueError("checks are empty: the verifier code needs the tests of the program (data.checks_column)")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"checks are not JSON: {error}") from None
    if not isinstance(data, dict):
        raise ValueError(f"checks must be an object with type and tests, got {type(data).__name__}")
    if "tests" not in data and set(data) >= PUBLISHED_KEYS:
        data = _from_published(data)
    _check(data)
    tests = tuple({"weight": 1.0, **test} for test in data["tests"])
    return Checks(**{**data, "tests": tests})


def _from_published(data: dict) -> dict:
    """Turns {"inputs", "outputs"} into tests.

    An input or output that is a list of lines is joined. APPS wraps some functions' values in a list of one: both forms
    are accepted. PRIME and LiveCodeBench write the arguments of a call as lines of JSON, and its value as JSON.
    """
    others = {key: value for key, value in data.items() if key in KEYS}
    inputs, outputs, name = data["inputs"], data["outputs"], data.get("fn_name")
    if not isinstance(inputs, list) or not isinstance(outputs, list) or len(inputs) != len(outputs):
        raise ValueError("checks: inputs and outputs must be lists of the same length")
    if name:
        tests = []
        for given, value in zip(inputs, outputs):
            if isinstance(given, str):
                given, value = _from_lines(given, value)
            right = [value, value[0]] if isinstance(value, list) and len(value) == 1 else [value]
            tests.append({"args": given, "expected": right, "any_of": True})
        return {**others, "type": "call", "tests": tests}
    others.pop("fn_name", None)
    return {
        **others,
        "type": "stdin",
        "tests": [{"input": _lines(given), "output": _lines(value)} for given, value in zip(inputs, outputs)],
    }


def _from_lines(given: str, value: Any) -> tuple[list, Any]:
    """Returns the arguments and the value of a call that are written as JSON."""
    try:
        arguments = [json.loads(line) for line in given.split("\n") if line.strip()]
        return arguments, json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError) as error:
        raise ValueError(f"checks: the arguments of a call must be a list, or lines of JSON: {error}") from None


def _lines(value: Any) -> Any:
    return "\n".join(map(str, value)) if isinstance(value, list) else value


def _check(data: dict) -> None:
    """Raises ValueError for the first key that is wrong."""
    kind = data.get("type")
    if kind not in FIELDS:
        raise ValueError(f"checks.type must be one of {', '.join(FIELDS)}, got {kind!r}")
    if unknown := sorted(set(data) - KEYS):
        raise ValueError(f"checks: unknown key {', '.join(unknown)}; there are {', '.join(sorted(KEYS))}")
    _check_program(kind, data)
    _check_tests(kind, data.get("tests"))
    _check_number(data, "time_limit_s", 0.1, MAX_TIME_LIMIT_S)
    _check_number(data, "memory_mib", MIN_MEMORY_MIB, MAX_MEMORY_MIB, (int,))
    _check_number(data, "tolerance", 0, 1)
    if data.get("compare", "tokens") not in ("tokens", "exact"):
        raise ValueError(f"checks.compare must be tokens or exact, got {data['compare']!r}")


def _check_program(kind: str, data: dict) -> None:
    language = data.get("language")
    if language is not None and language not in LANGUAGES:
        raise ValueError(f"checks.language must be one of {', '.join(LANGUAGES)}, got {language!r}")
    if kind != "stdin" and language not in (None, "python"):
        raise ValueError(f"checks.type {kind} is for python; programs in {language} are tested with type stdin")
    if kind == "call" and not (isinstance(data.get("fn_name"), str) and data["fn_name"].isidentifier()):
        raise ValueError(f"checks.fn_name must name the function that is called, got {data.get('fn_name')!r}")


def _check_tests(kind: str, tests: Any) -> None:
    if not isinstance(tests, list) or not tests:
        raise ValueError("checks.tests must be a list with at least one test")
    for number, test in enumerate(tests):
        if why := _test_problem(kind, test):
            raise ValueError(f"checks.tests[{number}] {why}")
    if not sum(test.get("weight", 1.0) for test in tests) > 0:
        raise ValueError("checks.tests have no weight: at least one needs a weight over 0")


def _test_problem(kind: str, test: Any) -> str | None:
    """Returns what is wrong with one test, as the rest of a sentence about it, or None."""
    if not isinstance(test, dict):
        return f"must be an object with {' and '.join(FIELDS[kind])}"
    if missing := [name for name in FIELDS[kind] if name not in test]:
        return f"has no {' and no '.join(missing)}"
    if unknown := sorted(set(test) - {*FIELDS[kind], "weight", "any_of"}):
        return f"has an unknown key {', '.join(unknown)}"
    if test.get("any_of") and not (kind == "call" and isinstance(test["expected"], list)):
        return "has any_of, which needs expected as a list of values, one of which is right"
    if kind == "call" and not isinstance(test["args"], list):
        return f"needs args as a list, got {type(test['args']).__name__}"
    if kind != "call" and (wrong := [name for name in FIELDS[kind] if not isinstance(test[name], str)]):
        return f"needs {' and '.join(wrong)} as text"
    weight = test.get("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not (math.isfinite(weight) and weight >= 0):
        return f"needs a weight of at least 0, got {weight!r}"
    if kind == "unit":
        try:
            compile(test["code"], "tests", "exec")
        except (SyntaxError, ValueError) as error:
            return f"is not Python: {error}"
    return None


def _check_number(data: dict, name: str, low: float, high: float, kinds: tuple = (int, float)) -> None:
    value = data.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high):
        raise ValueError(f"checks.{name} must be a number from {low} to {high}, got {value!r}")
