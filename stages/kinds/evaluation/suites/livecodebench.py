"""LiveCodeBench code generation (Jain et al. 2024): a program is right when it passes all tests, hidden ones too.

Columns: question_content, starter_code, public_test_cases, private_test_cases, difficulty, contest_date, metadata,
question_id, as in livecodebench/code_generation_lite.
"""

import base64
import io
import json
import pickle
import zlib

from stages.config import EvaluateConfig, SuiteConfig
from stages.kinds.evaluation.problems import Problem, ProblemSet, problems_from, repeated, text_of
from stages.prompting.prompt import Prompt

TEMPLATE = (
    "You will be given a question (problem specification) and will generate a correct Python program that matches "
    "the specification and passes all "
    "tests.\n\nQuestion:\n{question}\n\n{form}\n```python\n{starter}\n```\n"
)
STDIN = (
    "Read the inputs from stdin, solve the problem and write the answer to stdout (do not directly test on the "
    "sample inputs). Enclose your code "
    "within delimiters as follows."
)
CALL = (
    "You will use the following starter code to write the solution to the problem and enclose your code within "
    "delimiters."
)


def problem_sets(name: str, suite: SuiteConfig, config: EvaluateConfig, seed: int) -> list[ProblemSet]:
    """The suite as one set of problems."""

    def make(id: str, row: dict) -> Problem | None:
        if not is_within(str(row.get("contest_date", "")), suite):
            return None
        starter = str(row.get("starter_code") or "").strip()
        tests = test_cases(row["public_test_cases"]) + test_cases(row["private_test_cases"])
        if not tests:
            raise ValueError("no test cases")
        text = TEMPLATE.format(
            question=text_of(row, "question_content"),
            form=CALL if starter else STDIN,
            starter=starter or "# YOUR CODE HERE",
        )
        prompt = Prompt(
            id, text, "code", "reasoning", "en", "", "code", json.dumps(checks(tests, row), ensure_ascii=False)
        )
        return Problem(id, repeated(prompt, suite), level=str(row.get("difficulty") or ""))

    return [ProblemSet(name, problems_from(name, suite, make), suite, "program")]


def is_within(date: str, suite: SuiteConfig) -> bool:
    """Whether a contest's date (ISO 8601) lies in the suite's window; no date lies in a window that has an end."""
    return (not suite.since or date[:10] >= suite.since) and (
        not suite.until or (date != "" and date[:10] <= suite.until)
    )


def checks(tests: list[dict], row: dict) -> dict:
    """What the verifier `code` needs: tests by standard input, or calls of a function.

    The arguments of a call stand one a line, as JSON.
    """
    if tests[0].get("testtype") != "functional":
        return {
            "type": "stdin",
            "language": "python",
            "tests": [{"input": test["input"], "output": test["output"]} for test in tests],
        }
    metadata = row.get("metadata") or "{}"
    function = (json.loads(metadata) if isinstance(metadata, str) else metadata).get("func_name")
    if not function:
        raise ValueError("functional tests, but metadata names no func_name")
    calls = [
        {
            "args": [json.loads(line) for line in test["input"].split("\n") if line.strip()],
            "expected": json.loads(test["output"]),
        }
        for test in tests
    ]
    return {"type": "call", "language": "python", "fn_name": function, "tests": calls}


def test_cases(text: str | list) -> list[dict]:
    """Reads test cases from JSON, or as the data set packs hidden ones: JSON in a pickled string in zlib in base64."""
    if isinstance(text, list):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        packed = zlib.decompress(base64.b64decode(text))
        return json.loads(OnlyText(io.BytesIO(packed)).load())


class OnlyText(pickle.Unpickler):
    """Reads a pickled string, and nothing that names a class or a function: such a pickle could run anything."""

    def find_class(self, module, name):
        """Refuses every class and function."""
        raise ValueError(f"the packed test cases name {module}.{name}: they should be a string")
