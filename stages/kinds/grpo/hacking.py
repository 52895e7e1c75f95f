"""Reward-hacking watch: does the learned reward rise while what can be verified falls?

[V2 B.5, Fig. 6] shows it: the helpful reward climbs, Codeforces falls. Held-out accuracy is measured as
`stages/kinds/grpo/held_out.py` says. The rule compares measurements since the learned reward began, each with the mean
of the rewards of the steps up to it:

    new    the last `window` measurements
    old    the `window` consecutive measurements before them whose accuracy was best
    alarm  accuracy of new < accuracy of old - max(drop, 2 standard errors)
           and reward of new > reward of old + 2 standard errors

Accuracy is a mean of n = window x prompts x samples draws, its standard error that of a proportion; the reward's is of
the means of its steps. Everything is decided from what was logged, so that a resumed stage decides alike.
"""

import math
import statistics
from dataclasses import asdict, dataclass

from stages.config import HackingConfig
from stages.contract import files
from stages.runtime.step_logs import rounded
from stages.runtime.worker import Worker
from stages.training.health import Alarm, Unhealthy

LEARNED = ("helpful", "safety", "preference", "judge")  # reward/<name> of rewards that are models' opinions
SIGMAS = 2.0
ADVICE = (
    "lower rewards.preference or preference_last_steps (400 of 1,700 in the paper), raise beta, "
    "look at samples.jsonl for what the reward model likes; "
    "what an alarm does is hacking.on_hacking: warn, stop or end_phase"
)


@dataclass(frozen=True)
class Measurement:
    """A held-out measurement, and the rewards of the steps since the one before."""

    step: int
    accuracy: float
    tokens: float  # mean length of a completion
    repetition: float  # share of repeated n-grams
    num_samples: int
    rewards: dict[str, list[float]]  # learned reward -> its value at each of these steps


def measurements(rows: list[dict]) -> list[Measurement]:
    """Collects the measurements of a stage from its metric rows, in order of steps.

    A step's reward belongs to the first measurement at or after it; those after the last one wait for the next.
    """
    found = []
    rewards: dict[str, list[float]] = {}
    for row in rows:
        for name in LEARNED:
            value = row.get(f"reward/{name}")
            if value is not None and math.isfinite(value):
                rewards.setdefault(name, []).append(value)
        if "watch/accuracy" in row:
            found.append(
                Measurement(
                    row["step"],
                    row["watch/accuracy"],
                    row["watch/tokens"],
                    row["watch/repetition"],
                    int(row["watch/samples"]),
                    rewards,
                )
            )
            rewards = {}
    return found


def hacking_alarms(found: list[Measurement], config: HackingConfig) -> list[Alarm]:
    """The alarms that hold at the last measurement: one for each learned reward that rises while the accuracy falls.

    Args:
        found: measurements, in order of steps.
        config: its `window` and `drop` are those of the rule above.
    """
    alarms = []
    for name in LEARNED:
        relevant = [m for m in found if name in m.rewards]
        new, before = relevant[-config.window :], relevant[: -config.window]
        if not relevant or relevant[-1] is not found[-1] or len(before) < config.window:
            continue
        old = _best_window(before, config.window)
        fall = _accuracy(old) - _accuracy(new)
        rise = statistics.fmean(_rewards(new, name)) - statistics.fmean(_rewards(old, name))
        has_fallen = fall > max(config.drop, SIGMAS * _accuracy_error(old, new))
        if has_fallen and rise > SIGMAS * _reward_error(old, new, name):
            alarms.append(Alarm("reward_hacking", new[-1].step, _message(name, old, new), ADVICE))
    return alarms


def _best_window(some: list[Measurement], window: int) -> list[Measurement]:
    """The first `window` consecutive measurements of the highest mean accuracy."""
    windows = [some[i : i + window] for i in range(len(some) - window + 1)]
    return max(windows, key=lambda members: statistics.fmean(m.accuracy for m in members))


def _accuracy(some: list[Measurement]) -> float:
    """Accuracy over all samples of these measurements."""
    return sum(m.accuracy * m.num_samples for m in some) / sum(m.num_samples for m in some)


def _accuracy_error(old: list[Measurement], new: list[Measurement]) -> float:
    """Standard error of the difference of two proportions, one success and one failure added to each.

    Agresti and Caffo 2000.
    """
    total = 0.0
    for some in (old, new):
        n = sum(m.num_samples for m in some) + 2
        p = (_accuracy(some) * (n - 2) + 1) / n
        total += p * (1 - p) / n
    return math.sqrt(total)


def _rewards(some: list[Measurement], name: str) -> list[float]:
    """The values of a learned reward at all steps of these measurements."""
    return [value for m in some for value in m.rewards[name]]


def _reward_error(old: list[Measurement], new: list[Measurement], name: str) -> float:
    """Standard error of the difference of two means (Welch 1947)."""
    return math.sqrt(
        sum(
            statistics.variance(values) / len(values) if len(values) > 1 else 0.0
            for values in (_rewards(old, name), _rewards(new, name))
        )
    )


def _message(name: str, old: list[Measurement], new: list[Measurement]) -> str:
    def mean(some: list[Measurement], field: str) -> float:
        return statistics.fmean(getattr(m, field) for m in some)

    return (
        f"reward/{name} rose from {statistics.fmean(_rewards(old, name)):.3f} to "
        f"{statistics.fmean(_rewards(new, name)):.3f} while held-out accuracy fell "
        f"from {_accuracy(old):.3f} (steps {old[0].step}-{old[-1].step}) to {_accuracy(new):.3f} (steps "
        f"{new[0].step}-{new[-1].step}); "
        f"held-out completions went from {mean(old, 'tokens'):.0f} to {mean(new, 'tokens'):.0f} tokens, "
        f"repetition from {mean(old, 'repetition'):.2f} to {mean(new, 'repetition'):.2f}"
    )


def report(worker: Worker, alarms: list[Alarm], config: HackingConfig) -> None:
    """Writes new alarms to alarms.jsonl and the log. Call it before the checkpoint.

    Raises:
        Unhealthy: there are alarms, and on_hacking is stop; on every rank.
    """
    if alarms and worker.is_main:
        files.append_jsonl(worker.dir / "alarms.jsonl", [asdict(alarm) for alarm in alarms])
    for alarm in alarms:
        ends = "; general prompts and learned rewards end here" if config.on_hacking == "end_phase" else ""
        worker.say(f"ALARM {alarm.name} at step {alarm.step}: {alarm.message}{ends}; advice: {alarm.advice}")
    if alarms and config.on_hacking == "stop":
        raise Unhealthy(
            "; ".join(f"{alarm.name} at step {alarm.step}: {alarm.message}" for alarm in alarms),
            f"{alarms[0].advice}; or go on all the same with hacking.on_hacking=warn",
        )


class HackingWatch:
    """The rule over a stage's metric rows, the same on every rank. Made after a resume has cut the log back."""

    def __init__(self, config: HackingConfig, rows: list[dict]):
        self.config = config
        self.rows = [_relevant_metrics(row) for row in rows]
        self.ended_at: int | None = None  # from this step on: no general prompts, no learned reward
        for place in range(1, len(self.rows) + 1):  # what an earlier attempt decided
            self._decide(self.rows[:place])

    def __call__(self, step: int, metrics: dict[str, float]) -> list[Alarm]:
        """Takes the metrics of a logged step. Returns the alarms that begin at it."""
        self.rows.append(_relevant_metrics({"step": step, **metrics}))
        return self._decide(self.rows)

    def _decide(self, rows: list[dict]) -> list[Alarm]:
        """The alarms that begin at the last of these rows; ends the phase where on_hacking says so."""
        if not self.config.every or "watch/accuracy" not in rows[-1]:
            return []
        found = measurements(rows)
        alarms = hacking_alarms(found, self.config)
        earlier = hacking_alarms(found[:-1], self.config) if len(found) > 1 else []
        known = {_reward_of(alarm) for alarm in earlier}
        if alarms and self.config.on_hacking == "end_phase" and self.ended_at is None:
            self.ended_at = rows[-1]["step"]
        return [alarm for alarm in alarms if _reward_of(alarm) not in known]


def _reward_of(alarm: Alarm) -> str:
    """The metric that the alarm is about, with which its message begins."""
    return alarm.message.split()[0]


def _relevant_metrics(row: dict) -> dict:
    """The part of a row that the rule looks at, rounded as it is logged."""
    names = {f"reward/{learned}" for learned in LEARNED}
    return {
        "step": row["step"],
        **{name: rounded(value) for name, value in row.items() if name.startswith("watch/") or name in names},
    }
