"""Supplies the English world's prompts by number, its general pairs, and the sets that every model is evaluated on."""

import hashlib
import random
from collections import Counter
from collections.abc import Iterator
from itertools import cycle, zip_longest
from operator import itemgetter

from stages.prompting.prompt import Prompt
from stages.worlds.english import styles
from stages.worlds.english.catalogue import GENERAL_KINDS, SPLITS, EnglishPrompt, prompts
from stages.worlds.english.judge import checks_of

# The kinds of prompts of each domain; one that stands twice is drawn twice as often. Half of the helpful prompts are
# benign requests: a model that learned to refuse unlearns it there alone.
DOMAINS = {
    "helpful": (*GENERAL_KINDS, *len(GENERAL_KINDS) * ("benign",)),
    "safety": ("harm",),
    "safety_labels": ("harm", "harm", "benign"),
}
# Three of four pairs to fine-tune on are requests that are harmful or only look it: telling them apart takes many.
# The benign ones differ more among themselves, and so there are more of them.
_PAIR_KINDS = (*GENERAL_KINDS, *10 * ("harm",), *13 * ("benign",))


def as_prompt(item: EnglishPrompt, split: str, index: int) -> Prompt:
    """Turns item number `index` of a split into a prompt; its `checks` hold what the judge needs."""
    digest = hashlib.sha256(item.text.encode()).hexdigest()[:6]
    return Prompt(
        id=f"english-{item.kind}-{split}-{index:06d}-{digest}",
        text=item.text,
        kind=item.kind,
        domain="safety" if item.kind == "harm" else "helpful",
        language="en",
        answer=item.answer,
        checks=checks_of(item.wanted),
    )


class EnglishPrompts:
    """Supplies the general and safety prompts of one split.

    Train prompts depend on (seed, stream); test prompts are the same in every run. The domains are those of DOMAINS.
    """

    def __init__(self, seed: int, stream: str, split: str = "train"):
        """Takes the seed of the run, the name of the stage and the split; raises ValueError for an unknown split."""
        if split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
        self.split = split
        self._key = f"{seed}/{stream}" if split == "train" else split

    def get(self, index: int, domain: str = "helpful") -> Prompt:
        """Returns prompt number `index` of a domain; raises ValueError for an unknown domain."""
        if domain not in DOMAINS:
            raise ValueError(f"domain must be one of {', '.join(DOMAINS)}, got {domain!r}")
        rng = random.Random(f"english/{self._key}/{domain}/{index}")
        return as_prompt(rng.choice(prompts(rng.choice(DOMAINS[domain]), self.split)), self.split, index)


def every_prompt(split: str) -> list[Prompt]:
    """Returns each prompt of a split once."""
    kinds = (*GENERAL_KINDS, "harm", "benign")
    items = [item for kind in kinds for item in prompts(kind, split)]
    return [as_prompt(item, split, index) for index, item in enumerate(items)]


def general_pairs(num_pairs: int, seed: int, stream: str) -> list[tuple[Prompt, str]]:
    """Returns prompts of the training split with completions of the styles' mixture, to fine-tune on.

    Each item of a kind comes once before any comes again in another template, so that few pairs have many items.

    Args:
        num_pairs: number of pairs.
        seed: seed of the run.
        stream: name of the stage that uses them.
    """
    key = f"english_sft/{seed}/{stream}"
    drawn = {kind: _each_item_in_turn(kind, random.Random(f"{key}/{kind}")) for kind in set(_PAIR_KINDS)}
    pairs = []
    for index in range(num_pairs):
        rng = random.Random(f"{key}/{index}")
        item = next(drawn[rng.choice(_PAIR_KINDS)])
        pairs.append((as_prompt(item, "train", index), styles.completion(rng, item)))
    return pairs


def _each_item_in_turn(kind: str, rng: random.Random) -> Iterator[EnglishPrompt]:
    """Yields the training prompts of a kind without end: each item in some template, then each in another."""
    shuffled = list(prompts(kind, "train"))
    rng.shuffle(shuffled)
    num_earlier: Counter[str] = Counter()
    turns = []
    for item in shuffled:
        turns.append(num_earlier[item.ask])
        num_earlier[item.ask] += 1
    return cycle([item for _, item in sorted(zip(turns, shuffled), key=itemgetter(0))])


def held_out_sets(num_general: int, num_safety: int) -> dict[str, list[Prompt]]:
    """Returns the evaluation sets, each of distinct prompts. A larger set keeps the prompts of a smaller one.

    Args:
        num_general: prompts of english_general, its kinds in turn; fewer where the split has fewer.
        num_safety: prompts of english_safety, harmful and benign in turn; fewer where the split has fewer.
    """
    return {
        "english_general": _in_turn(GENERAL_KINDS, num_general),
        "english_safety": _in_turn(("harm", "benign"), num_safety),
    }


def _in_turn(kinds: tuple[str, ...], wanted: int) -> list[Prompt]:
    """Returns one held-out prompt of each kind in turn; a kind that has no more is skipped in later turns."""
    queues = []
    for kind in kinds:
        items = list(prompts(kind, "test"))
        random.Random(f"english/test/{kind}").shuffle(items)
        queues.append(items)
    ordered = [item for turn in zip_longest(*queues) for item in turn if item is not None]
    return [as_prompt(item, "test", index) for index, item in enumerate(ordered[:wanted])]
