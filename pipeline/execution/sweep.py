"""Sweeps: the number by which jobs are compared, and the leaderboard at the end."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from pipeline.configuration.graph import FAMILIES, family_of
from pipeline.configuration.schema import RunConfig
from pipeline.errors import InvalidConfig
from pipeline.planning.plan import Plan
from stages.contract.files import read_jsonl, write_json
from stages.contract.manifest import Manifest
from stages.contract.results import find_results

NUM_LAST_ROWS = 5  # a metric of metrics.jsonl is the mean of its last rows: one step is noise
MATHEMATICS = {"tiny_world": "tiny_math", "file": "file"}  # data -> the evaluation set that stands for it


@dataclass
class Job:
    """One job of a sweep: its place in it, and how it ended."""

    number: int
    overrides: list[str]
    sweep_dir: Path
    state: str = "failed"
    objective: float | None = None
    name: str = ""  # of the objective, in words
    direction: str = "maximize"


class Objective(NamedTuple):
    """The number that jobs are compared by: a metric of a stage, or of a stage's model on an evaluation set."""

    stage: str
    set_name: str | None
    metric: str

    def __str__(self) -> str:
        return " ".join(part for part in (self.stage, self.set_name, self.metric) if part)


def record_result(job: Job, config: RunConfig, value: float | None) -> float:
    """Keeps the objective of a finished job in `job` and in its job.json.

    Returns:
        The objective for Hydra's sweeper; NaN where there is none.
    """
    job.state = "done"
    job.objective = value
    job.name = str(choose_objective(config))
    write_json(
        job.sweep_dir / str(job.number) / "job.json",
        {"overrides": job.overrides, "objective": value, "name": job.name, "run_dir": str(config.run_dir)},
    )
    return math.nan if value is None else value


def choose_objective(config: RunConfig) -> Objective:
    """What the jobs of this configuration are compared by.

    As `sweep.*` says; else pass@1 of the last model that is trained, where `evaluate` is selected; else that stage's
    own number, the mean reward for RL and the loss for other training.
    """
    chosen = config.sweep
    models = [stage for stage in config.selection if _trains_a_model(config, stage)]
    teachers = [stage for stage in models if family_of(stage) not in FAMILIES]
    stage = chosen.stage or (teachers or models or config.selection)[-1]
    if chosen.set or (chosen.metric is None and "evaluate" in config.selection):
        default_set = MATHEMATICS.get(config.data.name, (config.data.tasks or ["file"])[0])
        return Objective(stage, chosen.set or default_set, chosen.metric or "pass@1")
    is_rl = hasattr(config.stage(stage), "rewards")
    return Objective(stage, None, chosen.metric or ("reward/mean" if is_rl else "train/loss"))


def _trains_a_model(config: RunConfig, stage: str) -> bool:
    return hasattr(config.stage(stage), "optim") and family_of(stage) not in ("reward_models", "student_base")


def objective_value(plan: Plan) -> float | None:
    """The objective of a plan whose stages are done; None where its stages have none.

    Raises:
        InvalidConfig: `sweep.stage` or `sweep.metric` names something that the run does not have.
    """
    config = plan.config
    if not config.selection:
        return None
    objective = choose_objective(config)
    directories = {step.stage: step.dir for step in (*plan.steps, *plan.upstream)}
    value = None
    if objective.set_name is None:
        if objective.stage in directories:
            value = _stage_metric(directories[objective.stage], objective.metric)
    elif "evaluate" in directories:
        value = _evaluation_metric(directories["evaluate"], objective, is_set_chosen=bool(config.sweep.set))
    if value is None and (config.sweep.stage or config.sweep.metric):
        raise InvalidConfig(
            [f"sweep: there is no {objective} in this run; check sweep.stage, sweep.set and sweep.metric"]
        )
    return value


def _evaluation_metric(directory: Path, objective: Objective, is_set_chosen: bool) -> float | None:
    """The metric of the model on the set; without a chosen set, on the first set there is if need be."""
    rows = [
        row for row in find_results(directory) if row["model"] == objective.stage and row["metric"] == objective.metric
    ]
    on_set = [row for row in rows if row["set"] == objective.set_name]
    found = on_set or ([] if is_set_chosen else rows)
    return found[0]["value"] if found else None


def _stage_metric(directory: Path, metric: str) -> float | None:
    """The metric of a stage: its manifest's, else the mean of the last rows of its log."""
    manifest = Manifest.find(directory)
    if manifest is not None and metric in manifest.metrics:
        return manifest.metrics[metric]
    values = [row[metric] for row in read_jsonl(directory / "metrics.jsonl") if metric in row][-NUM_LAST_ROWS:]
    return sum(values) / len(values) if values else None


def print_leaderboard(jobs: list[Job], console: Console) -> None:
    """Prints the jobs, the best one first, and writes them to leaderboard.csv in the sweep's directory."""
    ranked = rank(jobs)
    shared = set.intersection(*(set(job.overrides) for job in jobs)) if len(jobs) > 1 else set()
    overrides = [" ".join(text for text in job.overrides if text not in shared) for job in ranked]
    name = next((job.name for job in jobs if job.name), "objective")
    console.print(_table(ranked, overrides, name))
    path = jobs[0].sweep_dir / "leaderboard.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["rank", "job", "overrides", "objective", "value", "state"])
        for number, job in enumerate(ranked, 1):
            value = "" if job.objective is None else job.objective
            writer.writerow([number, job.number, overrides[number - 1], name, value, job.state])
    console.print(f"leaderboard: {path}", highlight=False, soft_wrap=True)


def rank(jobs: list[Job]) -> list[Job]:
    """The jobs, the best one first; those without an objective come last. A loss is always minimized."""
    is_minimized = jobs[0].direction == "minimize" or jobs[0].name.endswith("train/loss")
    sign = 1 if is_minimized else -1
    return sorted(jobs, key=lambda job: (job.objective is None, sign * (job.objective or 0.0)))


def _table(ranked: list[Job], overrides: list[str], name: str) -> Table:
    table = Table(title=f"sweep of {len(ranked)} jobs by {name}", title_justify="left")
    table.add_column("rank", justify="right", overflow="fold")
    table.add_column("job", justify="right", overflow="fold")
    table.add_column("overrides", overflow="fold")
    table.add_column(name, justify="right", overflow="fold")
    table.add_column("state", overflow="fold")
    for number, (job, text) in enumerate(zip(ranked, overrides), 1):
        value = "" if job.objective is None else f"{job.objective:.4f}"
        table.add_row(str(number), str(job.number), text, value, job.state)
    return table
