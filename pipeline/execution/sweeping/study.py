"""The Optuna study of a sweep: asks for the values of jobs, tells how they ended, and goes on after a kill.

Optuna's own plugin for Hydra (hydra-optuna-sweeper 1.3) needs Optuna 2, which does not work with the SQLAlchemy that
Prefect brings; it neither goes on with its jobs after a kill nor lets a job be pruned. This is the same interface on
Optuna's ask and tell.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, OverrideType, RangeSweep
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from pipeline.errors import InvalidConfig
from pipeline.execution.sweeping import job_files, pruning
from stages.contract.files import digest, write_json

JOURNAL = "study.log"
KEEP_THEIR_OWN_STATE = ("QMCSampler", "CmaEsSampler")  # in the study; they want one seed

Launch = Callable[[Sequence[Sequence[str]], int], Any]  # (overrides of jobs, number of the first one)


@dataclass
class Search:
    """What a sweep searches: the values of some keys, within these bounds."""

    fixed: list[str]  # overrides that all jobs have
    space: dict[str, BaseDistribution]  # by key, as it stands in an override

    def overrides(self, params: dict[str, Any]) -> list[str]:
        """The overrides of a job with these values."""
        return [*self.fixed, *(f"{key}={value}" for key, value in params.items())]


def search_of(words: Sequence[str], params: dict[str, Any]) -> Search:
    """The search that overrides and `hydra.sweeper.params` describe.

    Raises:
        InvalidConfig: no key has several values.
    """
    parser = OverridesParser.create()
    told = {override.get_key_element(): override for override in parser.parse_overrides(_params(params))}
    told |= {override.get_key_element(): override for override in parser.parse_overrides(list(words))}
    fixed, space = [], {}
    for key, override in told.items():
        if override.is_sweep_override():
            space[key] = distribution_of(override)
        elif override.type != OverrideType.DEL:
            fixed.append(f"{key}={override.get_value_element_as_str()}")
    if not space:
        raise InvalidConfig(
            [
                "hydra/sweeper=optuna: no key has several values to choose from: KEY=a,b,c, "
                "'KEY=interval(0.1,1)', 'KEY=tag(log,interval(1e-5,1e-3))' or 'KEY=range(1,9)'"
            ]
        )
    return Search(fixed, space)


def _params(params: dict[str, Any]) -> list[str]:
    return [f"{key}={value}" for key, value in params.items()]


def distribution_of(override: Override) -> BaseDistribution:
    """The values of a swept key. A range ends before its stop, as Hydra's does; an interval has both its ends."""
    value = override.value()
    if isinstance(value, IntervalSweep):
        is_log = "log" in value.tags
        assert value.start is not None and value.end is not None
        if isinstance(value.start, int) and isinstance(value.end, int):
            return IntDistribution(int(value.start), int(value.end), log=is_log)
        return FloatDistribution(float(value.start), float(value.end), log=is_log)
    if isinstance(value, RangeSweep):
        values: list[Any] = list(override.sweep_iterator())
        if all(isinstance(one, int) for one in values) and len(values) > 1 and "log" not in value.tags:
            return IntDistribution(min(values), max(values), step=abs(values[1] - values[0]))
        return CategoricalDistribution([str(one) for one in values])
    return CategoricalDistribution(list(override.sweep_string_iterator()))


def open_storage(place: str) -> BaseStorage | str:
    """A storage of Optuna: an address of a database, or a journal file, which several processes may write."""
    if "://" in place:
        return place
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(place))


def load_trial(told: dict[str, Any]) -> optuna.Trial:
    """The trial of a job, in the job's own process, with the pruner of its study."""
    study = optuna.load_study(
        study_name=told["study"], storage=open_storage(told["storage"]), pruner=make(told["pruner"])
    )
    trial_id = next(trial._trial_id for trial in study.get_trials(deepcopy=False) if trial.number == told["number"])
    return optuna.Trial(study, trial_id)


def make(told: dict[str, Any], **more: Any) -> Any:
    """The object that `_target_` names, with the other entries as arguments."""
    module, _, name = str(told["_target_"]).rpartition(".")
    arguments = {key: value for key, value in told.items() if key != "_target_"}
    try:
        return getattr(__import__(module, fromlist=[name]), name)(**arguments, **more)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise InvalidConfig([f"hydra.sweeper: {told['_target_']} cannot be made: {error}"]) from None


@dataclass
class StudyOptions:
    """What `hydra.sweeper` says besides the values."""

    sampler: dict[str, Any]
    pruner: dict[str, Any]
    storage: str
    name: str
    direction: str
    n_trials: int
    n_jobs: int
    seed: int

    @property
    def prunes(self) -> bool:
        """Whether jobs may be ended early."""
        return not self.pruner["_target_"].endswith("NopPruner")


class StudySweep:
    """Runs the trials of a study as jobs, `n_jobs` at a time."""

    def __init__(self, search: Search, options: StudyOptions, sweep_dir: Path, launch: Launch):
        self.search, self.options, self.sweep_dir, self.launch = search, options, sweep_dir, launch
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            self.study = optuna.create_study(
                storage=open_storage(options.storage),
                sampler=self._sampler(0),
                pruner=make(options.pruner),
                study_name=options.name,
                direction=options.direction,
                load_if_exists=True,
            )
        except (OSError, ValueError, ImportError, RuntimeError) as error:
            raise InvalidConfig([f"hydra.sweeper.storage={options.storage}: {str(error).splitlines()[0]}"]) from None

    def _sampler(self, number: int) -> Any:
        """The sampler for a trial. It has a seed of its own: a sweep that goes on must not draw again what it drew."""
        told = dict(self.options.sampler)
        name = str(told["_target_"]).rpartition(".")[2]
        seed = told.pop("seed", None)
        seed = self.options.seed if seed is None else int(seed)
        if name not in KEEP_THEIR_OWN_STATE:
            seed = int(digest([seed, number])[:8], 16)
        if name == "GridSampler":
            raise InvalidConfig(
                ["hydra.sweeper.sampler: a grid is Hydra's own sweeper: leave out hydra/sweeper=optuna"]
            )
        return make(told, seed=seed)

    def run(self) -> bool:
        """Runs the trials that are left. Returns whether all were run: not where jobs were interrupted."""
        self._settle()
        while batch := self._next_batch():
            for group in _consecutive(batch):
                self.launch([self._prepared(number) for number in group], group[0])
            self._settle()
            if self._states(TrialState.RUNNING):
                return False
        return True

    def _states(self, *states: TrialState) -> list[Any]:
        return [trial for trial in self.study.get_trials(deepcopy=False) if trial.state in states]

    def _settle(self) -> None:
        """Tells the study how the jobs of running trials have ended, as their files say."""
        for trial in self._states(TrialState.RUNNING):
            job = job_files.find_job(self.sweep_dir, trial.number)
            if job is None or job.state in (job_files.RUNNING, job_files.INTERRUPTED):
                continue  # it goes on with the same values
            if job.state == job_files.PRUNED:
                self.study.tell(trial.number, state=TrialState.PRUNED)
            elif job.state == job_files.DONE and job.objective is not None and math.isfinite(job.objective):
                self.study.tell(trial.number, job.objective)
            else:
                self.study.tell(trial.number, state=TrialState.FAIL)

    def _next_batch(self) -> list[int]:
        """The numbers of the next trials: those that a kill has interrupted, then new ones."""
        unfinished = [trial.number for trial in self._states(TrialState.RUNNING)]
        known = len(self.study.get_trials(deepcopy=False))
        num_new = max(0, min(self.options.n_jobs - len(unfinished), self.options.n_trials - known))
        for number in range(known, known + num_new):
            self.study.sampler = self._sampler(number)
            self.study.ask(self.search.space)
        return [*unfinished, *range(known, known + num_new)]

    def _prepared(self, number: int) -> list[str]:
        """The overrides of a trial; writes what its pruner needs."""
        params = self.study.get_trials(deepcopy=False)[number].params
        told = {
            "storage": self.options.storage,
            "study": self.options.name,
            "number": number,
            "pruner": self.options.pruner,
            "prunes": self.options.prunes,
        }
        write_json(self.sweep_dir / str(number) / pruning.FILE, told)
        return self.search.overrides(params)


def _consecutive(numbers: list[int]) -> list[list[int]]:
    """Numbers in groups without gaps: a launcher counts from the first.

    >>> _consecutive([2, 5, 6])
    [[2], [5, 6]]
    """
    groups: list[list[int]] = []
    for number in numbers:
        if groups and groups[-1][-1] == number - 1:
            groups[-1].append(number)
        else:
            groups.append([number])
    return groups
