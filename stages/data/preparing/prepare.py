"""`data prepare`: rows of all sources to one Parquet file and its data card.

    pass 1  read; in worker processes map, filter, hash; write what is left and its hashes aside
            find exact and near duplicates from the hashes
    pass 2  read what is left; drop duplicates and answers that no verifier reads; measure pass rates; write
            train.parquet, then the card

Both passes stream. The outcome does not depend on the number of processes.
"""

import os
import shutil
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet

from stages.config import DataConfig, PrepareConfig, RolloutConfig
from stages.contract import files
from stages.data.file_prompts import source_key
from stages.data.hub import pin_advice
from stages.data.preparing import card
from stages.data.preparing.contamination import EvaluationGrams
from stages.data.preparing.duplicates import exact_duplicates, near_duplicates
from stages.data.preparing.filters import SCHEMA, Outcome, RowFilters, chunks, preview
from stages.data.preparing.lengths import Lengths

MAX_AHEAD = 3  # chunks given to each process before their outcome is taken
SAID_EVERY_S = 5
_filters: RowFilters


class Preparation:
    """One run of `data prepare`. `model_dir`: of the tokenizer that counts, and of the policy whose pass rate is
    measured.
    """

    def __init__(
        self,
        data: DataConfig,
        prepare: PrepareConfig,
        rollout: RolloutConfig,
        seed: int = 0,
        model_dir: str | None = None,
        say=print,
    ):
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
        self.data, self.prepare, self.rollout, self.seed, self.model_dir, self.say = (
            data,
            prepare,
            rollout,
            seed,
            model_dir,
            say,
        )
        self.rows_type = kinds.pop()
        self.output = Path(prepare.output)
        self.work = self.output / ".work"
        self.drops, self.kept, self.read = card.Drops(prepare.shown), card.Kept(), Counter()
        self.num_fatal, self.started = 0, time.monotonic()

    def run(self) -> Path:
        """Returns the file that was written. Raises ValueError for bad input, and where no row is left."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        pins = self._pins()
        for advice in pins:
            self.say(advice)
        grams = EvaluationGrams(self.prepare.against, self.prepare.ngram) if self.prepare.against else None
        num_rows = self._filter(grams)
        first = self._duplicates(num_rows)
        final = self._finish(first)
        use = f"python -m pipeline run +stage=all data=prepared data.path={final}" + (
            f" data.rows={self.rows_type}" if self.rows_type != "prompts" else ""
        )
        card.write(
            self.output,
            self.data,
            self.prepare,
            dict(self.read),
            self.drops,
            self.kept,
            Lengths(self.model_dir).unit,
            {
                "use": use,
                "against": {
                    name: {**card.origin(source), "prompts": grams.num_prompts[name]}
                    for name, source in self.prepare.against.items()
                },
                "pins": pins,
                "sha256": files.sha256(final),
            },
        )
        shutil.rmtree(self.work)
        return final

    def _pins(self) -> list[str]:
        """How to pin what is read of the hub and is not pinned, rows and evaluation sets."""
        keys = {source_key(self.data, name): source for name, source in self.data.all_sources.items()}
        keys |= {f"prepare.against.{name}": source for name, source in self.prepare.against.items()}
        return [advice for key, source in keys.items() if (advice := pin_advice(source, key))]

    def _filter(self, grams: EvaluationGrams | None) -> int:
        """Writes the rows that pass to work/rows.parquet, their hashes beside it. Returns how many."""
        num_rows = 0
        with ExitStack() as stack:
            writer = stack.enter_context(
                pyarrow.parquet.ParquetWriter(
                    self.work / "rows.parquet", SCHEMA, compression="zstd", compression_level=1
                )
            )
            exact, near = (stack.enter_context(open(self.work / name, "wb")) for name in ("exact", "near"))
            for name, outcome in self._outcomes(stack, grams):
                self._count(name, outcome)
                if outcome.kept.num_rows:
                    writer.write_batch(outcome.kept)
                    exact.write(outcome.exact)
                    outcome.signatures.tofile(near)
                    num_rows += outcome.kept.num_rows
                self._progress("read", sum(self.read.values()), f"{num_rows:,} left")
        for name, source in self.data.all_sources.items():
            if not self.read[name]:
                raise ValueError(
                    f"{source_key(self.data, name)}.path={source.path} is empty: it needs at least one row"
                )
        return num_rows

    def _outcomes(self, stack: ExitStack, grams: EvaluationGrams | None) -> Iterator[tuple[str, Outcome]]:
        """The outcome of each chunk in order, at most MAX_AHEAD a process ahead of what is taken."""
        settings = (self.data, self.prepare, grams, self.model_dir)
        num_processes = self.prepare.processes or os.cpu_count() or 1
        if num_processes == 1:
            filters = RowFilters(*settings)
            yield from ((name, filters(name, chunk)) for name, chunk in chunks(self.data))
            return
        pool = stack.enter_context(ProcessPoolExecutor(num_processes, get_context("spawn"), _start, settings))
        waiting: deque = deque()
        for name, chunk in chunks(self.data):
            waiting.append((name, pool.submit(_work, name, chunk)))
            if len(waiting) >= MAX_AHEAD * num_processes:
                taken, future = waiting.popleft()
                yield taken, future.result()
        while waiting:
            taken, future = waiting.popleft()
            yield taken, future.result()

    def _count(self, name: str, outcome: Outcome) -> None:
        self.read[name] += outcome.num_rows
        self.num_fatal += outcome.num_fatal
        for filter_name, reason, example in outcome.dropped:
            self.drops.add(filter_name, reason, example)
        if self.num_fatal and self.data.malformed == "fail":
            examples = [example for filter_name, _, example in outcome.dropped if filter_name == "malformed"]
            more = f" ... and {len(examples) - 5} more" if len(examples) > 5 else ""
            raise ValueError(
                f"rows cannot be used: {'; '.join(examples[:5])}{more}. Name the columns, mend the file, "
                "or leave such rows out and count them "
                "with data.malformed=skip"
            )

    def _duplicates(self, num_rows: int) -> np.ndarray:
        """For each row that passed the first row that it repeats: itself where it is new. Negative: nearly."""
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
        """Writes train.parquet. Raises ValueError where nothing is left."""
        final, partial = self.output / "train.parquet", self.work / "train.parquet"
        schema = SCHEMA.append(pyarrow.field("pass_rate", pyarrow.float32()))
        with pyarrow.parquet.ParquetWriter(partial, schema, compression="zstd") as writer:
            for batch in self._with_pass_rates(self._checked(self._distinct(first))):
                if batch.num_rows:
                    writer.write_batch(batch)
                    self.kept.add(batch)
        if not self.kept.num_rows:
            raise ValueError(
                f"no row of {sum(self.read.values()):,} is left: "
                + ", ".join(
                    f"{row['filter']} dropped {row['dropped']:,}" for row in self.drops.table(sum(self.read.values()))
                )
            )
        files.fsync_file(partial)
        os.replace(partial, final)
        return final

    def _distinct(self, first: np.ndarray) -> Iterator[pyarrow.RecordBatch]:
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
        """The rows that the card's examples repeat; they stand before their copies, so their text is known in time."""
        copies = first != np.arange(len(first))
        shown = [
            places[: self.prepare.shown]
            for places in (np.flatnonzero(copies & (first >= 0)), np.flatnonzero(first < 0))
        ]
        return {_original(int(first[place])): "" for places in shown for place in places}

    def _drop_copy(self, batch: pyarrow.RecordBatch, place: int, original: int, originals: dict[int, str]) -> None:
        name, reason = (
            ("near duplicate", f"similarity of at least {self.prepare.near_duplicates}")
            if original < 0
            else ("exact duplicate", "the same text")
        )
        is_shown = self.drops.num(name) < self.prepare.shown
        self.drops.add(
            name, reason, f"{_described(batch, place)} / is like / {originals[_original(original)]}" if is_shown else ""
        )

    def _checked(self, batches: Iterator[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
        """Without the rows whose reference their verifier cannot use."""
        for batch in batches:
            yield self._readable(batch) if self.prepare.check_answers and self.rows_type == "prompts" else batch

    def _readable(self, batch: pyarrow.RecordBatch) -> pyarrow.RecordBatch:
        from stages.rewards.grading import reference_problem_many

        prompts = [prompt_of(row) for row in batch.to_pylist()]
        asked = [place for place, prompt in enumerate(prompts) if prompt.domain == "reasoning"]
        keep = np.ones(len(prompts), bool)
        for place, why in zip(asked, reference_problem_many([prompts[place] for place in asked])):
            if why:
                keep[place] = False
                self.drops.add("answer", f"not read by {prompts[place].verifier}", f"{prompts[place].id}: {why}")
        return batch.filter(pyarrow.array(keep))

    def _with_pass_rates(self, batches: Iterator[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
        """With the column pass_rate; where it is measured, without the rows that are too easy or too hard."""
        meter = None
        if self.prepare.samples:
            from stages.data.preparing.pass_rate import PassRates

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
                    self.drops.add(
                        "pass rate",
                        f"under {low}" if rate < low else f"over {high}",
                        f"{batch.column('id')[place]}: {rate:.2f}",
                    )
            yield batch.append_column("pass_rate", pyarrow.array(rates, pyarrow.float32())).filter(pyarrow.array(keep))
        if meter:
            meter.close()

    def _progress(self, what: str, count: int, more: str) -> None:
        now = time.monotonic()
        if now - getattr(self, "_said", self.started) >= SAID_EVERY_S:
            self._said = now
            self.say(f"{what} {count:,} rows, {more}, {now - self.started:.0f} s")


def _original(first: int) -> int:
    """The row that an entry of `_duplicates` names."""
    return -first - 1 if first < 0 else first


def _described(batch: pyarrow.RecordBatch, place: int) -> str:
    return (
        f"{batch.column('source')[place]} {batch.column('where')[place]}: "
        f"{preview(batch.column('prompt')[place].as_py())}"
    )


def prompt_of(row: dict):
    from stages.prompting.prompt import Prompt

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


def _start(*settings) -> None:
    global _filters
    _filters = RowFilters(*settings)


def _work(name: str, chunk) -> Outcome:
    return _filters(name, chunk)
