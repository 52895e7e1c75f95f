"""Run by torchrun: a model with buffers, frozen and unused parameters through a step, a checkpoint, a refresh of the
reference and an export, at several ZeRO stages. Writes what became of each weight.

torchrun ... whole_weights.py WORK_DIR RESULT_JSON
"""

import sys
from pathlib import Path

from stages.runtime import environment

environment.prepare()

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402

from scripts.family_tools.families import write_model  # noqa: E402
from stages.config import DeepSpeedConfig, OptimConfig  # noqa: E402
from stages.contract import files  # noqa: E402
from stages.engines.saver import write_parts  # noqa: E402
from stages.engines.training import TrainEngine, init_distributed  # noqa: E402
from stages.engines.universal import buffers_of, to_universal  # noqa: E402
from stages.kinds.evaluation.models import weights_of  # noqa: E402
from stages.kinds.grpo.reference import Reference  # noqa: E402
from stages.modeling.batching import lay_out  # noqa: E402
from stages.modeling.model import load_model, load_tokenizer  # noqa: E402
from stages.modeling.policy_model import PolicyModel  # noqa: E402
from tests.support.stage_dirs import end_process  # noqa: E402

CASES = [(0, "fp32"), (2, "fp32"), (3, "fp32"), (2, "bf16")]  # (ZeRO stage, precision)
BIAS = "model.layers.1.mlp.gate.e_score_correction_bias"


def make_engine(model_dir: Path, zero_stage: int, precision: str) -> TrainEngine:
    model = load_model(model_dir, precision)
    model.model.register_buffer("seen", torch.zeros(2))  # what a model may count as it trains
    model.register_parameter("unused", torch.nn.Parameter(torch.ones(8, dtype=model.dtype)))
    model.model.norm.weight.requires_grad_(False)
    config = DeepSpeedConfig(zero_stage=zero_stage, precision=precision)
    return TrainEngine(PolicyModel(model), OptimConfig(lr=1e-2), config, num_steps=2)


def a_step(engine: TrainEngine) -> None:
    rows = [[20 + i, 30, 40 + i, 50] for i in range(4)]
    batch = lay_out(rows, [[False, True, True, True]] * 4, 0, engine.device)
    engine.train()
    engine.backward(-engine(*batch.inputs)[0].mean())
    engine.step(0)
    with torch.no_grad():  # as statistics and corrections move in training
        engine.module.get_buffer("model.model.seen").add_(1.5)
        engine.module.get_buffer(f"model.{BIAS}").add_(0.25)


def state_of(engine: TrainEngine) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in engine.full_weights()}


def differing(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> list[str]:
    return sorted(set(a) ^ set(b)) + [
        name for name in a if name in b and not (a[name].dtype == b[name].dtype and torch.equal(a[name], b[name]))
    ]


def run_case(directory: Path, model_dir: Path, zero_stage: int, precision: str) -> dict:
    engine = make_engine(model_dir, zero_stage, precision)
    before = state_of(engine)
    a_step(engine)
    after = state_of(engine)
    write_parts(directory, engine.parts(directory, is_copied=True))
    dist.barrier()
    again = make_engine(model_dir, zero_stage, precision)
    again.load(directory)
    resumed = differing(after, state_of(again))
    universal: list[str] | None = None
    if zero_stage:
        if dist.get_rank() == 0:
            to_universal(directory / "engine", directory / "universal" / "engine")
        dist.barrier()
        third = make_engine(model_dir, zero_stage, precision)
        third.load(directory / "universal", is_universal=True)
        third.set_buffers(buffers_of(directory / "engine"))
        universal = differing(after, state_of(third))
    engine.export(load_tokenizer(model_dir), directory / "model")
    dist.barrier()
    own = {name: tensor.clone() for name, tensor in engine.checkpoint_weights()}
    return {
        "moved": [name for name in before if not torch.equal(before[name], after[name])],
        "names": list(after),
        "bias": str(after[BIAS].dtype),
        "resumed": resumed,
        "universal": universal,
        "exported": differing(own, dict(weights_of(directory / "model"))),
        "checkpoint": list(own),
        "reference": refreshed(directory, model_dir, zero_stage, precision),
    }


def refreshed(directory: Path, model_dir: Path, zero_stage: int, precision: str) -> list[str]:
    """What differs between a policy and a reference that was refreshed with it."""
    config = DeepSpeedConfig(zero_stage=zero_stage, precision=precision)
    engine = TrainEngine(PolicyModel(load_model(model_dir, precision)), OptimConfig(lr=1e-2), config, num_steps=2)
    reference = Reference(model_dir, config, directory / "references")
    with torch.no_grad():
        engine.module.get_buffer(f"model.{BIAS}").add_(0.25)
    reference.refresh(engine, 1)
    rows = [[20, 30, 40, 50], [60, 70, 80, 90]]
    batch = lay_out(rows, [[False, True, True, True]] * 2, 0, engine.device)
    engine.eval()
    with torch.no_grad():
        same = torch.equal(engine(*batch.inputs)[0], reference.logprobs(batch, 1.0))
    bias = reference.module.get_buffer(f"model.{BIAS}")
    is_kept = torch.equal(bias, engine.module.get_buffer(f"model.{BIAS}")) and bias.dtype == torch.float32
    return [] if same and is_kept else [f"same logprobs: {same}, same buffer: {is_kept}"]


def main(directory: str, result: str) -> None:
    init_distributed()
    root = Path(directory)
    if dist.get_rank() == 0:
        write_model("DeepSeek-V3", root / "policy")
    dist.barrier()
    outcomes = {}
    for zero_stage, precision in CASES:
        case = root / f"zero{zero_stage}_{precision}"
        case.mkdir(exist_ok=True)
        outcomes[f"{zero_stage} {precision}"] = run_case(case, root / "policy", zero_stage, precision)
    if dist.get_rank() == 0:
        files.write_json(Path(result), outcomes)


if __name__ == "__main__":
    main(*sys.argv[1:])
    end_process()
