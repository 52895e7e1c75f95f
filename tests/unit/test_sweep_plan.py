"""`plan -m`: the jobs of a sweep, their time together, and objectives that cannot be compared."""

import pytest

from pipeline.configuration import spelling
from pipeline.errors import InvalidConfig
from pipeline.execution.objectives import objective_mistakes
from pipeline.execution.sweep_plan import plan_sweep
from pipeline.execution.sweeping.directory import sweep_directory
from pipeline.execution.sweeping.job_files import DONE, INTERRUPTED, PRUNED, Job
from tests.support.runs import config, finish, plan

pytestmark = pytest.mark.slow  # composes configurations


@pytest.fixture
def runs(tmp_path):
    return f"runs_dir={tmp_path / 'runs'}"


def test_the_jobs_are_those_of_hydras_sweeper_and_shared_stages_count_once(runs):
    words = spelling.rewrite(["+stage=[base,r1_zero]", runs, "stages.r1_zero.beta=0,0.1", "seed=0,1"])
    made = plan_sweep(words)
    assert made.num_jobs == 4 and not made.errors
    assert [job.overrides for job in made.jobs][:2] == [
        ["stages.r1_zero.beta=0", "seed=0"],
        ["stages.r1_zero.beta=0", "seed=1"],
    ]
    base, rl = plan("+stage=[base,r1_zero]", runs).steps
    times = [job.plan.steps[1].seconds for job in made.jobs]
    assert made.seconds == pytest.approx(2 * base.seconds + sum(times)) and rl.seconds in times


def test_a_ready_made_sweep_and_swept_groups_are_planned_too(runs):
    made = plan_sweep(spelling.rewrite(["+stage=base", runs, "+sweep=seeds"]))
    assert [job.overrides for job in made.jobs] == [["seed=0"], ["seed=1"], ["seed=2"]]
    made = plan_sweep(spelling.rewrite(["+stage=r1_zero", runs, "deepspeed=zero0,zero1"]))
    assert [job.plan.steps[0].config.deepspeed.zero_stage for job in made.jobs] == [0, 1]


def test_a_finished_job_has_nothing_to_make_and_a_mistake_of_one_job_has_its_number(runs):
    finish(plan("+stage=base", runs, "seed=1"), "base")
    made = plan_sweep(["+stage=base", runs, "seed=1,2"])
    assert [job.plan.is_done for job in made.jobs] == [True, False]
    made = plan_sweep(["+stage=base", runs, "model.num_heads=4,16"])
    assert len(made.errors) == 1 and made.errors[0][0].startswith(
        "job 1: model.num_heads 16 gives attention heads of 8"
    )
    with pytest.raises(InvalidConfig, match="must be <= 1, got 7"):
        plan_sweep(["+stage=base", runs, "stages.base.optim.lr=1e-3,7"])


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["+stage=base", "sweep.stage=r1_zero"], "sweep.stage=r1_zero: the jobs do not make it; they make base"),
        (["+stage=r1_zero", "sweep.metric=reward/maen"], "did you mean reward/mean?"),
        (["+stage=r1_zero", "sweep.metric=rewards/mean"], "r1_zero has no such number"),
        (["+stage=r1_zero", "sweep.set=tiny_math"], "the jobs evaluate nothing"),
        (["+stage=all", "sweep.set=tiny_mat"], "did you mean tiny_math?"),
        (["+stage=all", "sweep.set=tiny_math", "sweep.metric=pas@1"], "did you mean pass@1?"),
    ],
)
def test_an_objective_that_the_jobs_do_not_have_is_a_mistake_before_the_first_one(overrides, message):
    (mistake,) = objective_mistakes(config(*overrides))
    assert message in mistake


@pytest.mark.parametrize(
    "overrides",
    [
        ["+stage=all"],
        ["+stage=all", "sweep.stage=r1_zero", "sweep.set=tiny_safety", "sweep.metric=harmful_refused"],
        ["+stage=r1_zero", "sweep.metric=words/wait"],
        ["+stage=r1_zero", "sweep.metric=level/4/accuracy"],
        ["+stage=all", "eval=[gsm8k]", "sweep.set=gsm8k", "sweep.metric=cons@16"],
    ],
)
def test_objectives_that_can_be_compared(overrides):
    assert objective_mistakes(config(*overrides)) == []


def test_a_job_with_some_values_stands_for_those_that_a_sweeper_chooses(runs):
    words = [runs, "+stage=base", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=10"]
    finish(plan("+stage=base", runs), "base")  # with the values that are not searched
    made = plan_sweep([*words, "stages.base.num_steps=int(interval(2,8))"])
    assert made.jobs[0].overrides == ["stages.base.num_steps=5"] and made.num_jobs == 10
    assert made.seconds == pytest.approx(10 * made.jobs[0].plan.steps[0].seconds) and made.seconds > 60
    finish(plan("+stage=base", runs, "stages.base.num_steps=5"), "base")
    again = plan_sweep([*words, "stages.base.num_steps=int(interval(2,8))"])
    assert again.jobs[0].overrides == ["stages.base.num_steps=8"] and again.seconds > 60
    rate = plan_sweep([*words, "stages.base.optim.lr=tag(log,interval(1e-4,1e-2))", "seed=1,2"])
    assert rate.jobs[0].overrides[1] == "seed=2"
    assert rate.jobs[0].plan.config.stages.base.optim.lr == pytest.approx(1e-3)


def test_jobs_of_a_sweeper_that_have_ended_are_not_counted_again(runs):
    words = [runs, "+stage=base", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "seed=1,2,3,4"]
    for number, state in enumerate((DONE, PRUNED, INTERRUPTED)):
        Job(number, [f"seed={number + 1}"], sweep_directory(config(runs), words)).set_state(state)
    made = plan_sweep(words)
    assert made.num_done == 2 and made.seconds == pytest.approx(2 * made.jobs[0].plan.steps[0].seconds)


@pytest.mark.parametrize(
    "word, message",
    [
        ("stages.base.optim.lr=interval(1e-4,7)", "must be <= 1, got 7"),
        ("stages.base.num_steps=interval(1,7)", r"whole numbers; write 'stages.base.num_steps=int\(interval\(1,7\)\)'"),
    ],
)
def test_the_ends_of_an_interval_are_checked(runs, word, message):
    with pytest.raises(InvalidConfig, match=message):
        plan_sweep([runs, "+stage=base", "hydra/sweeper=optuna", word])
