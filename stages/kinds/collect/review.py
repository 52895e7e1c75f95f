"""People look at the examples before they are trained on [V2 B.3.2: every output is verified by a person].

review/export.jsonl     written by the stage: {"id", "prompt", "answer", "completion", "decision": "keep", "note": ""} a
                        line
review/reviewed.jsonl   the same, edited: completions mended, or "decision": "drop"; the stage takes it as it is,
                        checked and hashed
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
    """Writes review/export.jsonl, once: a later attempt finds the file that a person is at work with."""
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
    """(completion of each example as a person left it, None where it was dropped; what the data card says of the
    review).

    Raises Interrupted while there is no reviewed file, and InputError for a file that does not fit, with the lines and
    what to do.
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
    """Of the prompt and the completion, so that an edited line is still known and one of another run is not."""
    prompt, completion = example
    return f"{prompt.id}-{hashlib.sha256(f'{prompt.text}|{completion}'.encode()).hexdigest()[:12]}"


def _read(text: bytes) -> tuple[list[tuple[int, dict]], list[str]]:
    """((line number, row) of the lines that are rows, mistakes)."""
    rows, errors = [], []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            errors.append(f"line {number} is not JSON ({error})")
            continue
        wrong = (
            "is not an object"
            if not isinstance(row, dict)
            else next(
                (
                    f"has no text {name!r}"
                    for name in ("id", "completion", "decision")
                    if not isinstance(row.get(name), str)
                ),
                None,
            )
        )
        if wrong:
            errors.append(f"line {number} {wrong}")
        else:
            rows.append((number, row))
    return rows, errors


def _misfits(rows: list[tuple[int, dict]], examples: list[Example]) -> list[str]:
    """What does not fit to the exported examples, and what a person broke."""
    known = {id_of(example): example for example in examples}
    errors, seen, kept = [], {}, []
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
    errors += (
        [f'{len(missing)} exported examples are missing, e.g. {missing[0]!r}: drop them with "decision": "drop"']
        if missing
        else []
    )
    return errors + _broken(kept)


def _broken(kept: list[tuple[int, str, Prompt]]) -> list[str]:
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
