"""The cost ledger of a run: hours, tokens, judge calls and money; beside the paper's table [V2 Table 7].

The numbers of a finished stage are in its manifest, those of an unfinished one in the heartbeats of its attempts. An
hour is one rank for one hour: a GPU hour where a rank has a GPU, else a processor hour.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.configuration.graph import family_of, is_stage, stage_order
from pipeline.planning.published import PAPER
from pipeline.report.read import is_finite, mapping
from pipeline.view.tables import Column, print_table
from stages.contract.attempts import attempts, timing
from stages.contract.files import find_json
from stages.contract.manifest import Manifest, Tokens
from stages.contract.reused import Reused


@dataclass(frozen=True)
class Line:
    """What one stage directory has cost so far. `judge_calls` and `judge_money` are None where nothing was judged."""

    stage: str
    is_done: bool
    attempts: int
    hours: float
    sampled: int
    trained: int
    judge_calls: int | None
    judge_money: float | None
    reused_from: str | None = None  # the run that made it and paid for it, where this one took it over

    def money(self, price_per_hour: float) -> float:
        """At this price of an hour, plus what the judge's provider took."""
        return self.hours * price_per_hour + (self.judge_money or 0.0)


def line_of(stage: str, directory: Path) -> Line:
    """The ledger of a stage directory, finished or not. Damaged files count nothing."""
    manifest = Manifest.find(directory)
    judged = mapping(find_json(directory / "judge_ledger.json"))
    spent = manifest.timing if manifest else timing(attempts(directory))
    tokens = manifest.tokens if manifest else None
    if tokens is None:  # unfinished, or made before manifests had them
        tokens = _logged_tokens(directory / "metrics.jsonl")
    calls = sum(_number(mapping(counts).get("calls")) for counts in mapping(judged.get("jobs")).values())
    return Line(
        stage,
        manifest is not None,
        spent.attempts or 1,
        (_number(spent.rank_s) or _number(spent.total_s)) / 3600,
        tokens.sampled,
        tokens.trained,
        int(calls) if judged else None,
        _number(judged.get("money")) if judged else None,
        reused.run if (reused := Reused.find(directory)) else None,
    )


def _logged_tokens(path: Path) -> Tokens:
    """The tokens that the lines of metrics.jsonl count."""
    counts = {"sampled": 0.0, "trained": 0.0}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
        try:
            row = mapping(json.loads(line))
        except ValueError:  # half written
            continue
        counts = {name: count + _number(row.get(f"tokens/{name}")) for name, count in counts.items()}
    return Tokens(**{name: int(count) for name, count in counts.items()})


def _number(value: Any) -> float:
    """A finite number, else 0."""
    return float(value) if is_finite(value) else 0.0


def read(run_dir: Path) -> list[Line]:
    """The ledger of a run: the latest directory of each stage, in order of execution.

    The report has no workers, costs nothing and is left out.
    """
    names = [path.name for path in run_dir.iterdir() if is_stage(path.name) and path.name != "report"]
    latest = {name: run_dir / name / "latest" for name in sorted(names, key=stage_order)}
    return [line_of(name, directory.resolve()) for name, directory in latest.items() if directory.is_dir()]


def beside_the_paper(lines: list[Line]) -> list[tuple[str, float, float, float, float]]:
    """(row, hours here, share here, hours in the paper, share there) of each row of the paper's table.

    Stages that the table leaves out are not in the shares.
    """
    hours = {
        name: sum(line.hours for line in lines if family_of(line.stage) in stages)
        for name, (stages, _) in PAPER.items()
    }
    all_here = sum(hours.values())
    all_published = sum(published for _, published in PAPER.values())
    return [
        (name, hours[name], hours[name] / all_here if all_here else 0.0, published, published / all_published)
        for name, (_, published) in PAPER.items()
    ]


def total(lines: list[Line]) -> Line:
    """The sum of all lines, as a line of its own."""
    judge_calls = [line.judge_calls for line in lines if line.judge_calls is not None]
    judge_money = [line.judge_money for line in lines if line.judge_money is not None]
    return Line(
        "total",
        all(line.is_done for line in lines),
        sum(line.attempts for line in lines),
        sum(line.hours for line in lines),
        sum(line.sampled for line in lines),
        sum(line.trained for line in lines),
        sum(judge_calls) if judge_calls else None,
        sum(judge_money) if judge_money else None,
    )


def as_json(lines: list[Line], price_per_hour: float) -> list[dict]:
    """The lines and their sum as plain data; `price_per_hour` is in USD."""
    return [{**vars(line), "money": round(line.money(price_per_hour), 6)} for line in [*lines, total(lines)]]


def show(lines: list[Line], price_per_hour: float, console: Console) -> None:
    """Prints the lines, their sum, and the paper's table; `price_per_hour` is in USD."""
    names = ("attempts", "hours", "sampled", "trained", "judge calls", "USD")
    columns = [Column("stage"), *(Column(name, is_number=True, goes=int(name == "attempts")) for name in names)]
    rows = [
        (
            line.stage + _remark(line),
            str(line.attempts),
            hours_text(line.hours),
            f"{line.sampled:,}",
            f"{line.trained:,}",
            "" if line.judge_calls is None else f"{line.judge_calls:,}",
            f"{line.money(price_per_hour):,.4g}",
        )
        for line in [*lines, total(lines)]
    ]
    print_table(console, f"cost so far, at {price_per_hour:g} USD an hour of one rank", columns, rows)
    for name, hours, share, published, published_share in beside_the_paper(lines):
        console.print(
            f"{name}: {hours_text(hours)} h, {share:.0%}; in the paper {published:,} H800 hours, "
            f"{published_share:.0%}, ${2 * published:,}",
            highlight=False,
        )


def _remark(line: Line) -> str:
    if line.reused_from:
        return f" (paid by run {line.reused_from})"
    return "" if line.is_done or line.stage == "total" else " (unfinished)"


def hours_text(hours: float) -> str:
    """Hours with three digits that count, or whole: 0.034, 1.25, 147,000."""
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"
