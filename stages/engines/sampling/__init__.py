"""Sampling completions from the policy, with the logprobs of the tokens drawn."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from stages.config import RolloutConfig


@dataclass
class Completion:
    token_ids: list[int]  # end-of-sequence token included when it was drawn
    logprobs: list[float]  # of each token, under the tempered distribution it was drawn from
    is_truncated: bool  # stopped by the length limit


OnGroup = Callable[[int, list[Completion]], None]


class Sampler(Protocol):
    """Draws completions. Token k of a sample depends only on the weights, the prompt, the seed and the temperature: not
    on the batch.
    """

    def sample(
        self,
        prompts: list[list[int]],
        seeds: list[int],
        n: int,
        temperature: float,
        max_tokens: int,
        on_group: OnGroup | None = None,
        top_p: float | None = None,
        with_logprobs: bool = True,
    ) -> list[list[Completion]]:
        """n completions of each prompt (token ids); completion k of prompt i draws with seeds[i] + k. `on_group(i,
        completions)` is called as soon as all of prompt i are drawn, while others still are; what it raises ends the
        sampling. `top_p`: another than the configuration's. Without logprobs (nobody trains on them)
        `Completion.logprobs` may be empty.
        """

    def sync(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Replaces the weights by (HF name, tensor) pairs in layer order and forgets cached prefixes; wakes the engine."""

    def sleep(self) -> bool:
        """Gives a GPU's memory to the trainer, if it can; then only a sync wakes the engine. Returns whether it sleeps."""

    def close(self) -> None:
        """Frees the engine's memory."""


def make_sampler(
    config: RolloutConfig,
    model_dir: Path,
    max_prompt_tokens: int,
    max_completion_tokens: int,
    precision: str = "fp32",
    can_sleep: bool = False,
) -> Sampler:
    """The engine of the configuration, with the weights of `model_dir`. `can_sleep`: it shares its GPU with a trainer."""
    if config.engine == "vllm":
        from stages.engines.sampling.vllm_sampler import VllmSampler as Engine
    else:
        from stages.engines.sampling.transformers_sampler import TransformersSampler as Engine
    return Engine(config, model_dir, max_prompt_tokens, max_completion_tokens, precision, can_sleep)


def stop_token_ids(model_dir: Path) -> list[int]:
    """End-of-sequence ids of the model directory: of its generation config, else its model config."""
    from transformers import AutoConfig, GenerationConfig

    try:
        ids = GenerationConfig.from_pretrained(model_dir).eos_token_id
    except OSError:
        ids = None
    if ids is None:
        ids = AutoConfig.from_pretrained(model_dir).eos_token_id
    return [ids] if isinstance(ids, int) else list(ids or [])
