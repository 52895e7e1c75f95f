"""Configurations and samples of stages that are small enough for a test with the real engines."""

import random

from stages.worlds.tiny_world import general
from stages.worlds.tiny_world.problems import GeneralPrompt
from stages.worlds.tiny_world.sources import TinyWorldPrompts

MODEL = {
    "hidden_size": 64,
    "num_layers": 2,
    "num_heads": 2,
    "num_kv_heads": 1,
    "intermediate_size": 96,
}  # heads of 32: the least that vLLM has for CPUs
BASE = {
    "model": MODEL,
    "num_steps": 20,
    "batch_size": 8,
    "save_every": 8,
    "optim": {"name": "muon", "lr": 3e-3, "muon_lr": 0.02, "schedule": "linear", "warmup_steps": 3},
}
DATA = {"max_prompt_tokens": 24}
SEED = 0
GRPO = {
    "num_steps": 7,
    "prompts_per_step": 4,
    "group_size": 4,
    "updates_per_rollout": 2,
    "max_completion_tokens": [[0, 14], [4, 20]],
    "beta": 0.05,
    "reference_every": 3,
    "rewards": {"format": 0.5, "language": 0.5},
    "micro_batch_tokens": 300,
    "save_every": 1,
    "keep_checkpoints": 20,
    "data": DATA,
    "optim": {"lr": 2e-3},
}
REWARD_MODELS = {
    "num_prompts": 10,
    "samples_per_prompt": 6,
    "pairs_per_prompt": 3,
    "min_gap": 0.4,
    "num_safety_prompts": 8,
    "safety_samples_per_prompt": 6,
    "holdout_fraction": 0.2,
    "max_completion_tokens": 16,
    "batch_size": 8,
    "num_steps": 12,
    "safety_steps": 6,
    "save_every": 5,
    "micro_batch_tokens": 400,
    "data": DATA,
    "optim": {"lr": 1e-3},
}


def arithmetic_samples(stream: str, num_prompts: int) -> list[dict]:
    """The first arithmetic prompts of a stage, each with one clean completion."""
    source, rows = TinyWorldPrompts(SEED, stream), []
    for index in range(num_prompts):
        prompt = source.get(index)
        expression = "".join(c for c in prompt.text if c.isdigit() or c in "+-")
        word = "wait" if prompt.language == "en" else "等等"
        rows.append(
            {
                "prompt": f"User:{prompt.text}Assistant:",
                "kind": prompt.kind,
                "language": prompt.language,
                "prompt_id": prompt.id,
                "source": "sampled",
                "completion": f"<think>{word},{expression}={prompt.answer}</think><answer>{prompt.answer}</answer>",
            }
        )
    return rows


def general_samples(stream: str, domain: str, num_prompts: int, completions: int) -> list[dict]:
    """The first general prompts of a stage, each with several completions, good and bad."""
    source, rng, rows = TinyWorldPrompts(SEED, stream), random.Random(0), []
    for prompt in (source.get(index, domain) for index in range(num_prompts)):
        item = GeneralPrompt(prompt.text, prompt.kind, prompt.language, prompt.answer)
        rows += [
            {
                "prompt": f"User:{prompt.text}Assistant:",
                "completion": general.completion(rng, item, general.CORPUS_MIXTURE),
                "kind": prompt.kind,
                "language": prompt.language,
                "prompt_id": prompt.id,
                "source": "general",
            }
            for _ in range(completions)
        ]
    return rows
