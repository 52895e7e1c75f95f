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
from pathlib import Path

import torch

from stages.config import RewardConfig
from stages.contract import files
from stages.rewards.grading import grade_many
from stages.rewards.rules.scored_completion import ScoredCompletion
from stages.text.completion import is_well_formed, summary_of, thought_of
from stages.text.language import language_consistency
from stages.training.rollouts import Rollout

RULES: dict[str, str] = {
    "format": "stages.rewards.rules.format",
    "language": "stages.rewards.rules.language",
    "overlong": "stages.rewards.rules.overlong",
    "repetition": "stages.rewards.rules.repetition",
}
ALWAYS = ("format", "language")  # measured also where they have no weight


def apply_rules(rollouts: list[Rollout], weights: RewardConfig, max_tokens: int) -> None:
    """Fills `reward_parts` with accuracy and the rules, and `grader_error`. `max_tokens`: the longest completion
    allowed.
    """
    samples = [
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
        for i, sample in enumerate(samples)
        if sample.prompt.domain == "reasoning" and (sample.is_well_formed or not weights.accuracy_needs_format)
    ]
    grades = dict(zip(graded, grade_many([(samples[i].completion, samples[i].prompt) for i in graded])))
    for i, (rollout, sample) in enumerate(zip(rollouts, samples)):
        rollout.reward_parts = {"accuracy": grades[i].value if i in grades else 0.0}
        rollout.grader_error = grades[i].error if i in grades else ""
        for name in RULES:
            if name in ALWAYS or getattr(weights, name):
                rollout.reward_parts[name] = _rule(name, rollout, sample, weights)


def _rule(name: str, rollout: Rollout, scored: ScoredCompletion, weights: RewardConfig) -> float:
    try:
        return importlib.import_module(RULES[name]).part(scored, weights)
    except Exception as error:
        rollout.grader_error = rollout.grader_error or f"{name}: {type(error).__name__}: {error}"
        return 0.0


def total(parts: dict[str, float], weights: RewardConfig, domain: str) -> float:
    """The weighted sum; a part that is not there counts nothing."""
    return sum(
        _weight(name, weights, domain) * parts[name] for name in ("accuracy", "preference", *RULES) if name in parts
    )


def _weight(name: str, weights: RewardConfig, domain: str) -> float:
    if domain == "reasoning":
        return 0.0 if name == "preference" else getattr(weights, name)
    return 0.0 if name == "accuracy" else getattr(weights, name) * getattr(weights, f"general_{name}", 1.0)


class PreferenceScorer:
    """The two reward models of the `reward_models` stage: helpful, standardised and clipped; safety, the probability of
    safe.
    """

    def __init__(self, directory: Path, tokenizer, clip: float, device: torch.device, micro_batch_tokens: int):
        from stages.modeling.reward_model import load_reward_model

        self.models = {
            name: load_reward_model(directory / name).to(device).eval()
            for name in ("helpful", "safety")
            if (directory / name).is_dir()
        }
        self.stats = files.read_json(directory / "helpful" / "reward_stats.json") if "helpful" in self.models else {}
        self.tokenizer, self.clip, self.micro_batch_tokens = tokenizer, clip, micro_batch_tokens

    def score(self, rollouts: list[Rollout]) -> list[float | None]:
        """A preference for each helpful or safety rollout, None for reasoning."""
        scores: list[float | None] = [None] * len(rollouts)
        helpful = [i for i, r in enumerate(rollouts) if r.prompt.domain == "helpful"]
        safety = [i for i, r in enumerate(rollouts) if r.prompt.domain == "safety"]
        rows = [rollouts[i].prompt_ids + self._ids(summary_of(rollouts[i].completion)) for i in helpful]
        for i, value in zip(helpful, self._values("helpful", rows)):
            scores[i] = max(-self.clip, min(self.clip, (value - self.stats["mean"]) / self.stats["std"]))
        rows = [rollouts[i].prompt_ids + self._ids(rollouts[i].sampled_text) for i in safety]
        for i, value in zip(safety, self._values("safety", rows)):
            scores[i] = torch.sigmoid(torch.tensor(value)).item()
        return scores

    def _values(self, name: str, rows: list[list[int]]) -> list[float]:
        from stages.modeling.reward_model import reward_scores

        if rows and name not in self.models:
            raise ValueError(
                f"the reward_models stage had no data for a {name} model, but there are {name} prompts: "
                f"set mix.{name}=0, or give it "
                "pairs (rows=preferences) or labels (rows=labels)"
            )
        return reward_scores(self.models[name], rows, self.tokenizer, self.micro_batch_tokens) if rows else []

    def _ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"] + [self.tokenizer.eos_token_id]


def set_rewards(rollouts: list[Rollout], weights: RewardConfig, preference: PreferenceScorer | None) -> None:
    """Adds the learned part to the rules' parts, and fills the reward."""
    preferences = preference.score(rollouts) if preference else [None] * len(rollouts)
    for rollout, value in zip(rollouts, preferences):
        if value is not None:
            rollout.reward_parts["preference"] = value
        rollout.reward = total(rollout.reward_parts, weights, rollout.prompt.domain)


def reward_metrics(rollouts: list[Rollout], is_zero_variance: list[bool]) -> dict[str, float]:
    """What an engineer plots of a rollout; language over the completions that have words to judge."""
    rewards = torch.tensor([r.reward for r in rollouts])
    reasoning = [r for r in rollouts if r.prompt.domain == "reasoning"]
    lengths = [len(r.completion_ids) for r in rollouts]
    metrics = {
        "reward/mean": rewards.mean().item(),
        "reward/std": rewards.std().item(),
        "reward/zero_std_frac": sum(is_zero_variance) / len(is_zero_variance),
        "completion/mean_tokens": sum(lengths) / len(lengths),
        "completion/max_tokens": max(lengths),
        "completion/truncated_frac": mean(r.is_truncated for r in rollouts),
    }
    if reasoning:
        languages = [language_consistency(thought_of(r.completion), r.prompt.language) for r in reasoning]
        metrics |= {
            "reward/accuracy": mean(r.reward_parts["accuracy"] for r in reasoning),
            "reward/format": mean(r.reward_parts["format"] for r in reasoning),
            "reward/language": mean(r.reward_parts["language"] for r in reasoning),
            "completion/language": mean(value for value in languages if value is not None),
            "completion/reasoning_tokens": mean(len(r.completion_ids) for r in reasoning),
        }
    metrics |= {
        f"reward/{name}": mean(r.reward_parts[name] for r in rollouts)
        for name in RULES
        if name not in ALWAYS and name in rollouts[0].reward_parts
    }
    for domain in ("helpful", "safety"):
        values = [
            r.reward_parts["preference"]
            for r in rollouts
            if r.prompt.domain == domain and "preference" in r.reward_parts
        ]
        if values:
            metrics[f"reward/{domain}"] = mean(values)
    return metrics


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values) if values else float("nan")
