"""`data inspect`: shows what each source contains before it is used.

It shows counts, lengths, languages, a few rows, and every kind of row that cannot be used.
"""

import heapq
from array import array
from collections import Counter
from itertools import islice
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from stages.config import DataConfig, SourceConfig
from stages.data.cells import SPELLED_MISSING
from stages.data.file_prompts import count_unusable, distinct_ids, source_key, to_prompt
from stages.data.file_selection import shown
from stages.data.hub import commit_of, pin_advice
from stages.data.mapping import Row
from stages.data.preparing.card import bucket, bucket_names
from stages.data.preparing.filters import preview
from stages.data.preparing.lengths import Lengths
from stages.data.rows import Tally, rows_of
from stages.data.split import prompt_hash

BATCH = 512
NUM_SHOWN = 3


def inspect(data: DataConfig, model_dir: str | None, console: Console) -> bool:
    """Reads all sources and prints what they contain, and what a run would say of them.

    Args:
        data: the sources.
        model_dir: directory of the tokenizer that lengths are counted with; None counts words.
        console: where it is printed.

    Returns:
        Whether every source has a row that can be used.
    """
    lengths, are_usable = Lengths(model_dir), True
    for name, source in data.all_sources.items():
        key = source_key(data, name)
        found = summary(source, key, lengths)
        show(name, source, found, lengths.unit, console, pin_advice(source, key))
        verdict = what_a_run_says(found, data.malformed)
        console.print(verdict, markup=False, highlight=False, soft_wrap=True)
        are_usable = are_usable and found["num"] > 0
    return are_usable


def what_a_run_says(found: dict[str, Any], malformed: str) -> str:
    """What becomes of a source in a run, in one line.

    Args:
        found: what `summary` returned.
        malformed: fail or skip, as data.malformed says.
    """
    tally, num_used = found["tally"], found["num"]
    if not num_used:
        return "a run refuses this source: none of its rows can be used, for the reasons above"
    if not tally.num_fatal:
        return f"a run uses {num_used:,} of {tally.num_rows:,} rows"
    if malformed == "skip":
        return f"a run uses {num_used:,} of {tally.num_rows:,} rows and leaves the others out (data.malformed=skip)"
    return f"a run refuses this source for {tally.num_fatal:,} of its rows; data.malformed=skip leaves them out"


def summary(source: SourceConfig, key: str, lengths: Lengths) -> dict[str, Any]:
    """Counts what a source contains, in one pass.

    Args:
        source: the source.
        key: its key in the configuration, for messages.
        lengths: measures prompts and completions.

    Returns:
        tally, num (usable rows), copies (rows with the prompt of an earlier row), spelled_missing (rows whose answer
        is "None", "N/A" or the like), lengths and completions (rows by length), by (rows by language, domain, kind and
        verifier), and shown (a few rows: those whose prompts have the smallest hashes, which are the same every time).
    """
    tally = Tally()
    num_rows = 0
    hashes = array("Q")
    prompt_lengths: Counter[str] = Counter()
    completion_lengths: Counter[str] = Counter()
    by: dict[str, Counter[str]] = {name: Counter() for name in ("language", "domain", "kind", "verifier")}
    smallest: list[tuple[int, int, Row]] = []  # (hash of the prompt, number, row) of the smallest hashes
    spelled_missing = 0
    items = distinct_ids(rows_of(source, key))
    while batch := list(islice(items, BATCH)):
        rows = _with_readable_answers(tally.usable(batch), source, tally)
        num_rows += len(rows)
        spelled_missing += sum(row.answer in SPELLED_MISSING for row in rows)
        prompt_lengths.update(map(bucket, lengths.of([row.prompt for row in rows])))
        completions = [row.completion or row.chosen for row in rows if row.completion or row.chosen]
        completion_lengths.update(map(bucket, lengths.of(completions)))
        for name, counter in by.items():
            counter.update(getattr(row, name) for row in rows)
        for row in rows:
            value = prompt_hash(row.prompt)
            hashes.append(value)
            if len(smallest) < NUM_SHOWN or value < smallest[-1][0]:
                smallest = heapq.nsmallest(
                    NUM_SHOWN, [*smallest, (value, row.number, row)], key=lambda entry: entry[:2]
                )
    return {
        "tally": tally,
        "num": num_rows,
        "copies": num_rows - len(np.unique(np.frombuffer(hashes, np.uint64))),
        "lengths": prompt_lengths,
        "completions": completion_lengths,
        "spelled_missing": spelled_missing,
        "by": by,
        "shown": [row for _, _, row in smallest],
    }


def _with_readable_answers(rows: list[Row], source: SourceConfig, tally: Tally) -> list[Row]:
    """The rows without those whose answer their verifier cannot read, which are counted as a run counts them."""
    if source.rows != "prompts" or not source.check_answers:
        return rows
    unusable = count_unusable([to_prompt(row, "file", "train") for row in rows], rows, tally)
    return [row for place, row in enumerate(rows) if place not in unusable]


def show(
    name: str, source: SourceConfig, found: dict[str, Any], unit: str, console: Console, advice: str | None = None
) -> None:
    """Prints the summary of one source.

    Args:
        name: its name.
        source: the source.
        found: what `summary` returned.
        unit: what lengths are counted in.
        console: where it is printed.
        advice: how to pin the source to a commit, where it is not pinned.
    """
    tally, commit = found["tally"], commit_of(source)
    console.print(
        f"\n[bold]{name}[/bold]: {source.path}"
        + (f", commit {commit}" if commit else "")
        + (f", licence {source.license}" if source.license else ""),
        highlight=False,
    )
    for line in (shown(source), advice):
        if line:
            console.print(line, markup=False, highlight=False)
    console.print(
        f"{tally.num_rows:,} rows, {found['num']:,} can be used as {source.rows}, "
        f"{found['copies']:,} of them with the prompt of an earlier row",
        highlight=False,
    )
    if found["spelled_missing"]:
        console.print(
            f"{found['spelled_missing']:,} answers are spelled like missing values (None, N/A, nan): to their verifier "
            "they are texts like others",
            highlight=False,
        )
    _counts(console, "what", found["by"])
    _histogram(console, f"prompt, {unit}", found["lengths"])
    if found["completions"]:
        _histogram(console, f"completion, {unit}", found["completions"])
    for row in found["shown"]:
        console.print(f"{row.where}: {preview(row.prompt)}", markup=False, highlight=False)
        console.print(f"    {_reference(row)}", markup=False, highlight=False)
    if tally.reasons:
        table = Table("cannot be used", "rows", "")
        for reason, count in tally.reasons.most_common():
            table.add_row(reason, f"{count:,}", "" if tally.fatal[reason] else "left out on purpose")
        console.print(table)
        for example in tally.examples:
            console.print(example, markup=False, highlight=False)


def _reference(row: Row) -> str:
    """Returns what a row has besides its prompt, in one line."""
    if row.chosen:
        return f"chosen: {preview(row.chosen)} | rejected: {preview(row.rejected)}"
    if row.completion:
        return f"completion: {preview(row.completion)}" + ("" if row.is_safe is None else f" | safe: {row.is_safe}")
    checks = f" | checks: {preview(row.checks)}" if row.checks else ""
    return f"{row.verifier or 'no verifier'}: {preview(row.answer)}{checks}"


def _counts(console: Console, title: str, by: dict[str, Counter]) -> None:
    table = Table(title, "rows")
    for name, counter in by.items():
        if set(counter) - {""}:
            table.add_row(name, ", ".join(f"{value or 'none'} {count:,}" for value, count in counter.most_common(8)))
    console.print(table)


def _histogram(console: Console, title: str, counts: Counter) -> None:
    table = Table(title, "rows", "")
    most = max(counts.values(), default=1)
    for name in bucket_names():
        if counts[name]:
            table.add_row(name, f"{counts[name]:,}", "#" * max(1, round(40 * counts[name] / most)))
    console.print(table)
