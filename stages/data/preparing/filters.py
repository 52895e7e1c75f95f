"""The filters that look at one row at a time, in worker processes: a chunk of raw rows in, kept rows with their hashes
and the reasons of the others out.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow

from stages.config import DataConfig, PrepareConfig
from stages.data.adapters import adapter_of
from stages.data.file_prompts import source_key
from stages.data.mapping import Malformed, Row
from stages.data.preparing.contamination import EvaluationGrams
from stages.data.preparing.lengths import Lengths
from stages.data.preparing.text_hashes import exact_hash, hashes_of, is_word, signatures, tokens_of
from stages.data.readers import read
from stages.data.rows import map_one

CHUNK_ROWS = 512
SHINGLE = 5  # tokens
PREVIEW = 160  # characters of a dropped row that the data card shows
TEXT_COLUMNS = (
    "id",
    "prompt",
    "answer",
    "completion",
    "chosen",
    "rejected",
    "verifier",
    "checks",
    "language",
    "domain",
    "kind",
    "source",
    "where",
)
SCHEMA = pyarrow.schema(
    [
        *((name, pyarrow.large_string()) for name in TEXT_COLUMNS),
        ("is_safe", pyarrow.bool_()),
        ("length", pyarrow.int32()),
    ]
)

Chunk = list[tuple[int, str, dict | Malformed]]


@dataclass
class Outcome:
    """What became of a chunk. `lengths`: of the kept prompts; `dropped`: (filter, reason, where and what)."""

    kept: pyarrow.RecordBatch
    exact: bytes  # 16 of each kept row
    signatures: np.ndarray  # [kept, NUM_PERMUTATIONS]
    dropped: list[tuple[str, str, str]] = field(default_factory=list)
    num_rows: int = 0
    num_fatal: int = 0


def chunks(data: DataConfig) -> Iterator[tuple[str, Chunk]]:
    """(source, raw rows) of all sources in their order."""
    for name, source in data.all_sources.items():
        chunk: Chunk = []
        for item in read(source, source_key(data, name)):
            chunk.append(item)
            if len(chunk) == CHUNK_ROWS:
                yield name, chunk
                chunk = []
        if chunk:
            yield name, chunk


class RowFilters:
    """Made once in each process."""

    def __init__(self, data: DataConfig, prepare: PrepareConfig, grams: EvaluationGrams | None, model_dir: str | None):
        self.data, self.prepare, self.grams = data, prepare, grams
        self.lengths = Lengths(model_dir)
        self.adapters = {name: adapter_of(source.adapter) for name, source in data.all_sources.items()}

    def __call__(self, name: str, chunk: Chunk) -> Outcome:
        dropped: list[tuple[str, str, str]] = []
        rows, num_rows, num_fatal = [], 0, 0
        for number, where, raw in chunk:
            for item in (
                [raw]
                if isinstance(raw, Malformed)
                else map_one(raw, self.data.all_sources[name], self.adapters[name], number, where)
            ):
                num_rows += 1
                if isinstance(item, Row):
                    rows.append(item)
                else:
                    num_fatal += item.is_fatal
                    dropped.append(
                        (
                            "malformed" if item.is_fatal else "left out",
                            item.reason,
                            f"{name} {item.where}: {item.detail}",
                        )
                    )
        tokens = [tokens_of(row.prompt) for row in rows]
        prompt_lengths = self.lengths.of([row.prompt for row in rows], tokens)
        reasons = self._reasons(rows, tokens, prompt_lengths)
        dropped += [
            (*reason, f"{name} {row.where}: {preview(row.prompt)}") for row, reason in zip(rows, reasons) if reason
        ]
        kept = [place for place, reason in enumerate(reasons) if reason is None]
        texts = [_whole(rows[place]) for place in kept]
        outcome = Outcome(
            _batch(name, [rows[place] for place in kept], [prompt_lengths[place] for place in kept]),
            b"".join(map(exact_hash, texts)),
            np.zeros((0, 0), np.uint32),
            dropped,
            num_rows,
            num_fatal,
        )
        if self.prepare.near_duplicates:
            whole = [
                tokens[place] if text is rows[place].prompt else tokens_of(text) for place, text in zip(kept, texts)
            ]
            outcome.signatures = signatures(*hashes_of(whole), SHINGLE)
        return outcome

    def _reasons(
        self, rows: list[Row], tokens: list[list[str]], prompt_lengths: list[int]
    ) -> list[tuple[str, str] | None]:
        """For each row the first filter that drops it and why, or None."""
        prepare, unit = self.prepare, self.lengths.unit
        completions = (
            self.lengths.of([row.completion or row.chosen for row in rows])
            if prepare.max_completion
            else [0] * len(rows)
        )
        bad = (
            self.grams.contaminated(hashes_of([list(filter(is_word, one)) for one in tokens]))
            if self.grams
            else [False] * len(rows)
        )
        reasons: list[tuple[str, str] | None] = []
        for row, length, completion, is_contaminated in zip(rows, prompt_lengths, completions, bad):
            if length < prepare.min_prompt:
                reasons.append(("length", f"prompt under {prepare.min_prompt} {unit}"))
            elif prepare.max_prompt and length > prepare.max_prompt:
                reasons.append(("length", f"prompt over {prepare.max_prompt} {unit}"))
            elif prepare.max_completion and completion > prepare.max_completion:
                reasons.append(("length", f"completion over {prepare.max_completion} {unit}"))
            elif prepare.languages and row.language not in prepare.languages:
                reasons.append(("language", f"in {row.language}"))
            elif is_contaminated:
                reasons.append(("contamination", f"{prepare.ngram} words in a row of an evaluation prompt"))
            else:
                reasons.append(None)
        return reasons


def preview(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= PREVIEW else f"{line[: PREVIEW - 3]}..."


def _whole(row: Row) -> str:
    """What makes a row what it is: the prompt, and its completions where it has some."""
    return (
        "\n".join((row.prompt, row.completion, row.chosen, row.rejected))
        if row.completion or row.chosen
        else row.prompt
    )


def _batch(name: str, rows: list[Row], lengths: list[int]) -> pyarrow.RecordBatch:
    columns = {column: [getattr(row, column, "") for row in rows] for column in TEXT_COLUMNS}
    columns["id"] = [f"{name}-{row.id or f'{row.number:06d}'}" for row in rows]
    columns |= {"source": [name] * len(rows), "is_safe": [row.is_safe for row in rows], "length": lengths}
    return pyarrow.RecordBatch.from_pydict(columns, SCHEMA)
