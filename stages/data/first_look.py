"""`python -m stages.data.first_look REQUEST.json`: what of the first rows of a source a stage would refuse.

The driver asks it while it plans, in a process of its own, because verifiers are no part of the driver. It must take a
second, not minutes: `math`, which is slow, reads answers of a sample of the rows, and prompts are measured with the
tokenizer's own library, whose import takes milliseconds. The stage itself reads every row.
"""

import json
import random
import sys
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from stages.config import DataConfig, MixtureSource, SourceConfig, TracesConfig, from_dict
from stages.data.file_prompts import serves_prompts, to_prompt
from stages.data.mapping import Row
from stages.data.rows import rows_of
from stages.prompting.templates import apply_template
from stages.rewards.grading import reference_problem_many

MAX_ROWS = 20_000
ASKED = ("integer", "math", "choice", "exact", "instructions", "code")  # a judge would cost money, a gym its import
SLOW = ("math",)  # needs a process of its own and a millisecond or more for each answer
MAX_SLOW, BATCH, SLOW_S = 1000, 50, 1.0  # answers that it reads at most, at once, and for how long new ones are begun
MAX_SHOWN = 5
MAX_MEASURED = 500  # of the longest prompts
SOURCES: dict[str, type[SourceConfig]] = {"data": DataConfig, "mixture": MixtureSource, "traces": TracesConfig}


def look(source: SourceConfig, key: str, prompting: dict[str, Any] | None) -> dict[str, Any]:
    """What is wrong with the first rows of a source.

    Args:
        source: where the rows are.
        key: its key in the configuration, for messages.
        prompting: {"tokenizer": file of the tokenizer, "template", "system", "examples", "max_tokens"}; None: no
            prompt is measured.

    Returns:
        {"rows": how many were read, "asked": of how many the answer was read, "unreadable": how many of these were not,
        "answers": the first of them for people, "too_long": how many prompts are, "prompts": the first of them}.
    """
    rows = [row for row in islice(rows_of(source, key), MAX_ROWS) if isinstance(row, Row)]
    answers = _unreadable(source, rows)
    lengths = _too_long(rows, prompting) if prompting and serves_prompts(source) else []
    return {
        "rows": len(rows),
        "asked": answers[0],
        "unreadable": len(answers[1]),
        "answers": answers[1][:MAX_SHOWN],
        "too_long": len(lengths),
        "prompts": lengths[:MAX_SHOWN],
    }


def _unreadable(source: SourceConfig, rows: Sequence[Row]) -> tuple[int, list[str]]:
    """(rows that were asked, those whose answer their verifier cannot read)."""
    if source.rows != "prompts" or not source.check_answers:
        return 0, []
    graded = [row for row in rows if row.domain == "reasoning" and row.verifier in ASKED]
    slow = [row for row in graded if row.verifier in SLOW]
    slow = random.Random(0).sample(slow, min(MAX_SLOW, len(slow)))  # spread over the file, the same ones every time
    asked = [row for row in graded if row.verifier not in SLOW]
    problems = _problems(asked)
    until = time.monotonic() + SLOW_S
    for start in range(0, len(slow), BATCH):
        if start and time.monotonic() > until:
            break
        batch = slow[start : start + BATCH]
        asked += batch
        problems += _problems(batch)
    found = sorted((row.number, f"{row.where}: {why} (it is read by verifier={row.verifier})")
                   for row, why in zip(asked, problems) if why)  # fmt: skip
    return len(asked), [text for _, text in found]


def _problems(rows: Sequence[Row]) -> list[str | None]:
    return reference_problem_many([to_prompt(row, "file", "train") for row in rows])


def _too_long(rows: Sequence[Row], prompting: dict[str, Any]) -> list[str]:
    """The prompts that have more tokens than allowed; those in a chat template are counted without it.

    A text has no more tokens than bytes, so most rows of a file need no tokenizer.
    """
    from tokenizers import Tokenizer

    tokenizer, limit = Tokenizer.from_file(prompting["tokenizer"]), prompting["max_tokens"]
    template = prompting["template"] if prompting["template"] in ("plain", "r1_zero") else ""
    instructions = [prompting["system"], *_contents(prompting["examples"])]
    before = sum(len(one.ids) for one in tokenizer.encode_batch(instructions, add_special_tokens=False))
    texts = [apply_template(row.prompt, template) if template else row.prompt for row in rows]
    places = [place for place, text in enumerate(texts) if before + len(text.encode("utf-8", "replace")) > limit]
    longest = sorted(sorted(places, key=lambda place: -len(texts[place]))[:MAX_MEASURED])
    encoded = tokenizer.encode_batch([texts[place] for place in longest], add_special_tokens=False)
    counts = [(rows[place].where, before + len(one.ids)) for place, one in zip(longest, encoded)]
    return [f"{where}: {count:,} tokens" for where, count in counts if count > limit]


def _contents(examples: str | None) -> list[str]:
    """The words of worked examples."""
    messages = json.loads(examples) if examples else []
    return [str(message.get("content") or "") for message in messages if isinstance(message, dict)]


def main(path: str) -> int:
    """Reads a request, a list of {"kind", "source", "key", "prompting"}, and prints what `look` says of each."""
    found: list[dict[str, Any] | None] = []
    for request in json.loads(Path(path).read_text(encoding="utf-8")):
        source = from_dict(SOURCES[request["kind"]], request["source"])
        try:
            found.append(look(source, request["key"], request["prompting"]))
        except (ValueError, OSError):  # the driver's own look has said it, or the stage will
            found.append(None)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
