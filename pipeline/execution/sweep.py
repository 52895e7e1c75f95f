"""Sweeps: the number by which jobs are compared, and the leaderboard at the end."""

import csv
import io
import math
import re
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.markup import escape

from pipeline.configuration.graph import FAMILIES, family_of
from pipeline.configuration.schema import RunConfig
from pipeline.errors import InvalidConfig
from pipeline.execution.sweeping.job_files import DONE, PRUNED, Job
from pipeline.planning.plan import Plan
from pipeline.view.tables import Column, print_table
from stages.contract.files import read_jsonl, write_atomic
from stages.contract.manifest import Manifest
from stages.contract.results import find_results

NUM_LAST_ROWS = 5  # a metric of metrics.jsonl is the mean of its last rows: one step is noise
MATHEMATICS = {"tiny_world": "tiny_math", "file": "file"}  # data -> the evaluation set that stands for it


# Metrics of which more, or less, is better. Of others a sweep has to be told (sweep.direction).
HIGHER = (
    r"(pass|cons)@|reward/(mean|accuracy|format|language|helpful|safety)$|.*accuracy$|.*tokens_per_s$|data/kept|"
    r"(language|polite|helpfulness|refused|harmful_refused|benign_correct|format|reflection|rating|percentile)$"
)
LOWER = r"(.*/)?loss"


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
    job.objective = value
    job.set_state(DONE)
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
    return Objective(stage, None, chosen.metric or own_metric(config, stage))


def own_metric(config: RunConfig, stage: str) -> str:
    """The number by which a stage is judged where nothing is evaluated: of RL the mean reward, else the loss."""
    return "reward/mean" if hasattr(config.stage(stage), "rewards") else "train/loss"


def direction_of(config: RunConfig, metric: str) -> str:
    """Whether more ("maximize") or less ("minimize") of a metric is better.

    Raises:
        InvalidConfig: sweep.direction does not say, and the name does not either.
    """
    if config.sweep.direction is not None and metric == choose_objective(config).metric:
        return config.sweep.direction
    if re.fullmatch(LOWER, metric):
        return "minimize"
    if re.match(HIGHER, metric):
        return "maximize"
    fix = "add sweep.direction=maximize or sweep.direction=minimize"
    raise InvalidConfig([f"sweep.metric={metric}: is more of it better, or less? {fix}"])


def is_minimized(config: RunConfig, metric: str) -> bool:
    """Whether less of a metric is better."""
    return direction_of(config, metric) == "minimize"


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
    _show(console, ranked, _own_overrides(ranked), _objective_name(jobs))
    console.print(f"leaderboard: {write_leaderboard(jobs)}", highlight=False, soft_wrap=True)


def write_leaderboard(jobs: list[Job]) -> Path:
    """Writes leaderboard.csv, which the report shows; after each job, so that it is there while a sweep runs."""
    ranked, name = rank(jobs), _objective_name(jobs)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["rank", "job", "overrides", "objective", "value", "state"])
    for number, (job, overrides) in enumerate(zip(ranked, _own_overrides(ranked)), 1):
        value = "" if job.objective is None else job.objective
        writer.writerow([number, job.number, overrides, name, value, job.state])
    path = jobs[0].sweep_dir / "leaderboard.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.getvalue().encode())
    return path


def _objective_name(jobs: list[Job]) -> str:
    return next((job.name for job in jobs if job.name), "objective")


def _own_overrides(jobs: list[Job]) -> list[str]:
    """The overrides of each job that the others do not share."""
    shared = set.intersection(*(set(job.overrides) for job in jobs)) if len(jobs) > 1 else set()
    return [" ".join(text for text in job.overrides if text not in shared) for job in jobs]


def rank(jobs: list[Job]) -> list[Job]:
    """The jobs, the best one first. Those without an objective come last, and before them those that were pruned."""
    sign = 1 if jobs[0].direction == "minimize" else -1
    return sorted(
        jobs, key=lambda job: (job.objective is None, job.state == PRUNED, sign * (job.objective or 0.0), job.number)
    )


def _show(console: Console, ranked: list[Job], overrides: list[str], name: str) -> None:
    columns = [
        Column("rank", is_number=True),
        Column("job", is_number=True),
        Column(name, is_number=True),
        Column("state"),
        Column("overrides", is_sentence=True),
    ]
    rows = []
    for number, (job, text) in enumerate(zip(ranked, overrides), 1):
        value = "" if job.objective is None else f"{job.objective:.4f}"
        rows.append((str(number), str(job.number), value, job.state, escape(text)))
    print_table(console, f"sweep of {len(ranked)} jobs by {name}", columns, rows)
