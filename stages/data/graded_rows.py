"""Grades the rows of a file with the verdicts that training uses, for `r1 grade`.

A row names a `verifier` and has a `reference` and an `answer`. What else a verifier needs is in `checks`, or in columns
of its own: `options`, `tests`, `tolerance` and whatever else is a key of the verifier's checks. `prompt` is the text of
the problem, `language` its language. With `right` (1 or 0) the verdict is compared with it, by `kind`.

An answer that holds <answer> or </think> is a whole completion and is graded as it is; so is the column `completion`.
Any other answer is put into a completion as training sees it: <think></think><answer>...</answer>.
"""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from stages.config import SandboxConfig, SourceConfig
from stages.data.cells import answer_of, checks_of, completion_of, name_of, text_of
from stages.data.malformed import Malformed, RowError, printable
from stages.data.readers import Item, read
from stages.prompting.prompt import Prompt
from stages.rewards.grading import VERIFIERS, Explanation, Grade, Pair, explain, grade_many, reference_problem_many

BATCH = 256
_EXPLAINERS = 8  # threads: explaining waits for the graders' own processes
# Verifiers whose reference is in the checks.
_WITHOUT_REFERENCE = ("code", "instructions", "reasoning_gym")
_CHECKS_COLUMNS = (
    "options", "tests", "tolerance", "type", "fn_name", "inputs", "outputs", "time_limit_s", "memory_mib", "compare"
)  # fmt: skip
_TRUTHS = {"1": True, "1.0": True, "true": True, "yes": True, "0": False, "0.0": False, "false": False, "no": False}


@dataclass(frozen=True)
class GradedRow:
    """A row with its verdict.

    Attributes:
        where: its place for people, as "line 7".
        verifier: the verifier that it names, "" where it cannot be read.
        verdict: 1 for right, 0 for wrong, between them for partial credit; None where the row cannot be graded.
        reference: what was read out of the reference; None: nothing.
        answer: what was read out of the answer; None: nothing.
        why: why the verdict is what it is, or why there is none.
        given_reference: the reference as it stands in the file, "" where it cannot be read.
        given_answer: the answer as it stands in the file, "" where it cannot be read.
        expected: the column `right`; None where there is none.
        kind: the column `kind`, or "".
        error: why the grader failed, or "".
    """

    where: str
    verifier: str
    verdict: float | None
    reference: str | None
    answer: str | None
    why: str
    given_reference: str = ""
    given_answer: str = ""
    expected: bool | None = None
    kind: str = ""
    error: str = ""

    @property
    def is_right(self) -> bool:
        """Whether the whole credit is given, as accuracy counts it."""
        return self.verdict == 1


def graded_rows(path: Path, sandbox: SandboxConfig) -> Iterator[GradedRow]:
    """Yields a GradedRow for each row of a file, in order.

    Args:
        path: JSON Lines, JSON, CSV, TSV, Parquet or Arrow, also compressed.
        sandbox: how programs are run, for the verifier `code`.

    Raises:
        ValueError: the file cannot be read, or it has programs and no sandbox can run them here.
        GraderAway: a verifier can grade nothing any more.
    """
    items = read(SourceConfig(path=str(path), prompt_column="answer", answer_column="reference"), "grade")
    try:
        while batch := list(islice(items, BATCH)):
            _prepare_programs(batch, sandbox)
            yield from _graded(batch)
    except ValueError as error:
        raise ValueError(str(error).replace("grade.path=", "")) from None


def _prepare_programs(items: Sequence[Item], sandbox: SandboxConfig) -> None:
    """Sets up the sandbox where a row has a program; raises ValueError where none can be run here."""
    if any(isinstance(raw, dict) and raw.get("verifier") == "code" for _, _, raw in items):
        from stages.rewards.verifiers import code

        code.configure(sandbox)
        code.require_sandbox()


def _graded(items: Sequence[Item]) -> list[GradedRow]:
    """Grades some rows as one batch."""
    rows: dict[int, GradedRow] = {}
    pairs: dict[int, Pair] = {}
    for place, (_, where, raw) in enumerate(items):
        try:
            if isinstance(raw, Malformed):
                raise RowError(raw.reason, raw.detail)
            pairs[place] = pair_of(raw, where)
            _expected(raw)
        except RowError as error:
            pairs.pop(place, None)
            rows[place] = _ungraded(raw, where, printable(str(error)))
    grades = grade_many(list(pairs.values()))
    problems = reference_problem_many([prompt for _, prompt in pairs.values()])
    with ThreadPoolExecutor(_EXPLAINERS) as threads:
        explanations = list(threads.map(lambda pair: explain(*pair), pairs.values()))
    for place, grade, problem, explanation in zip(pairs, grades, problems, explanations, strict=True):
        rows[place] = _row(items[place], pairs[place][1], grade, problem, explanation)
    return [rows[place] for place in range(len(items))]


def pair_of(raw: dict[str, Any], where: str) -> Pair:
    """Returns the completion of a row and its prompt; raises RowError where the row cannot be graded."""
    verifier = name_of(raw.get("verifier"), "verifier")
    if verifier not in VERIFIERS:
        what = f"unknown verifier {verifier!r}" if verifier else "it names no verifier"
        raise RowError("unknown verifier", f"{what}: the column verifier takes {', '.join(VERIFIERS)}")
    if verifier == "judge":
        raise RowError("judge", "a judge is asked by stages only: grade it with a verifier that compares")
    checks = _checks(raw, verifier)
    reference = answer_of(raw.get("reference"), "reference", verifier)
    if not reference and not (checks and verifier in _WITHOUT_REFERENCE):
        raise RowError("no reference", f"it has no reference: the column reference is {_what(raw, 'reference')}")
    prompt = Prompt(
        id=where,
        text=text_of(raw.get("prompt"), "prompt"),
        kind=name_of(raw.get("kind"), "kind"),
        domain="reasoning",
        language=name_of(raw.get("language"), "language") or "en",
        answer=reference,
        verifier=verifier,
        checks=checks,
    )
    return _completion(raw), prompt


def _completion(raw: dict[str, Any]) -> str:
    """Returns the completion of a row, with its answer in tags as training sees it."""
    if raw.get("completion") not in (None, ""):
        return completion_of(raw["completion"], "completion")
    value = raw.get("answer")
    if value is None:
        raise RowError("no answer", f"it has no answer: the column answer is {_what(raw, 'answer')}")
    answer = value if isinstance(value, str) else text_of(value, "answer")
    is_completion = "<answer>" in answer or "</think>" in answer
    return answer if is_completion else f"<think></think><answer>{answer}</answer>"


def _checks(raw: dict[str, Any], verifier: str) -> str:
    """Returns the checks of a row as JSON: those of the column `checks`, with the columns that are keys of theirs."""
    checks = checks_of(raw.get("checks"), "checks")
    columns = {name: _parsed(raw[name]) for name in _CHECKS_COLUMNS if raw.get(name) not in (None, "")}
    if verifier == "code" and isinstance(columns.get("tests"), dict):
        columns |= columns.pop("tests")
    if verifier == "instructions" and "tests" in columns:
        return json.dumps(columns["tests"], ensure_ascii=False)
    if not columns:
        return checks
    given = _parsed(checks) if checks else {}
    if not isinstance(given, dict):
        raise RowError("checks", f"checks is no object, so {', '.join(columns)} cannot be added to it")
    merged = {**columns, **given}
    if verifier == "code" and "type" not in merged:
        merged |= _type_of(merged.get("tests"))
    return json.dumps(merged, ensure_ascii=False)


def _type_of(tests: Any) -> dict[str, str]:
    """Returns the type of a program's tests, told by the keys of the first one."""
    first = tests[0] if isinstance(tests, list) and tests and isinstance(tests[0], dict) else {}
    for key, name in (("input", "stdin"), ("args", "call"), ("code", "unit")):
        if key in first:
            return {"type": name}
    return {}


def _parsed(value: Any) -> Any:
    """Returns the value of a cell; a text that is JSON, as in CSV, is read."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _row(item: Item, prompt: Prompt, grade: Grade, problem: str | None, explanation: Explanation) -> GradedRow:
    """Makes the row of an answer that was graded."""
    _, where, raw = item
    assert isinstance(raw, dict)
    why = f"The grader failed: {grade.error}." if grade.error else explanation.why
    if problem:
        why = f"The reference cannot be used, so training refuses the row: {problem}."
    return GradedRow(
        where=where,
        verifier=prompt.verifier,
        verdict=grade.value,
        reference=explanation.reference,
        answer=explanation.answer,
        why=why,
        given_reference=prompt.answer,
        given_answer=str(raw.get("completion") or raw.get("answer")),
        expected=_expected(raw),
        kind=prompt.kind,
        error=grade.error,
    )


def _ungraded(raw: Any, where: str, why: str) -> GradedRow:
    """Makes the row of what cannot be graded."""
    cells = raw if isinstance(raw, dict) else {}
    verifier, kind = (value if isinstance(value, str) else "" for value in (cells.get("verifier"), cells.get("kind")))
    return GradedRow(where, verifier, None, None, None, f"The row cannot be graded: {why}.", kind=kind)


def _expected(raw: dict[str, Any]) -> bool | None:
    """Returns the column `right`; raises RowError where it is neither true nor false."""
    value = raw.get("right")
    if value is None or value == "":
        return None
    word = str(value).strip().lower()
    if word not in _TRUTHS:
        raise RowError("right", f"right must be 1 or 0, got {value!r}")
    return _TRUTHS[word]


def _what(raw: dict[str, Any], column: str) -> str:
    """Returns why a column has no value."""
    return "empty" if column in raw else f"not there; there are {', '.join(map(str, raw)) or 'none'}"
