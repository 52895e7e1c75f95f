"""Asks one family in a process of its own: are logprobs, export, reload and sync those of the model itself?

    python scripts/family_tools/questions.py FAMILY DIRECTORY RESULT.json

Each answer is a difference in nats (or None where a question does not arise), or the sentence that refuses.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stages.runtime import environment

environment.prepare()

import torch  # noqa: E402
from families import write_model  # noqa: E402

from stages.config import RolloutConfig  # noqa: E402
from stages.contract import files  # noqa: E402
from stages.engines.sampling import make_sampler  # noqa: E402
from stages.engines.weights import named_weights  # noqa: E402
from stages.modeling.batching import lay_out  # noqa: E402
from stages.modeling.model import load_model, load_tokenizer, save_model  # noqa: E402
from stages.runtime.errors import InputError  # noqa: E402

PROMPTS = [[20 + i for i in range(length)] for length in (3, 6, 9)]
SEEDS = [0, 100, 200]
TOKENS = 16


def main(family: str, directory: str, result: str) -> None:
    """Writes the answers after each question, so that a crash loses only its own."""
    model_dir = write_model(family, Path(directory))
    model = load_model(model_dir).eval()
    answers: dict[str, Any] = {
        "architecture": type(model).__name__,
        "parameters": sum(p.numel() for p in model.parameters()),
        "buffers": sum(not isinstance(tensor, torch.nn.Parameter) for _, tensor in named_weights(model)),
    }
    questions: dict[str, Callable[[], Any]] = {
        "padded": lambda: trained_logprobs(model_dir, "off"),
        "packed": lambda: trained_logprobs(model_dir, "on"),
        "export": lambda: exported(model, model_dir, Path(directory) / "exported"),
        "reward": lambda: reward_exported(model_dir, Path(directory) / "reward"),
        "transformers": lambda: synced(model_dir),
    }
    for name, question in questions.items():
        answers[name] = f"crashed the process while it was asked ({name})"
        files.write_json(Path(result), answers)
        try:
            answers[name] = question()
        except InputError as error:
            answers[name] = f"refused: {error}"
        except Exception as error:
            answers[name] = f"failed: {type(error).__name__}: {error}"
        files.write_json(Path(result), answers)


@torch.no_grad()
def own_logprobs(model: torch.nn.Module, row: list[int]) -> torch.Tensor:
    """[T - 1] logprobs of each token of a row after the first, from the model's own logits."""
    logits_TV = model(input_ids=torch.tensor([row]), use_cache=False).logits[0, :-1].float()
    return torch.log_softmax(logits_TV, -1).gather(1, torch.tensor(row[1:])[:, None])[:, 0]


def trained_logprobs(model_dir: Path, packing: str) -> float:
    """The largest difference between what training computes and the model's own logprobs."""
    from stages.modeling.ready import ready_policy

    own, tokenizer = load_model(model_dir).eval(), load_tokenizer(model_dir)
    policy = ready_policy(load_model(model_dir), tokenizer, packing, "fp32", print).eval()
    rows = [[20 + (7 * i + k) % 200 for i in range(length)] for k, length in enumerate((4, 19, 11))]
    batch = lay_out(
        rows, [[False] + [True] * (len(row) - 1) for row in rows], 0, torch.device("cpu"), packed=policy.packed
    )
    with torch.no_grad():
        found, _ = policy(*batch.inputs)
    return (found - torch.cat([own_logprobs(own, row) for row in rows])).abs().max().item()


@torch.no_grad()
def exported(model: Any, model_dir: Path, directory: Path) -> float:
    """Writes the weights as a stage does and loads them with plain transformers; the largest difference of logits."""
    from transformers import AutoModelForCausalLM

    state = {name: tensor.detach() for name, tensor in named_weights(model)}
    save_model(model, state, load_tokenizer(model_dir), directory)
    again = AutoModelForCausalLM.from_pretrained(directory).eval()
    lost = [name for name, tensor in model.state_dict().items() if not torch.equal(tensor, again.state_dict()[name])]
    if lost:
        raise ValueError(f"{len(lost)} tensors are not what was exported: {', '.join(lost[:3])}")
    ids = torch.tensor([list(range(20, 40))])
    return (model(ids).logits - again(ids).logits).abs().max().item()


@torch.no_grad()
def reward_exported(model_dir: Path, directory: Path) -> float:
    """The largest difference of rewards between a reward model made of the model, and its export."""
    from stages.modeling.reward_model import load_reward_model

    model = load_reward_model(model_dir, 0, is_new=True).eval()
    change_all(model, seed=5)
    state = {name: tensor.detach() for name, tensor in named_weights(model)}
    save_model(model, state, load_tokenizer(model_dir), directory)
    ids = torch.tensor([list(range(20, 40))])
    return (model(ids).logits - load_reward_model(directory, 0).eval()(ids).logits).abs().max().item()


@torch.no_grad()
def synced(model_dir: Path) -> float:
    """The largest difference of logprobs between the transformers sampler and the model, before and after a change."""
    model = load_model(model_dir).eval()
    config = RolloutConfig(engine="transformers")
    sampler = make_sampler(config, model_dir, 32, TOKENS, is_synced_first=True)
    worst = 0.0
    for seed in (None, 7):
        if seed is not None:
            change_all(model, seed)
        before = {name: tensor.detach().clone() for name, tensor in named_weights(model)}
        sampler.sync((name, tensor.detach()) for name, tensor in named_weights(model))
        groups = sampler.sample(PROMPTS, SEEDS, 2, 1.0, TOKENS)
        for prompt, group in zip(PROMPTS, groups):
            for completion in group:
                own = own_logprobs(model, prompt + completion.token_ids.tolist())[len(prompt) - 1 :]
                worst = max(worst, (own - torch.tensor(completion.logprobs)).abs().max().item())
        changed = [name for name, tensor in named_weights(model) if not torch.equal(tensor, before[name])]
        if changed:
            raise ValueError(f"the sync changed the trainer's own weights: {', '.join(changed[:3])}")
    if not worst <= config.logprob_tolerance:
        raise InputError(f"its logprobs differ from the model's own by {worst:.2e} nats after a sync")
    return worst


def change_all(model: torch.nn.Module, seed: int) -> None:
    """Adds noise to every weight, buffers too."""
    generator = torch.Generator().manual_seed(seed)
    for _, tensor in named_weights(model):
        if tensor.is_floating_point():
            tensor.add_(0.03 * torch.randn(tensor.shape, generator=generator))


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stdout.flush()
    os._exit(0)  # engines' threads can hang a normal exit
