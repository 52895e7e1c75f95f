"""Says after the first few steps of RL that nothing can be learned, and why, instead of letting it run.

The rules look at the metrics of the first steps, and at the completions of the last of them: so a resumed stage, which
replays those, says the same. These alarms only warn, because a stage may still find its first reward by luck; where
nothing changes for `health.flat_steps`, the alarms of `stages/training/health.py` follow.

    no_answer   nothing is right, and most completions have no answer that can be read
    all_wrong   answers are read, and none is right, of four problems or more
    all_right   every completion is right, of four problems or more: there is nothing left to learn
    all_equal   the completions of each prompt have the same reward, whatever they say
    no_format   answers are right, but the form that is rewarded never appears
"""

from collections.abc import Callable

from stages.config import GrpoConfig
from stages.rewards.unanswered import Diagnosis, Keys, diagnose, with_votes
from stages.training.alarms import Alarm
from stages.training.collapse import FEWEST_PROMPTS
from stages.training.rollouts import Bring, Row

NUM_STEPS = 3  # after which something is said
NUM_READ = 64  # completions whose answers are read
MOSTLY = 0.5  # share of completions without an answer from which that is the reason

Asks = Callable[[Row], bool]  # whether its prompt as the model saw it asks for tags or a box


class FirstSteps:
    """The rules over the first steps of a stage, the same on every rank. Made after a resume has cut the log back."""

    def __init__(self, stage: str, config: GrpoConfig, rows: list[dict], asks: Asks, bring: Bring = list):
        """Takes what the rules need.

        Args:
            stage: its name.
            config: of the stage.
            rows: of metrics.jsonl, from the first step on.
            asks: see `Asks`.
            bring: gives rows with their texts.
        """
        self.stage, self.config, self.asks, self.bring = stage, config, asks, bring
        self.last = min(NUM_STEPS, config.num_steps)
        self.rows = rows[: self.last]

    def __call__(self, step: int, metrics: dict[str, float], batch: list[Row]) -> list[Alarm]:
        """Returns the alarms that begin at a logged step with these metrics, which trained on `batch`. Collective."""
        if step > self.last:
            return []
        self.rows.append({"step": step, **metrics})
        if step < self.last or len(self.rows) < self.last:
            return []
        reasoning = [r for r in batch if r.domain == "reasoning"]
        found = self._of_answers(reasoning) if reasoning else None
        found = found or self._of_rewards(reasoning)
        return [Alarm(found[0], step, found[1], found[2])] if found else []

    def _of_answers(self, reasoning: list[Row]) -> tuple[str, str, str] | None:
        """Name, message and advice where nothing is right; None elsewhere."""
        if not self._always("reward/accuracy", lambda value: value == 0):
            return None
        seen = self._diagnosis(reasoning)
        steps = f"no completion of the first {self.last} steps was right"
        if seen.share >= MOSTLY:
            return "no_answer", f"{steps}; of step {self.last}, {seen.message}", seen.advice
        if not self._are_enough():
            return None
        return (
            "all_wrong",
            f"{steps}, although {seen.total - seen.num_unanswered} of {seen.total} of step {self.last} have an answer "
            "that was read: the prompts are too hard for this model, or the references do not fit the verifier",
            "look at samples.jsonl; give easier prompts or a stronger model.path; check data.verifier and the column "
            "of answers",
        )

    def _of_rewards(self, reasoning: list[Row]) -> tuple[str, str, str] | None:
        """Name, message and advice where rewards or forms never differ; None elsewhere."""
        reward = self.rows[-1].get("reward/mean", 0.0)
        if self._always("reward/zero_std_frac", lambda value: value >= 1):
            if reasoning and self._are_enough() and self._always("reward/accuracy", lambda value: value >= 1):
                return (
                    "all_right",
                    f"every completion of the first {self.last} steps was right: such prompts teach nothing",
                    "give harder prompts (`r1 data prepare` can measure pass rates), or leave this stage out",
                )
            return (
                "all_equal",
                f"in the first {self.last} steps all completions of each prompt had the same reward (its mean is "
                f"{reward:.3g}): there is nothing to learn from",
                f"raise stages.{self.stage}.group_size or rollout.temperature; check the weights in "
                f"stages.{self.stage}.rewards and data.verifier",
            )
        if self.config.rewards.format and self._always("reward/format", lambda value: value == 0):
            return (
                "no_format",
                f"no completion of the first {self.last} steps has the form <think>..</think><answer>..</answer>, "
                "which is rewarded: it cannot be learned where it never appears",
                f"set {self._keys().template}=r1_zero, which asks for it; start from a model that knows it "
                f"(cold_start); or set stages.{self.stage}.rewards.format=0",
            )
        return None

    def _diagnosis(self, reasoning: list[Row]) -> Diagnosis:
        """What is wrong with the answers of a few completions, evenly spread."""
        some = self.bring(reasoning[:: max(1, len(reasoning) // NUM_READ)][:NUM_READ])
        drawn = [row.here for row in some if row.here is not None]
        needs_format = self.config.rewards.accuracy_needs_format
        return diagnose(
            with_votes([(r.completion, r.prompt, r.is_truncated) for r in drawn], needs_format),
            self.asks(some[0]),
            self.config.data.template,
            needs_format,
            self._keys(),
        )

    def _keys(self) -> Keys:
        return Keys(f"stages.{self.stage}.data.template", f"stages.{self.stage}.max_completion_tokens")

    def _are_enough(self) -> bool:
        """Whether the first steps had so many problems that all right, or all wrong, is no chance."""
        return sum(row.get("reward/reasoning_prompts", FEWEST_PROMPTS) for row in self.rows) >= FEWEST_PROMPTS

    def _always(self, name: str, holds: Callable[[float], bool]) -> bool:
        """Whether `holds` was true of a metric in each of the first steps."""
        return all(name in row and holds(row[name]) for row in self.rows)
