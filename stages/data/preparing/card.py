"""Writes the data card of a prepared file: what was read, what each filter dropped and why, and what is left.

`card.md` is for people, `card.json` for programs.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.config import DataConfig, PrepareConfig, SourceConfig, to_dict
from stages.contract import files
from stages.data.hub import commit_of, is_pinned

if TYPE_CHECKING:
    import pyarrow

FILTERS = (
    "malformed",
    "left out",
    "length",
    "language",
    "contamination",
    "exact duplicate",
    "near duplicate",
    "answer",
    "pass rate",
)
MEANING = {
    "malformed": "rows that cannot be used",
    "left out": "rows that the set's adapter leaves out",
    "length": "too short or too long",
    "language": "in another language",
    "contamination": "shares words with an evaluation set",
    "exact duplicate": "the same text as an earlier row",
    "near duplicate": "nearly the text of an earlier row",
    "answer": "the verifier cannot read the answer",
    "pass rate": "too easy or too hard for the policy",
}
BUCKETS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


@dataclass
class DroppedRows:
    """Counts dropped rows by filter and reason, and keeps the first few of each filter as examples."""

    shown: int = 3
    reasons: dict[str, Counter[str]] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, filter_name: str, reason: str, example: str) -> None:
        """Counts a row that a filter dropped."""
        self.reasons.setdefault(filter_name, Counter())[reason] += 1
        examples = self.examples.setdefault(filter_name, [])
        if len(examples) < self.shown:
            examples.append(example)

    def count(self, filter_name: str) -> int:
        """Returns the number of rows that a filter dropped."""
        return sum(self.reasons.get(filter_name, {}).values())

    def table(self, num_rows: int) -> list[dict[str, Any]]:
        """Returns a row for each filter that dropped something, in order, with the number of rows left after it."""
        rows, left = [], num_rows
        for name in FILTERS:
            if self.count(name):
                left -= self.count(name)
                rows.append(
                    {
                        "filter": name,
                        "meaning": MEANING[name],
                        "dropped": self.count(name),
                        "left": left,
                        "reasons": dict(self.reasons[name].most_common()),
                        "examples": self.examples[name],
                    }
                )
        return rows


@dataclass
class KeptRows:
    """Counts the rows that are left: by source, domain, language, kind and verifier, and by length of the prompt."""

    num_rows: int = 0
    by: dict[str, Counter[str]] = field(
        default_factory=lambda: {name: Counter() for name in ("source", "domain", "language", "kind", "verifier")}
    )
    lengths: Counter[str] = field(default_factory=Counter)

    def add(self, batch: "pyarrow.RecordBatch") -> None:
        """Counts the rows of a record batch of the prepared schema."""
        self.num_rows += batch.num_rows
        for name, counter in self.by.items():
            counter.update(batch.column(name).to_pylist())
        self.lengths.update(bucket(length) for length in batch.column("length").to_pylist())

    def data(self) -> dict[str, Any]:
        """Returns the counts as plain data, each with its 20 most frequent values."""
        return {
            "rows": self.num_rows,
            "by": {name: dict(counter.most_common(20)) for name, counter in self.by.items()},
            "lengths": {name: self.lengths[name] for name in bucket_names() if self.lengths[name]},
        }


def bucket(length: int) -> str:
    """Returns the name of the range that a length is in, as "up to 64"."""
    return next((f"up to {limit}" for limit in BUCKETS if length <= limit), f"over {BUCKETS[-1]}")


def bucket_names() -> list[str]:
    """Returns the names of all ranges of lengths, ascending."""
    return [*(f"up to {limit}" for limit in BUCKETS), f"over {BUCKETS[-1]}"]


def write(
    directory: Path,
    data: DataConfig,
    prepare: PrepareConfig,
    num_read: dict[str, int],
    dropped: DroppedRows,
    kept: KeptRows,
    unit: str,
    extra: dict[str, Any],
) -> None:
    """Writes card.json and card.md.

    Args:
        directory: where they are written.
        data: the sources that were read.
        prepare: the settings.
        num_read: number of rows that were read, by source.
        dropped: the rows that filters dropped.
        kept: the rows that are left.
        unit: what lengths are counted in, "tokens" or "words".
        extra: further keys of the card: use, against, pins and sha256.
    """
    sources = {
        name: {**origin(source), "rows": source.rows, "read": num_read[name]}
        for name, source in data.all_sources.items()
    }
    card = {
        "sources": sources,
        "read": sum(num_read.values()),
        "filters": dropped.table(sum(num_read.values())),
        "kept": kept.data(),
        "length_unit": unit,
        "settings": to_dict(prepare),
        **extra,
    }
    files.write_atomic(directory / "card.json", json.dumps(card, ensure_ascii=False, indent=1).encode())
    files.write_atomic(directory / "card.md", _markdown(card).encode())


def origin(source: SourceConfig) -> dict[str, Any]:
    """Returns where the rows of a source come from.

    For a set of the hub, `commit` is the one that was read, and `is_pinned` says whether `revision` names a commit;
    for other files both are None.
    """
    commit = commit_of(source)
    return {
        "path": source.path,
        "files": source.files,
        "revision": source.revision,
        "commit": commit,
        "is_pinned": commit and is_pinned(source),
        "license": source.license,
    }


def _revision(source: dict[str, Any]) -> str:
    """Returns the commit of a source for people, or why there is none."""
    if source["commit"]:
        return source["commit"] + ("" if source["is_pinned"] else ", **not pinned**")
    return f"files here, not checked to be {source['revision']}" if source["revision"] else "files here"


def _markdown(card: dict[str, Any]) -> str:
    """Returns card.md."""
    lines = [*_use_and_sources(card), *_what_was_dropped(card), *_what_is_left(card), *_settings(card)]
    return "\n".join(lines) + "\n"


def _use_and_sources(card: dict[str, Any]) -> list[str]:
    """Returns the head of the card: how to use the file, and where its rows come from."""
    lines = [
        "# Data card",
        "",
        f"{card['kept']['rows']:,} of {card['read']:,} rows kept in `train.parquet`. To use it:",
        "",
        "```",
        card["use"],
        "```",
        "",
        "| source | path | revision | licence | rows read |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {name} | {source['path']} | {_revision(source)} | {source['license'] or 'not stated'} | "
        f"{source['read']:,} |"
        for name, source in card["sources"].items()
    ]
    if card["pins"]:
        lines += [
            "",
            "To read the same rows again, pin what is not pinned:",
            "",
            *(f"* {advice}" for advice in card["pins"]),
        ]
    return lines


def _what_was_dropped(card: dict[str, Any]) -> list[str]:
    """Returns a table of the filters, then the reasons and examples of each."""
    lines = ["", "## What was dropped", "", "| filter | meaning | dropped | left |", "|---|---|---|---|"]
    lines += [
        f"| {row['filter']} | {row['meaning']} | {row['dropped']:,} | {row['left']:,} |" for row in card["filters"]
    ] or ["| none | | 0 | |"]
    for row in card["filters"]:
        lines += [
            "",
            f"**{row['filter']}**: " + ", ".join(f"{reason} ({count:,})" for reason, count in row["reasons"].items()),
            "",
        ]
        lines += [f"* {_as_code(example)}" for example in row["examples"]]
    return lines


def _what_is_left(card: dict[str, Any]) -> list[str]:
    """Returns the counts of the rows that are left, and a table of their lengths."""
    lines = ["", "## What is left"]
    for name, counts in card["kept"]["by"].items():
        if set(counts) - {""}:
            lines += ["", f"By {name}: " + ", ".join(f"{value or 'none'} {count:,}" for value, count in counts.items())]
    lines += ["", f"Prompt length, {card['length_unit']}:", "", "| length | rows |", "|---|---|"]
    lines += [f"| {name} | {count:,} |" for name, count in card["kept"]["lengths"].items()]
    return lines


def _settings(card: dict[str, Any]) -> list[str]:
    """Returns the settings, and the evaluation sets that prompts were compared with."""
    return [
        "",
        "## Settings",
        "",
        *(f"* {name}: {value}" for name, value in card["settings"].items() if name != "against"),
        *(
            f"* against {name}: {source['prompts']:,} prompts of {source['path']} ({_revision(source)})"
            for name, source in card["against"].items()
        ),
    ]


def _as_code(text: str) -> str:
    """Returns an example for a Markdown list, on one line and as code, so that it is not read as markup."""
    return "`" + " ".join(text.split()).replace("`", "'") + "`"
