"""What is said after the first three steps of RL, and what of a collapse: once, with the reason and the key."""

import pytest

from stages.config import GrpoConfig, HealthConfig
from stages.contract import files
from stages.kinds.grpo.first_steps import FirstSteps
from stages.prompting.templates import apply_template
from stages.rewards.unanswered import asks_for_form
from stages.training.collapse import what_collapsed
from stages.training.health import HealthWatch, Unhealthy, alarms
from tests.support.rollouts import a_prompt, a_row, answered

CONFIG = GrpoConfig(updates_per_rollout=1)
HEALTHY = {
    "reward/accuracy": 0.3,
    "reward/format": 0.5,
    "reward/mean": 0.5,
    "reward/zero_std_frac": 0.2,
    "completion/truncated_frac": 0.0,
}
NOTHING = {**HEALTHY, "reward/accuracy": 0.0, "reward/format": 0.0, "reward/mean": 0.0, "reward/zero_std_frac": 1.0}


def said(*rows: dict, texts=("I would say 17.",), config=CONFIG, asks=False, already=0) -> list[list]:
    """The alarms of each step, of which the first `already` ones were logged by an earlier attempt."""
    logged = [{"step": step, **row} for step, row in enumerate(rows[:already], 1)]
    watch = FirstSteps("r1_zero", config, logged, lambda rollout: asks)
    batch = [a_row(text) for text in texts] * 8
    return [watch(step, row, batch) for step, row in list(enumerate(rows, 1))[already:]]


def test_a_healthy_start_raises_nothing():
    assert said(*[HEALTHY] * 6) == [[]] * 6
    assert said(NOTHING, NOTHING, {**HEALTHY, "reward/accuracy": 0.01}, NOTHING, NOTHING) == [[]] * 5


@pytest.mark.parametrize("already", [0, 1, 2])
def test_it_is_said_once_after_the_third_step_whether_or_not_it_was_interrupted(already):
    *before, (alarm,), after, later = said(*[NOTHING] * 5, already=already)
    assert not any(before) and not after and not later
    assert (alarm.name, alarm.step) == ("no_answer", 3)
    assert "no completion of the first 3 steps was right; of step 3, 8 of 8 completions" in alarm.message
    assert "nothing asks for the tags: the template plain" in alarm.message
    assert "stages.r1_zero.data.template=r1_zero" in alarm.advice


def test_a_stage_of_two_steps_says_it_at_its_end():
    assert [len(found) for found in said(NOTHING, NOTHING, config=GrpoConfig(num_steps=2, updates_per_rollout=1))] == [
        0,
        1,
    ]


@pytest.mark.parametrize(
    "change, texts, name, words, key",
    [
        ({}, (answered("27"),), "all_wrong", "8 of 8 of step 3 have an answer that was read", "data.verifier"),
        ({"reward/accuracy": 1.0, "reward/mean": 1.5}, (answered("28"),), "all_right", "every completion", "harder"),
        (
            {"reward/accuracy": 0.5},
            (answered("28"), answered("1")),
            "all_equal",
            "the same reward (its mean is 0)",
            "group",
        ),
        (
            {"reward/accuracy": 0.5, "reward/zero_std_frac": 0.5},
            ("\\boxed{28}",),
            "no_format",
            "has the form <think>",
            "stages.r1_zero.rewards.format=0",
        ),
    ],
)
def test_other_reasons_why_nothing_is_learned(change, texts, name, words, key):
    ((alarm,),) = said(*[{**NOTHING, **change}] * 3, texts=texts)[2:]
    assert alarm.name == name and words in alarm.message and key in alarm.advice


@pytest.mark.parametrize("prompts, name", [(1, "all_equal"), (2, "all_right")])
def test_a_few_problems_that_are_all_right_are_no_reason(prompts, name):
    """A mix of mostly general prompts may have three problems in three steps."""
    row = {**NOTHING, "reward/accuracy": 1.0, "reward/reasoning_prompts": prompts}
    assert [alarm.name for alarm in said(*[row] * 3, texts=(answered("28"),))[2]] == [name]
    mixed = {**row, "reward/accuracy": 0.0, "reward/zero_std_frac": 0.5, "reward/format": 1.0}
    found = said(*[mixed] * 3, texts=(answered("27"),))[2]
    assert [alarm.name for alarm in found] == (["all_wrong"] if name == "all_right" else [])


def test_general_prompts_without_a_spread():
    row = {"reward/mean": 2.0, "reward/zero_std_frac": 1.0}
    watch = FirstSteps("preference_rl", CONFIG, [], lambda rollout: True)
    batch = [a_row("Hello.", a_prompt(kind="greet"))] * 8
    assert [[alarm.name for alarm in watch(step, row, batch)] for step in (1, 2, 3)] == [[], [], ["all_equal"]]


def test_whether_a_template_asks_for_the_form():
    assert asks_for_form(apply_template("What is 2+2?", "r1_zero"))
    assert not asks_for_form(apply_template("What is 2+2?", "plain"))
    assert asks_for_form("Put your final answer in \\boxed{}.")


def rows(*changes: dict) -> list[dict]:
    start = {"reward/accuracy": 0.44, "reward/mean": 0.6, "completion/truncated_frac": 0.1, "train/lr": 1e-3}
    return [{"step": step, **start, **change} for step, change in enumerate(changes, 1)]


LOST = {"reward/accuracy": 0.0, "reward/mean": 0.2}
ALSO = {"reward/accuracy": 0.0, "reward/mean": 0.1}  # the next rollout
RIGHT, HALF = {"reward/accuracy": 1.0, "reward/mean": 1.1}, {"reward/accuracy": 0.5, "reward/mean": 0.9}
ONE, TWO = {"reward/reasoning_prompts": 1}, {"reward/reasoning_prompts": 2}
SOME = [{**LOST, **ONE}, {**ALSO, **ONE}] * 6  # a dozen problems, one in each rollout
CUT = {"reward/accuracy": 0.0, "reward/mean": 0.0, "completion/truncated_frac": 1.0}


@pytest.mark.parametrize(
    "changes, begins",
    [
        ([{}, LOST, CUT, CUT], 3),  # what the tiny recipe's rate did to a model of 135M
        ([{}, {}, CUT], 3),
        ([{}, {"reward/accuracy": 0.4}, {"reward/accuracy": 0.2}, {"reward/accuracy": 0.03}, LOST], 5),
        ([{}, LOST, {}, LOST, {}], None),  # bad luck with a few prompts
        ([{}, {}, LOST, LOST, LOST], None),  # and with one rollout, on which several steps are made
        ([{}, {}, LOST, LOST, ALSO], 5),
        ([{"reward/accuracy": 0.1}, LOST, ALSO, LOST], None),  # there was too little to lose
        ([LOST, ALSO, {}, {}], None),
        ([{}, {**LOST, **ONE}, {**ALSO, **ONE}, {}], None),  # two hard problems, one in each rollout
        ([{}, {**LOST, **ONE}, {**ALSO, **ONE}, {**LOST, **ONE}, {**ALSO, **ONE}, ALSO], 6),
        ([{}, *SOME[:11]], None),  # 0.56 ** 11 is 0.0017
        ([{}, *SOME], 13),
        # preference RL of SmolLM2: sums are right or wrong as a whole, four times wrong in a row
        (
            [{**RIGHT, **ONE}, {**HALF, **TWO}, {**RIGHT, **TWO}, {**LOST, **ONE}, {**ALSO, **ONE}, {**LOST, **TWO}],
            None,
        ),
        ([{}] * 30, None),
    ],
)
def test_a_collapse_is_named_once(changes, begins):
    found = [
        [alarm.name for alarm in alarms(rows(*changes)[:end], HealthConfig()) if alarm.name == "collapse"]
        for end in range(1, len(changes) + 1)
    ]
    assert found == [["collapse"] if step == begins else [] for step in range(1, len(changes) + 1)]


def test_a_collapse_names_what_went_with_it_and_the_rate():
    history = rows({"policy/entropy": 0.5}, {**CUT, "policy/entropy": 4.0})
    assert what_collapsed(history) == (
        "reward/accuracy fell from 0.44 to 0 in one rollout (share of cut completions 0.1 to 1, entropy 0.5 to 4): the "
        "policy has collapsed, and the learning rate 0.001 is likely too high for this model; try "
        "stages.NAME.optim.lr=0.0001 or less"
    )


def test_a_loss_that_rises_far_is_a_collapse_too():
    losses = [3.0, 2.5, 2.0, 9.0, 9.5]
    history = [{"step": step, "train/loss": loss, "train/lr": 0.1} for step, loss in enumerate(losses, 1)]
    assert "train/loss rose from 2.5 to 9.5" in what_collapsed(history)
    assert what_collapsed(history[:4]) is None and what_collapsed([]) is None


def test_the_alarm_names_the_key_of_its_stage(tmp_path):
    class Stage:
        dir, is_main, stage, lines = tmp_path, True, "reasoning_rl", []

        def say(self, line):
            self.lines.append(line)

    watch = HealthWatch(Stage(), HealthConfig(on_alarm="stop"))
    with pytest.raises(Unhealthy) as caught:
        for row in rows({}, {}, CUT):
            watch(row["step"], {name: value for name, value in row.items() if name != "step"} | {"train/loss": 0.0})
    (alarm, _) = files.read_jsonl(tmp_path / "alarms.jsonl")
    assert "stages.reasoning_rl.optim.lr=0.0001" in alarm["message"]
    assert "lower stages.reasoning_rl.optim.lr" in caught.value.fix
