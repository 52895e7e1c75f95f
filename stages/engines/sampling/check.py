"""The sampler against the model's own forward pass, on a few tokens, for stages that train nothing.

An RL stage compares its sampler with its trainer at every rollout (`stages/kinds/grpo/probe.py`). Here nothing else
would show that an engine computes another model than the one in the directory, and what it draws would be data.
"""

import random
from pathlib import Path

import torch

from stages.config import RolloutConfig
from stages.engines.sampling import Sampler, make_sampler
from stages.engines.sampling.transformers_sampler import TransformersSampler
from stages.engines.sampling.vllm_sampler import untouched_generators
from stages.engines.vllm_models import WAY_OUT
from stages.modeling.model import load_model
from stages.runtime.distributed import gather_objects
from stages.runtime.errors import InputError

PROMPTS, COMPLETIONS, TOKENS = 2, 2, 8  # tokens of each prompt, and of each completion
HALF_LIMIT = 0.2  # nats: the median difference of tokens that rounding alone does not reach in bf16, or on a GPU


def make_checked_sampler(
    config: RolloutConfig,
    model_dir: Path,
    max_prompt_tokens: int,
    max_completion_tokens: int,
    precision: str = "fp32",
    stop_ids: list[int] | None = None,
) -> Sampler:
    """Makes a sampler with the weights of `model_dir`, see `make_sampler`, and compares it with the model itself.

    Raises:
        InputError: They differ by more than rounding, or the engine cannot run the model.
    """
    sampler = make_sampler(config, model_dir, max_prompt_tokens, max_completion_tokens, precision, stop_ids=stop_ids)
    check_sampler(sampler, config, model_dir, min(max_prompt_tokens, max_completion_tokens), precision)
    return sampler


def check_sampler(
    sampler: Sampler,
    config: RolloutConfig,
    model_dir: Path,
    max_tokens: int,
    precision: str,
) -> None:
    """Draws a few tokens, and compares their logprobs with those of the model. Collective: rank 0 compares, for all.

    Args:
        sampler: It has the weights of `model_dir`.
        config: Its tolerance counts in fp32 on a CPU.
        model_dir: An HF directory.
        max_tokens: Most tokens of a prompt, and of a completion.
        precision: Of the sampler: fp32 or bf16.

    Raises:
        InputError: They differ by more than rounding.
    """
    rng, size = random.Random(0), _vocabulary_size(model_dir)
    count, words = min(TOKENS, max_tokens), range(size // 8, max(size // 2, 2))  # special tokens are first or last
    prompts = [[rng.choice(words) for _ in range(count)] for _ in range(PROMPTS)]
    drawn = sampler.sample(prompts, [0, COMPLETIONS], COMPLETIONS, 1.0, count, top_p=1.0)
    rows = [(prompt, c.token_ids.tolist(), c.logprobs.tolist()) for prompt, group in zip(prompts, drawn) for c in group]
    is_main = not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0
    differences_N = torch.tensor(gather_objects(_differences(sampler, model_dir, precision, rows) if is_main else []))
    is_exact = precision == "fp32" and not torch.cuda.is_available()
    worst, median = differences_N.max().item(), differences_N.median().item()  # either is NaN where one of them is
    if not (worst <= config.logprob_tolerance if is_exact else median <= HALF_LIMIT):
        raise InputError(
            f"the sampler (rollout={config.engine}) gives other logprobs than the model in {model_dir} itself: "
            f"{worst:.2e} nats apart on {len(differences_N)} tokens, which is more than rounding: "
            f"{WAY_OUT if config.is_vllm else 'no sampler of this program can take this model'}"
        )


def _vocabulary_size(model_dir: Path) -> int:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(model_dir).get_text_config().vocab_size


@torch.no_grad()
def _differences(
    sampler: Sampler, model_dir: Path, precision: str, rows: list[tuple[list[int], list[int], list[float]]]
) -> list[float]:
    """|sampler - model| of each drawn token, in nats; a row is (prompt, completion, logprobs)."""
    with untouched_generators():
        model = sampler.model if isinstance(sampler, TransformersSampler) else load_model(model_dir, precision).eval()
        if not isinstance(sampler, TransformersSampler) and _fits_on_gpu(model):
            model.cuda()
        differences: list[float] = []
        for prompt, completion, logprobs in rows:
            ids = torch.tensor([prompt + completion], device=model.device)
            logits_TV = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].float()
            own_T = torch.log_softmax(logits_TV, -1).gather(1, ids[0, len(prompt) :, None])[:, 0]
            differences += (own_T.cpu() - torch.tensor(logprobs)).abs().tolist()
    return differences


def _fits_on_gpu(model: torch.nn.Module) -> bool:
    """Whether there is room for the model beside the engine; else it computes on the CPU."""
    if not torch.cuda.is_available():
        return False
    needed = sum(tensor.nbytes for tensor in model.state_dict().values())
    return torch.cuda.mem_get_info()[0] > 1.2 * needed
