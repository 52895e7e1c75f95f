"""The rule of the reward-hacking watch, on numbers worked by hand."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from stages.config import ConfigError, GrpoConfig, HackingConfig
from stages.kinds.grpo.hacking import HackingWatch, hacking_alarms, measurements
from stages.kinds.grpo.held_out import HeldOutMeasurement, MeasurementFiles

CONFIG = HackingConfig(every=2, num_prompts=32, samples_per_prompt=2, window=2, drop=0.05)


def rows(
    accuracies: list[float], rewards: list[float], name: str = "helpful", samples: int = 64, spread: float = 0.01
) -> list[dict]:
    """Two steps a measurement; the reward of each of the two is a little above and below."""
    made = []
    for place, (accuracy, reward) in enumerate(zip(accuracies, rewards)):
        made.append({"step": 2 * place + 1, f"reward/{name}": reward - spread})
        made.append(
            {
                "step": 2 * place + 2,
                f"reward/{name}": reward + spread,
                "watch/accuracy": accuracy,
                "watch/tokens": 40 + place,
                "watch/repetition": 0.1,
                "watch/samples": samples,
            }
        )
    return made


def holds(*arguments, **more) -> list[str]:
    return [alarm.message.split()[0] for alarm in hacking_alarms(measurements(rows(*arguments, **more)), CONFIG)]


def test_a_steps_reward_belongs_to_the_first_measurement_at_or_after_it():
    found = measurements([*rows([0.9, 0.8], [0.1, 0.2]), {"step": 5, "reward/helpful": 9.0}])
    assert [(m.step, m.accuracy, m.num_samples) for m in found] == [(2, 0.9, 64), (4, 0.8, 64)]
    assert [m.rewards["helpful"] for m in found] == [
        [pytest.approx(0.09), pytest.approx(0.11)],
        [pytest.approx(0.19), pytest.approx(0.21)],
    ]


def test_reward_up_and_accuracy_down_is_an_alarm():
    """0.9 to 0.6 on 128 samples each: standard error of the difference 0.05, so 0.3 is six of them; rewards of 0.1 and
    0.5 differ by far more.
    """
    (alarm,) = hacking_alarms(measurements(rows([0.9, 0.9, 0.6, 0.6], [0.1, 0.1, 0.5, 0.5])), CONFIG)
    assert alarm.name == "reward_hacking" and alarm.step == 8
    assert alarm.message.startswith(
        "reward/helpful rose from 0.100 to 0.500 while held-out accuracy fell from 0.900 (steps 2-4) to 0.600 "
        "(steps 6-8)"
    )
    assert "from 40 to 42 tokens" in alarm.message


@pytest.mark.parametrize(
    "accuracies, rewards",
    [
        ([0.9, 0.9, 0.9, 0.9], [0.1, 0.1, 0.5, 0.5]),  # an honest rise
        ([0.6, 0.6, 0.9, 0.9], [0.1, 0.1, 0.5, 0.5]),  # both rise
        ([0.9, 0.9, 0.6, 0.6], [0.5, 0.5, 0.1, 0.1]),  # both fall: broken, but not hacked
        ([0.9, 0.9, 0.6, 0.6], [0.5, 0.5, 0.5, 0.5]),  # only the accuracy falls
        ([0.9, 0.9, 0.86, 0.86], [0.1, 0.1, 0.5, 0.5]),  # within the least drop
        ([0.9, 0.9, 0.83, 0.83], [0.1, 0.1, 0.5, 0.5]),  # more than that, but within two standard errors (0.086)
        ([0.9, 0.6, 0.6], [0.1, 0.5, 0.5]),  # too few measurements for two windows
    ],
)
def test_no_alarm(accuracies, rewards):
    assert not holds(accuracies, rewards)


def test_a_slow_fall_is_measured_from_the_best_window():
    accuracies, rewards = [0.9, 0.9, 0.86, 0.83, 0.8, 0.76, 0.73, 0.7], [0.1, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert not holds(accuracies[:5], rewards[:5])
    assert holds(accuracies, rewards) == ["reward/helpful"]


def test_each_learned_reward_has_its_own_alarm_and_noise_in_it_counts():
    assert holds([0.9, 0.9, 0.6, 0.6], [0.1, 0.1, 0.5, 0.5], name="safety") == ["reward/safety"]
    assert not holds(
        [0.9, 0.9, 0.6, 0.6], [0.1, 0.1, 0.5, 0.5], name="accuracy"
    )  # what a verifier gives is not an opinion
    assert not holds([0.9, 0.9, 0.6, 0.6], [0.1, 0.1, 0.5, 0.5], spread=0.6)  # standard error of the difference 0.49


def watch(config: HackingConfig, made: list[dict]) -> tuple[HackingWatch, list[int]]:
    watching, begins = HackingWatch(config, []), []
    for row in made:
        begins += [
            alarm.step
            for alarm in watching(row["step"], {name: value for name, value in row.items() if name != "step"})
        ]
    return watching, begins


def test_an_alarm_begins_once_and_a_resume_decides_alike():
    made = rows([0.9, 0.9, 0.6, 0.6, 0.6, 0.6], [0.1, 0.1, 0.5, 0.5, 0.5, 0.5])
    config = HackingConfig(every=2, window=2, on_hacking="end_phase")
    whole, begins = watch(config, made)
    assert begins == [8] and whole.ended_at == 8
    for cut in range(len(made)):  # killed after any step, the log cut back to it
        resumed = HackingWatch(config, made[:cut])
        assert resumed.ended_at == (8 if cut >= 8 else None)
        later = [alarm.step for row in made[cut:] for alarm in resumed(row["step"], row)]
        assert later == ([8] if cut < 8 else []) and resumed.ended_at == 8
    assert watch(HackingConfig(every=2, window=2), made)[0].ended_at is None  # warn goes on
    assert watch(HackingConfig(every=0), made)[1] == []


def due_steps(hacking: HackingConfig, **config) -> list[int]:
    worker = SimpleNamespace(dir=Path("unused"), seed=0, stage="preference_rl")
    measurement = HeldOutMeasurement(worker, GrpoConfig(updates_per_rollout=1, hacking=hacking, **config))
    return [step for step in range(9) if measurement.is_due(step)]


def test_when_a_measurement_is_due():
    assert due_steps(HackingConfig(every=4)) == [0, 4, 8]
    assert due_steps(HackingConfig(every=0)) == []
    assert due_steps(HackingConfig(every=4), num_steps=16, preference_last_steps=12) == [4, 8]  # the mix begins at 4
    with pytest.raises(ConfigError, match="hacking.every 3 is not a multiple of updates_per_rollout 2"):
        GrpoConfig(updates_per_rollout=2, hacking=HackingConfig(every=3))


def test_a_kept_measurement_that_is_spoiled_is_measured_again(tmp_path):
    kept = MeasurementFiles(tmp_path)
    assert kept.read(4) is None
    kept.write(4, {"watch/accuracy": 0.5})
    assert kept.read(4) == {"watch/accuracy": 0.5}
    kept.path(4).write_text('{"watch/acc')
    assert kept.read(4) is None
