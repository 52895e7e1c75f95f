"""The supervised loop of pretraining, SFT and distillation: weighted next-token loss on any number of ranks.

It is resumable after every save: the batch of a step is a pure function of the step's number.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist

from stages.config import PretrainConfig, SftConfig
from stages.engines.checkpoint import resume
from stages.engines.saver import Saver
from stages.engines.training import TrainEngine
from stages.modeling.batching import lay_out, micro_batches
from stages.runtime.distributed import control_group
from stages.runtime.seeds import seed_for
from stages.runtime.worker import Worker
from stages.training.health import HealthWatch, RollBack, inspector
from stages.training.rollback import Batches, roll_back, save_start

SAY_EVERY = 50  # steps between lines of the log


@dataclass
class TrainingRow:
    """A tokenised document, or a prompt with its completion."""

    token_ids: list[int]
    weights: list[float]  # of each token as a target; 0 leaves it out of the loss; the first token is never a target


def train_supervised(
    worker: Worker,
    engine: TrainEngine,
    batch_at: Callable[[int], list[TrainingRow]],
    num_steps: int,
    config: PretrainConfig | SftConfig,
    pad_id: int,
) -> None:
    """Trains until `num_steps` optimizer steps are done, from the newest checkpoint on. Collective.

    Args:
        worker: the stage.
        engine: the model and its optimizer.
        batch_at: number of a batch -> global batch, a pure function, the same on every rank.
        num_steps: optimizer steps in all.
        config: of the stage.
        pad_id: token id that fills padded rows.
    """
    batches = Batches(worker.dir)
    step = resume(worker, engine)["step"]
    saver = Saver(worker, engine, config, inspect=inspector(worker, engine, config.health))
    save_start(saver, step)
    watch = HealthWatch(worker, config.health)
    engine.train()
    worker.startup_done()
    while step < num_steps:
        started = time.time()
        torch.manual_seed(seed_for(worker.seed, worker.stage, step, worker.rank))  # dropout, if the model has any
        batch = batch_at(batches.number(step))
        loss, num_tokens = accumulate(worker, engine, batch, config.micro_batch_tokens, pad_id)
        grad_norm, lr = engine.step(step)
        step += 1
        metrics = _metrics(loss, grad_norm, lr, num_tokens, time.time() - started)
        worker.log_step(step, metrics)
        try:
            watch(step, metrics)
            worker.progress("train", step, num_steps, f"loss {loss:.3f}")
            if step % SAY_EVERY == 0 or step == num_steps:
                worker.say(
                    f"step {step}/{num_steps} loss {loss:.4f} grad_norm {grad_norm:.2f} lr {lr:.2e} "
                    f"{metrics['perf/tokens_per_s']:.0f} tokens/s"
                )
            saver.step_done(step, num_steps)
        except RollBack as cause:
            batches = roll_back(saver, cause, batches)
            step = resume(worker, engine, is_fresh=False)["step"]
            watch = HealthWatch(worker, config.health)
    saver.wait()
    worker.metrics["train/loss"] = loss if num_steps else 0.0


def _metrics(loss: float, grad_norm: float, lr: float, num_tokens: int, seconds: float) -> dict[str, float]:
    """What is logged of a step that took so long."""
    return {
        "train/loss": loss,
        "train/grad_norm": grad_norm,
        "train/lr": lr,
        "train/tokens": num_tokens,
        "tokens/trained": num_tokens,
        "perf/tokens_per_s": num_tokens / seconds,
        "perf/step_s": seconds,
    }


def accumulate(
    worker: Worker, engine: TrainEngine, batch: list[TrainingRow], micro_batch_tokens: int, pad_id: int
) -> tuple[float, int]:
    """Adds the gradient of this rank's micro-batches of a global batch. Collective.

    The loss is the sum of weighted token losses over the sum of weights, over the whole batch on all ranks.

    Args:
        worker: the stage.
        engine: the model; says which share is this rank's.
        batch: the same on every rank.
        micro_batch_tokens: most tokens, padding included, of one forward pass.
        pad_id: token id that fills padded rows.

    Returns:
        The loss over all ranks, in nats a token, and the number of tokens of the batch.
    """
    total_weight = sum(sum(row.weights[1:]) for row in batch)
    loss_sum = torch.zeros(1)
    packed = bool(engine.module.packed)
    lengths = [len(row.token_ids) for row in batch]
    share = engine.share
    for indices in micro_batches(lengths, share.count, share.number, micro_batch_tokens, packed):
        chosen = [batch[i] for i in indices]
        targets = [[False, *(weight > 0 for weight in row.weights[1:])] for row in chosen]
        tokens = lay_out([row.token_ids for row in chosen], targets, pad_id, engine.device, packed)
        weights_N = torch.tensor(
            [weight for row in chosen for weight in row.weights[1:] if weight > 0], device=engine.device
        )
        logprobs_N, _ = engine(*tokens.inputs, with_entropy=False)
        loss = -(logprobs_N * weights_N).sum() / total_weight
        engine.backward(loss)
        loss_sum += loss.detach().cpu() if share.is_counted_here else 0.0
    if worker.world_size > 1:
        dist.all_reduce(loss_sum, group=control_group())
    return loss_sum.item(), sum(lengths)
