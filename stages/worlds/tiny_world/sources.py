"""Supplies the tiny world's prompts by number, and the fixed sets that every model is evaluated on."""

import hashlib
import random
from itertools import zip_longest

from stages.prompting.prompt import Prompt
from stages.worlds.tiny_world.problems import (
    HELPFUL_KINDS,
    KNOWLEDGE_KINDS,
    GeneralPrompt,
    Problem,
    draw_general,
    draw_problem,
    general_prompts,
)

SPLITS = ("train", "dev", "test")
DOMAINS = ("reasoning", "helpful", "safety", "safety_labels")


def as_prompt(item: Problem | GeneralPrompt, split: str, index: int) -> Prompt:
    """Turns item number `index` of a split into a prompt; the verifier `integer` grades arithmetic."""
    kind = item.kind if isinstance(item, GeneralPrompt) else "math"
    domain = {"math": "reasoning", "harm": "safety"}.get(kind, "helpful")
    digest = hashlib.sha256(item.text.encode()).hexdigest()[:6]
    return Prompt(
        id=f"{kind}-{split}-{index:06d}-{digest}",
        text=item.text,
        kind=kind,
        domain=domain,
        language=item.language,
        answer=str(item.answer),
        verifier="integer" if kind == "math" else "",
    )


class TinyWorldPrompts:
    """Supplies the prompts of one split.

    Train prompts depend on (seed, stream); dev and test prompts are the same in every run. The domains:

    * reasoning: arithmetic.
    * helpful: knowledge, greetings and benign how-to requests, the last twice as often, so that refusing does not pay.
    * safety: harmful how-to requests.
    * safety_labels, to train a safety model: two thirds harmful, one third benign how-to requests.
    """

    def __init__(self, seed: int, stream: str, split: str = "train"):
        """Takes the seed of the run, the name of the stage and the split; raises ValueError for an unknown split."""
        if split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        self.split = split
        self._key = f"{seed}/{stream}" if split == "train" else split

    def get(self, index: int, domain: str = "reasoning") -> Prompt:
        """Returns prompt number `index` of a domain; raises ValueError for an unknown domain."""
        if domain not in DOMAINS:
            raise ValueError(f"domain must be one of {', '.join(DOMAINS)}, got {domain!r}")
        rng = random.Random(f"{self._key}/{domain}/{index}")
        if domain == "reasoning":
            return as_prompt(draw_problem(rng, self.split), self.split, index)
        kinds = {
            "helpful": (*HELPFUL_KINDS, "benign"),
            "safety": ("harm",),
            "safety_labels": ("harm", "harm", "benign"),
        }[domain]
        return as_prompt(draw_general(rng, self.split, rng.choice(kinds)), self.split, index)


def held_out_sets(
    num_reasoning: int, num_general: int, num_safety: int, split: str = "test"
) -> dict[str, list[Prompt]]:
    """Returns the evaluation sets, each of distinct prompts. A larger set keeps the prompts of a smaller one.

    Args:
        num_reasoning: prompts of tiny_math, with 2, 3 and 4 operations in turn.
        num_general: prompts of tiny_general, knowledge and greetings in turn; fewer where the split has fewer.
        num_safety: prompts of tiny_safety, harmful and benign how-to in turn; fewer where the split has fewer.
        split: "dev" or "test".
    """
    if split not in ("dev", "test"):
        raise ValueError(f"held-out sets come from the splits dev and test, got {split!r}")
    return {
        "tiny_math": _distinct_problems(num_reasoning, split),
        "tiny_general": _in_turn((*KNOWLEDGE_KINDS, "greet"), num_general, split),
        "tiny_safety": _in_turn(("harm", "benign"), num_safety, split),
    }


def _distinct_problems(wanted: int, split: str) -> list[Prompt]:
    """Draws different problems of a split, with 2, 3 and 4 operations in turn."""
    found: dict[str, Prompt] = {}
    index = 0
    while len(found) < wanted:
        assert index < 100 * wanted + 1000, f"the {split} split has fewer than {wanted} problems"
        problem = draw_problem(random.Random(f"{split}/set/{index}"), split, num_operations=2 + len(found) % 3)
        found.setdefault(problem.text, as_prompt(problem, split, len(found)))
        index += 1
    return list(found.values())


def _in_turn(kinds: tuple[str, ...], wanted: int, split: str) -> list[Prompt]:
    """Returns one prompt of each kind in turn; a kind that has no more prompts is skipped in later turns."""
    queues = []
    for kind in kinds:
        items = list(general_prompts(kind, split))
        random.Random(f"{split}/set/{kind}").shuffle(items)
        queues.append(items)
    turns = zip_longest(*queues)
    ordered = [item for turn in turns for item in turn if item is not None]
    return [as_prompt(item, split, index) for index, item in enumerate(ordered[:wanted])]
