"""Sweeps: the number that jobs are compared by, and the leaderboard at the end."""

import csv
import math
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipeline.configuration.graph import FAMILIES, family_of
from pipeline.errors import InvalidConfig
from stages.contract.files import find_json, read_jsonl, write_json
from stages.contract.manifest import Manifest

LAST_ROWS = 5  # a metric of metrics.jsonl is the mean of its last rows: one step is noise


@dataclass
class Job:
    """One job of a sweep."""

    number: int
    overrides: list[str]
    sweep_dir: Path
    state: str = "failed"
    objective: float | None = None
    name: str = ""
    direction: str = "maximize"
    stages: dict[str, str] = field(default_factory=dict)


def run(record: Job, config, work) -> float:
    """Runs one job and keeps its result in `record`. Returns the objective for Hydra's sweeper."""
    record.direction = config.sweep.direction
    value = work()
    record.state, record.objective = "done", value
    record.name = objective_name(config)
    write_json(
        record.sweep_dir / str(record.number) / "job.json",
        {"overrides": record.overrides, "objective": value, "name": record.name, "run_dir": str(config.run_dir)},
    )
    return math.nan if value is None else value


def objective_name(config) -> str:
    """What the objective of this configuration is, in words."""
    stage, set_name, metric = resolve(config)
    return f"{stage} {set_name + ' ' if set_name else ''}{metric}"


def resolve(config) -> tuple[str, str | None, str]:
    """(stage, evaluation set or None, metric): as configured, else evaluate's pass@1 of the last model, else the last
    stage's own number.
    """
    chosen = config.sweep
    models = [
        stage
        for stage in config.selection
        if hasattr(config.stage(stage), "optim") and family_of(stage) not in ("reward_models", "student_base")
    ]
    teachers = [stage for stage in models if family_of(stage) not in FAMILIES]
    stage = chosen.stage or (teachers or models or config.selection)[-1]
    if chosen.set or (chosen.metric is None and "evaluate" in config.selection):
        return (
            stage,
            chosen.set
            or {"tiny_world": "tiny_math", "file": "file"}.get(config.data.name, (config.data.tasks or ["file"])[0]),
            chosen.metric or "pass@1",
        )
    is_rl = hasattr(config.stage(stage), "rewards")
    return stage, None, chosen.metric or ("reward/mean" if is_rl else "train/loss")


def objective(plan) -> float | None:
    """The number of a finished plan, or None where the selected stages have none."""
    config = plan.config
    if not config.selection:
        return None
    stage, set_name, metric = resolve(config)
    steps = {step.stage: step for step in (*plan.steps, *plan.upstream)}
    if set_name is not None:
        rows = find_json(steps["evaluate"].dir / "results.json", []) if "evaluate" in steps else []
        named = [row for row in rows if row["model"] == stage and row["metric"] == metric]
        row = next(
            (row for row in named if row["set"] == set_name), named[0] if named and not config.sweep.set else None
        )
        value = row["value"] if row else None
    else:
        value = _stage_metric(steps[stage].dir, metric) if stage in steps else None
    if value is None and (config.sweep.stage or config.sweep.metric):
        raise InvalidConfig(
            [f"sweep: there is no {objective_name(config)} in this run; check sweep.stage, sweep.set and sweep.metric"]
        )
    return value


def _stage_metric(directory: Path, metric: str) -> float | None:
    manifest = Manifest.find(directory)
    if manifest is not None and metric in manifest.metrics:
        return manifest.metrics[metric]
    values = [row[metric] for row in read_jsonl(directory / "metrics.jsonl") if metric in row][-LAST_ROWS:]
    return sum(values) / len(values) if values else None


def print_leaderboard(jobs: list[Job], console: Console) -> None:
    """The best job first, as a table and as leaderboard.csv in the sweep's directory."""
    sign = 1 if jobs[0].direction == "minimize" or jobs[0].name.endswith("train/loss") else -1
    ranked = sorted(jobs, key=lambda job: (job.objective is None, sign * (job.objective or 0.0)))
    shared = set.intersection(*(set(job.overrides) for job in jobs)) if len(jobs) > 1 else set()
    names = next((job.name for job in jobs if job.name), "objective")
    table = Table(title=f"sweep of {len(jobs)} jobs by {names}", title_justify="left")
    for name, justify in (
        ("rank", "right"),
        ("job", "right"),
        ("overrides", "left"),
        (names, "right"),
        ("state", "left"),
    ):
        table.add_column(name, justify=justify, overflow="fold")
    path = jobs[0].sweep_dir / "leaderboard.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["rank", "job", "overrides", "objective", "value", "state"])
        for rank, job in enumerate(ranked, 1):
            overrides = " ".join(text for text in job.overrides if text not in shared)
            table.add_row(
                str(rank),
                str(job.number),
                overrides,
                "" if job.objective is None else f"{job.objective:.4f}",
                job.state,
            )
            writer.writerow(
                [rank, job.number, overrides, names, "" if job.objective is None else job.objective, job.state]
            )
    console.print(table)
    console.print(f"leaderboard: {path}", highlight=False, soft_wrap=True)
