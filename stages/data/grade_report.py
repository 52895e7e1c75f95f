"""Writes what `r1 grade` found: each row for people, a summary, or all of it as JSON."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from stages.data.graded_rows import GradedRow
from stages.data.malformed import printable

_MOST_CHARACTERS = 100  # of a reference or an answer that is shown
_MOST_PLACES = 20  # rows that are named behind a count


def as_json(rows: Sequence[GradedRow]) -> str:
    """Returns {"rows": [{"verdict", "read": [reference, answer], "why", ...}], "summary": {...}}."""
    shown = [
        {
            "row": row.where,
            "verifier": row.verifier,
            "verdict": _plain(row.verdict),
            "read": [row.reference, row.answer],
            "why": row.why,
            **({"error": row.error} if row.error else {}),
            **({"right": int(row.expected)} if row.expected is not None else {}),
        }
        for row in rows
    ]
    return json.dumps({"rows": shown, "summary": summary(rows)}, ensure_ascii=True)


def summary(rows: Sequence[GradedRow]) -> dict[str, Any]:
    """Counts the verdicts; with a column `right` also where they agree with it, by kind."""
    found: dict[str, Any] = {"rows": len(rows), **_counts(rows)}
    found["by_verifier"] = {
        name: {"rows": count, **_counts([row for row in rows if row.verifier == name])}
        for name, count in sorted(Counter(row.verifier for row in rows).items())
    }
    compared = [row for row in rows if row.expected is not None]
    if compared:
        kinds = sorted({row.kind for row in compared})
        found["agreement"] = {
            **_agreement(compared),
            "by_kind": {kind: _agreement([row for row in compared if row.kind == kind]) for kind in kinds},
        }
    return found


def print_row(row: GradedRow, say: Callable[[str], None]) -> None:
    """Prints a row: its verdict, both sides as they stand there and as they were read, and why."""
    disagrees = row.expected is not None and row.expected != row.is_right
    note = f", but it should be {'right' if row.expected else 'wrong'}" if disagrees else ""
    say(f"{row.where}: {_verdict(row)} ({row.verifier or 'no verifier'}){note}")
    if row.verdict is not None:
        say(f"  reference  {_shown(row.given_reference)}    read as {_shown(row.reference)}")
        say(f"  answer     {_shown(row.given_answer)}    read as {_shown(row.answer)}")
    say(f"  why        {printable(row.why)}")


def print_summary(rows: Sequence[GradedRow], say: Callable[[str], None]) -> None:
    """Prints how many rows got which verdict, and how that agrees with the column `right`."""
    found = summary(rows)
    counts = [f"{found[name]:,} {name.replace('_', ' ')}" for name in ("right", "wrong", "partly_right", "not_graded")]
    say(f"{found['rows']:,} rows: {', '.join(counts)}")
    if found["grader_failed"]:
        say(f"  the grader failed for {found['grader_failed']:,} of them")
    agreement = found.get("agreement")
    if not agreement:
        return
    width = max(len(kind) for kind in (*agreement["by_kind"], "kind"))
    say(f"{'kind':{width}} {'rows':>7} {'agree':>7} {'share':>7} {'false positives':>16} {'false negatives':>16}")
    for kind, one in {**agreement["by_kind"], "all": agreement}.items():
        share = one["agree"] / one["rows"] if one["rows"] else 1.0
        wrong = f"{len(one['false_positives']):>16,} {len(one['false_negatives']):>16,}"
        say(f"{kind or '-':{width}} {one['rows']:>7,} {one['agree']:>7,} {share:>7.1%} {wrong}")
    for name in ("false_positives", "false_negatives"):
        if places := agreement[name]:
            more = f" and {len(places) - _MOST_PLACES:,} more" if len(places) > _MOST_PLACES else ""
            say(f"{name.replace('_', ' ')}: {', '.join(places[:_MOST_PLACES])}{more}")


def _counts(rows: Sequence[GradedRow]) -> dict[str, int]:
    verdicts = Counter(_verdict_name(row) for row in rows)
    names = ("right", "wrong", "partly_right", "not_graded")
    return {name: verdicts[name] for name in names} | {"grader_failed": sum(bool(row.error) for row in rows)}


def _agreement(rows: Sequence[GradedRow]) -> dict[str, Any]:
    """Compares verdicts with the column `right`; partial credit is not right, as accuracy counts it."""
    return {
        "rows": len(rows),
        "agree": sum(row.is_right == row.expected for row in rows),
        "false_positives": [row.where for row in rows if row.is_right and not row.expected],
        "false_negatives": [row.where for row in rows if row.expected and not row.is_right],
    }


def _verdict_name(row: GradedRow) -> str:
    if row.verdict is None:
        return "not_graded"
    return "right" if row.is_right else "partly_right" if row.verdict else "wrong"


def _verdict(row: GradedRow) -> str:
    name = _verdict_name(row).replace("_", " ")
    return f"{name}, {row.verdict:g} of 1" if name == "partly right" else name


def _plain(verdict: float | None) -> float | None:
    """Returns whole verdicts as integers, as people write them."""
    return int(verdict) if verdict in (0, 1) else verdict


def _shown(text: str | None) -> str:
    if text is None:
        return "nothing"
    line = " ".join(printable(text).split())
    return line if len(line) <= _MOST_CHARACTERS else f"{line[: _MOST_CHARACTERS - 3]}..."
