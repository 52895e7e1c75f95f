"""What judging cost: calls, replies from the cache, tokens, retries, failures, verdicts that did not parse, money.

Every process writes one file in each attempt:

logs/attempt_1/judge_rank0.json {"model", "jobs": {job: {"calls", "cached", ...}}}; rewritten after every batch of calls
judge_ledger.json               their sum over attempts and ranks, written by rank 0 when the stage ends
"""

import threading
from collections import Counter
from pathlib import Path
from typing import Any

from stages.contract import files

COUNTS = ("calls", "cached", "retries", "refused", "failed", "unparsed", "prompt_tokens", "completion_tokens")


class Ledger:
    """Counts of one process, all its threads together.

    `calls` are those that were answered and paid; a reply from the cache costs nothing.

    Args:
        model: Name of who was asked.
        price_prompt: Money for a million prompt tokens.
        price_completion: Money for a million completion tokens.
        path: The file, or None for no file.
    """

    def __init__(self, model: str, price_prompt: float = 0.0, price_completion: float = 0.0, path: Path | None = None):
        self.model = model
        self.price_prompt = price_prompt
        self.price_completion = price_completion
        self.path = path
        self.jobs: dict[str, Counter] = {}
        self.lock = threading.Lock()

    def count(self, job: str, **counts: int) -> None:
        """Adds to the counts of a job; their names are those of COUNTS."""
        assert set(counts) <= set(COUNTS), counts
        with self.lock:
            self.jobs.setdefault(job, Counter()).update(counts)

    def of(self, job: str, name: str) -> int:
        """One count of a job."""
        return self.jobs.get(job, Counter())[name]

    def money(self) -> float:
        """What all tokens cost."""
        total = sum(self.jobs.values(), Counter())
        return (total["prompt_tokens"] * self.price_prompt + total["completion_tokens"] * self.price_completion) / 1e6

    def table(self) -> dict[str, Any]:
        """The content of the file."""
        return {
            "model": self.model,
            "jobs": {job: {name: counts[name] for name in COUNTS} for job, counts in sorted(self.jobs.items())},
            "price_prompt": self.price_prompt,
            "price_completion": self.price_completion,
            "money": round(self.money(), 6),
        }

    def save(self) -> None:
        """Writes the file anew."""
        if self.path is not None:
            with self.lock:
                files.write_json(self.path, self.table(), durable=False)


def total(directory: Path) -> dict[str, Any] | None:
    """The sum of all ledgers of a stage directory, at the prices that each had; None where nothing was judged."""
    tables = [files.read_json(path) for path in sorted(directory.glob("logs/attempt_*/judge_rank*.json"))]
    if not tables:
        return None
    merged = Ledger(tables[-1]["model"])
    for table in tables:
        for job, counts in table["jobs"].items():
            merged.count(job, **counts)
    return {
        **merged.table(),
        "price_prompt": tables[-1]["price_prompt"],
        "price_completion": tables[-1]["price_completion"],
        "money": round(sum(table["money"] for table in tables), 6),
    }


def metrics(table: dict[str, Any]) -> dict[str, float]:
    """The sums over all jobs as metrics of the stage: judge/calls, judge/unparsed, judge/money ..."""
    sums = sum((Counter(counts) for counts in table["jobs"].values()), Counter())
    return {**{f"judge/{name}": sums[name] for name in COUNTS}, "judge/money": table["money"]}
