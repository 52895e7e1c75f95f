"""What GRPO writes down of its rollouts and steps, and what it decides by what was written."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from stages.config import GrpoConfig
from stages.contract import files
from stages.kinds.grpo.advantages import ScoredRollouts
from stages.kinds.grpo.emergence import FirstWords, level_metrics, word_metrics
from stages.kinds.grpo.first_steps import Asks, FirstSteps
from stages.kinds.grpo.hacking import HackingWatch, report
from stages.kinds.grpo.metrics import reward_metrics
from stages.kinds.grpo.probe import Probe
from stages.kinds.grpo.update import UpdateResult
from stages.runtime.worker import Worker
from stages.training import alarms
from stages.training.health import HealthWatch
from stages.training.rollouts import Bring, Row

HEADLINE = {  # label in the log -> metric
    "reward": "reward/mean",
    "accuracy": "reward/accuracy",
    "tokens": "completion/mean_tokens",
    "language": "completion/language",
    "checks": "completion/reflection_rate",
}
NUM_SHOWN_ERRORS = 3  # explanations of grader errors in the log, a rollout


@contextmanager
def measured(times: dict[str, float], name: str) -> Iterator[None]:
    """Puts the seconds that the block takes into `times`, under `name`."""
    started = time.time()
    yield
    times[name] = time.time() - started


class StepRecorder:
    """The metrics of the rollout in use and of its steps: to metrics.jsonl, samples.jsonl, the log and the progress."""

    def __init__(self, worker: Worker, config: GrpoConfig, bring: Bring = list):
        """Takes the stage, and what gives rows with their texts."""
        self.worker, self.config, self.bring = worker, config, bring
        self.rollout_metrics: dict[str, float] = {}  # of the rollout in use, logged with each of its steps
        self.first_step_metrics: dict[str, float] = {}  # logged with the first of these steps alone
        self.times: dict[str, float] = {}  # seconds of each part of the next step, in order
        self.times_before: dict[str, float] = {}  # the same, of a rollout that was waited for before its step

    def start_rollout(self) -> None:
        """Forgets the times and the first-step metrics of a rollout that did not come to its step."""
        self.times, self.first_step_metrics = self.times_before, {}
        self.times_before = {}

    def describe_rollout(self, sampled: list[Row], scored: ScoredRollouts, first: int, begins: bool) -> None:
        """Computes the metrics of a rollout.

        Under dynamic sampling they are of all groups that it drew: those that are trained on were chosen for having
        right and wrong completions, so that their accuracy would be about a half whatever the policy learns.

        Args:
            sampled: rows of all its rollouts, those that wait for a later one or were drawn in vain included.
            scored: those that are trained on.
            first: the rollout's number; those of `sampled` that were left over from an earlier one have another `step`.
            begins: no step was trained on it yet; else a resume reads it again, and what was said is not repeated.
        """
        fresh = [r for r in sampled if r.step == first]
        errors = [r.grader_error for r in fresh if r.grader_error]
        drawn = ScoredRollouts.of(fresh, self.config.group_size) if self.config.oversampling and fresh else scored
        self.rollout_metrics = {
            **reward_metrics(drawn.rollouts, drawn.is_zero_variance),
            **word_metrics(drawn.rollouts),
            **level_metrics(drawn.rollouts),
            "reward/grader_errors": len(errors),
        }
        if self.config.oversampling:
            self.rollout_metrics["reward/sampled_groups"] = len(fresh) / self.config.group_size
        if begins:
            self.first_step_metrics["tokens/sampled"] = sum(r.num_completion_tokens for r in fresh)
        if errors and begins:
            self.worker.say(
                f"{len(errors)} of {len(fresh)} completions of step {first} could not be "
                "graded and got 0: " + "; ".join(list(dict.fromkeys(errors))[:NUM_SHOWN_ERRORS])
            )

    def log_samples(self, step: int, rollouts: list[Row]) -> None:
        """Writes the first completion of the first few groups to samples.jsonl. Collective.

        Args:
            step: the step that trains on them, counted from 1.
            rollouts: P x G, in order of their groups.
        """
        chosen = self.bring(rollouts[:: self.config.group_size][: self.config.num_sample_prompts])
        self.worker.log_samples([_sample_row(step, row) for row in chosen])

    def log_step(self, step: int, batch: list[Row], update: UpdateResult, probe: Probe) -> dict[str, float]:
        """Writes the metrics of an optimizer step to metrics.jsonl and the log.

        Args:
            step: optimizer steps done, this one included.
            batch: the global batch that it trained on.
            update: what the update gave.
            probe: the last comparison with the sampler.

        Returns:
            The metrics, unrounded.
        """
        tokens = sum(r.num_completion_tokens for r in batch)
        seconds = sum(self.times.values())
        metrics = {
            **self.rollout_metrics,
            **self.first_step_metrics,
            **update.metrics,
            "policy/probe_mean": probe.mean,
            "policy/probe_max": probe.max,
            "train/grad_norm": update.grad_norm,
            "train/lr": update.lr,
            "train/tokens": tokens,
            "perf/tokens_per_s": tokens / seconds,
            "perf/step_s": seconds,
            **{f"time/{name}": value for name, value in self.times.items()},
        }
        self.worker.log_step(step, metrics)
        self.worker.metrics = _final_metrics(metrics)
        self.worker.say(
            f"step {step}/{self.config.num_steps} {self.headline()} kl {metrics['policy/kl']:.4f} entropy "
            f"{metrics['policy/entropy']:.3f} "
            f"mismatch {metrics['policy/mismatch_max']:.1e} grad_norm {update.grad_norm:.2f} "
            + " ".join(f"{name} {value:.2f}s" for name, value in self.times.items())
        )
        self.times, self.first_step_metrics = {}, {}
        return metrics

    def headline(self) -> str:
        """The rollout in use in a few words, for the log and the progress; empty before the first one.

        What there is none of is left out: thoughts that are equations are in no language.
        """
        values = {name: value for name, value in self.rollout_metrics.items() if not math.isnan(value)}
        return " ".join(
            f"{label} {values[name]:.{1 if label == 'tokens' else 3}f}"
            for label, name in HEADLINE.items()
            if name in values
        )


def _sample_row(step: int, row: Row) -> dict:
    """A line of samples.jsonl."""
    assert row.here is not None
    prompt = row.here.prompt
    return {
        "step": step,
        "prompt_id": prompt.id,
        "kind": prompt.kind,
        "language": prompt.language,
        "prompt": prompt.text,
        "answer": prompt.answer,
        "completion": row.here.completion,
        "reward": row.reward,
        "reward_parts": row.reward_parts,
        "advantage": row.advantage,
        "truncated": row.is_truncated,
    }


def _final_metrics(metrics: dict[str, float]) -> dict[str, float]:
    """What the manifest keeps of the last step: rewards, completions and policy, those of the headline first."""
    first = [name for name in HEADLINE.values() if name in metrics]
    return {
        name: metrics[name] for name in [*first, *metrics] if name.split("/")[0] in ("reward", "completion", "policy")
    }


class LogWatches:
    """What the loop decides by the logs: alarms, the end of the preference phase, and words that are new.

    Made again after a resume or a rollback has cut the logs back, so that it decides as an undisturbed run does.
    """

    def __init__(self, worker: Worker, config: GrpoConfig, asks: Asks, bring: Bring = list):
        """Reads the logs.

        Args:
            worker: the stage.
            config: of the stage.
            asks: whether a prompt as the policy saw it asks for tags or a box.
            bring: gives rows with their texts.
        """
        self.worker, self.config, self.bring = worker, config, bring
        self.health = HealthWatch(worker, config.health)
        rows = files.read_jsonl(worker.dir / "metrics.jsonl")
        self.first_steps = FirstSteps(worker.stage, config, rows, asks, bring)
        self.hacking = HackingWatch(config.hacking, rows)
        self.first_words = FirstWords(worker.dir, worker.is_main)

    @property
    def has_phase_ended(self) -> bool:
        """Whether the reward-hacking watch has ended general prompts and learned rewards."""
        return self.hacking.ended_at is not None

    def check(self, step: int, metrics: dict[str, float], batch: list[Row]) -> None:
        """Writes the alarms that begin at this step, which trained on `batch`. Call it before the checkpoint.

        Collective.

        Raises:
            RollBack: an alarm, where health.on_alarm is rollback.
            Unhealthy: an alarm that stops the stage.
        """
        first = self.first_steps(step, metrics, batch)
        if self.worker.is_main:  # these alarms end nothing, so that the other ranks need not know
            alarms.report(self.worker, first)
        self.health(step, metrics)
        report(self.worker, self.hacking(step, metrics), self.config.hacking)

    def log_first_words(self, step: int, rollouts: list[Row]) -> None:
        """Writes the words of reflection that the completions sampled for `step` say for the first time. Collective."""
        self.first_words.look(step, rollouts, self.bring)
