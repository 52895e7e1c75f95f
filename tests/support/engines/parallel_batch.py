"""Run by torchrun: one global batch through any number of processes, micro-batch budgets and ZeRO stages. Writes losses
and gradients.

torchrun ... parallel_batch.py MODEL_DIR CASES_JSON RESULT_JSON      CASES: [[zero stage, micro-batch tokens, steps,
                                                                     precision], ...]
"""

import json
import sys
from pathlib import Path

from stages.runtime import environment

environment.prepare()

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402

from stages.config import DeepSpeedConfig, OptimConfig  # noqa: E402
from stages.contract import files  # noqa: E402
from stages.engines.training import TrainEngine, has_own_optimizer  # noqa: E402
from stages.modeling.model import load_model  # noqa: E402
from stages.modeling.policy_model import PolicyModel  # noqa: E402
from stages.training.supervised import TrainingRow, accumulate  # noqa: E402
from tests.support.stage_dirs import end_process  # noqa: E402


class Ranks:
    """What `accumulate` asks of a worker."""

    def __init__(self):
        self.rank, self.world_size = dist.get_rank(), dist.get_world_size()


def batch_at(step: int) -> list[TrainingRow]:
    """Nine samples of 3 to 27 tokens."""
    generator = torch.Generator().manual_seed(step)
    rows = [torch.randint(4, 150, (3 + 3 * i,), generator=generator).tolist() for i in range(9)]
    return [TrainingRow(ids, [0.0] + [0.05 + 0.1 * (i % 9) for i in range(len(ids) - 1)]) for ids in rows]


def run_case(
    model_dir: Path, zero_stage: int, micro_batch_tokens: int, num_steps: int, precision: str = "fp32"
) -> dict:
    torch.manual_seed(0)
    optim = OptimConfig(lr=1e-3, schedule="linear", grad_clip=0.5)
    engine = TrainEngine(
        PolicyModel(load_model(model_dir, precision)),
        optim,
        DeepSpeedConfig(zero_stage=zero_stage, precision=precision),
        num_steps,
    )
    engine.train()
    losses, norms, gradients = [], [], []
    if has_own_optimizer(engine.config):  # before the optimizer clips them
        engine.engine.optimizer.register_step_pre_hook(
            lambda *_: gradients.append(torch.cat([p.grad.flatten() for p in engine.module.parameters()]).tolist())
        )
    for step in range(num_steps):
        losses.append(accumulate(Ranks(), engine, batch_at(step), micro_batch_tokens, pad_id=0)[0])
        norms.append(engine.step(step)[0])
    weights = torch.cat([tensor.flatten() for _, tensor in engine.full_weights()])
    return {"losses": losses, "norms": norms, "gradients": gradients[:1], "weights": weights[::17].tolist()}


def main(model_dir: str, cases: str, result: str) -> None:
    outcomes = [run_case(Path(model_dir), *case) for case in json.loads(cases)]
    if dist.get_rank() == 0:
        files.write_json(Path(result), outcomes)


if __name__ == "__main__":
    main(*sys.argv[1:])
    end_process()
