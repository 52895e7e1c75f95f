"""What a stage is told before its first step, and why reward models have nothing to learn from: each with its key."""

import pytest

from stages.config import DataConfig, GrpoConfig, OptimConfig, RewardModelsConfig, SftConfig
from stages.contract import files
from stages.kinds.reward_models.data import why_no_labels, why_no_pairs
from stages.kinds.reward_models.training import blind
from stages.training.alarms import report_once
from stages.training.beginnings import of_reward_model, of_rl, of_sft

SFT = SftConfig(batch_size=8, max_tokens=100)
RM = RewardModelsConfig(batch_size=8)
WARM = OptimConfig(lr=1e-3, warmup_steps=10)


@pytest.mark.parametrize(
    "found, name, seen, key",
    [
        (
            of_sft("distill", SFT, [5] * 8, 1, 9),
            "too_long",
            "1 of 9 samples are longer than 100",
            "stages.distill.max_tok",
        ),
        (of_sft("distill", SFT, [1, 1] + [5] * 8, 0, 9), "empty_targets", "2 of 10", "traces.completion_column"),
        (
            of_sft("distill", SFT, [5] * 7, 0, 9),
            "small_data",
            "asks for 8 samples, and there are 7",
            "distill.batch_size",
        ),
        (
            of_sft("distill", SftConfig(batch_size=8, optim=WARM), [5] * 8, 0, 4),
            "no_peak",
            "the warm-up takes 10 steps and the stage 4: the learning rate never reaches 0.001, and 0.0004 at most",
            "stages.distill.optim.warmup_steps",
        ),
        (
            of_rl("r1_zero", GrpoConfig(prompts_per_step=4, updates_per_rollout=2), 7),
            "small_data",
            "asks for 8 prompts, and there are 7",
            "stages.r1_zero.prompts_per_step",
        ),
        (
            of_reward_model("reward_models", RM, "safety", 3, 9),
            "small_data",
            "8 items of the safety model",
            "batch_size",
        ),
    ],
)
def test_little_can_be_learned(found, name, seen, key):
    (alarm,) = found
    assert alarm.name == name and seen in alarm.message and key in alarm.advice and alarm.step == 0


def test_enough_data_is_not_spoken_of():
    assert of_sft("distill", SFT, [5] * 20, 2, 11) == []
    assert of_rl("r1_zero", GrpoConfig(), None) == [] and of_rl("r1_zero", GrpoConfig(), 512) == []
    assert of_sft("distill", SftConfig(batch_size=8, optim=WARM), [5] * 8, 0, 11) == []


def test_it_is_said_once_however_often_the_stage_is_resumed(tmp_path):
    class Stage:
        dir, is_main, lines = tmp_path, True, []

        def say(self, line):
            self.lines.append(line)

    for _ in range(2):
        report_once(Stage(), of_sft("distill", SFT, [5] * 7, 0, 9))
    assert len(files.read_jsonl(tmp_path / "alarms.jsonl")) == 1 and len(Stage.lines) == 1


@pytest.mark.parametrize(
    "metrics, num_pairs, seen",
    [
        ({"helpful/judged": 9, "helpful/too_close": 8, "helpful/unjudged": 1}, 0, "8 of 9 judged pairs are ties"),
        ({"helpful/judged": 9, "helpful/too_close": 1, "helpful/unjudged": 8}, 0, "replies about 8 of 9 pairs"),
        ({"helpful/judged": 0}, 0, "no two completions of a prompt differ"),
        ({"helpful/judged": 9, "helpful/too_long": 5}, 0, "5 pairs are too long"),
        ({"helpful/judged": 9}, 2, "all 2 pairs are held out"),
    ],
)
def test_why_there_are_no_pairs(metrics, num_pairs, seen):
    assert seen in why_no_pairs("reward_models", RM, num_pairs, metrics)


def test_pairs_of_a_file_that_do_not_differ():
    config = RewardModelsConfig(data=DataConfig(name="file", path="pairs.jsonl", rows="preferences"))
    assert "chosen and rejected differ: check their columns" in why_no_pairs("reward_models", config, 0, {})


def test_why_there_are_not_two_classes():
    assert "all 3 completions are labelled safe" in why_no_labels("reward_models", [True] * 3)
    assert "labelled unsafe" in why_no_labels("reward_models", [False])
    assert "there are no safety labels" in why_no_labels("reward_models", [])
    assert "what is not held out has one class" in why_no_labels("reward_models", [True, False])


@pytest.mark.parametrize(
    "accuracy, count, is_said",
    [(0.5, 20, True), (0.55, 400, True), (0.56, 400, False), (0.4, 19, False), (float("nan"), 0, False)],
)
def test_a_reward_model_that_is_no_better_than_a_coin(accuracy, count, is_said):
    for unit in ("pairs", "labels"):
        metrics = {"helpful/holdout_accuracy": accuracy, f"helpful/holdout_{unit}": count}
        assert bool(blind("helpful", metrics, 9, "reward_models")) == is_said
