"""The loop that trains one reward model: a scalar head on token rows, resumable after every save."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from stages.config import RewardModelsConfig
from stages.contract import files
from stages.engines.checkpoint import resume
from stages.engines.saver import Saver
from stages.engines.training import TrainEngine
from stages.modeling.batching import micro_batches, pad_id, pad_rows
from stages.modeling.reward_model import ScalarModel, load_reward_model
from stages.runtime.distributed import control_group
from stages.runtime.seeds import seed_for
from stages.runtime.worker import Worker
from stages.training.health import HealthWatch


@dataclass(frozen=True)
class ScalarTask:
    """What one model learns. Its items have `rows_per_item` consecutive rows each: a pair has 2, a label has 1."""

    name: str  # of the model: model/<name>, state/<name>, metrics <name>/*
    rows: list[list[int]]  # token ids
    rows_per_item: int
    batch_at: Callable[[int], list[int]]  # step -> the items of its global batch
    loss_of: Callable[[torch.Tensor, list[int], int], torch.Tensor]  # (rewards [B], items, items of the batch) -> loss
    num_steps: int  # optimizer steps
    first_step: int  # steps of the stage that were logged for another model before this one
    total_steps: int  # of the stage, for the progress
    evaluate: Callable[[TrainEngine], dict[str, float]]  # the metrics of the trained model

    def rows_of(self, items: list[int]) -> list[list[int]]:
        """The rows of these items, those of one item side by side."""
        return [self.rows[i * self.rows_per_item + k] for i in items for k in range(self.rows_per_item)]


def train(worker: Worker, config: RewardModelsConfig, tokenizer: Any, task: ScalarTask) -> None:
    """Trains a model, and exports it to model/<name> with its metrics. Collective.

    Does nothing where an earlier attempt finished this model and was killed while it trained the other.

    Args:
        worker: the stage; its policy is what the model starts from.
        config: of the stage.
        tokenizer: of the policy.
        task: what is learned.
    """
    name = task.name
    done = worker.dir / "state" / f"{name}_done.json"
    if done.exists():
        worker.metrics |= files.read_json(done)
        return
    torch.manual_seed(seed_for(worker.seed, worker.stage, name, "head"))
    model = ScalarModel(load_reward_model(worker.model_dir("policy"), pad_id(tokenizer)))
    engine = TrainEngine(model, config.optim, config.deepspeed, task.num_steps)
    step = resume(worker, engine, f"state/{name}", task.first_step)["step"]
    saver = Saver(worker, engine, config, f"state/{name}")
    watch = HealthWatch(worker, config.health, can_go_back=False)
    while step < task.num_steps:
        torch.manual_seed(seed_for(worker.seed, worker.stage, name, step, worker.rank))
        batch = task.batch_at(step)
        loss = _accumulate(worker, engine, task, batch, config.micro_batch_tokens, pad_id(tokenizer))
        grad_norm, lr = engine.step(step)
        step += 1
        metrics = {
            f"{name}/loss": _sum_over_ranks(worker, loss),
            "train/grad_norm": grad_norm,
            "train/lr": lr,
            "tokens/trained": sum(len(row) for row in task.rows_of(batch)),
        }
        logged = task.first_step + step
        worker.log_step(logged, metrics)
        watch(logged, metrics)
        worker.progress(f"train {name}", logged, task.total_steps, f"{name} loss {metrics[f'{name}/loss']:.3f}")
        saver.step_done(step, task.num_steps)
    saver.wait()
    engine.eval()
    worker.metrics |= task.evaluate(engine)
    engine.export(tokenizer, worker.dir / "model" / name)
    if worker.is_main:
        files.write_json(done, {key: value for key, value in worker.metrics.items() if key.startswith(name)})
    worker.say(f"{name}: {[f'{k} {v:.3f}' for k, v in worker.metrics.items() if k.startswith(name)]}")


def _accumulate(
    worker: Worker, engine: TrainEngine, task: ScalarTask, batch: list[int], micro_batch_tokens: int, pad: int
) -> torch.Tensor:
    """Adds the gradient of this rank's share of a global batch of items. Returns its share of the loss [1]."""
    engine.train()
    loss_sum = torch.zeros(1)
    lengths = [sum(len(row) for row in task.rows_of([item])) for item in batch]
    for places in micro_batches(lengths, worker.world_size, worker.rank, micro_batch_tokens):
        items = [batch[place] for place in places]
        rewards = engine(pad_rows(task.rows_of(items), pad, engine.device))
        # An empty share still takes part in the collectives of the backward pass.
        loss = task.loss_of(rewards, items, len(batch)) if items else rewards.sum() * 0.0
        engine.backward(loss)
        loss_sum += loss.detach().cpu()
    return loss_sum


def _sum_over_ranks(worker: Worker, value: torch.Tensor) -> float:
    """The sum of a [1] tensor over all ranks. Collective."""
    if worker.world_size > 1:
        dist.all_reduce(value, group=control_group())
    return value.item()
