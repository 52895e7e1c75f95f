"""Parts of an evaluation that another one has measured: their numbers, scores and samples, as this one would have them.

A part is one model on one set. It counts only where the other evaluation is undamaged and has a score for every sample
of every problem; otherwise the part is sampled.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.contract import files
from stages.contract.earlier import EarlierPart, find_earlier
from stages.contract.manifest import verify
from stages.contract.results import RESULTS
from stages.kinds.evaluation.problems import ProblemSet
from stages.runtime.worker import Worker

SCORES = "data/scores.parquet"
SCORE_COLUMNS = (
    "problem",
    "sample",
    "correct",
    "answered",
    "score",
    "vote",
    "error",
    "well_formed",
    "tokens",
    "thinking_tokens",
    "truncated",
    "reflects",
    "language",
)


@dataclass(frozen=True)
class Measured:
    """One model on one set, as another evaluation has left it."""

    results: list[dict]
    groups: list[list[dict]]  # the records of each problem, in the order of its samples
    samples: list[dict]
    alarms: list[dict]


class EarlierEvaluations:
    """Reads the evaluations that the driver has named, each once."""

    def __init__(self, worker: Worker, sets: list[ProblemSet], names: list[str]):
        """Looks at all parts that are there: `found` holds those that can be taken, by model and set. Collective."""
        self.numbers = {name: number for number, name in enumerate(names, 1)}
        self.scores: dict[Path, dict[tuple[str, str], list[dict]]] = {}
        self.found: dict[tuple[str, str], Measured] = {}
        parts = find_earlier(worker.dir)
        places = [(name, one) for name in names for one in sets if one.suite_name in parts.get(name, {})]
        if not places:
            return
        measured = [self._measured(name, one, parts[name][one.suite_name]) for name, one in places]
        # what goes while the ranks look is there for none of them: all must sample the same parts
        is_missing = worker.agree(*(part is None for part in measured))
        self.found = {
            (name, one.name): part
            for (name, one), part, misses in zip(places, measured, is_missing, strict=True)
            if part is not None and not misses
        }

    def _measured(self, name: str, one: ProblemSet, part: EarlierPart) -> Measured | None:
        directory = Path(part.directory)
        groups = self._groups(one, part, directory)
        if groups is None:
            return None
        of_part = {"model": part.model, "set": one.name}
        results = [
            row | {"model": name} for row in files.read_json(directory / RESULTS) if of_part.items() <= row.items()
        ]
        samples = [
            row | {"model": name}
            for row in files.read_jsonl(directory / "samples.jsonl")
            if of_part.items() <= row.items()
        ]
        return Measured(results, groups, samples, self._alarms(name, one, part, directory)) if results else None

    def _groups(self, one: ProblemSet, part: EarlierPart, directory: Path) -> list[list[dict]] | None:
        """The records of all problems of a set; None where one is missing."""
        rows = {(row["problem"], row["sample"]): row for row in self._scores(directory).get((part.model, one.name), [])}
        try:
            return [
                [
                    {column: rows[problem.id, number][column] for column in SCORE_COLUMNS}
                    for number in range(one.num_samples)
                ]
                for problem in one.problems
            ]
        except KeyError:
            return None

    def _scores(self, directory: Path) -> dict[tuple[str, str], list[dict]]:
        """The scores of an evaluation by model and set; none where it is gone or damaged."""
        if directory not in self.scores:
            self.scores[directory] = _read_scores(directory)
        return self.scores[directory]

    def _alarms(self, name: str, one: ProblemSet, part: EarlierPart, directory: Path) -> list[dict[str, Any]]:
        """The alarms of a part, with this evaluation's name of the model and its number."""
        head = f"{part.model} on {one.name}: "
        return [
            row | {"step": self.numbers[name], "message": f"{name} on {one.name}: {row['message'].removeprefix(head)}"}
            for row in files.read_jsonl(directory / "alarms.jsonl")
            if str(row.get("message", "")).startswith(head)
        ]


def _read_scores(directory: Path) -> dict[tuple[str, str], list[dict]]:
    import pyarrow.parquet

    verdict = verify(directory)
    if verdict.manifest is None or verdict.problems or SCORES not in verdict.manifest.files:
        return {}
    found: dict[tuple[str, str], list[dict]] = defaultdict(list)
    for row in pyarrow.parquet.read_table(directory / SCORES).to_pylist():
        found[row["model"], row["set"]].append(row)
    return found
