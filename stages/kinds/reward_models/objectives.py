"""What the two reward models learn [N]: which of two summaries is better, and whether a completion is safe."""

import statistics
from typing import Any

import torch
import torch.nn.functional as F

from stages.config import RewardModelsConfig
from stages.contract import files
from stages.engines.training import TrainEngine
from stages.kinds.reward_models.data import Labelled, Pair
from stages.kinds.reward_models.training import ScalarTask, train
from stages.modeling.reward_model import reward_scores
from stages.runtime.worker import Worker
from stages.training.epochs import epoch_indices


def train_helpful(
    worker: Worker, config: RewardModelsConfig, tokenizer: Any, pairs: list[Pair], num_steps: int, later_steps: int
) -> None:
    """Trains the helpful model on pairs. Collective.

    Bradley-Terry: -log sigmoid(r_chosen - r_rejected), plus reward_l2 times the squared rewards. Mean and standard
    deviation of its rewards go to model/helpful/reward_stats.json, by which GRPO standardises them.

    Args:
        worker: the stage.
        config: of the stage.
        tokenizer: of the policy.
        pairs: with those that are held out.
        num_steps: optimizer steps.
        later_steps: of the stage after this model.
    """
    trained, held_out = [p for p in pairs if not p.is_holdout], [p for p in pairs if p.is_holdout]
    rows = _rows(trained)

    def batch_at(step: int) -> list[int]:
        start = step * config.batch_size
        return epoch_indices(len(trained), start, config.batch_size, worker.seed, worker.stage, "helpful")

    def loss_of(rewards: torch.Tensor, items: list[int], size: int) -> torch.Tensor:
        chosen, rejected = rewards[0::2], rewards[1::2]
        return (-F.logsigmoid(chosen - rejected).sum() + config.reward_l2 * (rewards**2).sum() / 2) / size

    def evaluate(engine: TrainEngine) -> dict[str, float]:
        unseen = torch.tensor(reward_scores(engine, _rows(held_out), tokenizer, config.micro_batch_tokens))
        known = torch.tensor(reward_scores(engine, rows, tokenizer, config.micro_batch_tokens))
        if worker.is_main:
            files.write_json(
                worker.dir / "model" / "helpful" / "reward_stats.json",
                {"mean": known.mean().item(), "std": known.std().item() + 1e-6},
            )
        return {
            "helpful/pairs": len(trained),
            "helpful/holdout_pairs": len(held_out),
            "helpful/train_accuracy": fraction(known[0::2] > known[1::2]),
            "helpful/holdout_accuracy": fraction(unseen[0::2] > unseen[1::2]),
            "helpful/reward_length_correlation": correlation(known.tolist(), [float(len(row)) for row in rows]),
        }

    task = ScalarTask(
        name="helpful",
        rows=rows,
        rows_per_item=2,
        batch_at=batch_at,
        loss_of=loss_of,
        num_steps=num_steps,
        first_step=0,
        total_steps=num_steps + later_steps,
        evaluate=evaluate,
    )
    train(worker, config, tokenizer, task)


def train_safety(
    worker: Worker,
    config: RewardModelsConfig,
    tokenizer: Any,
    labelled: list[Labelled],
    num_steps: int,
    earlier_steps: int,
) -> None:
    """Trains the safety model on labels, point by point. Collective.

    Binary cross-entropy on safe or unsafe; each batch holds as many of both.

    Args:
        worker: the stage.
        config: of the stage.
        tokenizer: of the policy.
        labelled: with those that are held out.
        num_steps: optimizer steps.
        earlier_steps: of the stage before this model.
    """
    trained, held_out = [x for x in labelled if not x.is_holdout], [x for x in labelled if x.is_holdout]
    safe = [i for i, x in enumerate(trained) if x.is_safe]
    unsafe = [i for i, x in enumerate(trained) if not x.is_safe]

    def batch_at(step: int) -> list[int]:
        half = config.batch_size // 2
        items: list[int] = []
        for members, name in ((safe, "safe"), (unsafe, "unsafe")):
            places = epoch_indices(len(members), step * half, half, worker.seed, worker.stage, name)
            items += [members[place] for place in places]
        return items

    def loss_of(rewards: torch.Tensor, items: list[int], size: int) -> torch.Tensor:
        targets = torch.tensor([float(trained[i].is_safe) for i in items], device=rewards.device)
        return F.binary_cross_entropy_with_logits(rewards, targets, reduction="sum") / size

    def evaluate(engine: TrainEngine) -> dict[str, float]:
        rows = [x.token_ids for x in held_out]
        scores = torch.tensor(reward_scores(engine, rows, tokenizer, config.micro_batch_tokens))
        is_safe = torch.tensor([x.is_safe for x in held_out], dtype=torch.bool)
        return {
            "safety/labels": len(trained),
            "safety/holdout_labels": len(held_out),
            "safety/holdout_accuracy": fraction((scores > 0) == is_safe),
            "safety/holdout_unsafe_recall": fraction(scores[~is_safe] < 0),
        }

    task = ScalarTask(
        name="safety",
        rows=[x.token_ids for x in trained],
        rows_per_item=1,
        batch_at=batch_at,
        loss_of=loss_of,
        num_steps=num_steps,
        first_step=earlier_steps,
        total_steps=earlier_steps + num_steps,
        evaluate=evaluate,
    )
    train(worker, config, tokenizer, task)


def _rows(pairs: list[Pair]) -> list[list[int]]:
    """Token rows: chosen and rejected of each pair in turn."""
    rows: list[list[int]] = []
    for pair in pairs:
        rows += [pair.chosen, pair.rejected]
    return rows


def fraction(flags: torch.Tensor) -> float:
    """The share of a boolean tensor that is true; NaN of nothing."""
    return flags.float().mean().item() if len(flags) else float("nan")


def correlation(values: list[float], others: list[float]) -> float:
    """Pearson's correlation; 0 where one of the two does not vary."""
    return statistics.correlation(values, others) if len(set(values)) > 1 and len(set(others)) > 1 else 0.0
