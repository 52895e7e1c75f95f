"""`data prepare`: filters the rows of all sources and writes them to one Parquet file with a data card.

    pass 1  reads the rows; worker processes map, filter and hash them; the rows that are left, and their hashes, are
            written to a working directory
            finds exact and near duplicates from the hashes
    pass 2  reads the rows that are left; drops duplicates and rows whose reference no verifier can use; measures pass
            rates; writes train.parquet and then the card

Both passes stream: memory does not grow with the rows, except for about 50 bytes each. The result does not depend on
the number of processes.
"""

import os
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from stages.config import DataConfig, PrepareConfig, RolloutConfig
from stages.config.quoting import override
from stages.contract import files
from stages.data.file_prompts import source_key
from stages.data.file_selection import shown
from stages.data.hub import pin_advice
from stages.data.preparing import card
from stages.data.preparing.contamination import EvaluationGrams
from stages.data.preparing.duplicates import exact_duplicates, near_duplicates
from stages.data.preparing.filters import SCHEMA, Chunk, FilteredChunk, RowFilters, chunks, preview
from stages.data.preparing.lengths import Lengths
from stages.data.preparing.pass_rate import PassRates
from stages.data.references import unusable_references
from stages.prompting.prompt import Prompt

MAX_AHEAD = 3  # chunks that each process is given before the result of the first is taken
PROGRESS_EVERY_S = 5
_filters: RowFilters  # of a worker process


class Preparation:
    """One run of `data prepare`.

    Attributes:
        num_read: number of rows that were read, by source.
        dropped: the rows that filters dropped.
        kept: the rows that are left.
    """

    def __init__(
        self,
        data: DataConfig,
        prepare: PrepareConfig,
        rollout: RolloutConfig,
        seed: int = 0,
        model_dir: str | None = None,
        say: Callable[[str], None] = print,
    ):
        """Checks the settings; reads nothing.

        Args:
            data: the sources.
            prepare: what is dropped, and where the result is written.
            rollout: the engine that samples for pass rates.
            seed: seed of those samples.
            model_dir: directory of the model whose tokenizer counts lengths and whose pass rates are measured; None
                counts words.
            say: prints a line for people.

        Raises:
            ValueError: the sources do not go together, or pass rates cannot be measured.
        """
        kinds = {source.rows for source in data.all_sources.values()}
        if len(kinds) != 1:
            raise ValueError(
                f"the sources have rows of different types ({', '.join(sorted(kinds)) or 'none'}): "
                "prepare one type at a time"
            )
        if prepare.samples and (not model_dir or kinds != {"prompts"}):
            raise ValueError(
                "prepare.samples measures the pass rate of prompts: it needs model.path=DIRECTORY and rows=prompts"
            )
        if prepare.samples and any(source.verifier == "judge" for source in data.all_sources.values()):
            raise ValueError(
                "prepare.samples measures the pass rate by rules, tests and graders of a problem family: "
                "a judge is only asked by stages. Set "
                "prepare.samples=0, or prepare the rows that a rule can check"
            )
        self.data, self.prepare, self.rollout = data, prepare, rollout
        self.seed, self.model_dir, self.say = seed, model_dir, say
        self.rows_type = kinds.pop()
        self.output = Path(prepare.output)
        self.work = self.output / ".work"
        self.dropped, self.kept = card.DroppedRows(prepare.shown), card.KeptRows()
        self.num_read: Counter[str] = Counter()
        self.num_fatal = 0
        self.started = self.last_progress = time.monotonic()

    def run(self) -> Path:
        """Prepares the data and returns the file that was written.

        Raises:
            ValueError: rows cannot be used, or no row is left.
            GraderAway: a verifier can grade nothing any more.
        """
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        pins = self._pins()
        for line in (*self._files(), *pins):
            self.say(line)
        skips_unread = self.data.malformed == "skip"
        against = self.prepare.against
        grams = EvaluationGrams(against, self.prepare.ngram, skips_unread) if against else None
        num_rows = self._filter(grams)
        first = self._duplicates(num_rows)
        final = self._finish(first)
        rows_type = f" data.rows={self.rows_type}" if self.rows_type != "prompts" else ""
        num_prompts = grams.num_prompts if grams else {}
        extra = {
            "use": f"python -m pipeline run +stage=all data=prepared {override('data.path', str(final))}{rows_type}",
            "against": {
                name: {**card.origin(source), "prompts": num_prompts[name]}
                for name, source in self.prepare.against.items()
            },
            "pins": pins,
            "sha256": files.sha256(final),
        }
        unit = Lengths(self.model_dir).unit
        card.write(self.output, self.data, self.prepare, dict(self.num_read), self.dropped, self.kept, unit, extra)
        shutil.rmtree(self.work)
        return final

    def _files(self) -> list[str]:
        """Returns which files of each directory or set of the hub are read: rows and evaluation sets."""
        keys = {source_key(self.data, name): source for name, source in self.data.all_sources.items()}
        keys |= {f"prepare.against.{name}": source for name, source in self.prepare.against.items()}
        return [line for key, source in keys.items() if (line := shown(source, key))]

    def _pins(self) -> list[str]:
        """Returns how to pin each set of the hub that is read without a commit: rows and evaluation sets."""
        keys = {source_key(self.data, name): source for name, source in self.data.all_sources.items()}
        keys |= {f"prepare.against.{name}": source for name, source in self.prepare.against.items()}
        return [advice for key, source in keys.items() if (advice := pin_advice(source, key))]

    def _filter(self, grams: EvaluationGrams | None) -> int:
        """Writes the rows that pass the filters and their hashes to the working directory; returns their number."""
        num_rows = 0
        with ExitStack() as stack:
            writer = stack.enter_context(
                pyarrow.parquet.ParquetWriter(
                    self.work / "rows.parquet", SCHEMA, compression="zstd", compression_level=1
                )
            )
            exact = stack.enter_context(open(self.work / "exact", "wb"))
            near = stack.enter_context(open(self.work / "near", "wb"))
            for name, chunk in self._filtered(stack, grams):
                self._count(name, chunk)
                if chunk.kept.num_rows:
                    writer.write_batch(chunk.kept)
                    exact.write(chunk.exact)
                    chunk.signatures.tofile(near)
                    num_rows += chunk.kept.num_rows
                self._progress("read", sum(self.num_read.values()), f"{num_rows:,} left")
        for name, source in self.data.all_sources.items():
            if not self.num_read[name]:
                raise ValueError(
                    f"{source_key(self.data, name)}.path={source.path} is empty: it needs at least one row"
                )
        return num_rows

    def _filtered(self, stack: ExitStack, grams: EvaluationGrams | None) -> Iterator[tuple[str, FilteredChunk]]:
        """Yields (source's name, filtered chunk) in order; each process is at most MAX_AHEAD chunks ahead."""
        settings = (self.data, self.prepare, grams, self.model_dir)
        num_processes = self.prepare.processes or os.cpu_count() or 1
        if num_processes == 1:
            filters = RowFilters(*settings)
            for name, chunk in chunks(self.data):
                yield name, filters(name, chunk)
            return
        pool = stack.enter_context(ProcessPoolExecutor(num_processes, get_context("spawn"), _start, settings))
        waiting: deque[tuple[str, Future[FilteredChunk]]] = deque()
        for name, chunk in chunks(self.data):
            waiting.append((name, pool.submit(_work, name, chunk)))
            if len(waiting) >= MAX_AHEAD * num_processes:
                taken, future = waiting.popleft()
                yield taken, future.result()
        while waiting:
            taken, future = waiting.popleft()
            yield taken, future.result()

    def _count(self, name: str, chunk: FilteredChunk) -> None:
        """Counts a chunk; raises ValueError for rows that cannot be used, unless the configuration skips them."""
        self.num_read[name] += chunk.num_rows
        self.num_fatal += chunk.num_fatal
        for filter_name, reason, example in chunk.dropped:
            self.dropped.add(filter_name, reason, example)
        if self.num_fatal and self.data.malformed == "fail":
            examples = [example for filter_name, _, example in chunk.dropped if filter_name == "malformed"]
            more = f" ... and {len(examples) - 5} more" if len(examples) > 5 else ""
            raise ValueError(
                f"rows cannot be used: {'; '.join(examples[:5])}{more}. Name the columns, mend the file, "
                "or leave such rows out and count them "
                "with data.malformed=skip"
            )

    def _duplicates(self, num_rows: int) -> np.ndarray:
        """Returns for each row the row that it repeats, int64 [num_rows]: itself where it is no duplicate.

        A near duplicate of row r is marked by -r - 1.
        """
        if not num_rows:
            return np.zeros(0, np.int64)
        first = np.arange(num_rows)
        if self.prepare.exact_duplicates:
            first = exact_duplicates(np.fromfile(self.work / "exact", "V16"))
        if self.prepare.near_duplicates:
            is_new = first == np.arange(num_rows)
            self.say(f"comparing {int(is_new.sum()):,} rows for near duplicates")
            near = near_duplicates(self.work / "near", num_rows, self.prepare.near_duplicates, is_new)
            first = np.where(near != np.arange(num_rows), -near - 1, first)
        return first

    def _finish(self, first: np.ndarray) -> Path:
        """Writes train.parquet; raises ValueError where no row is left."""
        final, partial = self.output / "train.parquet", self.work / "train.parquet"
        schema = SCHEMA.append(pyarrow.field("pass_rate", pyarrow.float32()))
        with pyarrow.parquet.ParquetWriter(partial, schema, compression="zstd") as writer:
            for batch in self._with_pass_rates(self._gradable(self._distinct(first))):
                if batch.num_rows:
                    writer.write_batch(batch)
                    self.kept.add(batch)
        if not self.kept.num_rows:
            num_read = sum(self.num_read.values())
            reasons = [f"{row['filter']} dropped {row['dropped']:,}" for row in self.dropped.table(num_read)]
            raise ValueError(f"no row of {num_read:,} is left: {', '.join(reasons)}")
        files.fsync_file(partial)
        os.replace(partial, final)
        return final

    def _distinct(self, first: np.ndarray) -> Iterator[pyarrow.RecordBatch]:
        """Yields the rows that passed the filters, without duplicates."""
        start, originals = 0, self._shown_originals(first)
        with pyarrow.parquet.ParquetFile(self.work / "rows.parquet") as file:
            for batch in file.iter_batches(batch_size=4096):
                mine = first[start : start + batch.num_rows]
                keep = mine == np.arange(start, start + batch.num_rows)
                for row in originals.keys() & set(range(start, start + batch.num_rows)):
                    originals[row] = _described(batch, row - start)
                for place in np.flatnonzero(~keep):
                    self._drop_copy(batch, int(place), int(mine[place]), originals)
                start += batch.num_rows
                self._progress("write", start, f"of {len(first):,}")
                yield batch.filter(pyarrow.array(keep))

    def _shown_originals(self, first: np.ndarray) -> dict[int, str]:
        """Returns the rows that the card's examples are copies of, each with "" as its text until it is read.

        They come before their copies, so that their text is known when a copy is described.
        """
        copies = first != np.arange(len(first))
        exact = np.flatnonzero(copies & (first >= 0))[: self.prepare.shown]
        near = np.flatnonzero(first < 0)[: self.prepare.shown]
        return {_original(int(first[place])): "" for place in (*exact, *near)}

    def _drop_copy(self, batch: pyarrow.RecordBatch, place: int, original: int, originals: dict[int, str]) -> None:
        """Counts a duplicate; `original` is its entry of `_duplicates`."""
        name, reason = "exact duplicate", "the same text"
        if original < 0:
            name, reason = "near duplicate", f"similarity of at least {self.prepare.near_duplicates}"
        example = ""
        if self.dropped.count(name) < self.prepare.shown:
            example = f"{_described(batch, place)} / is like / {originals[_original(original)]}"
        self.dropped.add(name, reason, example)

    def _gradable(self, batches: Iterator[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
        """Yields the batches without the rows whose reference their verifier cannot use."""
        for batch in batches:
            if not (self.prepare.check_answers and self.rows_type == "prompts"):
                yield batch
                continue
            prompts = [prompt_of(row) for row in batch.to_pylist()]
            keep = np.ones(len(prompts), bool)
            for place, why in unusable_references(prompts).items():
                keep[place] = False
                self.dropped.add("answer", f"not read by {prompts[place].verifier}", f"{prompts[place].id}: {why}")
            yield batch.filter(pyarrow.array(keep))

    def _with_pass_rates(self, batches: Iterator[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
        """Yields the batches with the column pass_rate.

        Where rates are measured, rows that are too easy or too hard are dropped; else the column is empty.
        """
        meter = None
        if self.prepare.samples:
            assert self.model_dir is not None
            meter = PassRates(
                self.data,
                self.prepare,
                self.rollout,
                self.seed,
                Path(self.model_dir),
                self.output / ".pass_rates",
                self.say,
            )
        for batch in batches:
            rates = meter.of([prompt_of(row) for row in batch.to_pylist()]) if meter else [None] * batch.num_rows
            keep = np.ones(batch.num_rows, bool)
            for place, rate in enumerate(rates):
                low, high = self.prepare.min_pass_rate, self.prepare.max_pass_rate
                if rate is not None and not low <= rate <= high:
                    keep[place] = False
                    self.dropped.add(
                        "pass rate",
                        f"under {low}" if rate < low else f"over {high}",
                        f"{batch.column('id')[place]}: {rate:.2f}",
                    )
            yield batch.append_column("pass_rate", pyarrow.array(rates, pyarrow.float32())).filter(pyarrow.array(keep))
        if meter:
            meter.close()

    def _progress(self, what: str, count: int, more: str) -> None:
        """Prints the progress, but not more often than every PROGRESS_EVERY_S."""
        now = time.monotonic()
        if now - self.last_progress >= PROGRESS_EVERY_S:
            self.last_progress = now
            self.say(f"{what} {count:,} rows, {more}, {now - self.started:.0f} s")


def _original(first: int) -> int:
    """Returns the row that an entry of `_duplicates` names."""
    return -first - 1 if first < 0 else first


def _described(batch: pyarrow.RecordBatch, place: int) -> str:
    """Returns where a row is and how its prompt begins."""
    where = f"{batch.column('source')[place]} {batch.column('where')[place]}"
    return f"{where}: {preview(batch.column('prompt')[place].as_py())}"


def prompt_of(row: dict[str, Any]) -> Prompt:
    """Turns a row of the prepared schema into a prompt."""
    return Prompt(
        id=row["id"],
        text=row["prompt"],
        kind=row["kind"],
        domain=row["domain"],
        language=row["language"],
        answer=row["answer"],
        verifier=row["verifier"],
        checks=row["checks"],
    )


def _start(data: DataConfig, prepare: PrepareConfig, grams: EvaluationGrams | None, model_dir: str | None) -> None:
    """Makes the filters of a worker process."""
    global _filters
    _filters = RowFilters(data, prepare, grams, model_dir)


def _work(name: str, chunk: Chunk) -> FilteredChunk:
    """Filters a chunk in a worker process."""
    return _filters(name, chunk)
