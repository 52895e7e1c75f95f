"""A base model from scratch on a world's corpus (`stages/worlds/base.py`), for recipes without a base of their own.

This is not part of the paper, which starts from DeepSeek-V3-Base. The corpus teaches words, small sums and both
languages, but with planted slips, mixed languages and broken formats: what the recipe's stages then mend. Number
embeddings start as Fourier features (sums are rotations), matrices are trained by Muon.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from stages.config import PretrainConfig
from stages.engines.export import export
from stages.engines.training import TrainEngine
from stages.modeling.model import new_model
from stages.modeling.ready import ready_policy
from stages.runtime.errors import user_errors
from stages.runtime.seeds import rng_for, seed_for
from stages.runtime.worker import Worker
from stages.training.supervised import TrainingRow, train_supervised
from stages.worlds.base import World, make_world

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BUCKET_STEPS = 10  # documents of this many steps are sorted by length before they are cut into batches: less padding
PERIODS = (2, 3, 4, 5, 7, 10, 10, 15, 20, 30, 50, 100, 100, 200)  # of the Fourier features
NOISE = 0.005  # standard deviation of what is added to the rows


def run(worker: Worker) -> None:
    """Runs a stage of this kind to its end: trains a new model and exports it to model/."""
    config: PretrainConfig = worker.config
    with user_errors():
        world = make_world(config.data)
    tokenizer = world.build_tokenizer()
    model = new_model(config.model, tokenizer, seed_for(worker.seed, worker.stage, "weights"))
    if config.fourier_scale:
        start_from_fourier_features(
            model, world.number_token_ids(), config.fourier_scale, seed_for(worker.seed, worker.stage, "fourier")
        )
    worker.say(
        f"base of {sum(p.numel() for p in model.parameters())} parameters, "
        f"{config.num_steps} steps of {config.batch_size} documents"
    )
    precision, num_slices = config.deepspeed.precision, config.deepspeed.sequence_parallel
    policy = ready_policy(model, tokenizer, "off", precision, worker.say, sequence_parallel=num_slices)
    engine = TrainEngine(policy, config.optim, config.deepspeed, config.num_steps)
    corpus = Corpus(config, world, worker.seed, worker.stage)
    train_supervised(worker, engine, corpus.batch_at, config.num_steps, config, tokenizer.pad_token_id)
    export(worker, engine, tokenizer, "plain")


class Corpus:
    """Batches of documents: a pure function of (seed, stage, number of the batch)."""

    def __init__(self, config: PretrainConfig, world: World, seed: int, stage: str):
        self.config, self.world = config, world
        self.seed, self.stage = seed, stage
        self.bucket = -1  # number of the bucket that is in memory
        self.batches: list[list[TrainingRow]] = []  # its BUCKET_STEPS batches

    def batch_at(self, number: int) -> list[TrainingRow]:
        """Batch `number` of the corpus."""
        bucket, place = divmod(number, BUCKET_STEPS)
        if bucket != self.bucket:
            self.bucket, self.batches = bucket, self._make_bucket(bucket)
        return self.batches[place]

    def _make_bucket(self, bucket: int) -> list[list[TrainingRow]]:
        """The batches of a bucket: documents of nearly the same length together, in random order."""
        size = self.config.batch_size
        share = textbook_share(bucket * BUCKET_STEPS, self.config.textbook_phases)
        first = bucket * BUCKET_STEPS * size
        rows = [
            TrainingRow(*self.world.document(first + i, seed_for(self.seed, self.stage, "corpus"), share))
            for i in range(BUCKET_STEPS * size)
        ]
        rows.sort(key=lambda row: len(row.token_ids))
        batches = [rows[i : i + size] for i in range(0, len(rows), size)]
        rng_for(self.seed, self.stage, "bucket", bucket).shuffle(batches)
        return batches


def textbook_share(step: int, phases: list[list[float]]) -> float:
    """The share of documents from the textbook in the last phase that has begun.

    Args:
        step: optimizer steps done.
        phases: [first step, share] in order; the first begins at step 0.
    """
    return [share for first, share in phases if first <= step][-1]


@torch.no_grad()
def start_from_fourier_features(model: PreTrainedModel, token_ids: list[int], scale: float, seed: int) -> None:
    """Sets the embedding and head rows of numbers to a random projection of cos and sin(2 pi n / T).

    Args:
        model: a Hugging Face causal LM.
        token_ids: [100] of the numbers 0 to 99, in this order.
        scale: of the rows.
        seed: of the projection and the noise.
    """
    generator = torch.Generator().manual_seed(seed % 2**63)
    numbers = torch.arange(len(token_ids), dtype=torch.float32)[:, None]
    angles = 2 * math.pi * numbers / torch.tensor(PERIODS, dtype=torch.float32)[None]
    features = torch.cat([angles.cos(), angles.sin()], 1)  # [100, 28]
    width = model.config.hidden_size
    rows = features @ torch.randn(features.shape[1], width, generator=generator) / features.shape[1] ** 0.5 * scale
    embedding, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    for matrix in [embedding] if head is embedding else [embedding, head]:
        matrix[token_ids] = rows + NOISE * torch.randn(rows.shape, generator=generator)
