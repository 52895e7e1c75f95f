"""The reward of a completion: the weighted sum of its parts [N eq. 4, 7-10]."""
from pathlib import Path

import torch

from stages import files
from stages.config import RewardConfig
from stages.experience import Rollout
from stages.rewards.format import is_well_formed, summary_of, thought_of
from stages.rewards.language import language_consistency
from stages.rewards.overlong import overlong_penalty
from stages.rewards.reflection import count_reflections
from stages.rewards.verifiers import grade


def rule_parts(rollout: Rollout, weights: RewardConfig, max_tokens: int) -> dict[str, float]:
    """What rules give: accuracy 0..1, format 0 or 1, language 0..1 (0 where there is no chain of thought, or no words in it), overlong -1..0
    where it has a weight. Truncated completions have no format. `max_tokens`: the longest completion allowed."""
    well_formed = is_well_formed(rollout.completion) and not rollout.is_truncated
    accuracy = 0.0
    if rollout.prompt.domain == "reasoning" and (well_formed or not weights.accuracy_needs_format):
        accuracy = grade(rollout.completion, rollout.prompt)
    language = language_consistency(thought_of(rollout.completion), rollout.prompt.language) if well_formed else 0.0
    parts = {"accuracy": accuracy, "format": float(well_formed), "language": language or 0.0}
    if weights.overlong:
        parts["overlong"] = overlong_penalty(len(rollout.completion_ids), max_tokens, weights.overlong_buffer)
    return parts


def total(parts: dict[str, float], weights: RewardConfig, domain: str) -> float:
    overlong = weights.overlong * parts.get("overlong", 0.0)
    if domain == "reasoning":
        return weights.accuracy * parts["accuracy"] + weights.format * parts["format"] + weights.language * parts["language"] + overlong
    return (weights.preference * parts.get("preference", 0.0) + weights.format * weights.general_format * parts["format"]
            + weights.language * weights.general_language * parts["language"] + overlong)


class PreferenceScorer:
    """The two reward models of the `reward_models` stage: helpful, standardised and clipped; safety, the probability of safe."""

    def __init__(self, directory: Path, tokenizer, clip: float, device: torch.device, micro_batch_tokens: int):
        from stages.reward_models import load_reward_model
        self.models = {name: load_reward_model(directory / name).to(device).eval() for name in ("helpful", "safety") if (directory / name).is_dir()}
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
        rows = [rollouts[i].prompt_ids + self._ids(rollouts[i].completion) for i in safety]
        for i, value in zip(safety, self._values("safety", rows)):
            scores[i] = torch.sigmoid(torch.tensor(value)).item()
        return scores

    def _values(self, name: str, rows: list[list[int]]) -> list[float]:
        from stages.reward_models import reward_scores
        if rows and name not in self.models:
            raise ValueError(f"the reward_models stage had no data for a {name} model, but there are {name} prompts: set mix.{name}=0, or give it "
                             "pairs (rows=preferences) or labels (rows=labels)")
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
        "reward/mean": rewards.mean().item(), "reward/std": rewards.std().item(), "reward/zero_std_frac": sum(is_zero_variance) / len(is_zero_variance),
        "completion/mean_tokens": sum(lengths) / len(lengths), "completion/max_tokens": max(lengths),
        "completion/truncated_frac": mean(r.is_truncated for r in rollouts),
    }
    if reasoning:
        languages = [language_consistency(thought_of(r.completion), r.prompt.language) for r in reasoning]
        reflections = [count_reflections(r.completion) for r in reasoning]
        metrics |= {
            "reward/accuracy": mean(r.reward_parts["accuracy"] for r in reasoning), "reward/format": mean(r.reward_parts["format"] for r in reasoning),
            "reward/language": mean(r.reward_parts["language"] for r in reasoning),
            "completion/language": mean(value for value in languages if value is not None),
            "completion/reasoning_tokens": mean(len(r.completion_ids) for r in reasoning),
            "completion/reflection_rate": mean(count > 0 for count in reflections), "completion/reflections": mean(reflections),
        }
    if "overlong" in rollouts[0].reward_parts:
        metrics["reward/overlong"] = mean(r.reward_parts["overlong"] for r in rollouts)
    for domain in ("helpful", "safety"):
        values = [r.reward_parts["preference"] for r in rollouts if r.prompt.domain == domain and "preference" in r.reward_parts]
        if values:
            metrics[f"reward/{domain}"] = mean(values)
    return metrics


def mean(values) -> float:
    values = list(values)
    return sum(values) / len(values) if values else float("nan")
