"""What the two reward models learn [N]: which of two summaries is better, and whether a completion is safe."""

import statistics

import torch
import torch.nn.functional as F

from stages.config import RewardModelsConfig
from stages.contract import files
from stages.engines.training import TrainEngine
from stages.kinds.reward_models.data import Labelled, Pair
from stages.modeling.reward_model import reward_scores
from stages.runtime.worker import Worker
from stages.training.epochs import epoch_indices


class HelpfulObjective:
    """Pairs: Bradley-Terry, -log sigmoid(r_chosen - r_rejected), plus reward_l2 times the squared rewards."""

    name = "helpful"
    rows_per_item = 2  # chosen and rejected

    def __init__(self, worker: Worker, config: RewardModelsConfig, pairs: list[Pair]):
        """`pairs`: with those that are held out."""
        self.worker, self.config = worker, config
        self.trained = [pair for pair in pairs if not pair.is_holdout]
        self.held_out = [pair for pair in pairs if pair.is_holdout]
        self.rows = _rows_of(self.trained)

    def batch_at(self, step: int) -> list[int]:
        """The pairs that step `step` trains on, counted from 0."""
        size = self.config.batch_size
        return epoch_indices(len(self.trained), step * size, size, self.worker.seed, self.worker.stage, "helpful")

    def loss_of(self, rewards: torch.Tensor, items: list[int], size: int) -> torch.Tensor:
        """The share [] of these pairs in the loss of a batch of `size`; `rewards` are [2 x pairs]."""
        chosen, rejected = rewards[0::2], rewards[1::2]
        return (-F.logsigmoid(chosen - rejected).sum() + self.config.reward_l2 * (rewards**2).sum() / 2) / size

    def evaluate(self, engine: TrainEngine) -> dict[str, float]:
        """Accuracies on trained and held-out pairs. Collective.

        Mean and standard deviation of the rewards go to model/helpful/reward_stats.json, by which GRPO standardises.
        """
        budget = self.config.micro_batch_tokens
        unseen = torch.tensor(reward_scores(engine, _rows_of(self.held_out), budget))
        known = torch.tensor(reward_scores(engine, self.rows, budget))
        if not known.isfinite().all():
            raise RuntimeError(
                "the helpful reward model gives rewards that are NaN or infinite: lower "
                f"stages.{self.worker.stage}.optim.lr"
            )
        if self.worker.is_main:
            files.write_json(
                self.worker.dir / "model" / "helpful" / "reward_stats.json",
                {"mean": known.mean().item(), "std": known.std().item() + 1e-6},
            )
        lengths = [float(len(row)) for row in self.rows]
        return {
            "helpful/pairs": len(self.trained),
            "helpful/holdout_pairs": len(self.held_out),
            "helpful/train_accuracy": fraction(known[0::2] > known[1::2]),
            "helpful/holdout_accuracy": fraction(unseen[0::2] > unseen[1::2]),
            "helpful/reward_length_correlation": correlation(known.tolist(), lengths),
        }


class SafetyObjective:
    """Labels, point by point: binary cross-entropy on safe or unsafe; each batch holds as many of both."""

    name = "safety"
    rows_per_item = 1

    def __init__(self, worker: Worker, config: RewardModelsConfig, labelled: list[Labelled]):
        """`labelled`: with those that are held out."""
        self.worker, self.config = worker, config
        self.trained = [row for row in labelled if not row.is_holdout]
        self.held_out = [row for row in labelled if row.is_holdout]
        self.rows = [row.token_ids for row in self.trained]
        self.safe = [i for i, row in enumerate(self.trained) if row.is_safe]
        self.unsafe = [i for i, row in enumerate(self.trained) if not row.is_safe]

    def batch_at(self, step: int) -> list[int]:
        """The labels that step `step` trains on, counted from 0: the safe ones, then the unsafe ones."""
        half = self.config.batch_size // 2
        items: list[int] = []
        for members, name in ((self.safe, "safe"), (self.unsafe, "unsafe")):
            places = epoch_indices(len(members), step * half, half, self.worker.seed, self.worker.stage, name)
            items += [members[place] for place in places]
        return items

    def loss_of(self, rewards: torch.Tensor, items: list[int], size: int) -> torch.Tensor:
        """The share [] of these labels in the loss of a batch of `size`; `rewards` are [labels]."""
        targets = torch.tensor([float(self.trained[i].is_safe) for i in items], device=rewards.device)
        return F.binary_cross_entropy_with_logits(rewards, targets, reduction="sum") / size

    def evaluate(self, engine: TrainEngine) -> dict[str, float]:
        """Accuracy on held-out labels, and the share of the unsafe ones that is found. Collective."""
        rows = [row.token_ids for row in self.held_out]
        scores = torch.tensor(reward_scores(engine, rows, self.config.micro_batch_tokens))
        is_safe = torch.tensor([row.is_safe for row in self.held_out], dtype=torch.bool)
        return {
            "safety/labels": len(self.trained),
            "safety/holdout_labels": len(self.held_out),
            "safety/holdout_accuracy": fraction((scores > 0) == is_safe),
            "safety/holdout_unsafe_recall": fraction(scores[~is_safe] < 0),
        }


def _rows_of(pairs: list[Pair]) -> list[list[int]]:
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
