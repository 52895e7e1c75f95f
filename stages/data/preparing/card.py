"""The data card of a prepared file: what was read, what each filter dropped and why, what is left. Markdown for people,
JSON for programs.
"""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.config import DataConfig, PrepareConfig, SourceConfig, to_dict
from stages.contract import files
from stages.data.hub import commit_of, is_pinned

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
class Drops:
    """Counts by filter and reason, and the first few of each filter."""

    shown: int = 3
    reasons: dict[str, Counter] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, filter_name: str, reason: str, example: str) -> None:
        self.reasons.setdefault(filter_name, Counter())[reason] += 1
        examples = self.examples.setdefault(filter_name, [])
        if len(examples) < self.shown:
            examples.append(example)

    def num(self, filter_name: str) -> int:
        return sum(self.reasons.get(filter_name, {}).values())

    def table(self, num_rows: int) -> list[dict[str, Any]]:
        """A row for each filter that dropped something, in order, with what it left."""
        rows, left = [], num_rows
        for name in FILTERS:
            if self.num(name):
                left -= self.num(name)
                rows.append(
                    {
                        "filter": name,
                        "meaning": MEANING[name],
                        "dropped": self.num(name),
                        "left": left,
                        "reasons": dict(self.reasons[name].most_common()),
                        "examples": self.examples[name],
                    }
                )
        return rows


@dataclass
class Kept:
    """What is left, by what it is."""

    num_rows: int = 0
    by: dict[str, Counter] = field(
        default_factory=lambda: {name: Counter() for name in ("source", "domain", "language", "kind", "verifier")}
    )
    lengths: Counter = field(default_factory=Counter)

    def add(self, batch) -> None:
        """A record batch of the prepared schema."""
        self.num_rows += batch.num_rows
        for name, counter in self.by.items():
            counter.update(batch.column(name).to_pylist())
        self.lengths.update(bucket(length) for length in batch.column("length").to_pylist())

    def data(self) -> dict[str, Any]:
        return {
            "rows": self.num_rows,
            "by": {name: dict(counter.most_common(20)) for name, counter in self.by.items()},
            "lengths": {name: self.lengths[name] for name in bucket_names() if self.lengths[name]},
        }


def bucket(length: int) -> str:
    return next((f"up to {limit}" for limit in BUCKETS if length <= limit), f"over {BUCKETS[-1]}")


def bucket_names() -> list[str]:
    return [*(f"up to {limit}" for limit in BUCKETS), f"over {BUCKETS[-1]}"]


def write(
    directory: Path,
    data: DataConfig,
    prepare: PrepareConfig,
    read: dict[str, int],
    drops: Drops,
    kept: Kept,
    unit: str,
    extra: dict[str, Any],
) -> None:
    """card.json and card.md."""
    sources = {
        name: {**origin(source), "rows": source.rows, "read": read[name]} for name, source in data.all_sources.items()
    }
    card = {
        "sources": sources,
        "read": sum(read.values()),
        "filters": drops.table(sum(read.values())),
        "kept": kept.data(),
        "length_unit": unit,
        "settings": to_dict(prepare),
        **extra,
    }
    files.write_atomic(directory / "card.json", json.dumps(card, ensure_ascii=False, indent=1).encode())
    files.write_atomic(directory / "card.md", _markdown(directory, card).encode())


def origin(source: SourceConfig) -> dict[str, Any]:
    """Where rows come from: `commit` of what stands for a hub name here, `is_pinned` whether `revision` names it; both
    None for files of your own.
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
    """For people: the commit, or why there is none."""
    if source["commit"]:
        return source["commit"] + ("" if source["is_pinned"] else ", **not pinned**")
    return f"files here, not checked to be {source['revision']}" if source["revision"] else "files here"


def _markdown(directory: Path, card: dict[str, Any]) -> str:
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
    lines += ["", "## What was dropped", "", "| filter | meaning | dropped | left |", "|---|---|---|---|"]
    lines += [
        f"| {row['filter']} | {row['meaning']} | {row['dropped']:,} | {row['left']:,} |" for row in card["filters"]
    ] or ["| none | | 0 | |"]
    for row in card["filters"]:
        lines += [
            "",
            f"**{row['filter']}**: " + ", ".join(f"{reason} ({count:,})" for reason, count in row["reasons"].items()),
            "",
        ]
        lines += [f"* {_plain(example)}" for example in row["examples"]]
    lines += ["", "## What is left"]
    for name, counts in card["kept"]["by"].items():
        if set(counts) - {""}:
            lines += ["", f"By {name}: " + ", ".join(f"{value or 'none'} {count:,}" for value, count in counts.items())]
    lines += ["", f"Prompt length, {card['length_unit']}:", "", "| length | rows |", "|---|---|"]
    lines += [f"| {name} | {count:,} |" for name, count in card["kept"]["lengths"].items()]
    lines += [
        "",
        "## Settings",
        "",
        *(f"* {name}: {value}" for name, value in card["settings"].items() if name != "against"),
        *(
            f"* against {name}: {source['prompts']:,} prompts of {source['path']} ({_revision(source)})"
            for name, source in card["against"].items()
        ),
    ]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """An example in a list of Markdown: on one line and not read as markup."""
    return "`" + " ".join(text.split()).replace("`", "'") + "`"
