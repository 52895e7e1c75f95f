"""Run by torchrun: gradients of every loss with rows that ranks hold together, against one rank that has whole rows.

torchrun ... long_rows.py CASES_JSON RESULT_JSON

CASES: [{"zero_stage": 2, "sequence_parallel": 2, ...}, ...], keys of DeepSpeedConfig, and "shape": changes of the
model's shape. The result has for each case the largest relative difference of a gradient, by loss; and for families of
models the largest difference of logprobs and of gradients.
"""

import copy
import dataclasses
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from stages.runtime import environment

environment.prepare()

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402

from stages.config import DeepSpeedConfig, GrpoConfig, LoraConfig, OptimConfig  # noqa: E402
from stages.contract import files  # noqa: E402
from stages.engines import training  # noqa: E402
from stages.engines.training import TrainEngine, init_distributed  # noqa: E402
from stages.kinds.grpo.adapter_reference import AdapterReference  # noqa: E402
from stages.kinds.grpo.reference import Reference  # noqa: E402
from stages.kinds.grpo.update import PolicyUpdate  # noqa: E402
from stages.kinds.reward_models.objectives import HelpfulObjective, SafetyObjective  # noqa: E402
from stages.kinds.reward_models.training import _accumulate  # noqa: E402
from stages.modeling import policy_model  # noqa: E402
from stages.modeling.adapters import add_adapters  # noqa: E402
from stages.modeling.losses import Counts  # noqa: E402
from stages.modeling.policy_model import PolicyModel  # noqa: E402
from stages.modeling.ready import ready_classifier, ready_policy  # noqa: E402
from stages.modeling.reward_model import ScalarModel, reward_scores  # noqa: E402
from stages.modeling.sequences import Share  # noqa: E402
from stages.prompting.prompt import Prompt  # noqa: E402
from stages.training.rollouts import Rollout, Row  # noqa: E402
from stages.training.supervised import TrainingRow, accumulate  # noqa: E402
from tests.support.families import VOCABULARY, classifier, tiny  # noqa: E402
from tests.support.stage_dirs import end_process  # noqa: E402

BUDGET = 60  # tokens of a micro-batch: several rows in some, one longer row in others
OPTIM = OptimConfig(lr=0.1, grad_clip=0.0)
LOSSES: list[dict[str, Any]] = [
    {"loss": "grpo", "beta": 0.1},
    {"loss": "grpo", "beta": 0.1, "kl": "k3_unbiased", "dual_clip": 3.0},
    {"loss": "bnpo"},
    {"loss": "dapo", "clip_high": 0.28},
    {"loss": "dr_grpo"},
    {"loss": "gspo", "clip_low": 0.3, "clip_high": 0.3},
    {"loss": "cispo"},
    {"loss": "gspo", "correction": "sequence_truncate", "beta": 0.1},
    {"loss": "grpo", "correction": "sequence_mask"},
    {"loss": "grpo", "correction": "token_truncate"},
    {"loss": "dapo", "correction": "token_mask"},
]
FAMILIES = ("qwen2", "qwen3", "qwen3_moe", "qwen2_moe", "mixtral", "gemma", "phi", "granite", "olmo2", "glm4", "gpt2",
            "gpt_neox", "phi3", "smollm3", "starcoder2", "olmoe", "granite_moe", "opt", "cohere")  # fmt: skip


class Tokens:
    """What of a tokenizer says which token pads, and how many tokens there are."""

    pad_token_id, bos_token_id, eos_token_id, name_or_path = 0, 1, 2, ""

    def __len__(self) -> int:
        return VOCABULARY


class Alone:
    """The engine of one rank that has whole rows: plain autograd."""

    device = torch.device("cpu")
    share = Share(1, 0, True)

    def __init__(self, module: PolicyModel | ScalarModel):
        self.module = module

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def train(self) -> None:
        self.module.train()

    def eval(self) -> None:
        self.module.eval()

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()


class AloneReference:
    """The reference of one rank that has whole rows."""

    def __init__(self, module: PolicyModel):
        self.module = module

    @torch.no_grad()
    def logprobs(self, batch: Any, temperature: float) -> torch.Tensor:
        return self.module(*batch.inputs, temperature=temperature, with_entropy=False)[0]


def worker(world_size: int) -> Any:
    return SimpleNamespace(seed=0, stage="s", rank=dist.get_rank() % world_size, world_size=world_size, is_main=False)


def drawn(generator: random.Random, count: int) -> list[int]:
    return [generator.randrange(5, VOCABULARY) for _ in range(count)]


def rollouts(world_size: int) -> list[Row]:
    """Three groups of three, of 4 to 67 tokens, dealt to the ranks; groups share their prompts."""
    generator = random.Random(0)
    made: list[Row] = []
    for group, length in enumerate((3, 18, 7)):
        prompt = drawn(generator, length)
        for place in range(3):
            ids = drawn(generator, generator.choice((1, 6, 13, 49)))
            logprobs = [-4.5 + 0.7 * generator.gauss(0, 1) for _ in ids]
            text = Prompt(str(group), "", "math", "reasoning", "en", "")
            rollout, rank = Rollout(text, group, prompt, ids, logprobs, False, "", step=3), len(made) % world_size
            row = dataclasses.replace(Row.of(rollout, rank), advantage=place - 0.8)
            row.here = rollout if rank == dist.get_rank() % world_size else None
            made.append(row)
    return made


def training_rows() -> list[TrainingRow]:
    generator = random.Random(1)
    rows = [drawn(generator, count) for count in (9, 70, 31, 5, 2, 44, 17)]
    return [TrainingRow(ids, [0.0] * (len(ids) // 3) + [0.5] * (len(ids) - len(ids) // 3)) for ids in rows]


def objectives() -> list[Any]:
    """Bradley-Terry on five pairs, and cross-entropy on five labels. Some rows end in the token that pads."""
    generator = random.Random(2)
    row = lambda: [*drawn(generator, generator.choice((3, 12, 41))), generator.choice((0, 2))]
    pairs = [SimpleNamespace(chosen=row(), rejected=row(), is_holdout=False) for _ in range(5)]
    labels = [SimpleNamespace(token_ids=row(), is_safe=i % 2 == 0, is_holdout=False) for i in range(5)]
    config = SimpleNamespace(reward_l2=0.1, batch_size=5, micro_batch_tokens=BUDGET)
    return [HelpfulObjective(None, config, pairs), SafetyObjective(None, config, labels)]


def perturbed(model: Any) -> Any:
    """The model with other weights: a policy that has moved away from its reference."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    return model


def losses_of(engine: Any, reference: Any, world_size: int, sequence_parallel: int) -> Any:
    """Yields (name, metrics) after the backward passes of each loss of a policy."""
    batch, deepspeed = rollouts(world_size), DeepSpeedConfig(zero_stage=1, sequence_parallel=sequence_parallel)
    counts = Counts(len(batch), sum(row.num_completion_tokens for row in batch), 50)
    for settings in LOSSES:
        config = GrpoConfig(
            num_steps=4, updates_per_rollout=1, micro_batch_tokens=BUDGET, deepspeed=deepspeed,
            **{"beta": 0.0, **settings},
        )  # fmt: skip
        update = PolicyUpdate(
            worker(world_size), config, engine, reference if config.beta else None, 0, 50, engine.module.packed
        )
        corrects = "correction" in settings
        if corrects and settings["loss"] == "gspo":
            update.set_old_logprobs(batch)
        metrics = update.accumulate(batch, counts, corrects, drawn_at=3)
        mean, worst = update.mismatch(batch)
        yield json.dumps(settings), {**metrics, "mean": mean, "worst": worst}
        for row in batch:
            row.has_old_logprobs = False
            if row.here is not None:
                row.here.old_logprobs = None
    loss, num_tokens = accumulate(worker(world_size), engine, training_rows(), BUDGET, 0)
    yield "sft", {"loss": loss, "tokens": num_tokens}


def reward_losses_of(engine: Any, world_size: int) -> Any:
    """The same for the losses of reward models; their metrics have the rewards too."""
    for objective in objectives():
        loss = _accumulate(engine, objective, list(range(5)), BUDGET)
        if world_size > 1:
            dist.all_reduce(loss)
        yield objective.name, {"loss": loss.item()}


class PlainStep(torch.optim.SGD):
    """Takes the gradient off the weights, and leaves its norm where DeepSpeed looks."""

    def __init__(self, parameters: Any, optim: OptimConfig):
        super().__init__([p if isinstance(p, torch.Tensor) else p[1] for p in parameters], lr=optim.lr)

    def step(self, *args: Any) -> None:
        gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        self._global_grad_norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
        super().step(*args)


def gradients(engine: Any) -> tuple[dict[str, torch.Tensor], float]:
    """The gradient of each trained parameter, as what one step changes in the weights; and its norm."""
    before = weights(engine)
    if isinstance(engine, Alone):
        optimizer = PlainStep([p for p in engine.module.parameters() if p.requires_grad], OPTIM)
        optimizer.step()
        optimizer.zero_grad()
        norm = float(optimizer._global_grad_norm)
    else:
        norm, _ = engine.step(0)
    after = weights(engine)
    return {name: (before[name] - after[name]) / OPTIM.lr for name in before}, norm


def weights(engine: Any) -> dict[str, torch.Tensor]:
    """The trained weights, whole."""
    import deepspeed

    found = {}
    for name, parameter in engine.module.named_parameters():
        if parameter.requires_grad:
            with deepspeed.zero.GatheredParameters([parameter], enabled=hasattr(parameter, "ds_id")):
                found[name] = parameter.detach().clone()
    return found


def compare(engine: Any, alone: Alone, metrics: dict[str, float], expected: dict[str, float]) -> list[float]:
    """How far gradient and metrics are from those of one rank alone, relatively."""
    (found, norm), (own, own_norm) = gradients(engine), gradients(alone)
    with torch.no_grad():
        for name, weight in weights(engine).items():  # differences do not add up from loss to loss
            alone.module.get_parameter(name).copy_(weight)
    return [difference(found, own), largest(metrics | {"norm": norm}, expected | {"norm": own_norm})]


def difference(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """The largest norm of a tensor's difference over that of the largest gradient."""
    assert found.keys() == expected.keys()
    scale = max(tensor.norm() for tensor in expected.values())
    assert scale > 1e-4
    return max(((found[name] - expected[name]).norm() / scale).item() for name in expected)


def largest(found: dict[str, float], expected: dict[str, float]) -> float:
    """The largest difference of a metric."""
    assert found.keys() == expected.keys(), (found, expected)
    return max(abs(found[name] - expected[name]) / max(1.0, abs(expected[name])) for name in expected)


def adapters_of(policy: PolicyModel) -> Any:
    made = add_adapters(policy.model, LoraConfig(rank=4), 0, print, True, packed=policy.packed)
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:  # they begin at zero, where the other half has no gradient
            generator = torch.Generator().manual_seed(len(name))
            parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return made


@contextmanager
def shared_directory() -> Iterator[Path]:
    """A directory of all ranks, removed at the end."""
    made = [tempfile.mkdtemp() if dist.get_rank() == 0 else None]
    dist.broadcast_object_list(made)
    yield Path(made[0])
    dist.barrier()
    if dist.get_rank() == 0:
        shutil.rmtree(made[0])


def run_case(shape: dict, has_lora: bool, **settings: Any) -> dict[str, list[float]]:
    config = DeepSpeedConfig(**settings)
    say = lambda line: None
    policy_model.LOGITS_PER_CHUNK["cpu"] = 10 * VOCABULARY  # the head in chunks
    with shared_directory() as directory:
        tiny("llama", **shape).save_pretrained(directory)  # rank 0 writes
        Path(directory, "tokenizer.json").write_text("{}")  # nothing reads it, but a model directory has one
        dist.barrier()
        alone = ready_policy(perturbed(tiny("llama", **shape)), Tokens(), "on", "fp32", say)
        shared = ready_policy(
            perturbed(tiny("llama", **shape)), Tokens(), "auto", "fp32", say, sequence_parallel=config.sequence_parallel
        )
        if has_lora:
            alone.adapters, shared.adapters = adapters_of(alone), adapters_of(shared)
        engine = TrainEngine(shared, OPTIM, config, 1)
        reference: Any
        own_reference: Any = AloneReference(PolicyModel(tiny("llama", **shape), packed=True))
        if has_lora:
            reference = AdapterReference(engine, directory)
            own_reference = AdapterReference(Alone(alone), directory)
            own_reference.engine.engine = alone
        else:
            reference = Reference(directory, config, directory, packed=True)
    n, found = config.sequence_parallel, {}
    sides = losses_of(engine, reference, dist.get_world_size(), n), losses_of(Alone(alone), own_reference, 1, 1)
    alone_engine = Alone(alone)
    for (name, metrics), (_, expected) in zip(*sides, strict=True):
        found[name] = compare(engine, alone_engine, metrics, expected)
    if has_lora:
        return found
    scalars = [perturbed(classifier("llama", **shape)) for _ in range(2)]
    alone_engine = Alone(ready_classifier(scalars[0], Tokens()))
    engine = TrainEngine(ready_classifier(scalars[1], Tokens(), False, n), OPTIM, config, 1)
    sides = reward_losses_of(engine, dist.get_world_size()), reward_losses_of(alone_engine, 1)
    for (name, metrics), (_, expected) in zip(*sides, strict=True):
        found[name] = compare(engine, alone_engine, metrics, expected)
    rows = objectives()[0].rows
    scores = torch.tensor(reward_scores(engine, rows, BUDGET))
    expected_scores = torch.tensor(reward_scores(alone_engine, rows, BUDGET))
    found["rewards"] = [0.0, (scores - expected_scores).abs().max().item()]
    return found


def run_family(family: str, size: int) -> list[float]:
    """The difference of gradients and of logprobs where two ranks hold the rows of this family."""
    from stages.modeling.batching import lay_out
    from stages.modeling.sequences import sequence_group

    policy = ready_policy(tiny(family), Tokens(), "on", "fp32", print, sequence_parallel=size)
    rows = [row.token_ids for row in training_rows()[:4]]
    batch = lay_out(rows, [[False, *[True] * (len(row) - 1)] for row in rows], 0, torch.device("cpu"), True)
    outcomes = []
    for sequences in (None, sequence_group(size)):
        policy.sequences = sequences
        policy.zero_grad()
        logprobs_N, _ = policy(*batch.inputs)
        (logprobs_N * torch.linspace(-1, 1, len(logprobs_N))).sum().backward()
        if sequences is not None:
            for parameter in policy.parameters():
                dist.all_reduce(parameter.grad, group=sequences._group)
        outcomes.append((logprobs_N.detach(), {n: p.grad.clone() for n, p in policy.named_parameters()}))
    (own, expected), (split, found) = outcomes
    return [difference(found, expected), (split - own).abs().max().item()]


def run_second_copy(size: int) -> list[float]:
    """How far losses and weights of three steps in bf16 are, with a second copy of the parameters and without."""
    outcomes = []
    for copies in (1, size):
        config = DeepSpeedConfig(zero_stage=3, precision="bf16", hpz_partition_size=copies)
        policy = ready_policy(perturbed(tiny("llama")).to(torch.bfloat16), Tokens(), "on", "bf16", print)
        engine = TrainEngine(policy, OPTIM, config, 3)
        losses = []
        for step in range(3):
            losses.append(accumulate(worker(dist.get_world_size()), engine, training_rows(), BUDGET, 0)[0])
            losses.append(engine.step(step)[0])
            with torch.no_grad():  # a pass between two steps must not bring back what was before the last one
                losses.append(accumulate_nothing(engine))
        outcomes.append((losses, weights(engine)))
    (plain, expected), (twice, found) = outcomes
    assert plain[-3] != plain[0]
    worst = max((found[name].float() - expected[name].float()).abs().max().item() for name in expected)
    return [worst, max(abs(a - b) for a, b in zip(plain, twice))]


def accumulate_nothing(engine: Any) -> float:
    """The sum of the logprobs of a row, without a gradient."""
    from stages.modeling.batching import lay_out

    row = training_rows()[0].token_ids
    batch = lay_out([row], [[False, *[True] * (len(row) - 1)]], 0, torch.device("cpu"), packed=True)
    return float(engine(*batch.inputs)[0].sum())


def main(cases: str, result: str) -> None:
    init_distributed()
    training.adamw = training.ReplicatedOptimizer = PlainStep
    outcomes: dict[str, Any] = {}
    for case in json.loads(cases):
        settings = copy.deepcopy(case)
        if "second_copy" in settings:
            outcomes["second_copy"] = run_second_copy(settings["second_copy"])
        elif "families" in settings:
            outcomes |= {name: run_family(name, settings["families"]) for name in FAMILIES}
        else:
            outcomes[json.dumps(case)] = run_case(settings.pop("shape", {}), settings.pop("lora", False), **settings)
    if dist.get_rank() == 0:
        files.write_json(Path(result), outcomes)


if __name__ == "__main__":
    main(*sys.argv[1:])
    end_process()
