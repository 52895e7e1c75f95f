"""The reward of a completion: the weighted sum of its named parts [N eq. 4, 7-10].

    accuracy     what the prompt's verifier gives (`stages/rewards/grading.py`), reasoning prompts only
    preference   what a reward model gives, general prompts only
    RULES        functions on text: a new one is a module in `stages/rewards/rules/` with `part(scored, weights)`, its
                 row here, and its weight in RewardConfig under the same name (and `general_<name>`, where general
                 prompts weigh it differently)

Parts are computed while other groups are still sampled, and are in the rollout log before the update that uses them. So
a resumed run replays them: a grader that ran out of time, which another attempt might not, counts the same. A grader
that fails is a part of 0 with its reason.
"""

import importlib
import math

from stages.config import RewardConfig
from stages.kinds.grpo.preference import PreferenceScorer
from stages.rewards.grading import grade_many
from stages.rewards.rules.scored_completion import ScoredCompletion
from stages.text.completion import is_well_formed
from stages.training.rollouts import Rollout

RULES: dict[str, str] = {
    "format": "stages.rewards.rules.format",
    "language": "stages.rewards.rules.language",
    "overlong": "stages.rewards.rules.overlong",
    "repetition": "stages.rewards.rules.repetition",
}
ALWAYS = ("format", "language")  # measured also where they have no weight


def apply_rules(rollouts: list[Rollout], weights: RewardConfig, max_tokens: int) -> None:
    """Fills `reward_parts` with the accuracy and the rules' parts, and `grader_error`.

    Args:
        rollouts: of any prompts; those of general prompts get an accuracy of 0.
        weights: a rule without a weight is left out, unless it is in ALWAYS.
        max_tokens: the longest completion allowed, in tokens.
    """
    scored = [
        ScoredCompletion(
            r.completion,
            r.prompt,
            is_well_formed(r.completion) and not r.is_truncated,
            len(r.completion_ids),
            max_tokens,
        )
        for r in rollouts
    ]
    graded = [
        i
        for i, completion in enumerate(scored)
        if completion.prompt.domain == "reasoning" and (completion.is_well_formed or not weights.accuracy_needs_format)
    ]
    grades = dict(zip(graded, grade_many([(scored[i].completion, scored[i].prompt) for i in graded])))
    for i, (rollout, completion) in enumerate(zip(rollouts, scored)):
        rollout.reward_parts = {"accuracy": grades[i].value if i in grades else 0.0}
        rollout.grader_error = grades[i].error if i in grades else ""
        for name in RULES:
            if name in ALWAYS or getattr(weights, name):
                rollout.reward_parts[name] = _rule(name, rollout, completion, weights)


def _rule(name: str, rollout: Rollout, scored: ScoredCompletion, weights: RewardConfig) -> float:
    """The part that a rule gives; 0 where it crashes or is not finite, and the rollout's `grader_error` says why."""
    try:
        value = importlib.import_module(RULES[name]).part(scored, weights)
        if not math.isfinite(value):
            raise ValueError(f"the part is {value}")
        return value
    except Exception as error:
        rollout.grader_error = rollout.grader_error or f"{name}: {type(error).__name__}: {error}"
        return 0.0


def total(parts: dict[str, float], weights: RewardConfig, domain: str) -> float:
    """The reward: the weighted sum of the parts [N eq. 4, 7-10]. A part that is not there counts nothing.

    Args:
        parts: name -> value, as in `Rollout.reward_parts`.
        weights: of the parts.
        domain: of the prompt, "reasoning", "helpful" or "safety".
    """
    return sum(
        _weight(name, weights, domain) * parts[name] for name in ("accuracy", "preference", *RULES) if name in parts
    )


def _weight(name: str, weights: RewardConfig, domain: str) -> float:
    """The weight of a part for prompts of this domain."""
    if domain == "reasoning":
        return 0.0 if name == "preference" else getattr(weights, name)
    return 0.0 if name == "accuracy" else getattr(weights, name) * getattr(weights, f"general_{name}", 1.0)


def set_rewards(rollouts: list[Rollout], weights: RewardConfig, preference: PreferenceScorer | None) -> None:
    """Adds the reward models' part to the rules' parts, and fills `reward`.

    Args:
        rollouts: with the parts of the rules.
        weights: of the parts.
        preference: scores the general ones among them; None where no reward model counts.

    Raises:
        RuntimeError: a reward is NaN or infinite: it would spoil the advantages of its whole group.
    """
    preferences = preference.score(rollouts) if preference else [None] * len(rollouts)
    for rollout, value in zip(rollouts, preferences):
        if value is not None:
            rollout.reward_parts["preference"] = value
        rollout.reward = total(rollout.reward_parts, weights, rollout.prompt.domain)
        if not math.isfinite(rollout.reward):
            raise RuntimeError(
                f"the reward of a completion of prompt {rollout.prompt.id} is {rollout.reward}, of the parts "
                f"{rollout.reward_parts}: what gave this part is broken, or its weight in rewards is too large"
            )
