"""Reward-hacking watch: does the learned reward rise while what can be verified falls? [V2 B.5, Fig. 6: the helpful
reward climbs, Codeforces falls]

Every `every` steps the policy answers the same few held-out reasoning prompts from the same seeds: accuracy, length and
repetition go to metrics.jsonl as watch/*. The rule, on the measurements since the learned reward began, each with the
mean of the rewards of the steps up to it:

    new    the last `window` measurements
    old    the `window` consecutive measurements before them whose accuracy was best
    alarm  accuracy of new < accuracy of old - max(drop, 2 standard errors)   and   reward of new > reward of old + 2
           standard errors

Accuracy is a mean of n = window x prompts x samples draws, its standard error that of a proportion; the reward's is of
the means of its steps. Everything is decided from what was logged, so that a resumed stage decides alike.
"""

import math
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

from stages.config import GrpoConfig, HackingConfig
from stages.contract import files
from stages.data.prompt_sources import make_source
from stages.prompting.prompt import Prompt
from stages.rewards.grading import grade_many
from stages.runtime.worker import Worker, rounded
from stages.text.repetition import repeated_ngram_share
from stages.training.health import Alarm, Unhealthy
from stages.training.rollouts import Rollout

LEARNED = ("helpful", "safety", "preference", "judge")  # reward/<name> of rewards that are models' opinions
SIGMAS = 2.0
ADVICE = (
    "lower rewards.preference or preference_last_steps (400 of 1,700 in the paper), raise beta, "
    "look at samples.jsonl for what the reward model likes; "
    "what an alarm does is hacking.on_hacking: warn, stop or end_phase"
)


@dataclass(frozen=True)
class Measurement:
    """A held-out measurement and the rewards of the steps since the one before."""

    step: int
    accuracy: float
    tokens: float
    repetition: float
    num_samples: int
    rewards: dict[str, list[float]]  # learned reward -> its value at each of these steps


def measurements(rows: list[dict]) -> list[Measurement]:
    """From metric rows in order. A step's reward belongs to the first measurement at or after it; those after the last
    one wait for the next.
    """
    found, rewards = [], {}
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


def find(found: list[Measurement], config: HackingConfig) -> list[Alarm]:
    """The alarms that hold at the last measurement, one for each learned reward that rises while the accuracy falls."""
    alarms = []
    for name in LEARNED:
        relevant = [m for m in found if name in m.rewards]
        new, before = relevant[-config.window :], relevant[: -config.window]
        if not relevant or relevant[-1] is not found[-1] or len(before) < config.window:
            continue
        old = max(
            (before[i : i + config.window] for i in range(len(before) - config.window + 1)),
            key=lambda some: statistics.fmean(m.accuracy for m in some),
        )
        fall = _accuracy(old) - _accuracy(new)
        rise = statistics.fmean(_rewards(new, name)) - statistics.fmean(_rewards(old, name))
        if fall > max(config.drop, SIGMAS * _accuracy_error(old, new)) and rise > SIGMAS * _reward_error(
            old, new, name
        ):
            alarms.append(Alarm("reward_hacking", new[-1].step, _message(name, old, new), ADVICE))
    return alarms


def _accuracy(some: list[Measurement]) -> float:
    return sum(m.accuracy * m.num_samples for m in some) / sum(m.num_samples for m in some)


def _accuracy_error(old: list[Measurement], new: list[Measurement]) -> float:
    """Standard error of the difference of two proportions, with one success and one failure added to each
    (Agresti-Caffo 2000).
    """
    total = 0.0
    for some in (old, new):
        n = sum(m.num_samples for m in some) + 2
        p = (_accuracy(some) * (n - 2) + 1) / n
        total += p * (1 - p) / n
    return math.sqrt(total)


def _rewards(some: list[Measurement], name: str) -> list[float]:
    return [value for m in some for value in m.rewards[name]]


def _reward_error(old: list[Measurement], new: list[Measurement], name: str) -> float:
    """Standard error of the difference of two means (Welch)."""
    return math.sqrt(
        sum(
            statistics.variance(values) / len(values) if len(values) > 1 else 0.0
            for values in (_rewards(old, name), _rewards(new, name))
        )
    )


def _message(name: str, old: list[Measurement], new: list[Measurement]) -> str:
    mean = lambda some, field: statistics.fmean(getattr(m, field) for m in some)
    return (
        f"reward/{name} rose from {statistics.fmean(_rewards(old, name)):.3f} to "
        f"{statistics.fmean(_rewards(new, name)):.3f} while held-out accuracy fell "
        f"from {_accuracy(old):.3f} (steps {old[0].step}-{old[-1].step}) to {_accuracy(new):.3f} (steps "
        f"{new[0].step}-{new[-1].step}); "
        f"held-out completions went from {mean(old, 'tokens'):.0f} to {mean(new, 'tokens'):.0f} tokens, "
        f"repetition from {mean(old, 'repetition'):.2f} to {mean(new, 'repetition'):.2f}"
    )


def held_out_prompts(worker: Worker, config: GrpoConfig) -> list[Prompt]:
    """The first held-out reasoning prompts: of the tiny world its dev split, so that the test set decides nothing; of
    your own data the held-out rows.
    """
    if not config.hacking.every:
        return []
    source = make_source(config.data, worker.seed, worker.stage, "dev" if config.data.name == "tiny_world" else "test")
    count = min(config.hacking.num_prompts, source.count()) if hasattr(source, "count") else config.hacking.num_prompts
    return [source.get(index) for index in range(count)]


def measure(rollouts: list[Rollout]) -> dict[str, float]:
    """watch/* of sampled held-out completions."""
    grades = grade_many([(r.completion, r.prompt) for r in rollouts])
    return {
        "watch/accuracy": statistics.fmean(grade.value for grade in grades),
        "watch/tokens": statistics.fmean(len(r.completion_ids) for r in rollouts),
        "watch/repetition": statistics.fmean(repeated_ngram_share(r.completion) for r in rollouts),
        "watch/samples": len(rollouts),
    }


class Kept:
    """watch/step_000012.json: a measurement is on disk before the rollouts of its step are, so that a replay of those
    has it.
    """

    def __init__(self, directory: Path):
        self.directory = directory

    def path(self, step: int) -> Path:
        return self.directory / f"step_{step:06d}.json"

    def read(self, step: int) -> dict[str, float] | None:
        try:
            return files.read_json(self.path(step))
        except (OSError, ValueError):  # not measured yet, or spoiled: it is measured again
            return None

    def drop_after(self, step: int) -> None:
        """Forgets measurements of weights that a rollback left."""
        for path in self.directory.glob("step_*.json"):
            if int(path.stem.split("_")[1]) > step:
                path.unlink()

    def write(self, step: int, values: dict[str, float]) -> None:
        files.write_json(self.path(step), values)


def report(worker: Worker, alarms: list[Alarm], config: HackingConfig) -> None:
    """Writes new alarms to alarms.jsonl and the log. Raises Unhealthy on every rank where on_hacking is stop; call
    before the checkpoint.
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
    """The rule over a stage's metric rows. Made after the log was cut back by a resume; the same on every rank."""

    def __init__(self, config: HackingConfig, rows: list[dict]):
        self.config = config
        self.rows = [_needed(row) for row in rows]
        self.ended_at: int | None = None  # from this step on: no general prompts, no learned reward
        for place in range(1, len(self.rows) + 1):  # what an earlier attempt decided
            self._decide(self.rows[:place])

    def is_due(self, step: int) -> bool:
        """Whether the step that comes after `step` steps begins with a measurement."""
        return bool(self.config.every) and step % self.config.every == 0

    def __call__(self, step: int, metrics: dict[str, float]) -> list[Alarm]:
        """Takes a logged row. Returns the alarms that begin at it."""
        self.rows.append(_needed({"step": step, **metrics}))
        return self._decide(self.rows)

    def _decide(self, rows: list[dict]) -> list[Alarm]:
        if not self.config.every or "watch/accuracy" not in rows[-1]:
            return []
        found = measurements(rows)
        alarms = find(found, self.config)
        before = {alarm.message.split()[0] for alarm in find(found[:-1], self.config)} if len(found) > 1 else set()
        if alarms and self.config.on_hacking == "end_phase" and self.ended_at is None:
            self.ended_at = rows[-1]["step"]
        return [alarm for alarm in alarms if alarm.message.split()[0] not in before]


def _needed(row: dict) -> dict:
    names = {f"reward/{learned}" for learned in LEARNED}
    return {
        "step": row["step"],
        **{name: rounded(value) for name, value in row.items() if name.startswith("watch/") or name in names},
    }
