"""People review the examples before they are trained on [V2 B.3.2: every output is verified by a person].

review/export.jsonl     the stage writes it, an example a line:
                        {"id", "prompt", "answer", "completion", "decision": "keep", "note": ""}
review/reviewed.jsonl   a person writes it: the same lines with completions mended, or "decision": "drop";
                        the stage checks it, takes it as it is, and keeps its hash
"""

import hashlib
import json
from pathlib import Path

from stages.contract import files
from stages.prompting.prompt import Prompt
from stages.rewards.grading import grade_many
from stages.runtime.errors import InputError, Interrupted
from stages.text.completion import is_well_formed

MAX_SHOWN = 5
DECISIONS = ("keep", "drop")

Example = tuple[Prompt, str]  # a prompt and a completion


def export(directory: Path, examples: list[Example]) -> Path:
    """Writes review/export.jsonl once; a later attempt leaves the file that a person works with alone."""
    path = directory / "review" / "export.jsonl"
    if not path.exists():
        rows = [
            {
                "id": id_of(example),
                "prompt": example[0].text,
                "answer": example[0].answer,
                "completion": example[1],
                "decision": "keep",
                "note": "",
            }
            for example in examples
        ]
        files.write_atomic(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode())
    return path


def reviewed(directory: Path, examples: list[Example]) -> tuple[list[str | None], dict]:
    """Reads the review.

    Returns:
        The completion of each example as a person left it, None where it was dropped; and what the data card says of
        the review.

    Raises:
        Interrupted: There is no reviewed file yet.
        InputError: The file does not fit the examples; the message names the lines and what to do.
    """
    exported, path = export(directory, examples), directory / "review" / "reviewed.jsonl"
    if not path.exists():
        raise Interrupted(
            f"{len(examples)} examples wait for a person: copy {exported} to {path.name} beside it, "
            "mend completions there or set "
            '"decision" to "drop", and run the same command again'
        )
    text = path.read_bytes()
    rows, errors = _read(text)
    errors += _misfits(rows, examples)
    if errors:
        more = f" ... and {len(errors) - MAX_SHOWN} more" if len(errors) > MAX_SHOWN else ""
        raise InputError(
            f"{path}: {'; '.join(errors[:MAX_SHOWN])}{more}. Mend these lines and run the same command again; "
            f"{exported.name} has the originals"
        )
    by_id = {row["id"]: row for _, row in rows}
    mine = [by_id[id_of(example)] for example in examples]
    completions = [row["completion"] if row["decision"] == "keep" else None for row in mine]
    return completions, {
        "file": path.name,
        "sha256": hashlib.sha256(text).hexdigest(),
        "examples": len(examples),
        "dropped": completions.count(None),
        "edited": sum(new is not None and new != old for new, (_, old) in zip(completions, examples)),
    }


def id_of(example: Example) -> str:
    """Names an example by its prompt and completion: an edited line keeps its id, and another run has other ids."""
    prompt, completion = example
    return f"{prompt.id}-{hashlib.sha256(f'{prompt.text}|{completion}'.encode()).hexdigest()[:12]}"


def _read(text: bytes) -> tuple[list[tuple[int, dict]], list[str]]:
    """Reads the lines: the rows with their line numbers, and the mistakes of the lines that are no rows."""
    rows: list[tuple[int, dict]] = []
    errors: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            errors.append(f"line {number} is not JSON ({error})")
            continue
        if not isinstance(row, dict):
            errors.append(f"line {number} is not an object")
            continue
        missing = [name for name in ("id", "completion", "decision") if not isinstance(row.get(name), str)]
        if missing:
            errors.append(f"line {number} has no text {missing[0]!r}")
        else:
            rows.append((number, row))
    return rows, errors


def _misfits(rows: list[tuple[int, dict]], examples: list[Example]) -> list[str]:
    """Names the lines that do not fit the exported examples, and the completions that a person broke."""
    known = {id_of(example): example for example in examples}
    errors: list[str] = []
    seen: dict[str, int] = {}
    kept: list[tuple[int, str, Prompt]] = []
    for number, row in rows:
        if row["id"] not in known:
            errors.append(f"line {number} has an id that was not exported: {row['id'][:60]!r}")
        elif row["id"] in seen:
            errors.append(f"line {number} has the id of line {seen[row['id']]}")
        elif row["decision"] not in DECISIONS:
            errors.append(f"line {number}: decision must be keep or drop, got {row['decision']!r}")
        elif row["decision"] == "keep":
            kept.append((number, row["completion"], known[row["id"]][0]))
        seen.setdefault(row["id"], number)
    missing = [id for id in known if id not in seen]
    if missing:
        errors.append(
            f'{len(missing)} exported examples are missing, e.g. {missing[0]!r}: drop them with "decision": "drop"'
        )
    return errors + _broken(kept)


def _broken(kept: list[tuple[int, str, Prompt]]) -> list[str]:
    """Names the kept completions that are no longer well-formed or no longer right."""
    errors = [
        f"line {number}: the completion is not <think>...</think><answer>...</answer>"
        for number, completion, _ in kept
        if not is_well_formed(completion)
    ]
    ruled = [
        (number, completion, prompt)
        for number, completion, prompt in kept
        if is_well_formed(completion) and prompt.verifier not in ("", "judge")
    ]
    grades = grade_many([(completion, prompt) for _, completion, prompt in ruled])
    return errors + [
        f"line {number}: the answer is not {prompt.answer[:40]!r} any more"
        for (number, _, prompt), grade in zip(ruled, grades)
        if grade.value < 1
    ]
