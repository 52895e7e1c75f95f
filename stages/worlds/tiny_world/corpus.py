"""The pretraining corpus, document by document.

A document is a pure function of (seed, index), so that no corpus file and no position in one has to be stored. It is a
textbook page (a share `textbook_share` of the documents), a general prompt with a completion (a quarter of the others)
or an arithmetic problem with a completion. A token's loss has the weight 1 where the token follows from the text before
it, and 0.05 where it is random.
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
    """A document of the corpus as text."""

    prompt: str  # templated; empty for a textbook page
    completion: str
    kind: str  # "textbook" | "general" | "math"


def document(index: int, seed: int, textbook_share: float) -> Document:
    """Returns document number `index` of the corpus with this seed."""
    rng = random.Random(f"corpus/{seed}/{index}")
    if rng.random() < textbook_share:
        return Document("", textbook.completion(rng), "textbook")
    if rng.random() < GENERAL_SHARE:
        prompt = draw_general(rng, "train")
        return Document(templated(prompt.text), general.completion(rng, prompt, general.CORPUS_MIXTURE), "general")
    problem = draw_problem(rng, "train")
    return Document(templated(problem.text), traces.completion(rng, problem), "math")


def templated(text: str) -> str:
    """Puts a prompt into the plain template, which the base model is pretrained with."""
    return f"User:{text}Assistant:"


def tokenize_document(item: Document, tokenizer: Any = None) -> tuple[list[int], list[float]]:
    """Encodes a document.

    Args:
        item: the document.
        tokenizer: not used. The ids are looked up directly, which is several times faster than the tiny world's
            tokenizer and gives the same ids (a test compares them).

    Returns:
        The token ids from <bos> to <eos>, and the weight of each token's loss as a target.
    """
    known, unknown = vocabulary(), vocabulary()[UNKNOWN_TOKEN]
    prompt, completion = split_units(item.prompt), split_units(item.completion)
    ids = [BOS_ID] + [known.get(unit, unknown) for unit in prompt + completion] + [EOS_ID]
    weights = _textbook_weights(completion) if item.kind == "textbook" else [1.0] * (len(completion) + 1)
    return ids, [RANDOM_WEIGHT] * (1 + len(prompt)) + weights


def _textbook_weights(units: list[str]) -> list[float]:
    """Returns the loss weights of a textbook page's units and, last, of <eos>.

    The weight is 1 for the unit after "=", and for all between ":" and the "!" that ends the item.
    """
    weights = []
    is_explaining = False
    before = ""
    for unit in units:
        weights.append(1.0 if is_explaining or before == "=" else RANDOM_WEIGHT)
        if unit == ":":
            is_explaining = True
        elif unit == "!":
            is_explaining = False
        before = unit
    return [*weights, 1.0 if ":" in units else RANDOM_WEIGHT]


def general_sft_pairs(num_pairs: int, seed: int, stream: str) -> list[tuple[Prompt, str]]:
    """Returns general prompts of the training split with completions of the SFT mixture.

    Args:
        num_pairs: number of pairs.
        seed: seed of the run.
        stream: name of the stage that uses them.

    Returns:
        (prompt, completion) pairs. How-to requests, harmful or benign, are more frequent than the other kinds.
    """
    pairs = []
    for index in range(num_pairs):
        rng = random.Random(f"general_sft/{seed}/{stream}/{index}")
        prompt = draw_general(rng, "train", rng.choice((*GENERAL_KINDS, "harm", "benign")))
        pairs.append((as_prompt(prompt, "train", index), general.completion(rng, prompt, general.SFT_MIXTURE)))
    return pairs
