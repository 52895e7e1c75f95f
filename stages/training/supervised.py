"""The supervised loop of pretraining, SFT and distillation: weighted next-token loss, any number of ranks, resumable
after every save.
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
from stages.runtime.seeds import seed_for
from stages.runtime.worker import Worker
from stages.training.health import RollBack, Watch
from stages.training.rollback import Batches, roll_back, save_start


@dataclass
class Sample:
    token_ids: list[int]
    weights: list[float]  # of each token as a target; 0 leaves it out of the loss; the first token is never a target


def train_supervised(
    worker: Worker,
    engine: TrainEngine,
    batch_at: Callable[[int], list[Sample]],
    num_steps: int,
    config: PretrainConfig | SftConfig,
    pad_id: int,
) -> None:
    """Runs steps [resumed step, num_steps). `batch_at(number)` is a global batch: a pure function, the same on every
    rank.
    """
    batches = Batches(worker.dir)
    step = resume(worker, engine)["step"]
    saver = Saver(worker, engine, config)
    save_start(saver, step)
    watch = Watch(worker, config.health)
    engine.train()
    worker.startup_done()
    while step < num_steps:
        started = time.time()
        torch.manual_seed(seed_for(worker.seed, worker.stage, step, worker.rank))  # dropout, if the model has any
        batch = batch_at(batches.number(step))
        loss, num_tokens = accumulate(worker, engine, batch, config.micro_batch_tokens, pad_id)
        grad_norm, lr = engine.step(step)
        step += 1
        elapsed = time.time() - started
        metrics = {
            "train/loss": loss,
            "train/grad_norm": grad_norm,
            "train/lr": lr,
            "train/tokens": num_tokens,
            "tokens/trained": num_tokens,
            "perf/tokens_per_s": num_tokens / elapsed,
            "perf/step_s": elapsed,
        }
        worker.log_step(step, metrics)
        try:
            watch(step, metrics)
        except RollBack as cause:
            batches = roll_back(saver, cause, batches)
            step, watch = resume(worker, engine, is_fresh=False)["step"], Watch(worker, config.health)
            continue
        worker.progress("train", step, num_steps, f"loss {loss:.3f}")
        if step % 50 == 0 or step == num_steps:
            worker.say(
                f"step {step}/{num_steps} loss {loss:.4f} grad_norm {grad_norm:.2f} lr {lr:.2e} "
                f"{num_tokens / elapsed:.0f} tokens/s"
            )
        saver.step_done(step, num_steps)
    saver.wait()
    worker.metrics["train/loss"] = loss if num_steps else 0.0


def accumulate(
    worker: Worker, engine: TrainEngine, batch: list[Sample], micro_batch_tokens: int, pad_id: int
) -> tuple[float, int]:
    """Backward over this rank's micro-batches. Loss = sum of weighted token losses / sum of weights, over the whole
    batch on all ranks.
    """
    total_weight = sum(sum(sample.weights[1:]) for sample in batch)
    loss_sum = torch.zeros(1)
    packed = engine.module.packed
    for indices in micro_batches(
        [len(s.token_ids) for s in batch], worker.world_size, worker.rank, micro_batch_tokens, packed
    ):
        chosen = [batch[i] for i in indices]
        targets = [[False, *(weight > 0 for weight in s.weights[1:])] for s in chosen]
        tokens = lay_out([s.token_ids for s in chosen], targets, pad_id, engine.device, packed)
        weights_N = torch.tensor(
            [weight for s in chosen for weight in s.weights[1:] if weight > 0], device=engine.device
        )
        logprobs_N, _ = engine(*tokens.inputs, with_entropy=False)
        loss = -(logprobs_N * weights_N).sum() / total_weight
        engine.backward(loss)
        loss_sum += loss.detach().cpu()
    if worker.world_size > 1:
        from stages.runtime.distributed import control_group

        dist.all_reduce(loss_sum, group=control_group())
    return loss_sum.item(), sum(len(s.token_ids) for s in batch)
