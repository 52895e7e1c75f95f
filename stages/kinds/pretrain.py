"""A base model from scratch on a world's corpus (`stages/worlds/base.py`), for recipes without a base model of their
own. Not part of the paper.

The corpus teaches words, small sums and both languages, but with planted slips, mixed languages and broken formats:
what the recipe's stages then mend. Number embeddings start as Fourier features (sums are rotations), matrices are
trained by Muon.
"""

import math

import torch

from stages.config import PretrainConfig
from stages.engines.export import export
from stages.engines.training import TrainEngine
from stages.modeling.model import new_model
from stages.modeling.policy_model import PolicyModel
from stages.runtime.errors import user_errors
from stages.runtime.seeds import rng_for, seed_for
from stages.runtime.worker import Worker
from stages.training.supervised import Sample, train_supervised
from stages.worlds.base import World, make_world

BUCKET_STEPS = 10  # documents of this many steps are sorted by length before they are cut into batches: less padding
PERIODS = (2, 3, 4, 5, 7, 10, 10, 15, 20, 30, 50, 100, 100, 200)


def run(worker: Worker) -> None:
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
    engine = TrainEngine(PolicyModel(model), config.optim, config.deepspeed, config.num_steps)
    corpus = Corpus(config, world, worker.seed, worker.stage)
    train_supervised(worker, engine, corpus.batch_at, config.num_steps, config, tokenizer.pad_token_id)
    export(worker, engine, tokenizer, "plain")


class Corpus:
    """Batches of documents; batch_at(step) is a pure function of (seed, stage, step)."""

    def __init__(self, config: PretrainConfig, world: World, seed: int, stage: str):
        self.config, self.world, self.seed, self.stage = config, world, seed, stage
        self.bucket, self.batches = -1, []

    def batch_at(self, step: int) -> list[Sample]:
        bucket, place = divmod(step, BUCKET_STEPS)
        if bucket != self.bucket:
            self.bucket, self.batches = bucket, self._make_bucket(bucket)
        return self.batches[place]

    def _make_bucket(self, bucket: int) -> list[list[Sample]]:
        size = self.config.batch_size
        share = textbook_share(bucket * BUCKET_STEPS, self.config.textbook_phases)
        first = bucket * BUCKET_STEPS * size
        samples = [
            Sample(*self.world.document(first + i, seed_for(self.seed, self.stage, "corpus"), share))
            for i in range(BUCKET_STEPS * size)
        ]
        samples.sort(key=lambda sample: len(sample.token_ids))
        batches = [samples[i : i + size] for i in range(0, len(samples), size)]
        rng_for(self.seed, self.stage, "bucket", bucket).shuffle(batches)
        return batches


def textbook_share(step: int, phases: list[list[float]]) -> float:
    """The share of the last phase that has begun."""
    return [share for first, share in phases if first <= step][-1]


@torch.no_grad()
def start_from_fourier_features(model, token_ids: list[int], scale: float, seed: int) -> None:
    """Embedding and head rows of the numbers 0..99 become a random projection of cos and sin(2 pi n / T)."""
    generator = torch.Generator().manual_seed(seed % 2**63)
    numbers = torch.arange(len(token_ids), dtype=torch.float32)[:, None]
    angles = 2 * math.pi * numbers / torch.tensor(PERIODS, dtype=torch.float32)[None]
    features = torch.cat([angles.cos(), angles.sin()], 1)  # [100, 28]
    width = model.config.hidden_size
    rows = features @ torch.randn(features.shape[1], width, generator=generator) / features.shape[1] ** 0.5 * scale
    for matrix in {
        id(w): w for w in (model.get_input_embeddings().weight, model.get_output_embeddings().weight)
    }.values():
        matrix[token_ids] = rows + 0.005 * torch.randn(rows.shape, generator=generator)
