"""`data inspect`: what a source holds, before it is used: counts, lengths, languages, a few rows, and every kind of row
that cannot be used.
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
from stages.data.file_prompts import source_key
from stages.data.hub import commit_of, pin_advice
from stages.data.mapping import Row
from stages.data.preparing.card import bucket, bucket_names
from stages.data.preparing.filters import preview
from stages.data.preparing.lengths import Lengths
from stages.data.rows import Tally, rows_of
from stages.data.split import prompt_hash

BATCH = 512
NUM_SHOWN = 3


def inspect(data: DataConfig, model_dir: str | None, console: Console) -> None:
    lengths = Lengths(model_dir)
    for name, source in data.all_sources.items():
        key = source_key(data, name)
        show(name, source, summary(source, key, lengths), lengths.unit, console, pin_advice(source, key))


def summary(source: SourceConfig, key: str, lengths: Lengths) -> dict[str, Any]:
    """Counts of a source in one pass; the rows shown are those with the least hash of their prompt: the same every
    time.
    """
    tally = Tally()
    found: dict[str, Any] = {
        "tally": tally,
        "lengths": Counter(),
        "completions": Counter(),
        "hashes": array("Q"),
        "num": 0,
        "by": {name: Counter() for name in ("language", "domain", "kind", "verifier")},
    }
    shown: list[tuple] = []
    items = rows_of(source, key)
    while batch := list(islice(items, BATCH)):
        rows: list[Row] = [item for item in batch if tally.add(item)]
        found["num"] += len(rows)
        found["lengths"].update(map(bucket, lengths.of([row.prompt for row in rows])))
        found["completions"].update(
            map(bucket, lengths.of([row.completion or row.chosen for row in rows if row.completion or row.chosen]))
        )
        for name, counter in found["by"].items():
            counter.update(getattr(row, name) for row in rows)
        for row in rows:
            value = prompt_hash(row.prompt)
            found["hashes"].append(value)
            shown = (
                heapq.nsmallest(NUM_SHOWN, [*shown, (value, row.number, row)], key=lambda entry: entry[:2])
                if len(shown) < NUM_SHOWN or value < shown[-1][0]
                else shown
            )
    found["copies"] = found["num"] - len(np.unique(np.frombuffer(found["hashes"], np.uint64)))
    found["shown"] = [row for _, _, row in shown]
    return found


def show(
    name: str, source: SourceConfig, found: dict[str, Any], unit: str, console: Console, advice: str | None = None
) -> None:
    tally, commit = found["tally"], commit_of(source)
    console.print(
        f"\n[bold]{name}[/bold]: {source.path}"
        + (f", commit {commit}" if commit else "")
        + (f", licence {source.license}" if source.license else ""),
        highlight=False,
    )
    if advice:
        console.print(advice, markup=False, highlight=False)
    console.print(
        f"{tally.num_rows:,} rows, {found['num']:,} can be used as {source.rows}, "
        f"{found['copies']:,} of them with the prompt of an earlier row",
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
