"""The filters that look at one row at a time.

They run in worker processes, which get a chunk of raw rows and return the rows that are kept, with their hashes, and
why the others were dropped.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow

from stages.config import DataConfig, PrepareConfig
from stages.data.adapters import adapter_of
from stages.data.file_prompts import source_key
from stages.data.malformed import Malformed
from stages.data.mapping import Row
from stages.data.preparing.contamination import EvaluationGrams
from stages.data.preparing.lengths import Lengths
from stages.data.preparing.text_hashes import exact_hash, hashes_of, signatures, tokens_of
from stages.data.readers import Item, read
from stages.data.rows import map_one

CHUNK_ROWS = 512
SHINGLE = 5  # tokens of the n-grams by which near duplicates are found
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

Chunk = list[Item]
Dropped = tuple[str, str, str]  # filter, reason, the row for people


@dataclass
class FilteredChunk:
    """What the filters made of a chunk.

    Attributes:
        kept: the rows that are left, in SCHEMA.
        exact: hashes of the kept rows, 16 bytes each.
        signatures: MinHash signatures of the kept rows, [kept, NUM_PERMUTATIONS]; [0, 0] where they are not needed.
        dropped: the other rows.
        num_rows: number of rows of the chunk, after adapters.
        num_fatal: number of rows that data.malformed=fail does not accept.
    """

    kept: pyarrow.RecordBatch
    exact: bytes
    signatures: np.ndarray
    dropped: list[Dropped] = field(default_factory=list)
    num_rows: int = 0
    num_fatal: int = 0


def chunks(data: DataConfig) -> Iterator[tuple[str, Chunk]]:
    """Yields (source's name, up to CHUNK_ROWS raw rows) of all sources in their order."""
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
    """All filters of a preparation; each worker process makes one."""

    def __init__(self, data: DataConfig, prepare: PrepareConfig, grams: EvaluationGrams | None, model_dir: str | None):
        """Loads what the filters need.

        Args:
            data: the sources.
            prepare: the settings.
            grams: n-grams of the evaluation sets; None where there are none.
            model_dir: directory of the tokenizer that lengths are counted with; None counts words.
        """
        self.data, self.prepare, self.grams = data, prepare, grams
        self.lengths = Lengths(model_dir)
        self.adapters = {name: adapter_of(source.adapter) for name, source in data.all_sources.items()}

    def __call__(self, name: str, chunk: Chunk) -> FilteredChunk:
        """Filters a chunk of raw rows of source `name`."""
        rows, malformed = self._mapped(name, chunk)
        tokens = [tokens_of(row.prompt) for row in rows]
        prompt_lengths = self.lengths.of([row.prompt for row in rows], tokens)
        reasons = self._reasons(rows, prompt_lengths)
        dropped: list[Dropped] = []
        for item in malformed:
            filter_name = "malformed" if item.is_fatal else "left out"
            dropped.append((filter_name, item.reason, f"{name} {item.where}: {item.detail}"))
        for row, reason in zip(rows, reasons):
            if reason:
                dropped.append((*reason, f"{name} {row.where}: {preview(row.prompt)}"))
        kept = [place for place, reason in enumerate(reasons) if reason is None]
        texts = [_identity(rows[place]) for place in kept]
        shingled: list[list[str]] = []  # the tokens of the texts; most texts are prompts, whose tokens are known
        if self.prepare.near_duplicates:
            for place, text in zip(kept, texts):
                shingled.append(tokens[place] if text is rows[place].prompt else tokens_of(text))
        return FilteredChunk(
            kept=_batch(name, [rows[place] for place in kept], [prompt_lengths[place] for place in kept]),
            exact=b"".join(map(exact_hash, texts)),
            signatures=signatures(*hashes_of(shingled), SHINGLE) if shingled else np.zeros((0, 0), np.uint32),
            dropped=dropped,
            num_rows=len(rows) + len(malformed),
            num_fatal=sum(item.is_fatal for item in malformed),
        )

    def _mapped(self, name: str, chunk: Chunk) -> tuple[list[Row], list[Malformed]]:
        """Adapts and maps raw rows; returns the rows, and those that cannot be used."""
        rows: list[Row] = []
        malformed: list[Malformed] = []
        for number, where, raw in chunk:
            if isinstance(raw, Malformed):
                malformed.append(raw)
                continue
            for item in map_one(raw, self.data.all_sources[name], self.adapters[name], number, where):
                if isinstance(item, Row):
                    rows.append(item)
                else:
                    malformed.append(item)
        return rows, malformed

    def _reasons(self, rows: list[Row], prompt_lengths: list[int]) -> list[tuple[str, str] | None]:
        """Returns for each row (filter, reason) of the first filter that drops it, or None."""
        prepare, unit = self.prepare, self.lengths.unit
        completions = [0] * len(rows)
        if prepare.max_completion:
            completions = self.lengths.of([row.completion or row.chosen for row in rows])
        contaminated = np.zeros(len(rows), bool)
        if self.grams:
            contaminated = self.grams.contaminated([row.prompt for row in rows])
        reasons: list[tuple[str, str] | None] = []
        for row, length, completion, is_contaminated in zip(rows, prompt_lengths, completions, contaminated):
            if length < prepare.min_prompt:
                reasons.append(("length", f"prompt under {prepare.min_prompt} {unit}"))
            elif prepare.max_prompt and length > prepare.max_prompt:
                reasons.append(("length", f"prompt over {prepare.max_prompt} {unit}"))
            elif prepare.max_completion and completion > prepare.max_completion:
                reasons.append(("length", f"completion over {prepare.max_completion} {unit}"))
            elif prepare.languages and row.language not in prepare.languages:
                reasons.append(("language", f"in {row.language}"))
            elif is_contaminated:
                reasons.append(("contamination", f"{prepare.ngram} words in a row, or all, of an evaluation prompt"))
            else:
                reasons.append(None)
        return reasons


def preview(text: str) -> str:
    """Returns the beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= PREVIEW else f"{line[: PREVIEW - 3]}..."


def _identity(row: Row) -> str:
    """Returns the text that duplicates share: the prompt, with the completions where the row has any."""
    if not (row.completion or row.chosen):
        return row.prompt
    return "\n".join((row.prompt, row.completion, row.chosen, row.rejected))


def _batch(name: str, rows: list[Row], lengths: list[int]) -> pyarrow.RecordBatch:
    columns: dict[str, list] = {column: [getattr(row, column, "") for row in rows] for column in TEXT_COLUMNS}
    columns["id"] = [f"{name}-{row.id or f'{row.number:06d}'}" for row in rows]
    columns |= {"source": [name] * len(rows), "is_safe": [row.is_safe for row in rows], "length": lengths}
    return pyarrow.RecordBatch.from_pydict(columns, SCHEMA)
