"""Overrides that change nothing in any planned stage are said, and those that change something are not."""

import pytest

from pipeline.configuration import compose, spelling
from pipeline.configuration.ignored import ignored
from pipeline.configuration.notes import notes
from pipeline.errors import InvalidConfig

pytestmark = pytest.mark.slow  # composes configurations


def said(*overrides: str, is_sweep: bool = False) -> list[str]:
    words = spelling.rewrite(list(overrides))
    config, tree = compose.compose_with_tree(words, is_sweep)
    return [line.replace(" changes nothing here", "") for line in ignored(words, tree, config, is_sweep)]


def test_what_no_planned_stage_reads_is_said_with_the_reason():
    assert said(
        "+stage=[base,r1_zero]",
        "eval.tiny.num_problems=16",
        "stages.reasoning_rl.beta=0.1",
        "stages.r1_zero.optim.muon_lr=0.1",
        "judge.max_tokens=5",
        "sandbox.memory_mib=600",
        "data.verifier=math",
        "prepare.ngram=3",
        "student.distill.num_epochs=1",
        "deepspeed@stages.distill.deepspeed=zero1",
        "launcher.rendezvous_port=3",
        "sweep.metric=reward/mean",
        "tracker.project=mine",
        "notify.on=[end]",
        "seed=1",
        "seed=2",
    ) == [
        "eval.tiny.num_problems=16: evaluate is not among the planned stages",
        "stages.reasoning_rl.beta=0.1: reasoning_rl is not among the planned stages",
        "stages.r1_zero.optim.muon_lr=0.1: name=adamw",
        "judge.max_tokens=5: no planned stage asks a judge",
        "sandbox.memory_mib=600: no planned stage runs programs",
        "data.verifier=math: name=tiny_world generates its prompts",
        "prepare.ngram=3: only `r1 data prepare` reads it",
        "student.distill.num_epochs=1: distill is not among the planned stages",
        "deepspeed@stages.distill.deepspeed=zero1: distill is not among the planned stages",
        "launcher.rendezvous_port=3: name=local",
        "sweep.metric=reward/mean: this is no sweep",
        "tracker.project=mine: no tracker is chosen: tracker=NAME",
        "notify.on=[end]: nobody is told: set notify.command, notify.webhook or notify.desktop",
        "seed=1 changes nothing: the same key is set again behind it",
    ]


def test_a_key_of_another_tracker_is_said():
    words = ("+stage=base", "tracker=[wandb,tensorboard]")
    assert said(*words, "tracker.uri=http://x", "tracker.entity=me") == ["tracker.uri=http://x: only mlflow reads it"]
    assert not said(
        "+stage=base", "tracker=tensorboard", "tracker.completions=2", "notify.desktop=true", "notify.on=[end]"
    )


def test_what_some_planned_stage_reads_is_not_said():
    assert not said(
        "+stage=all",
        "seed=0",
        "rollout.temperature=0.9",
        "stages.base.optim.muon_lr=0.01",
        "model.max_positions=300",
        "student.intermediate_size=48",
        "student.distill.optim.lr=1e-4",
        "deepspeed.zero_stage=0",
        "health.kl_limit=2",
        "launcher.num_processes=1",
        "cost.price_per_hour=2",
        "judge.backend=tiny_world",
        "runs_dir=elsewhere",
        "rollout=vllm",
        "stages.evaluate.num_reasoning=16",
        "stages.distill.traces.path=rows.jsonl",
        "stages.distill.traces.completion_column=text",
    )


def test_suites_read_their_own_keys_and_those_they_follow():
    suites = ("+stage=evaluate", "eval=[gsm8k]")
    assert not said(*suites, "eval.gsm8k.num_problems=5")
    assert said(*suites, "stages.evaluate.num_reasoning=5") == [
        "stages.evaluate.num_reasoning=5: the suites gsm8k have their own: eval.SUITE.KEY"
    ]
    assert said(*suites, "eval.math500.num_problems=5") == [
        "eval.math500.num_problems=5: the suite math500 is not asked for: eval=[math500]"
    ]
    assert not said("+stage=evaluate", "eval=[tiny]", "stages.evaluate.samples_per_prompt=2")
    (line,) = said("+stage=evaluate", "eval=[tiny]", "eval.tiny.num_problems=16")
    assert "its problems are the run's own held-out prompts: stages.evaluate.num_reasoning" in line


def test_of_several_students_each_has_its_own_keys():
    two = ("student@students.a=tiny", "student@students.b=tiny_small")
    assert not said("+stage=all", *two, "students.b.distill.optim.lr=5e-4", "students.a.base.num_steps=9")
    assert said("+stage=all", *two, "student.distill.num_epochs=1") == [
        "student.distill.num_epochs=1: there are several students: students.a.KEY"
    ]
    assert said("+stage=distill_a", *two, "students.b.distill.num_epochs=1") == [
        "student@students.b=tiny_small: student_base_b is not among the planned stages",
        "students.b.distill.num_epochs=1: distill_b is not among the planned stages",
    ]


def test_a_swept_key_and_what_a_sweep_compares_are_not_said():
    words = ("+stage=[base,r1_zero]", "stages.r1_zero.beta=0,0.1", "sweep.metric=reward/mean")
    assert not said(*words, is_sweep=True)


@pytest.mark.parametrize(
    "overrides, message",
    [
        (["students.bb.distill.max_steps=3"], "students.bb: no such student; there is only `student`"),
        (
            ["student@students.b=tiny", "students.bb.distill.max_steps=3"],
            "students are b; did you mean students.b? A new",
        ),
        (["student@students.small=tiny", "students.smal.rl=true"], "did you mean students.small?"),
    ],
)
def test_a_slip_in_a_students_name_is_a_mistake(overrides, message):
    with pytest.raises(InvalidConfig) as caught:
        compose.compose_config(spelling.rewrite(["+stage=all", *overrides]))
    assert message in str(caught.value)


def test_bf16_with_the_tolerance_of_fp32_is_noted():
    words = ["+stage=all", "deepspeed.precision=bf16", "stages.reasoning_rl.deepspeed.precision=fp32"]
    (line,) = notes(compose.compose_config(spelling.rewrite(words)))
    assert line.startswith("r1_zero, preference_rl: bf16 rounds differently")
    assert line.endswith("set rollout.logprob_tolerance=0.5")
    assert not notes(compose.compose_config(spelling.rewrite([*words, "rollout.logprob_tolerance=0.5"])))


def test_a_new_student_is_defined_by_its_model_and_a_near_name_is_noted():
    made = compose.compose_config(
        spelling.rewrite(["students.b.hidden_size=64", "students.b.num_heads=2", "students.bb.path=models/b"])
    )
    assert list(made.students) == ["b", "bb"]
    assert "students b and bb are two students, each with stages of its own" in notes(made)
    others = compose.compose_config(spelling.rewrite(["student@students.a=tiny", "student@students.b=tiny_small"]))
    assert not notes(others)
