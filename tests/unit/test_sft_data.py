"""Which sample is trained on when, and which of its tokens count."""

import pytest

from stages.config import PretrainConfig
from stages.kinds.pretrain import BUCKET_STEPS, Corpus, textbook_share
from stages.kinds.sft import to_row
from stages.prompting.encoding import Encoder
from stages.training.epochs import epoch_indices
from stages.worlds.base import make_world
from stages.worlds.tiny_world.tokenizer import build_tokenizer


@pytest.mark.parametrize("num_samples", [1, 7, 32])
def test_every_sample_once_an_epoch(num_samples):
    walk = epoch_indices(num_samples, 0, 3 * num_samples, 0, "sft")
    epochs = [walk[i * num_samples : (i + 1) * num_samples] for i in range(3)]
    assert all(sorted(epoch) == list(range(num_samples)) for epoch in epochs)
    assert num_samples < 7 or len(set(map(tuple, epochs))) == 3  # a new permutation each time


@pytest.mark.parametrize("count", [1, 3, 10, 25])
def test_the_cursor_is_one_number(count):
    """However the walk is cut into batches, it is the same walk."""
    walk = epoch_indices(10, 0, 60, 0, "sft")
    starts = range(0, 60 - count, count)
    cut = [index for start in starts for index in epoch_indices(10, start, count, 0, "sft")]
    assert cut == walk[: len(starts) * count] != []


def test_other_keys_walk_differently():
    assert (
        epoch_indices(50, 0, 50, 0, "cold_start")
        != epoch_indices(50, 0, 50, 0, "rejection_sft")
        != epoch_indices(50, 0, 50, 1, "rejection_sft")
    )


def test_loss_on_the_completion_and_its_end_only():
    tokenizer = build_tokenizer()
    encoder = Encoder(tokenizer, "plain")
    sample = to_row(encoder.prompt("7+5"), encoder.target("<think>7+5=12</think><answer>12</answer>"))
    assert tokenizer.convert_ids_to_tokens(sample.token_ids) == [
        "<bos>",
        "User:",
        "7",
        "+",
        "5",
        "Assistant:",
        "<think>",
        "7",
        "+",
        "5",
        "=",
        "12",
        "</think>",
        "<answer>",
        "12",
        "</answer>",
        "<eos>",
    ]
    assert sample.weights == [0.0] * 6 + [1.0] * 11


def test_textbook_phases():
    phases = [[0, 0.65], [250, 0.4], [500, 0.12]]
    assert [textbook_share(step, phases) for step in (0, 249, 250, 499, 500, 9999)] == [
        0.65,
        0.65,
        0.4,
        0.4,
        0.12,
        0.12,
    ]


def test_pretraining_batches_depend_on_the_step_alone():
    config = PretrainConfig(num_steps=40, batch_size=4)
    world = make_world(config.data)
    corpus = Corpus(config, world, 0, "base")
    batches = [corpus.batch_at(step) for step in range(2 * BUCKET_STEPS)]
    assert all(len(batch) == 4 for batch in batches)
    for step in (13, 3, 19):
        assert Corpus(config, world, 0, "base").batch_at(step) == batches[step]
    assert Corpus(config, world, 1, "base").batch_at(0) != batches[0]
