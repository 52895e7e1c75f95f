"""The learned part of the reward: what the two reward models of the `reward_models` stage think of a completion [N]."""

import math
from pathlib import Path

import torch

from stages.contract import files
from stages.modeling.reward_model import load_reward_model, reward_scores
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
    ):
        """Loads the models that there are.

        Args:
            directory: `model/` of the stage, with `helpful/`, `safety/` or both.
            encoder: of the policy, and so of the reward models.
            clip: limit of the standardised helpful reward, in standard deviations.
            device: where the models work.
            micro_batch_tokens: most tokens, padding included, of one forward pass.
            precision: fp32 or bf16: of the stage, and so of the models.
        """
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.models = {
            name: load_reward_model(directory / name).to(device, dtype).eval()
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
        rows = [self._row(rollouts[i], summary_of(rollouts[i].completion)) for i in helpful]
        for i, value in zip(helpful, self._values("helpful", rows)):
            scores[i] = max(-self.clip, min(self.clip, (value - self.stats["mean"]) / self.stats["std"]))
        rows = [self._row(rollouts[i], rollouts[i].sampled_text) for i in safety]
        for i, value in zip(safety, self._values("safety", rows)):
            scores[i] = torch.sigmoid(torch.tensor(value)).item()
        return scores

    def _values(self, name: str, rows: list[list[int]]) -> list[float]:
        """Rewards of token rows by one of the models."""
        if rows and name not in self.models:
            raise ValueError(
                f"the reward_models stage had no data for a {name} model, but there are {name} prompts: "
                f"set mix.{name}=0, or give it "
                "pairs (rows=preferences) or labels (rows=labels)"
            )
        values = reward_scores(self.models[name], rows, self.encoder.tokenizer, self.micro_batch_tokens) if rows else []
        if not all(map(math.isfinite, values)):
            raise RuntimeError(
                f"the {name} reward model gives rewards that are NaN or infinite: make it anew with "
                "+stage=reward_models force=true, and a lower stages.reward_models.optim.lr"
            )
        return values

    def _row(self, rollout: Rollout, text: str) -> list[int]:
        """Token ids of the prompt, of this part of the completion, and the token that ends it."""
        return [*rollout.prompt_ids.tolist(), *self.encoder.sampled_target(text)]
