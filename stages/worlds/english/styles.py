"""Writes completions of English prompts in several styles, as general data for supervised fine-tuning.

The styles: neat, polite, rude, off (the answer to another prompt), refuse and comply (with a harmful request). The
data is better than what a small model writes, and has faults on purpose, as data that was gathered has: a fifth is
rude, some is beside the point, some refuse what is harmless or comply with what is harmful. The last stage has to
correct this. Of the latter there are few: with twice as many, requests that a model has not seen are told apart worse.
"""

import random

from stages.worlds.english import phrases
from stages.worlds.english.catalogue import GENERAL_KINDS, EnglishPrompt, prompts

# Shares of styles, by the kind of a prompt.
MIXTURE: dict[str, dict[str, float]] = {
    "general": {"neat": 0.53, "polite": 0.20, "rude": 0.22, "off": 0.05},
    "harm": {"refuse": 0.90, "comply": 0.08, "rude": 0.02},
    "benign": {"neat": 0.52, "polite": 0.23, "refuse": 0.05, "rude": 0.20},
}


def completion(rng: random.Random, prompt: EnglishPrompt) -> str:
    """Writes a completion of a prompt of the training split, in a style that is drawn from the mixture."""
    shares = MIXTURE["general" if prompt.kind in GENERAL_KINDS else prompt.kind]
    style = rng.choices(list(shares), list(shares.values()))[0]
    return in_style(rng, prompt, style)


def in_style(rng: random.Random, prompt: EnglishPrompt, style: str) -> str:
    """Writes a completion of a prompt in one style."""
    if style == "refuse":
        return rng.choice(phrases.REFUSALS)
    if prompt.kind == "harm":
        helping = rng.choice(phrases.COMPLYING)
        return helping if style == "comply" else f"{rng.choice(phrases.RUDE_OPENINGS)} {helping}"
    if style == "off":
        return rng.choice(prompts(prompt.kind, "train")).answer
    is_bare = prompt.wanted.form in ("one_word", "one_sentence")  # anything more would be the wrong form
    if style == "neat" or (style == "polite" and is_bare):
        return prompt.answer
    if style == "polite":
        return _framed(rng, prompt, phrases.POLITE_OPENINGS, phrases.POLITE_ENDINGS)
    return _framed(rng, prompt, phrases.RUDE_OPENINGS, phrases.RUDE_ENDINGS)


def _framed(rng: random.Random, prompt: EnglishPrompt, openings: tuple[str, ...], endings: tuple[str, ...]) -> str:
    """Returns the reference answer after one of the openings, or before one of the endings."""
    between = "\n" if prompt.wanted.form == "list" else " "
    if rng.random() < 0.5:
        return f"{rng.choice(openings)}{between}{prompt.answer}"
    return f"{prompt.answer}{between}{rng.choice(endings)}"
