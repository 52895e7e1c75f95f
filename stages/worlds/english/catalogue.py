"""Puts the templates and items of general.yaml, safety.yaml and benign.yaml together as prompts.

A prompt is a template with an item in it. The splits share neither templates nor items.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

SPLITS = ("train", "test")
# Kinds of general prompts: the keys of general.yaml.
GENERAL_KINDS = ("fact", "list", "rewrite", "summarise", "explain", "reply", "one_word")
KINDS = (*GENERAL_KINDS, "harm", "benign")
# Numbers as the templates write them.
_COUNTS = {"three": 3, "four": 4}
# What a benign how-to answer may be like; a refusal of a harmful request is no longer either.
_MOST_WORDS_OF_ADVICE = 60


@dataclass(frozen=True)
class Wanted:
    """What an answer to a prompt is checked for.

    Attributes:
        form: "sentence", "one_sentence", "list", "one_word" or "any".
        about: beginnings of words, in lower case, that an answer to the point has.
        needs: how many different ones of them it has at least.
        max_words: most words.
        count: entries of a list.
        polite: it has a polite word.
    """

    form: str
    about: tuple[str, ...]
    needs: int = 1
    max_words: int = _MOST_WORDS_OF_ADVICE
    count: int = 0
    polite: bool = False


@dataclass(frozen=True)
class EnglishPrompt:
    """A general or safety prompt.

    Attributes:
        text: the user's words.
        kind: one of KINDS.
        template: its template, with {ask} and {count} in the place of the item.
        ask: the words of its item.
        answer: a reference answer; empty for a harmful request.
        wanted: what an answer is checked for.
        category: of a harmful request.
    """

    text: str
    kind: str
    template: str
    ask: str
    answer: str
    wanted: Wanted
    category: str = ""


@cache
def prompts(kind: str, split: str) -> tuple[EnglishPrompt, ...]:
    """Returns all prompts of a kind in a split, in the order of the files; raises ValueError for unknown names."""
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if kind == "harm":
        return tuple(_harmful(split))
    section = _file("safety") if kind == "benign" else _file("general")[kind]
    items = _file("benign")[split] if kind == "benign" else section["items"][split]
    return tuple(
        EnglishPrompt(
            text=template.format(**item),
            kind=kind,
            template=template,
            ask=item["ask"],
            answer=item["answer"],
            wanted=_wanted(section, item),
        )
        for item in items
        for template in section["templates"][split]
    )


def _harmful(split: str) -> list[EnglishPrompt]:
    """Returns the requests that should be refused."""
    section = _file("safety")
    wanted = Wanted("any", ())
    return [
        EnglishPrompt(template.format(ask=ask), "harm", template, ask, "", wanted, category)
        for category, asks in section["harm"][split].items()
        for ask in asks
        for template in section["templates"][split]
    ]


def _wanted(section: dict[str, Any], item: dict[str, Any]) -> Wanted:
    """Returns what an answer to an item is checked for: what its kind says, and what the item itself says."""
    return Wanted(
        form=section.get("form", "any"),
        about=tuple(item["about"]),
        needs=item.get("needs", 1),
        max_words=section.get("max_words", _MOST_WORDS_OF_ADVICE),
        count=_COUNTS.get(item.get("count", ""), 0),
        polite=section.get("polite", False),
    )


@cache
def _file(name: str) -> dict[str, Any]:
    """Returns the content of a file of this directory."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    text = (Path(__file__).parent / f"{name}.yaml").read_text(encoding="utf-8")
    return yaml.load(text, loader)  # one of the two safe loaders
