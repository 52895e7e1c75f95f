"""What TRL, open-r1, verl and OpenRLHF call things, and the keys that stand for them here.

The words are in `other_words.yaml`: people type what they know, and are told our key.
"""

import difflib
from functools import cache
from pathlib import Path

import yaml

FILE = Path(__file__).with_suffix(".yaml")
STAGE = "STAGE"  # in a key: some stage
EXAMPLES = (
    "r1_zero",
    "cold_start",
    "base",
    "evaluate",
    "rejection_data",
    "reward_models",
)  # the first that has the key
MIN_LIKENESS = 0.9  # of a misspelled word


@cache
def words() -> dict[str, list[str]]:
    """Word -> our keys, or one sentence that begins with a capital letter."""
    read = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return {str(word): [value] if isinstance(value, str) else value for word, value in read.items()}


def is_sentence(value: str) -> bool:
    """Whether an entry says something, and names no key."""
    return value[0].isupper()


def key_instead(typed: str) -> str | None:
    """What to say of a key of another program; None for a word that no other program has.

    >>> key_instead("max_prompt_length")
    'other programs say max_prompt_length for what is data.max_prompt_tokens here'

    Args:
        typed: a dotted key, or a flag without its dashes.
    """
    typed = typed.replace("-", "_")
    word = _word_of(typed)
    if word is None:
        return None
    first, *others = words()[word]
    if is_sentence(first):
        return f"other programs have {typed}. {first.rstrip('.')}"
    return f"other programs say {typed} for what is {' or '.join(map(_named, (first, *others)))} here"


def _word_of(typed: str) -> str | None:
    """The word that a key is: the whole key, else its last name, else what it lies below, else one that is alike."""
    known = words()
    parts = typed.split(".")
    tails = [".".join(parts[start:]) for start in range(len(parts))]
    if not _is_ours(parts[0]):
        heads = [".".join([*parts[:end], "*"]) for end in range(len(parts) - 1, 0, -1)]
        whole = f"{typed}.*"
        found = next((word for word in (typed, *tails[1:], whole, *heads) if word in known), None)
    else:
        found = next((word for word in tails if word in known), None)
    if found or len(parts) > 1:
        return found
    alike = difflib.get_close_matches(typed, [word for word in known if "." not in word], n=1, cutoff=MIN_LIKENESS)
    return alike[0] if alike else None


def _is_ours(name: str) -> bool:
    from pipeline.configuration.schema import RunConfig
    from stages.config import fields_of

    return name in fields_of(RunConfig)


def _named(key: str) -> str:
    """A key, with an example where it is one of a stage."""
    return f"{key}, as {example_of(key)}," if STAGE in key else key


def example_of(key: str) -> str:
    """The key for the first stage that has it."""
    from pipeline.configuration.keys import UnknownKey, look_up

    for stage in EXAMPLES:
        one = key.replace(STAGE, stage)
        try:
            look_up(one)
        except UnknownKey:
            continue
        return one
    return key
