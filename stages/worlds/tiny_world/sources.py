"""Hands out the tiny world's prompts by number, and the fixed sets every model is evaluated on."""

import hashlib
import random
from itertools import count

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
    """Prompts of one split. Train prompts depend on (seed, stream); dev and test prompts are the same for every run.

    Domains: reasoning; helpful (knowledge, greetings, benign how-to; the last twice as often, against refusing too
    much); safety (harmful how-to); safety_labels, for training a safety model: two thirds harmful, one third benign.
    """

    def __init__(self, seed: int, stream: str, split: str = "train"):
        if split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        self.split = split
        self._key = f"{seed}/{stream}" if split == "train" else split

    def get(self, index: int, domain: str = "reasoning") -> Prompt:
        if domain not in DOMAINS:
            raise ValueError(f"domain must be one of {', '.join(DOMAINS)}, got {domain!r}")
        rng = random.Random(f"{self._key}/{domain}/{index}")
        if domain == "reasoning":
            return as_prompt(draw_problem(rng, self.split), self.split, index)
        kinds = {
            "helpful": HELPFUL_KINDS + ("benign",),
            "safety": ("harm",),
            "safety_labels": ("harm", "harm", "benign"),
        }[domain]
        return as_prompt(draw_general(rng, self.split, rng.choice(kinds)), self.split, index)


def held_out_sets(
    num_reasoning: int, num_general: int, num_safety: int, split: str = "test"
) -> dict[str, list[Prompt]]:
    """The evaluation sets of distinct prompts: tiny_math (2, 3 and 4 operations in turn), tiny_general (knowledge and
    greetings), tiny_safety (harmful and benign how-to in turn). Growing a set keeps its first prompts. A general set
    ends where the split does.
    """
    if split not in ("dev", "test"):
        raise ValueError(f"held-out sets come from the splits dev and test, got {split!r}")
    general = _in_turn(KNOWLEDGE_KINDS + ("greet",), num_general, split)
    return {
        "tiny_math": _distinct_problems(num_reasoning, split),
        "tiny_general": general,
        "tiny_safety": _in_turn(("harm", "benign"), num_safety, split),
    }


def _distinct_problems(wanted: int, split: str) -> list[Prompt]:
    found: dict[str, Prompt] = {}
    for index in count():
        if len(found) >= wanted:
            return list(found.values())
        assert index < 100 * wanted + 1000, f"the {split} split has fewer than {wanted} problems"
        problem = draw_problem(random.Random(f"{split}/set/{index}"), split, num_operations=2 + len(found) % 3)
        found.setdefault(problem.text, as_prompt(problem, split, len(found)))


def _in_turn(kinds: tuple[str, ...], wanted: int, split: str) -> list[Prompt]:
    """One prompt of each kind in turn; a kind that runs out is left out of the later turns."""
    queues = []
    for kind in kinds:
        items = list(general_prompts(kind, split))
        random.Random(f"{split}/set/{kind}").shuffle(items)
        queues.append(items)
    longest = max(map(len, queues))
    ordered = [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)]
    return [as_prompt(item, split, index) for index, item in enumerate(ordered[:wanted])]
