"""What a sweep would do: its jobs, the stages that each makes, and the time of all together."""

import copy
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape

from pipeline.configuration import compose
from pipeline.configuration.keys import groups
from pipeline.configuration.schema import RunConfig
from pipeline.errors import InvalidConfig, MessageAndFix
from pipeline.execution.objectives import objective_mistakes
from pipeline.execution.sweep import choose_objective
from pipeline.execution.sweeping.checks import check_libraries, sweep_mistakes
from pipeline.execution.sweeping.directory import sweep_directory
from pipeline.execution.sweeping.job_files import DONE, PRUNED, find_jobs
from pipeline.planning.plan import Plan, make_plan
from pipeline.view.tables import Column, print_table
from pipeline.view.words import duration
from stages.config import ConfigError

BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
MAX_TRIED = 4  # jobs that are looked at for one that a sweeper has yet to run
MAX_PLANNED = 24  # jobs; each takes a quarter of a second. Of more, the time is that of these, on average


@dataclass(frozen=True)
class PlannedJob:
    """One job: the overrides in which it differs from the others, and its plan or its mistakes."""

    overrides: list[str]
    plan: Plan | None
    mistakes: list[str]


@dataclass(frozen=True)
class SweepPlan:
    """What a sweep will do; `jobs` are the first of `num_jobs`, or one that stands for all that a sweeper chooses."""

    config: RunConfig
    jobs: list[PlannedJob]
    num_jobs: int
    sweeper: str
    mistakes: list[str]
    num_done: int = 0  # jobs of a sweeper that have ended, which the ones shown do not tell

    @property
    def errors(self) -> list[MessageAndFix]:
        """What would go wrong, each thing once; of a single job with its number."""
        of_job: dict[MessageAndFix, list[int]] = {}
        for number, job in enumerate(self.jobs):
            for error in [*((line, "") for line in job.mistakes), *(job.plan.errors if job.plan else ())]:
                of_job.setdefault(error, []).append(number)
        found = [(line, "") for line in self.mistakes]
        for (message, fix), numbers in of_job.items():
            where = "" if len(numbers) == len(self.jobs) else f"job {', '.join(map(str, numbers))}: "
            found.append((f"{where}{message}", fix))
        return found

    @property
    def seconds(self) -> float | None:
        """The time of all jobs: a stage that several share is made once. None where a stage's is not known."""
        times = {
            step.dir: step.seconds
            for job in self.jobs
            for step in (job.plan.steps if job.plan else ())
            if not step.is_made
        }
        if any(value is None for value in times.values()):
            return None
        return sum(value or 0.0 for value in times.values()) * (self.num_jobs - self.num_done) / max(1, len(self.jobs))


def asks_for_sweep(words: Sequence[str]) -> bool:
    """Whether overrides ask for a sweep by themselves, without -m."""
    return any(word.lstrip("+").startswith(("sweep=", "hydra.mode=MULTIRUN")) for word in words)


def require_one_job(words: Sequence[str]) -> None:
    """Raises InvalidConfig where the overrides of a deployment ask for a sweep."""
    if asks_for_sweep(words):
        raise InvalidConfig(
            ["a deployment runs one configuration: leave the sweep out, and start a flow run for each value with "
             "the parameter `overrides`, or type `r1 run -m`"]
        )  # fmt: skip


def plan_sweep(words: Sequence[str]) -> SweepPlan:
    """Plans the jobs of a sweep. Raises InvalidConfig with the mistakes of the overrides.

    Args:
        words: the overrides as Hydra wants them, swept ones among them.
    """
    check_libraries(words)
    config, tree = compose.compose_with_tree(list(words), is_sweep=True)
    parser = OverridesParser.create()
    given = parser.parse_overrides(list(words))
    sweeper = compose.sweeper_of([word for word, one in zip(words, given) if not one.is_sweep_override()])
    params = parser.parse_overrides([f"{key}={value}" for key, value in (sweeper.get("params") or {}).items()])
    name = str(sweeper.get("_target_", BASIC))
    mistakes = objective_mistakes(config) or sweep_mistakes(config, words)
    swept = [one for one in (*params, *given) if one.is_sweep_override()]
    if name != BASIC:
        return _plan_of_sweeper(config, list(words), swept, tree, sweeper, mistakes)
    choices = list(itertools.product(*(_values(one) for one in swept)))
    jobs = [_job(list(words), swept, choice, tree) for choice in choices[:MAX_PLANNED]]
    return SweepPlan(config, jobs, len(choices), "", mistakes)


def _plan_of_sweeper(
    config: RunConfig,
    words: list[str],
    swept: Sequence[Override],
    tree: DictConfig,
    sweeper: Mapping[str, Any],
    mistakes: list[str],
) -> SweepPlan:
    """The plan of a sweep whose values a sweeper chooses: one job with some values stands for all that are left.

    It is one that is not made yet, where there is such a one among the first few.
    """
    choices = [_some_values(one) for one in swept]
    for number in range(MAX_TRIED):
        job = _job(words, swept, [values[number % len(values)] for values in choices], tree)
        if job.plan is None or not job.plan.is_done:
            break
    num_jobs = int(sweeper.get("n_trials") or 1)
    ended = [one for one in find_jobs(sweep_directory(config, words)) if one.state in (DONE, PRUNED)]
    name = str(sweeper["_target_"]).split(".")[-1]
    return SweepPlan(config, [job], num_jobs, name, mistakes, num_done=min(len(ended), num_jobs))


def _some_values(override: Override) -> list[str]:
    """Values that a sweeper can choose: the middle of an interval and its ends; of several values the last first."""
    value = override.value()
    if override.is_discrete_sweep():
        return _values(override)[::-1]
    assert isinstance(value, IntervalSweep) and value.start is not None and value.end is not None
    is_whole = isinstance(value.start, int) and isinstance(value.end, int)
    middle = math.sqrt(value.start * value.end) if "log" in value.tags else (value.start + value.end) / 2
    return [str(round(middle) if is_whole else middle), str(value.end), str(value.start)]


def _values(override: Override) -> list[str]:
    return list(override.sweep_string_iterator())


def _job(words: list[str], swept: Sequence[Override], choice: Sequence[str], tree: DictConfig) -> PlannedJob:
    """The plan of one job. Keys are set in what the others compose to, which is faster than to compose anew."""
    own = [f"{override.get_key_element()}={value}" for override, value in zip(swept, choice)]
    shown = [text.lstrip("+") for text in own]
    try:
        if any(override.package or override.key_or_group in groups() for override in swept):
            plain = [word for word in words if not compose.is_swept(word)]
            return PlannedJob(shown, make_plan(compose.compose_config([*plain, *own])), [])
        changed: Any = copy.deepcopy(tree)
        OmegaConf.set_struct(changed, False)
        for override in OverridesParser.create().parse_overrides(own):
            OmegaConf.update(changed, override.key_or_group, override.value())
        return PlannedJob(shown, make_plan(compose.from_hydra(changed)), [])
    except (ConfigError, InvalidConfig) as error:
        return PlannedJob(shown, None, error.errors)


def print_sweep(console: Console, sweep: SweepPlan) -> None:
    """Prints the jobs of a sweep, what they are compared by, and how long all of them will take."""
    columns = (
        Column("job", is_number=True),
        Column("overrides", is_sentence=True),
        Column("stages to make", is_number=True, goes=1),
        Column("time", is_number=True),
    )
    title = f"sweep of {sweep.num_jobs:,} jobs in the run {sweep.config.run}"
    title += f", whose values {sweep.sweeper} chooses" if sweep.sweeper else ""
    print_table(console, title, columns, [_row(number, job) for number, job in enumerate(sweep.jobs)])
    if len(sweep.jobs) < sweep.num_jobs and not sweep.sweeper:
        console.print(f"... and {sweep.num_jobs - len(sweep.jobs):,} more jobs", highlight=False)
    if sweep.errors:
        return
    total = "?" if sweep.seconds is None else f"about {duration(sweep.seconds)} of work"
    objective = choose_objective(sweep.config) if sweep.config.selection else "nothing"
    done = f"{sweep.num_done} of {sweep.num_jobs:,} jobs are done; " if sweep.num_done else ""
    line = f"{done}{total} {'left' if done else 'in all'}; compared by {objective}"
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _row(number: int, job: PlannedJob) -> tuple[str, ...]:
    overrides = escape(" ".join(job.overrides))
    if job.plan is None:
        return str(number), overrides, "[red]mistake[/]", ""
    left = [step for step in job.plan.steps if not step.is_made]
    unknown = any(step.seconds is None for step in left)
    time = "?" if unknown else f"~{duration(sum(step.seconds or 0.0 for step in left))}" if left else "done"
    return str(number), overrides, f"{len(left)} of {len(job.plan.steps)}", time


def sweep_json(sweep: SweepPlan) -> dict[str, Any]:
    """The plan of a sweep as plain data, for programs that read `plan --json`."""
    return {
        "run": sweep.config.run,
        "num_jobs": sweep.num_jobs,
        "sweeper": sweep.sweeper or "basic",
        "num_done": sweep.num_done,
        "seconds": sweep.seconds,
        "jobs": [
            {
                "overrides": job.overrides,
                "to_make": [step.stage for step in job.plan.steps if not step.is_made] if job.plan else [],
                "fingerprints": {step.stage: step.fingerprint for step in job.plan.steps} if job.plan else {},
            }
            for job in sweep.jobs
        ],
        "errors": [{"message": message, "fix": fix} for message, fix in sweep.errors],
    }
