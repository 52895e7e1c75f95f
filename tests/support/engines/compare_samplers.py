"""Run by torchrun: vLLM and the transformers engine on the same prompts and seeds, before and after a weight sync.
Writes what they drew.

torchrun ... compare_samplers.py WORK_DIR RESULT_JSON
"""

import random
import sys
from pathlib import Path

from stages.runtime import environment

environment.prepare()

import numpy as np  # noqa: E402
import torch  # noqa: E402

from stages.config import ModelConfig, RolloutConfig  # noqa: E402
from stages.contract import files  # noqa: E402
from stages.engines.sampling import make_sampler  # noqa: E402
from stages.engines.training import init_distributed  # noqa: E402
from stages.modeling.batching import lay_out  # noqa: E402
from stages.modeling.model import load_model, new_model, save_model  # noqa: E402
from stages.modeling.policy_model import PolicyModel  # noqa: E402
from stages.runtime.seeds import seed_for  # noqa: E402
from stages.worlds.tiny_world.tokenizer import build_tokenizer  # noqa: E402
from tests.support.stage_dirs import end_process  # noqa: E402

NUM_COMPLETIONS, MAX_TOKENS, TEMPERATURES = 4, 10, (1.0, 0.7)
BLOCK_BYTES = 32 * 2 * 2 * 32 * 4  # tokens, layers, keys and values, one head of 32, fp32
TEXTS = (
    "User:what is31-3?Assistant:",
    "User:what is31-3-7+5?Assistant:",
    "User:what is31-3-7?Assistant:",
    "User:hi!Assistant:",
    "User:compute40+2what is?Assistant:",
    "User:what is" + "31-3-7+5" * 8 + "?Assistant:",
)  # longer than a block of vLLM's cache, and at the end of its second
CACHED_PROMPT_TOKENS = 80  # longer than a block: prefixes are cached


def make_model(directory: Path, tokenizer, is_tied: bool, seed: int) -> Path:
    """A random model whose end-of-sequence token is likely enough to be drawn."""
    config = ModelConfig(
        hidden_size=64, num_layers=2, num_heads=2, num_kv_heads=1, intermediate_size=96, tie_embeddings=is_tied
    )
    model = new_model(config, tokenizer, seed)
    with torch.no_grad():
        for matrix in {
            id(p): p for p in (model.get_input_embeddings().weight, model.get_output_embeddings().weight)
        }.values():
            matrix.mul_(3)
        model.get_output_embeddings().weight[tokenizer.eos_token_id].mul_(3)
    save_model(model, None, tokenizer, directory)
    return directory


def as_rows(groups) -> list[list]:
    return [[c.token_ids.tolist(), c.logprobs.tolist(), c.is_truncated] for group in groups for c in group]


def generator_states() -> tuple:
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()


def draw(sampler, prompts, seeds, temperature=1.0, n=NUM_COMPLETIONS) -> list[list]:
    return as_rows(sampler.sample(prompts, seeds, n, temperature, MAX_TOKENS))


def weights_of(directory: Path):
    return ((name, p.detach()) for name, p in load_model(directory).named_parameters())


@torch.no_grad()
def trainer_logprobs(directory: Path, prompts, rows, temperature: float) -> list[list[float]]:
    """The trainer's logprobs of drawn tokens, from one forward pass over each row."""
    policy, logprobs = PolicyModel(load_model(directory)).eval(), []
    for place, (tokens, _, _) in enumerate(rows):
        prompt = prompts[place // NUM_COMPLETIONS]
        batch = lay_out([prompt + tokens], [[False] * len(prompt) + [True] * len(tokens)], 0, torch.device("cpu"))
        logprobs.append(policy(*batch.inputs, temperature=temperature)[0].tolist())
    return logprobs


def examine(engine: str, first: Path, second: Path, prompts, seeds, cached: bool) -> dict:
    """All that one engine draws; `cached`: with prefixes cached, where the engine does."""
    prompts, seeds = (prompts, seeds) if cached else (prompts[:-1], seeds[:-1])
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    before = generator_states()
    sampler = make_sampler(
        RolloutConfig(engine=engine, max_sequences=6), first, CACHED_PROMPT_TOKENS if cached else 24, MAX_TOKENS
    )
    found = {f"first/{t}": draw(sampler, prompts, seeds, t) for t in TEMPERATURES}
    found["reversed"] = draw(sampler, prompts[::-1], seeds[::-1])
    found["third alone"] = draw(sampler, prompts[2:3], [seeds[2] + 1], n=2)
    sampler.sync(weights_of(second))
    found |= {f"second/{t}": draw(sampler, prompts, seeds, t) for t in TEMPERATURES}
    found["generators untouched"] = generator_states() == before
    sampler.sync(weights_of(first))
    found["first again"] = draw(sampler, prompts, seeds)
    found["nothing asked"] = sampler.sample([], [], 4, 1.0, MAX_TOKENS)
    sampler.close()
    return found


def cramped(directory: Path, prompts, seeds) -> dict:
    """vLLM with a cache of 8 blocks, which has to take them from requests that are running, and how often it did."""
    from vllm.v1.core.sched.scheduler import Scheduler

    preempt, times = Scheduler._preempt_request, []
    Scheduler._preempt_request = lambda *arguments, **more: (times.append(1), preempt(*arguments, **more))[1]
    sampler = make_sampler(
        RolloutConfig(max_sequences=6, kv_cache_gib=8 * BLOCK_BYTES / 2**30),
        directory,
        CACHED_PROMPT_TOKENS,
        MAX_TOKENS,
    )
    drawn = draw(sampler, prompts, seeds)
    sampler.close()
    return {"rows": drawn, "preemptions": len(times)}


def main(work_dir: str, result: str) -> None:
    init_distributed()
    tokenizer, outcome = build_tokenizer(), {}
    prompts = [tokenizer(text)["input_ids"] for text in TEXTS]
    seeds = [seed_for("test", text) for text in TEXTS]
    for name, is_tied in (("untied", False), ("tied", True)):
        first, second = (make_model(Path(work_dir) / f"{name}{seed}", tokenizer, is_tied, seed) for seed in (1, 2))
        drawn = {engine: examine(engine, first, second, prompts, seeds, is_tied) for engine in ("vllm", "transformers")}
        drawn["trainer"] = {
            f"{which}/{t}": trainer_logprobs(directory, prompts, drawn["vllm"][f"{which}/{t}"], t)
            for which, directory in (("first", first), ("second", second))
            for t in TEMPERATURES
        }
        outcome[name] = drawn
    outcome["cramped"] = cramped(first, prompts, seeds)
    files.write_json(Path(result), outcome)


if __name__ == "__main__":
    main(*sys.argv[1:])
    end_process()
