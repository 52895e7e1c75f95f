"""Health alarms: pure functions of the last rows of metrics.jsonl, and what a training loop does with them."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from stages.config import HealthConfig
from stages.contract import files
from stages.engines.finite import named
from stages.runtime.distributed import gather_objects
from stages.runtime.errors import HasFix
from stages.runtime.step_logs import rounded
from stages.runtime.worker import Worker
from stages.training.alarms import Alarm, report
from stages.training.collapse import what_collapsed

if TYPE_CHECKING:
    from stages.engines.training import TrainEngine

DEFAULTS = HealthConfig()
FINITE = (  # besides losses and gradient norms; of each a mean over all completions or tokens of a step
    "reward/mean",
    "reward/std",
    "policy/entropy",
    "policy/clip_frac",
    "policy/correction",
    "policy/mismatch_max",
    "policy/probe_mean",
    "policy/probe_max",
)
# The update may differ from the sampler by so many times what the probe saw, and by so many nats a token in any case.
GROWN_GAP, SMALL_GAP = 5, 1e-3
GROWN = 10  # a gradient norm so many times its median has grown


@dataclass(frozen=True)
class Check:
    """One kind of alarm."""

    name: str
    message: Callable[[list[dict], HealthConfig], str | None]  # what is wrong at the last of these rows; None: nothing
    advice: str
    cause: Literal["batch", "weights", "setting"]  # its own batch; what earlier steps did; the data and the settings


def _non_finite(history: list[dict], config: HealthConfig) -> str | None:
    row = history[-1]
    broken = [name for name, value in row.items() if _must_be_finite(name) and not math.isfinite(value)]
    if not broken:
        return None
    seen = " and ".join(f"{name} is {row[name]}" for name in broken)
    return f"{seen} at step {row['step']}; {_likely_reason(history)}"


def _must_be_finite(name: str) -> bool:
    """Whether no step can be right where this metric is NaN or infinite; others may be means of nothing."""
    return name.split("/")[-1] in ("loss", "grad_norm") or name in FINITE


def _likely_reason(history: list[dict]) -> str:
    """Why a step is not finite, as far as the steps before it tell."""
    norms = [row["train/grad_norm"] for row in history[:-1] if math.isfinite(row.get("train/grad_norm", math.nan))]
    if not norms:
        return (
            "it is the first step: the model that the stage starts from or its first batch is to blame, not the "
            "learning rate"
            if history[-1]["step"] == 1
            else "no step before it says why"
        )
    usual = sorted(norms)[len(norms) // 2]
    if norms[-1] > GROWN * usual:
        return (
            f"the gradient had grown from {usual:.3g} to {norms[-1]:.3g} before: the learning rate "
            f"({history[-1].get('train/lr', math.nan):g}) is likely too high"
        )
    return "the steps before it looked well: likely this one batch, or a step that was too large"


def _is_broken(row: dict) -> bool:
    """Whether a metric of a step that must be finite is not."""
    names = ("policy/kl", "policy/mismatch_kl")  # whose own alarms take NaN for too much
    return any(not math.isfinite(value) for name, value in row.items() if _must_be_finite(name) or name in names)


def _kl_blow_up(history: list[dict], config: HealthConfig) -> str | None:
    row = history[-1]
    if not _is_over(row, "policy/kl", config.kl_limit):
        return None
    return (
        f"policy/kl is {row['policy/kl']:.3g} nats a token, over {config.kl_limit:g}: the policy has left its reference"
    )


def _entropy_collapse(history: list[dict], config: HealthConfig) -> str | None:
    row = history[-1]
    is_measured = row.get("reward/zero_std_frac", 0.0) < 1  # no entropy is measured where no group is left
    if not is_measured or not row.get("policy/entropy", math.inf) < config.entropy_floor:
        return None
    return (
        f"policy/entropy is {row['policy/entropy']:.3g} nats a token, under {config.entropy_floor:g}: "
        "it always says the same"
    )


def _reward_flat(history: list[dict], config: HealthConfig) -> str | None:
    if not _lasts(history, config.flat_steps, "reward/mean", lambda value: abs(value) < 1e-9):
        return None
    return f"reward/mean has been 0 for {config.flat_steps} steps: nothing is ever rewarded"


def _no_signal(history: list[dict], config: HealthConfig) -> str | None:
    if not _lasts(history, config.flat_steps, "reward/zero_std_frac", lambda value: value >= 1):
        return None
    return f"for {config.flat_steps} steps all completions of every prompt had the same reward: nothing is learned"


def _truncation(history: list[dict], config: HealthConfig) -> str | None:
    row = history[-1]
    if not _is_over(row, "completion/truncated_frac", config.truncated_limit):
        return None
    return f"{row['completion/truncated_frac']:.0%} of the completions were cut at the length limit"


def _sampler_mismatch(history: list[dict], config: HealthConfig) -> str | None:
    row = history[-1]
    if _is_over(row, "policy/update_mismatch", max(SMALL_GAP, GROWN_GAP * row.get("policy/probe_mean", 0.0))):
        return (
            f"policy/update_mismatch is {row['policy/update_mismatch']:.3g} nats a token, but the probe's only "
            f"{row.get('policy/probe_mean', 0.0):.3g}: in training mode the policy is not the one that was sampled, "
            "as with dropout"
        )
    if not _is_over(row, "policy/mismatch_kl", config.mismatch_kl_limit):
        return None
    return (
        f"policy/mismatch_kl is {row['policy/mismatch_kl']:.3g} nats a token, "
        f"over {config.mismatch_kl_limit:g}: the sampler "
        "and the trainer do not have the same policy"
    )


def _is_over(row: dict, name: str, limit: float) -> bool:
    """Whether a metric is over its limit; NaN is."""
    return name in row and not row[name] <= limit


def _lasts(history: list[dict], num_steps: int, name: str, holds: Callable[[float], bool]) -> bool:
    """Whether `holds` was true of a metric in each of the last `num_steps` rows."""
    return len(history) >= num_steps and all(name in row and holds(row[name]) for row in history[-num_steps:])


NON_FINITE_ADVICE = (
    "lower optim.lr, set optim.grad_clip, or use fp32 where another precision overflows; look at the rows of the "
    "batch; the last checkpoint is sound, and the same command continues from it"
)
CHECKS = (
    Check(
        "non_finite",
        _non_finite,
        NON_FINITE_ADVICE,
        cause="batch",
    ),
    Check(
        "collapse",
        lambda history, config: what_collapsed(history),
        "lower stages.NAME.optim.lr (docs/guides/own_model.md has what is usual for a model's size), warm up longer, "
        "or go on from a checkpoint before it",
        cause="setting",
    ),
    Check(
        "kl_blow_up",
        _kl_blow_up,
        "lower optim.lr, raise beta, or refresh the reference more often (reference_every)",
        cause="weights",
    ),
    Check(
        "entropy_collapse",
        _entropy_collapse,
        "raise clip_high or rollout.temperature, lower optim.lr, or stop here if the reward is as high as it gets",
        cause="weights",
    ),
    Check(
        "reward_flat",
        _reward_flat,
        "look at samples.jsonl; check data.verifier and data.template, give easier prompts, "
        "or start from a model that solves some of them",
        cause="setting",
    ),
    Check(
        "no_signal",
        _no_signal,
        "give harder prompts if the reward is high, easier ones if it is low; raise group_size or rollout.temperature",
        cause="setting",
    ),
    Check(
        "truncation",
        _truncation,
        "raise max_completion_tokens, or look in samples.jsonl for endless repetition, which a learning "
        "rate that is too high can teach",
        cause="setting",
    ),
    Check(
        "sampler_mismatch",
        _sampler_mismatch,
        "lower updates_per_rollout or optim.lr; use one precision for both; set dropout=false; "
        "rollout=transformers tells who is wrong",
        cause="weights",
    ),
)
OF_BATCH = {check.name for check in CHECKS if check.cause == "batch"}
CURABLE = {check.name for check in CHECKS if check.cause != "setting"}  # by going back to an earlier checkpoint


class RollBack(Exception):
    """Alarms where health.on_alarm is rollback: the loop goes back (`stages/training/rollback.py`)."""

    def __init__(self, found: list[Alarm]):
        super().__init__("; ".join(f"{alarm.name} at step {alarm.step}: {alarm.message}" for alarm in found))
        self.step = found[0].step
        self.advice = "; or ".join(alarm.advice for alarm in found)
        self.is_of_batch = all(alarm.name in OF_BATCH for alarm in found)


class Unhealthy(HasFix, RuntimeError):
    """An alarm where health.on_alarm is stop, or is rollback and that cannot help; `fix` says what to try."""

    def __init__(self, message: str, fix: str):
        super().__init__(message)
        self.fix = fix


def _not_finite(found: list[Alarm]) -> Unhealthy:
    """The end of a stage whose numbers are not finite: going on would only train noise."""
    message = "; ".join(f"{alarm.name} at step {alarm.step}: {alarm.message}" for alarm in found)
    return Unhealthy(
        f"{message}; a stage never goes on from numbers that are not finite",
        "; or ".join(alarm.advice for alarm in found)
        + "; health.on_alarm=rollback leaves such batches out, health.on_alarm=warn does not go on from them",
    )


def inspector(
    worker: Worker, engine: "TrainEngine", config: HealthConfig, can_go_back: bool = True
) -> Callable[[int], None]:
    """What a saver asks before each checkpoint and after the last step: are the weights and the optimizer finite?

    Args:
        worker: the stage.
        engine: whose state it is.
        config: says what an alarm does; a state that is not finite is never kept, whatever it says.
        can_go_back: whether the loop knows RollBack.

    Returns:
        A function of the optimizer steps done, collective. It raises RollBack where on_alarm is rollback and the loop
        can go back, else Unhealthy.
    """

    def inspect(step: int) -> None:
        mine = engine.non_finite()
        if not worker.agree(bool(mine))[0]:
            return
        broken = list(dict.fromkeys(gather_objects(mine)))
        message = f"NaN or infinity after step {step} in {named(broken)}; likely a step that was too large"
        alarm = Alarm("non_finite", step, message, NON_FINITE_ADVICE)
        report(worker, [alarm])
        if config.on_alarm == "rollback" and can_go_back and step > 0:
            raise RollBack([alarm])
        raise _not_finite([alarm])

    return inspect


def alarms(history: list[dict], config: HealthConfig = DEFAULTS) -> list[Alarm]:
    """The alarms that begin at the last row: they hold now and did not hold one row before.

    Args:
        history: rows of metrics.jsonl in order of steps, at least the last `flat_steps` + 1 that there are.
        config: the limits.

    >>> [alarm.name for alarm in alarms([{"step": 1, "train/loss": 0.5}, {"step": 2, "train/loss": float("nan")}])]
    ['non_finite']
    """
    before = {alarm.name for alarm in _holding(history[:-1], config)}
    return [alarm for alarm in _holding(history, config) if alarm.name not in before]


def _holding(history: list[dict], config: HealthConfig) -> list[Alarm]:
    """The alarms that hold at the last row."""
    if not history:
        return []
    messages = [(check, check.message(history, config)) for check in CHECKS]
    step = history[-1]["step"]
    return [Alarm(check.name, step, message, check.advice) for check, message in messages if message is not None]


class HealthWatch:
    """The last metric rows of a stage, from its log and then step by step.

    Made after a resume or a rollback has cut the log back, so that it decides as an undisturbed run does.
    """

    def __init__(self, worker: Worker, config: HealthConfig, can_go_back: bool = True):
        """Reads the log.

        Args:
            worker: the stage.
            config: limits, and what an alarm does.
            can_go_back: whether the loop knows RollBack; to one that does not, on_alarm=rollback is stop.
        """
        self.worker, self.config, self.can_go_back = worker, config, can_go_back
        self.history = files.read_jsonl(worker.dir / "metrics.jsonl")[-config.flat_steps - 1 :]

    def __call__(self, step: int, metrics: dict[str, float]) -> None:
        """Takes the metrics of a logged step; writes new alarms to alarms.jsonl and the log.

        Call it on every rank, before the checkpoint of the step.

        Raises:
            RollBack: an alarm that going back can cure, where on_alarm is rollback.
            Unhealthy: an alarm, where on_alarm is stop; or one that going back would cure, where the loop cannot; or
                numbers that are not finite, whatever on_alarm is.
        """
        row = {"step": step, **{name: rounded(value) for name, value in metrics.items()}}
        self.history = [*self.history, row][-self.config.flat_steps - 1 :]
        found = [self._with_key(alarm) for alarm in alarms(self.history, self.config)]
        report(self.worker, found)
        curable = [alarm for alarm in found if alarm.name in CURABLE]
        if curable and self.config.on_alarm == "rollback" and self.can_go_back:
            raise RollBack(curable)
        if _is_broken(row):
            raise _not_finite(found or _holding(self.history, self.config))
        if (found and self.config.on_alarm == "stop") or (curable and self.config.on_alarm == "rollback"):
            raise Unhealthy(
                "; ".join(f"{alarm.name} at step {step}: {alarm.message}" for alarm in found),
                "; or ".join(alarm.advice for alarm in found) + "; or go on all the same with health.on_alarm=warn",
            )

    def _with_key(self, alarm: Alarm) -> Alarm:
        """An alarm whose keys are those of this stage."""
        if "stages.NAME" not in alarm.message + alarm.advice:
            return alarm
        own = f"stages.{self.worker.stage}"
        return replace(
            alarm,
            message=alarm.message.replace("stages.NAME", own),
            advice=alarm.advice.replace("stages.NAME", own),
        )
