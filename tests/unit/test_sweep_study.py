"""The Optuna study of a sweep: what it searches, that it goes on after a kill with the same values, and its pruner."""

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from pipeline.errors import InvalidConfig
from pipeline.execution.stop import StopRequest
from pipeline.execution.sweeping.job_files import DONE, FAILED, INTERRUPTED, PRUNED, Job
from pipeline.execution.sweeping.pruning import find_pruner
from pipeline.execution.sweeping.study import StudyOptions, StudySweep, distribution_of, search_of
from stages.contract.files import append_jsonl
from tests.support.runs import config, plan, step

WORDS = ["+stage=r1_zero", "a=interval(0.0,1.0)", "b=x,y"]


def options(tmp_path: Path, **changes) -> StudyOptions:
    told = {
        "sampler": {"_target_": "optuna.samplers.TPESampler", "n_startup_trials": 3},
        "pruner": {"_target_": "optuna.pruners.NopPruner"},
        "storage": str(tmp_path / "study.log"),
        "name": "s",
        "direction": "maximize",
        "n_trials": 6,
        "n_jobs": 2,
        "seed": 7,
    }
    return StudyOptions(**{**told, **changes})


class Launcher:
    """Makes jobs that reach a; the job of `killed_at` is begun and does not end."""

    def __init__(self, sweep_dir: Path, killed_at: int | None = None, states: dict[int, str] | None = None):
        self.sweep_dir, self.killed_at, self.states = sweep_dir, killed_at, states or {}
        self.launched: list[tuple[int, list[str]]] = []

    def __call__(self, jobs, first: int) -> None:
        for number, overrides in enumerate(jobs, first):
            self.launched.append((number, list(overrides)))
            job = Job(number, list(overrides), self.sweep_dir, objective=_value(overrides))
            if number == self.killed_at:
                job.set_state(INTERRUPTED)
                continue
            job.set_state(self.states.get(number, DONE))


def _value(overrides) -> float:
    return float(next(word for word in overrides if word.startswith("a=")).partition("=")[2])


def run(tmp_path: Path, launcher: Launcher, **changes) -> StudySweep:
    sweep = StudySweep(search_of(WORDS, {}), options(tmp_path, **changes), launcher.sweep_dir, launcher)
    sweep.is_complete = sweep.run()
    return sweep


@pytest.mark.parametrize(
    "word, expected",
    [
        ("a=interval(0,1.5)", FloatDistribution(0.0, 1.5)),
        ("a=int(interval(1,5))", IntDistribution(1, 5)),
        ("a=tag(log,interval(1e-5,1e-3))", FloatDistribution(1e-5, 1e-3, log=True)),
        ("a=range(1,9,2)", IntDistribution(1, 7, step=2)),
        ("a=1,2,x", CategoricalDistribution(["1", "2", "x"])),
        ("a=choice(true,'b c')", CategoricalDistribution(["True", "b\\ c"])),
    ],
)
def test_every_way_to_write_values_is_a_distribution(word, expected):
    assert distribution_of(OverridesParser.create().parse_overrides([word])[0]) == expected


def test_a_search_has_fixed_and_searched_keys():
    search = search_of(WORDS, {"b": "z,w", "c": "range(0,3)"})
    assert search.fixed == ["+stage=r1_zero"] and list(search.space) == ["b", "c", "a"]
    assert search.space["b"].choices == ("x", "y")  # the command line goes first
    with pytest.raises(InvalidConfig, match="no key has several values"):
        search_of(["+stage=r1_zero"], {})


def test_an_interrupted_sweep_goes_on_with_the_values_of_an_undisturbed_one(tmp_path):
    whole = Launcher(tmp_path / "whole")
    assert run(tmp_path / "whole", whole).is_complete
    first = Launcher(tmp_path / "broken", killed_at=2)
    assert not run(tmp_path / "broken", first).is_complete
    again = Launcher(tmp_path / "broken")
    finished = run(tmp_path / "broken", again)
    assert finished.is_complete
    assert [number for number, _ in first.launched] == [0, 1, 2, 3]
    assert [number for number, _ in again.launched] == [2, 4, 5]  # no finished job again
    assert dict(again.launched)[2] == dict(first.launched)[2]
    assert [job for job in whole.launched if job[0] < 4] == first.launched
    assert len({tuple(overrides) for _, overrides in whole.launched}) == 6
    assert finished.study.best_value == max(_value(words) for _, words in [*first.launched, *again.launched])
    idle = Launcher(tmp_path / "broken")
    assert run(tmp_path / "broken", idle).is_complete and not idle.launched


def test_a_sweep_of_more_trials_goes_on_where_the_shorter_one_ended(tmp_path):
    run(tmp_path, Launcher(tmp_path), n_trials=2)
    more = Launcher(tmp_path)
    run(tmp_path, more, n_trials=4)
    assert [number for number, _ in more.launched] == [2, 3]


def test_failed_and_pruned_jobs_are_told(tmp_path):
    sweep = run(tmp_path, Launcher(tmp_path, states={0: FAILED, 1: PRUNED}), n_trials=3)
    assert [trial.state for trial in sweep.study.trials] == [TrialState.FAIL, TrialState.PRUNED, TrialState.COMPLETE]


def test_a_grid_is_hydras_own_sweeper(tmp_path):
    with pytest.raises(InvalidConfig, match="leave out hydra/sweeper=optuna"):
        run(tmp_path, Launcher(tmp_path), sampler={"_target_": "optuna.samplers.GridSampler"})


def test_a_sampler_that_is_none_is_refused(tmp_path):
    with pytest.raises(InvalidConfig, match="optuna.samplers.Nonsense cannot be made"):
        run(tmp_path, Launcher(tmp_path), sampler={"_target_": "optuna.samplers.Nonsense"})


MEDIAN = {"_target_": "optuna.pruners.MedianPruner", "n_startup_trials": 1}


@pytest.mark.parametrize("metric, is_worse", [("reward/mean", -1.0), ("train/loss", 1.0)])
def test_the_pruner_stops_a_job_that_is_worse_than_the_others(tmp_path, metric, is_worse):
    """The study maximizes the evaluation; the watched number may be one of which less is better."""
    made = plan("+stage=[base,r1_zero,evaluate]", f"runs_dir={tmp_path}", f"sweep.watch={metric}")
    one = step(made, "r1_zero")
    one.dir.mkdir(parents=True)
    stops = []

    def job(jobs, first):
        for number, overrides in enumerate(jobs, first):
            stop = StopRequest()
            pruner = find_pruner(tmp_path, number, made.config, stop)
            (one.dir / "metrics.jsonl").unlink(missing_ok=True)
            pruner.begin(one, made)
            for row in range(1, 5):
                append_jsonl(one.dir / "metrics.jsonl", [{"step": row, metric: is_worse * number}])
                pruner.poll()
            stops.append((stop.is_requested, pruner.is_pruned))
            Job(number, list(overrides), tmp_path, objective=0.5).set_state(PRUNED if pruner.is_pruned else DONE)

    StudySweep(search_of(WORDS, {}), options(tmp_path, pruner=MEDIAN, n_trials=2, n_jobs=1), tmp_path, job).run()
    assert stops == [(False, False), (True, True)]


def test_without_a_pruner_no_job_is_watched(tmp_path):
    run(tmp_path, Launcher(tmp_path), n_trials=1)
    assert find_pruner(tmp_path, 0, config("+stage=r1_zero"), StopRequest()) is None
