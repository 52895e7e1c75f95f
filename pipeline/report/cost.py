"""The cost ledger of a run: hours of all ranks and attempts, tokens, judge calls, money; beside the paper's table [V2
Table 7].

Of a finished stage the manifest says it, of an unfinished one the heartbeats of its attempts. An hour is one rank for
one hour: a GPU hour where a rank has a GPU, else a processor hour.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from pipeline.configuration.graph import family_of, is_stage, stage_order
from stages.contract.attempts import attempts, timing
from stages.contract.files import find_json
from stages.contract.manifest import Manifest, Tokens

# Row of the paper's table -> the stages that it is made of here, and its H800 hours; at 2 USD an hour [V2 Table 7].
PAPER = {
    "R1-Zero": (("r1_zero",), 101_000),
    "SFT data creation": (("cold_start_data", "rejection_data"), 5_000),
    "R1": (("cold_start", "reasoning_rl", "rejection_sft", "reward_models", "preference_rl"), 41_000),
}
REST = "not in the paper's table"


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

    def money(self, price_per_hour: float) -> float:
        """At this price of an hour, plus what the judge's provider took."""
        return self.hours * price_per_hour + (self.judge_money or 0.0)


def line_of(stage: str, directory: Path) -> Line:
    """The ledger of a stage directory, finished or not. What is damaged counts nothing."""
    manifest, judged = Manifest.find(directory), _mapping(find_json(directory / "judge_ledger.json"))
    spent = manifest.timing if manifest else timing(attempts(directory))
    tokens = manifest.tokens if manifest else None
    if tokens is None:  # unfinished, or made before manifests had them
        tokens = _logged_tokens(directory / "metrics.jsonl")
    calls = sum(
        _number(counts.get("calls")) for counts in _mapping(judged.get("jobs")).values() if isinstance(counts, dict)
    )
    return Line(
        stage,
        manifest is not None,
        spent.attempts or 1,
        (_number(spent.rank_s) or _number(spent.total_s)) / 3600,
        tokens.sampled,
        tokens.trained,
        int(calls) if judged else None,
        _number(judged.get("money")) if judged else None,
    )


def _logged_tokens(path: Path) -> Tokens:
    counts = {"sampled": 0.0, "trained": 0.0}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
        try:
            row = _mapping(json.loads(line))
        except ValueError:  # half written
            continue
        counts = {name: count + _number(row.get(f"tokens/{name}")) for name, count in counts.items()}
    return Tokens(**{name: int(count) for name, count in counts.items()})


def _mapping(value: Any) -> dict:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> float:
    """A finite number, else 0."""
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else 0.0


def read(run_dir: Path) -> list[Line]:
    """The latest directory of each stage of a run, in order of execution; stages without workers cost nothing and are
    left out.
    """
    names = sorted(
        (path.name for path in run_dir.iterdir() if is_stage(path.name) and path.name != "report"), key=stage_order
    )
    return [
        line_of(name, (run_dir / name / "latest").resolve()) for name in names if (run_dir / name / "latest").is_dir()
    ]


def beside_the_paper(lines: list[Line]) -> list[tuple[str, float, float, float, float]]:
    """(row, hours here, share here, hours in the paper, share there) of the rows of its table; what it leaves out is
    not in the shares.
    """
    hours = {
        name: sum(line.hours for line in lines if family_of(line.stage) in stages)
        for name, (stages, _) in PAPER.items()
    }
    total, published = sum(hours.values()), sum(hours for _, hours in PAPER.values())
    return [
        (name, hours[name], hours[name] / total if total else 0.0, PAPER[name][1], PAPER[name][1] / published)
        for name in PAPER
    ]


def total(lines: list[Line]) -> Line:
    judged = [line for line in lines if line.judge_calls is not None]
    return Line(
        "total",
        all(line.is_done for line in lines),
        sum(line.attempts for line in lines),
        sum(line.hours for line in lines),
        sum(line.sampled for line in lines),
        sum(line.trained for line in lines),
        sum(line.judge_calls for line in judged) if judged else None,
        sum(line.judge_money for line in judged) if judged else None,
    )


def as_json(lines: list[Line], price_per_hour: float) -> list[dict]:
    return [{**vars(line), "money": round(line.money(price_per_hour), 6)} for line in [*lines, total(lines)]]


def show(lines: list[Line], price_per_hour: float, console: Console) -> None:
    table = Table(
        title=f"cost so far, at {price_per_hour:g} USD an hour of one rank",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("stage", no_wrap=True)
    for name in ("attempts", "hours", "sampled", "trained", "judge calls", "USD"):
        table.add_column(name, justify="right", no_wrap=True)
    for line in [*lines, total(lines)]:
        table.add_row(
            line.stage + ("" if line.is_done or line.stage == "total" else " (unfinished)"),
            str(line.attempts),
            hours_text(line.hours),
            f"{line.sampled:,}",
            f"{line.trained:,}",
            "" if line.judge_calls is None else f"{line.judge_calls:,}",
            f"{line.money(price_per_hour):,.4g}",
        )
    console.print(table)
    for name, hours, share, published, published_share in beside_the_paper(lines):
        console.print(
            f"{name}: {hours_text(hours)} h, {share:.0%}; in the paper {published:,} H800 hours, "
            f"{published_share:.0%}, ${2 * published:,}",
            highlight=False,
        )


def hours_text(hours: float) -> str:
    """0.034, 1.25, 147,000."""
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"
