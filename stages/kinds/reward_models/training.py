"""The loop that trains one reward model: a scalar head on token rows, resumable after every save."""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.distributed as dist

from stages.config import RewardModelsConfig
from stages.contract import files
from stages.engines.checkpoint import resume
from stages.engines.export import export_adapter
from stages.engines.loading import load_scorer
from stages.engines.saver import Saver
from stages.engines.training import TrainEngine
from stages.modeling.adapter_targets import heads_of
from stages.modeling.adapters import add_adapters
from stages.modeling.batching import micro_batches, pad_id
from stages.modeling.ready import ready_classifier
from stages.modeling.reward_model import ScalarModel, laid_out
from stages.runtime.distributed import control_group
from stages.runtime.seeds import seed_for
from stages.runtime.worker import Worker
from stages.training.alarms import Alarm, report_once
from stages.training.beginnings import of_reward_model
from stages.training.health import HealthWatch, inspector

ENOUGH = 20  # held-out items by which a model is judged
COIN = 0.55  # accuracy up to which it has learned nothing


class Objective(Protocol):
    """What one model learns. It learns from items: a pair has two token rows, a label has one."""

    name: str  # of the model: model/<name>, state/<name>, metrics <name>/*
    rows: list[list[int]]  # token ids; those of one item side by side
    rows_per_item: int

    def batch_at(self, step: int) -> list[int]:
        """The items of the global batch of a step, counted from 0; the same on every rank."""

    def loss_of(self, rewards: torch.Tensor, items: list[int], size: int) -> torch.Tensor:
        """The share [] of these items in the loss of a batch of `size` items, from the rewards of their rows [B]."""

    def evaluate(self, engine: TrainEngine) -> dict[str, float]:
        """The metrics of the trained model. Collective."""


@dataclass(frozen=True)
class Schedule:
    """The optimizer steps of one model among those of the stage."""

    num_steps: int
    first_step: int  # steps of the stage that are logged for another model before it
    total_steps: int  # of the stage


def train(worker: Worker, config: RewardModelsConfig, tokenizer: Any, objective: Objective, schedule: Schedule) -> None:
    """Trains a model, and exports it to model/<name> with its metrics. Collective.

    Does nothing where an earlier attempt finished this model and was killed while it trained the other.

    Args:
        worker: the stage; its policy is what the model starts from.
        config: of the stage.
        tokenizer: of the policy.
        objective: what is learned.
        schedule: for how many steps.
    """
    name, num_steps = objective.name, schedule.num_steps
    done = worker.dir / "state" / f"{name}_done.json"
    if done.exists():
        worker.metrics |= files.read_json(done)
        return
    torch.manual_seed(seed_for(worker.seed, worker.stage, name, "head"))
    model = load_scorer(worker.model_dir("policy"), pad_id(tokenizer), config.deepspeed, config.lora.quantize)
    scalar = ready_classifier(model, tokenizer, config.dropout, config.deepspeed.sequence_parallel)
    if config.lora.is_on:
        seed = seed_for(worker.seed, worker.stage, name, "lora")
        scalar.adapters = add_adapters(model, config.lora, seed, worker.say, whole=heads_of(model))
    engine = TrainEngine(scalar, config.optim, config.deepspeed, num_steps)
    step = resume(worker, engine, f"state/{name}", schedule.first_step)["step"]
    inspect = inspector(worker, engine, config.health, can_go_back=False)
    saver = Saver(worker, engine, config, f"state/{name}", inspect=inspect)
    watch = HealthWatch(worker, config.health, can_go_back=False)
    num_items = len(objective.rows) // objective.rows_per_item
    report_once(worker, of_reward_model(worker.stage, config, name, num_items, num_steps))
    while step < num_steps:
        torch.manual_seed(seed_for(worker.seed, worker.stage, name, step, worker.rank))
        batch = objective.batch_at(step)
        loss = _accumulate(engine, objective, batch, config.micro_batch_tokens)
        grad_norm, lr = engine.step(step)
        step += 1
        metrics = {
            f"{name}/loss": _sum_over_ranks(worker, loss),
            "train/grad_norm": grad_norm,
            "train/lr": lr,
            "tokens/trained": sum(_num_tokens(objective, batch)),
        }
        logged = schedule.first_step + step
        worker.log_step(logged, metrics)
        watch(logged, metrics)
        worker.progress(f"train {name}", logged, schedule.total_steps, f"{name} loss {metrics[f'{name}/loss']:.3f}")
        saver.step_done(step, num_steps)
    saver.wait()
    engine.eval()
    worker.metrics |= objective.evaluate(engine)
    report_once(worker, blind(name, worker.metrics, schedule.first_step + num_steps, worker.stage))
    engine.export(tokenizer, worker.dir / "model" / name)
    if engine.module.adapters is not None:
        export_adapter(worker, engine, worker.dir / "adapter" / name, task="SEQ_CLS")
    if worker.is_main:
        files.write_json(done, {key: value for key, value in worker.metrics.items() if key.startswith(name)})
    worker.say(f"{name}: {[f'{k} {v:.3f}' for k, v in worker.metrics.items() if k.startswith(name)]}")


def blind(name: str, metrics: dict[str, float], step: int, stage: str) -> list[Alarm]:
    """Says where a trained model tells good from bad no better than a coin, on enough held-out items.

    Args:
        name: of the model.
        metrics: of the stage, with the model's own.
        step: the last one of the model.
        stage: its name.
    """
    accuracy = metrics.get(f"{name}/holdout_accuracy", math.nan)
    count = metrics.get(f"{name}/holdout_pairs", metrics.get(f"{name}/holdout_labels", 0))
    if count < ENOUGH or not accuracy <= COIN:
        return []
    message = f"the {name} model is right on {accuracy:.0%} of {count:.0f} held-out items, as a coin would be"
    advice = (
        f"give more or clearer data (stages.{stage}.num_prompts, min_gap), train longer, or change "
        f"stages.{stage}.optim.lr; rewards of this model are noise"
    )
    return [Alarm("blind_reward_model", step, message, advice)]


def _accumulate(engine: TrainEngine, objective: Objective, batch: list[int], micro_batch_tokens: int) -> torch.Tensor:
    """Adds the gradient of this rank's share of a global batch of items. Returns its share of the loss [1]."""
    engine.train()
    loss_sum = torch.zeros(1)
    share, scalar = engine.share, engine.module
    assert isinstance(scalar, ScalarModel)
    lengths = _num_tokens(objective, batch)
    for places in micro_batches(lengths, share.count, share.number, micro_batch_tokens, scalar.packed):
        items = [batch[place] for place in places]
        rewards = engine(*laid_out(_rows_of(objective, items), scalar.pad_id, engine.device, scalar.packed))
        # An empty share still takes part in the collectives of the backward pass.
        loss = objective.loss_of(rewards, items, len(batch)) if items else rewards.sum() * 0.0
        engine.backward(loss)
        loss_sum += loss.detach().cpu() if share.is_counted_here else 0.0
    return loss_sum


def _rows_of(objective: Objective, items: list[int]) -> list[list[int]]:
    """The token rows of these items, those of one item side by side."""
    count = objective.rows_per_item
    rows: list[list[int]] = []
    for item in items:
        rows += objective.rows[item * count : (item + 1) * count]
    return rows


def _num_tokens(objective: Objective, items: list[int]) -> list[int]:
    """The tokens of each of these items, all its rows together."""
    return [sum(len(row) for row in _rows_of(objective, [item])) for item in items]


def _sum_over_ranks(worker: Worker, value: torch.Tensor) -> float:
    """The sum of a [1] tensor over all ranks. Collective."""
    if worker.world_size > 1:
        dist.all_reduce(value, group=control_group())
    return value.item()
