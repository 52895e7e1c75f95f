"""Sampling completions from the policy, with the logprobs of the tokens drawn."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import torch

from stages.config import RolloutConfig
from stages.engines.vllm_models import require_vllm
from stages.modeling.loading import require_loadable
from stages.modeling.model import load_tokenizer
from stages.prompting.vocabulary import vocabulary_of

if TYPE_CHECKING:
    from stages.engines.sampling.server_sampler import Drawing
    from stages.engines.weights import Weights
    from stages.modeling.adapters import Adapters


@dataclass(eq=False)
class Completion:
    """One completion as it was drawn. Sequences become arrays: 8 bytes a token in the place of 88."""

    token_ids: np.ndarray  # int32, end-of-sequence token included when it was drawn
    logprobs: np.ndarray  # float32, of each token, under the tempered distribution it was drawn from
    is_truncated: bool  # stopped by the length limit
    version: np.ndarray | None = None  # int32, of the weights that drew each token, where the sampler says so

    def __post_init__(self) -> None:
        self.token_ids = np.asarray(self.token_ids, np.int32)
        self.logprobs = np.asarray(self.logprobs, np.float32)
        if self.version is not None:
            self.version = np.asarray(self.version, np.int32)


OnGroup = Callable[[int, list[Completion]], None]  # (index of the prompt, its completions)


class Sampler(Protocol):
    """Draws completions.

    A token depends only on the weights, the prompt, the tokens before it, the seed and the temperature: not on the
    batch.
    """

    stop_ids: list[int]  # token ids that end a completion
    takes_checkpoint_names: bool  # whether `sync` wants the names of the model's checkpoint, and not of the module
    adds_adapters: bool  # whether `sync` wants adapters apart from the weights that they belong to

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
        """Draws n completions of each prompt.

        Args:
            prompts: Token ids of each prompt.
            seeds: One for each prompt; completion k of prompt i draws with seeds[i] + k.
            n: Completions of each prompt.
            temperature: What logits are divided by.
            max_tokens: Most tokens of a completion.
            on_group: Called as on_group(i, completions) as soon as all completions of prompt i are drawn, while others
                still are; what it raises ends the sampling.
            top_p: In place of the configuration's.
            with_logprobs: Without them (nobody trains on the completions) `Completion.logprobs` may be empty.

        Returns:
            The completions of each prompt, in their order.
        """

    def sync(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Takes new weights, (name, tensor) in layer order, and forgets cached prefixes; wakes the engine."""

    def sleep(self) -> bool:
        """Gives a GPU's memory to the trainer, if it can, and returns whether it did; then only a sync wakes it."""

    def close(self) -> None:
        """Frees the engine's memory."""


@runtime_checkable
class DrawsAhead(Protocol):
    """A sampler apart from the trainer, which can draw while that goes on."""

    step: int | None  # whose weights it has; None: none that can be used
    num_syncs: int  # how often it got weights, in the place of lost ones too

    def begin(
        self,
        prompts: list[list[int]],
        seeds: list[int],
        n: int,
        temperature: float,
        max_tokens: int,
        on_group: OnGroup | None = None,
        top_p: float | None = None,
        with_logprobs: bool = True,
    ) -> "Drawing":
        """Starts what `Sampler.sample` does, and returns at once."""

    def finish(self, drawing: "Drawing", weights: "Weights | None" = None) -> list[list[Completion]]:
        """Waits for what `begin` has started. Collective.

        Args:
            drawing: What `begin` gave.
            weights: What it is given where it has lost all that drew; None: those of the last sync.
        """

    def draw_on_each(
        self, prompt: list[int], n: int, temperature: float, max_tokens: int
    ) -> dict[str, list[Completion]]:
        """n short completions of a prompt by each of its servers, by address. Collective."""


@dataclass(frozen=True)
class Apart:
    """What a stage says that can have its sampler apart from its trainer."""

    group_size: int  # most completions of a prompt
    log_dir: Path  # for the logs of servers
    say: Callable[[str], None]  # tells people what happens to servers


def require_sampler(config: RolloutConfig, model_dir: Path) -> None:
    """Raises InputError, with the way out, where the configured engine is known to be unable to take the model."""
    if config.is_vllm:
        require_vllm(model_dir, torch.cuda.is_available())


def make_sampler(
    config: RolloutConfig,
    model_dir: Path,
    max_prompt_tokens: int,
    max_completion_tokens: int,
    precision: str = "fp32",
    can_sleep: bool = False,
    is_synced_first: bool = False,
    stop_ids: list[int] | None = None,
    adapters: "Adapters | None" = None,
    apart: Apart | None = None,
) -> Sampler:
    """Makes the engine of the configuration, with the weights of `model_dir`.

    Args:
        config: Which engine, and its limits.
        model_dir: An HF directory.
        max_prompt_tokens: Most tokens of a prompt.
        max_completion_tokens: Most tokens of a completion.
        precision: fp32 or bf16.
        can_sleep: Whether it shares its GPU with a trainer.
        is_synced_first: Whether it gets weights before it draws. vLLM then begins with random ones, so that a weight
            that a sync does not reach shows at once, and not only after the first update.
        stop_ids: Those of `Encoder.stop_ids`; None for what the model's directory says.
        adapters: The trainer's, where the sampler adds them to the model of `model_dir` itself (lora.sampler=adapter).
        apart: Of a stage that trains while it samples, so that engine=server counts. None: the stage has the machine
            for its sampler, which is then in its own process.

    Raises:
        InputError: The directory has not all of a model. vLLM itself would not say so.
    """
    require_sampler(config, model_dir)
    sampler: Sampler
    if config.engine == "server" and apart is not None:
        from stages.engines.sampling.server_sampler import ServerSampler

        sampler = ServerSampler(config, model_dir, max_prompt_tokens, max_completion_tokens, precision, apart)
    elif config.is_vllm:
        require_loadable(model_dir)
        from stages.engines.sampling.vllm_sampler import VllmSampler

        sampler = VllmSampler(
            config, model_dir, max_prompt_tokens, max_completion_tokens, precision, can_sleep, is_synced_first, adapters
        )
    else:
        from stages.engines.sampling.transformers_sampler import TransformersSampler

        sampler = TransformersSampler(
            config, model_dir, max_prompt_tokens, max_completion_tokens, precision, can_sleep, adapters
        )
    sampler.stop_ids = stop_ids if stop_ids is not None else stop_token_ids(model_dir)
    return sampler


def stop_token_ids(model_dir: Path | str) -> list[int]:
    """The ids that end a completion of a model: `Vocabulary.stop_ids` of the tokenizer in its directory."""
    tokenizer = load_tokenizer(model_dir)
    return vocabulary_of(tokenizer).stop_ids()
