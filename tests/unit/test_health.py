"""Alarms on metric rows made by hand: each begins where it should, once, and stays silent on a healthy run."""

import json
import math

import pytest

from stages.config import HealthConfig
from stages.contract import files
from stages.training.health import HealthWatch, RollBack, Unhealthy, alarms

HEALTHY = {
    "train/loss": 0.01,
    "train/grad_norm": 0.5,
    "reward/mean": 0.7,
    "reward/zero_std_frac": 0.1,
    "reward/language": math.nan,
    "policy/kl": 0.02,
    "policy/entropy": 0.3,
    "policy/mismatch_kl": 1e-9,
    "completion/truncated_frac": 0.02,
}
CONFIG = HealthConfig(flat_steps=3)


def rows(*changes: dict) -> list[dict]:
    """One healthy row a step, each with its changes."""
    return [{"step": step, **HEALTHY, **change} for step, change in enumerate(changes, 1)]


def begin(*changes: dict, config: HealthConfig = CONFIG) -> list[list[str]]:
    """The names of the alarms that begin at each step."""
    history = rows(*changes)
    return [[alarm.name for alarm in alarms(history[:end], config)] for end in range(1, len(history) + 1)]


def test_a_healthy_run_raises_none():
    assert begin(*[{}] * 30) == [[]] * 30 and alarms([]) == []
    supervised = [{"step": step, "train/loss": 2.0, "train/grad_norm": 1.0, "train/lr": 1e-3} for step in range(1, 40)]
    assert alarms(supervised, CONFIG) == []


@pytest.mark.parametrize(
    "change, name, seen",
    [
        ({"train/loss": math.nan}, "non_finite", "train/loss is nan at step 2"),
        (
            {"train/grad_norm": math.inf, "train/loss": math.nan},
            "non_finite",
            "train/loss is nan and train/grad_norm is inf at step 2",
        ),
        ({"helpful/loss": math.inf}, "non_finite", "helpful/loss is inf at step 2"),
        ({"policy/kl": 1.3}, "kl_blow_up", "policy/kl is 1.3 nats a token, over 1"),
        ({"policy/kl": math.nan}, "kl_blow_up", "policy/kl is nan"),
        ({"policy/entropy": 0.004}, "entropy_collapse", "policy/entropy is 0.004 nats a token, under 0.005"),
        ({"completion/truncated_frac": 0.6}, "truncation", "60% of the completions were cut"),
        ({"policy/mismatch_kl": 0.2}, "sampler_mismatch", "policy/mismatch_kl is 0.2 nats a token, over 0.05"),
    ],
)
def test_an_alarm_of_one_step_begins_once_and_again_after_it_ended(change, name, seen):
    assert begin({}, change, change, {}, change) == [[], [name], [], [], [name]]
    (alarm,) = alarms(rows({}, change), CONFIG)
    assert seen in alarm.message and alarm.step == 2 and len(alarm.advice) > 20


@pytest.mark.parametrize(
    "change, name, seen",
    [
        ({"reward/mean": 0.0}, "reward_flat", "reward/mean has been 0 for 3 steps"),
        ({"reward/zero_std_frac": 1.0}, "no_signal", "for 3 steps all completions of every prompt had the same reward"),
    ],
)
def test_an_alarm_of_several_steps_needs_all_of_them(change, name, seen):
    assert begin(change, change, {}, change, change, change, change) == [[], [], [], [], [], [name], []]
    assert seen in alarms(rows(change, change, change), CONFIG)[0].message


def test_limits_are_limits():
    at = {"policy/kl": 1.0, "policy/entropy": 0.005, "completion/truncated_frac": 0.5, "policy/mismatch_kl": 0.05}
    assert begin(at) == [[]]
    assert begin(
        at, config=HealthConfig(kl_limit=0.9, entropy_floor=0.006, truncated_limit=0.4, mismatch_kl_limit=0.04)
    ) == [["kl_blow_up", "entropy_collapse", "truncation", "sampler_mismatch"]]


def test_without_a_group_left_there_is_no_entropy_to_measure():
    assert begin({"policy/entropy": 0.0, "reward/zero_std_frac": 1.0}) == [[]]


class Stage:
    """What `HealthWatch` asks of a worker."""

    def __init__(self, directory, is_main=True):
        self.dir, self.is_main, self.lines = directory, is_main, []

    def say(self, line):
        self.lines.append(line)


def watched(worker, history, config=CONFIG) -> list[dict]:
    watch = HealthWatch(worker, config)
    for row in history:
        watch(row["step"], {name: value for name, value in row.items() if name != "step"})
    return files.read_jsonl(worker.dir / "alarms.jsonl")


def test_a_watched_stage_writes_each_alarm_once_whether_or_not_it_was_interrupted(tmp_path):
    flat = {"reward/mean": 0.0}
    history = rows({"policy/kl": 2.0}, flat, flat, flat, flat, {}, {"policy/kl": 2.0})
    found = watched(Stage(tmp_path), history)
    assert [(row["step"], row["name"]) for row in found] == [(1, "kl_blow_up"), (4, "reward_flat"), (7, "kl_blow_up")]
    assert set(found[0]) == {"step", "name", "message", "advice"}
    (tmp_path / "again").mkdir()
    worker = Stage(tmp_path / "again")
    watched(worker, history[:3])
    files.append_jsonl(worker.dir / "metrics.jsonl", history[:3])  # as the log stands when a resume has cut it
    assert watched(worker, history[3:]) == found
    assert worker.lines[1].startswith("ALARM reward_flat at step 4: reward/mean has been 0 for 3 steps")


def test_alarms_see_what_is_logged(tmp_path):
    """0.99999996 is logged as 1.0, which is what a resume would find: all groups flat."""
    assert [row["name"] for row in watched(Stage(tmp_path), rows(*[{"reward/zero_std_frac": 0.99999996}] * 3))] == [
        "no_signal"
    ]


def test_stop_ends_every_rank_with_the_alarm_and_the_advice(tmp_path):
    config = HealthConfig(on_alarm="stop")
    for is_main in (False, True):
        with pytest.raises(Unhealthy, match="non_finite at step 2: train/loss is nan") as caught:
            watched(Stage(tmp_path, is_main), rows({}, {"train/loss": math.nan}), config)
        assert "lower optim.lr" in caught.value.fix and "health.on_alarm=warn" in caught.value.fix
        assert (tmp_path / "alarms.jsonl").exists() == is_main


@pytest.mark.parametrize(
    "change, goes_back",
    [({"train/loss": math.nan}, True), ({"policy/kl": 2.0}, True), ({"completion/truncated_frac": 0.9}, False)],
)
def test_rollback_is_for_what_going_back_can_mend(change, goes_back, tmp_path):
    config = HealthConfig(on_alarm="rollback")
    if goes_back:
        with pytest.raises(RollBack) as caught:
            watched(Stage(tmp_path), rows({}, change), config)
        assert caught.value.step == 2 and caught.value.is_of_batch == ("train/loss" in change)
        with pytest.raises(Unhealthy):
            HealthWatch(Stage(tmp_path), config, can_go_back=False)(1, change)
    else:
        assert len(watched(Stage(tmp_path), rows({}, change), config)) == 1


def test_alarms_are_valid_json_whatever_the_values(tmp_path):
    with pytest.raises(Unhealthy):  # whatever health.on_alarm says
        watched(Stage(tmp_path), rows({"train/loss": math.nan, "policy/kl": math.inf}))
    lines = (tmp_path / "alarms.jsonl").read_text().splitlines()
    written = [json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON")) for line in lines]
    assert [alarm["name"] for alarm in written] == ["non_finite", "kl_blow_up"]
