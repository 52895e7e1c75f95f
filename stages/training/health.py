"""Health alarms: pure functions of the last rows of metrics.jsonl, and what a training loop does with them."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from stages.config import HealthConfig
from stages.contract import files
from stages.runtime.worker import Worker, rounded


@dataclass(frozen=True)
class Alarm:
    """Something that a person should look at: since which step, what was seen, what to try."""

    name: str
    step: int
    message: str
    advice: str


OF_BATCH = {"non_finite"}  # its own batch is the cause; what the others show, the steps before have done
CURABLE = OF_BATCH | {
    "kl_blow_up",
    "entropy_collapse",
    "sampler_mismatch",
}  # by going back; the others are of the data and the settings


class RollBack(Exception):
    """Alarms where health.on_alarm is rollback: the loop goes back (`stages/training/rollback.py`)."""

    def __init__(self, found: list[Alarm]):
        super().__init__("; ".join(f"{alarm.name} at step {alarm.step}: {alarm.message}" for alarm in found))
        self.step, self.advice = found[0].step, "; or ".join(alarm.advice for alarm in found)
        self.is_of_batch = all(alarm.name in OF_BATCH for alarm in found)


class Unhealthy(RuntimeError):
    """An alarm where health.on_alarm is stop, or is rollback and that cannot help."""

    def __init__(self, message: str, fix: str):
        super().__init__(message)
        self.fix = fix


def alarms(history: list[dict], config: HealthConfig = HealthConfig()) -> list[Alarm]:
    """The alarms that begin at the last row: they hold now and did not hold one row before. Rows are in order of steps.

    >>> [alarm.name for alarm in alarms([{"step": 1, "train/loss": 0.5}, {"step": 2, "train/loss": float("nan")}])]
    ['non_finite']
    """
    before = {alarm.name for alarm in _holding(history[:-1], config)}
    return [alarm for alarm in _holding(history, config) if alarm.name not in before]


def _holding(history: list[dict], config: HealthConfig) -> Iterator[Alarm]:
    """The alarms that hold at the last row."""
    if not history:
        return
    row = history[-1]
    step = row["step"]
    broken = [
        name for name, value in row.items() if name.split("/")[-1] in ("loss", "grad_norm") and not math.isfinite(value)
    ]
    if broken:
        yield Alarm(
            "non_finite",
            step,
            f"{' and '.join(f'{name} is {row[name]}' for name in broken)} at step {step}",
            "lower optim.lr, set optim.grad_clip, or use bf16 or fp32 where fp16 overflows; "
            "continue from a checkpoint before this step",
        )
    if _over(row, "policy/kl", config.kl_limit):
        yield Alarm(
            "kl_blow_up",
            step,
            f"policy/kl is {row['policy/kl']:.3g} nats a token, over {config.kl_limit:g}: "
            "the policy has left its reference",
            "lower optim.lr, raise beta, or refresh the reference more often (reference_every)",
        )
    if (
        row.get("policy/entropy", math.inf) < config.entropy_floor and row.get("reward/zero_std_frac", 0.0) < 1
    ):  # no entropy is measured where no group is left
        yield Alarm(
            "entropy_collapse",
            step,
            f"policy/entropy is {row['policy/entropy']:.3g} nats a token, under {config.entropy_floor:g}: "
            "it always says the same",
            "raise clip_high or rollout.temperature, lower optim.lr, or stop here if the reward is as high as it gets",
        )
    if _lasts(history, config.flat_steps, "reward/mean", lambda value: abs(value) < 1e-9):
        yield Alarm(
            "reward_flat",
            step,
            f"reward/mean has been 0 for {config.flat_steps} steps: nothing is ever rewarded",
            "look at samples.jsonl; check data.verifier and data.template, give easier prompts, "
            "or start from a model that solves some of them",
        )
    if _lasts(history, config.flat_steps, "reward/zero_std_frac", lambda value: value >= 1):
        yield Alarm(
            "no_signal",
            step,
            f"for {config.flat_steps} steps all completions of every prompt had the same reward: nothing is learned",
            "give harder prompts if the reward is high, easier ones if it is low; "
            "raise group_size or rollout.temperature",
        )
    if _over(row, "completion/truncated_frac", config.truncated_limit):
        yield Alarm(
            "truncation",
            step,
            f"{row['completion/truncated_frac']:.0%} of the completions were cut at the length limit",
            "raise max_completion_tokens, or look in samples.jsonl for endless repetition",
        )
    if _over(row, "policy/mismatch_kl", config.mismatch_kl_limit):
        yield Alarm(
            "sampler_mismatch",
            step,
            f"policy/mismatch_kl is {row['policy/mismatch_kl']:.3g} nats a token, "
            f"over {config.mismatch_kl_limit:g}: the sampler "
            "and the trainer do not have the same policy",
            "lower updates_per_rollout or optim.lr; use one precision for both; "
            "rollout=transformers tells who is wrong",
        )


def _over(row: dict, name: str, limit: float) -> bool:
    return name in row and not row[name] <= limit  # NaN is over


def _lasts(history: list[dict], num_steps: int, name: str, holds) -> bool:
    """Whether `holds` was true of a metric in each of the last `num_steps` rows."""
    return len(history) >= num_steps and all(name in row and holds(row[name]) for row in history[-num_steps:])


class Watch:
    """The last metric rows of a stage, from its log and then step by step. Made after the log was cut back by a resume."""

    def __init__(self, worker: Worker, config: HealthConfig, can_go_back: bool = True):
        """`can_go_back`: whether the loop knows RollBack; to one that does not, rollback is stop."""
        self.worker, self.config, self.can_go_back = worker, config, can_go_back
        self.history = files.read_jsonl(worker.dir / "metrics.jsonl")[-config.flat_steps - 1 :]

    def __call__(self, step: int, metrics: dict[str, float]) -> None:
        """Writes new alarms to alarms.jsonl and the log. Raises Unhealthy on every rank where on_alarm is stop,
        RollBack where it is rollback; call before the checkpoint.
        """
        self.history = [*self.history, {"step": step, **{name: rounded(value) for name, value in metrics.items()}}][
            -self.config.flat_steps - 1 :
        ]
        found = alarms(self.history, self.config)
        if found and self.worker.is_main:
            files.append_jsonl(self.worker.dir / "alarms.jsonl", [asdict(alarm) for alarm in found])
        for alarm in found:
            self.worker.say(f"ALARM {alarm.name} at step {step}: {alarm.message}; advice: {alarm.advice}")
        curable = [alarm for alarm in found if alarm.name in CURABLE]
        if curable and self.config.on_alarm == "rollback" and self.can_go_back:
            raise RollBack(curable)
        if (found and self.config.on_alarm == "stop") or (curable and self.config.on_alarm == "rollback"):
            raise Unhealthy(
                "; ".join(f"{alarm.name} at step {step}: {alarm.message}" for alarm in found),
                "; or ".join(alarm.advice for alarm in found) + "; or go on all the same with health.on_alarm=warn",
            )
