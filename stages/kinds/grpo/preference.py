"""The learned part of the reward: what the two reward models of the `reward_models` stage think of a completion [N]."""

import math
from pathlib import Path

import torch

from stages.contract import files
from stages.modeling.ready import ready_scorer
from stages.modeling.reward_model import load_reward_model, reward_scores, rewards_of_groups
from stages.prompting.encoding import Encoder
from stages.text.completion import summary_of
from stages.training.rollouts import Rollout


class PreferenceScorer:
    """The helpful and the safety reward model, whole on every rank.

    The helpful one sees the prompt and the summary; its reward is standardised and clipped. The safety one sees the
    whole completion; its reward is the probability that it is safe.
    """

    def __init__(
        self,
        directory: Path,
        encoder: Encoder,
        clip: float,
        device: torch.device,
        micro_batch_tokens: int,
        precision: str = "fp32",
        packed: bool = False,
    ):
        """Loads the models that there are.

        Args:
            directory: `model/` of the stage, with `helpful/`, `safety/` or both.
            encoder: of the policy, and so of the reward models.
            clip: limit of the standardised helpful reward, in standard deviations.
            device: where the models work.
            micro_batch_tokens: most tokens, padding included, of one forward pass.
            precision: fp32 or bf16: of the stage, and so of the models.
            packed: whether the policy's rows are packed, see `ready_scorer`.
        """
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.models = {
            name: ready_scorer(load_reward_model(directory / name).to(device, dtype), packed)
            for name in ("helpful", "safety")
            if (directory / name).is_dir()
        }
        self.stats = files.read_json(directory / "helpful" / "reward_stats.json") if "helpful" in self.models else {}
        self.encoder, self.clip, self.micro_batch_tokens = encoder, clip, micro_batch_tokens

    def score(self, rollouts: list[Rollout]) -> list[float | None]:
        """A preference for each rollout of a helpful or safety prompt; None for the others.

        Raises:
            ValueError: there are prompts of a domain that has no reward model.
            RuntimeError: a reward model gives a number that is not finite; clipping would make a high reward of it.
        """
        scores: list[float | None] = [None] * len(rollouts)
        helpful = [i for i, r in enumerate(rollouts) if r.prompt.domain == "helpful"]
        safety = [i for i, r in enumerate(rollouts) if r.prompt.domain == "safety"]
        texts = [summary_of(rollouts[i].completion) for i in helpful]
        for i, value in zip(helpful, self._values("helpful", [rollouts[i] for i in helpful], texts)):
            scores[i] = max(-self.clip, min(self.clip, (value - self.stats["mean"]) / self.stats["std"]))
        texts = [rollouts[i].sampled_text for i in safety]
        for i, value in zip(safety, self._values("safety", [rollouts[i] for i in safety], texts)):
            scores[i] = torch.sigmoid(torch.tensor(value)).item()
        return scores

    def _values(self, name: str, rollouts: list[Rollout], texts: list[str]) -> list[float]:
        """Rewards of these parts of completions, after their prompts, by one of the models."""
        if not rollouts:
            return []
        if name not in self.models:
            raise ValueError(
                f"the reward_models stage had no data for a {name} model, but there are {name} prompts: "
                f"set mix.{name}=0, or give it "
                "pairs (rows=preferences) or labels (rows=labels)"
            )
        model, budget = self.models[name], self.micro_batch_tokens
        prompts = [rollout.prompt_ids.tolist() for rollout in rollouts]
        completions = [self.encoder.sampled_target(text) for text in texts]
        if model.packed:
            values = rewards_of_groups(model, prompts, completions, budget)
        else:
            values = reward_scores(model, [p + c for p, c in zip(prompts, completions)], budget)
        if not all(map(math.isfinite, values)):
            raise RuntimeError(
                f"the {name} reward model gives rewards that are NaN or infinite: make it anew with "
                "+stage=reward_models force=true, and a lower stages.reward_models.optim.lr"
            )
        return values
