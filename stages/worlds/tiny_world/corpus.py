"""The pretraining corpus, document by document: a pure function of (seed, index), so that no corpus file and no data
cursor is needed.

One document is a textbook page (`textbook_share` of them), a general prompt with a completion (a quarter of the rest),
or an arithmetic problem with one. Loss weights: 1 where a token can be deduced from what stands before it, 0.05 where
it is random.
"""

import random
from dataclasses import dataclass
from typing import Any

from stages.prompting.prompt import Prompt
from stages.worlds.tiny_world import general, textbook, traces
from stages.worlds.tiny_world.lexicon import UNKNOWN_TOKEN, split_units
from stages.worlds.tiny_world.problems import GENERAL_KINDS, draw_general, draw_problem
from stages.worlds.tiny_world.sources import as_prompt
from stages.worlds.tiny_world.tokenizer import vocabulary

GENERAL_SHARE = 0.25
RANDOM_WEIGHT = 0.05
BOS_ID, EOS_ID = 1, 2


@dataclass(frozen=True)
class Document:
    prompt: str  # templated; empty for a textbook page
    completion: str
    kind: str  # "textbook" | "general" | "math"


def document(index: int, seed: int, textbook_share: float) -> Document:
    """Document number `index` of the corpus with this seed."""
    rng = random.Random(f"corpus/{seed}/{index}")
    if rng.random() < textbook_share:
        return Document("", textbook.completion(rng), "textbook")
    if rng.random() < GENERAL_SHARE:
        prompt = draw_general(rng, "train")
        return Document(templated(prompt.text), general.completion(rng, prompt, general.CORPUS_MIXTURE), "general")
    problem = draw_problem(rng, "train")
    return Document(templated(problem.text), traces.completion(rng, problem), "math")


def templated(text: str) -> str:
    return f"User:{text}Assistant:"


def tokenize_document(item: Document, tokenizer: Any = None) -> tuple[list[int], list[float]]:
    """Token ids, from <bos> to <eos>, and for each the weight of its loss as a target.

    `tokenizer` is accepted for symmetry with other data and must be the tiny world's: the ids are looked up directly,
    which is several times faster and gives the same ids (a test compares them).
    """
    known, unknown = vocabulary(), vocabulary()[UNKNOWN_TOKEN]
    prompt, completion = split_units(item.prompt), split_units(item.completion)
    ids = [BOS_ID] + [known.get(unit, unknown) for unit in prompt + completion] + [EOS_ID]
    weights = _textbook_weights(completion) if item.kind == "textbook" else [1.0] * (len(completion) + 1)
    return ids, [RANDOM_WEIGHT] * (1 + len(prompt)) + weights


def _textbook_weights(units: list[str]) -> list[float]:
    """Weight 1 for what follows "=", and for everything between ":" and the "!" that ends the item; the last weight is
    <eos>'s.
    """
    weights, is_explaining, before, has_items = [], False, "", ":" in units
    for unit in units:
        weights.append(1.0 if is_explaining or before == "=" else RANDOM_WEIGHT)
        if unit == ":":
            is_explaining = True
        elif unit == "!":
            is_explaining = False
        before = unit
    return weights + [1.0 if has_items else RANDOM_WEIGHT]


def general_sft_pairs(num_pairs: int, seed: int, stream: str) -> list[tuple[Prompt, str]]:
    """General prompts of the training split with completions of the SFT mixture; half are how-to requests, harmful or
    benign.
    """
    pairs = []
    for index in range(num_pairs):
        rng = random.Random(f"general_sft/{seed}/{stream}/{index}")
        prompt = draw_general(rng, "train", rng.choice(GENERAL_KINDS + ("harm", "benign")))
        pairs.append((as_prompt(prompt, "train", index), general.completion(rng, prompt, general.SFT_MIXTURE)))
    return pairs
