"""What goes wrong inside of Hydra and OmegaConf, in our own words.

Theirs speak of nodes and grammars, and not of what was typed.
"""

from collections.abc import Callable, Sequence
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import GrammarParseError, InterpolationKeyError, MissingMandatoryValue, OmegaConfBaseException

from stages.config.quoting import printable

# Whatever Hydra raises for a word that it cannot use: its own errors, and what its code runs into.
OF_HYDRA = (HydraException, OmegaConfBaseException, ValueError, TypeError, AttributeError, LookupError, AssertionError)
MAX_TRIED = 32  # overrides; each costs a composition


def of_composition(error: Exception, overrides: Sequence[str], compose: Callable[[list[str]], Any]) -> list[str]:
    """The mistakes behind an error of a composition: the overrides without one of which it works.

    Args:
        error: what was raised.
        overrides: what was composed.
        compose: composes overrides, and raises one of `OF_HYDRA` where that does not work.
    """
    guilty = [
        word
        for place, word in enumerate(overrides[:MAX_TRIED])
        if _works(compose, [*overrides[:place], *overrides[place + 1 :]])
    ]
    if guilty:
        return [_in_words(word) for word in guilty[:1]]
    if not _works(compose, []):
        first_line = printable(str(error)).strip().splitlines()
        return [f"the files of conf/ cannot be composed: {first_line[0] if first_line else type(error).__name__}"]
    listed = " ".join(printable(word) for word in overrides)
    return [f"these overrides cannot be composed with each other: {listed}"]


def _works(compose: Callable[[list[str]], Any], overrides: list[str]) -> bool:
    try:
        compose(overrides)
    except OF_HYDRA:
        return False
    return True


def _in_words(word: str) -> str:
    """What can be wrong with an override that is a right one by itself."""
    shown = printable(word)
    name, _, value = shown.lstrip("+").partition("=")
    if word.startswith("~"):
        return f"{shown}: there is nothing of this name that could be taken out"
    if name.startswith("hydra"):
        return f"{shown}: Hydra has no such setting or option, or it takes another kind of value"
    if "@" in name:
        return f"{shown}: the option {value} cannot be put there; check the key behind the @"
    if word.startswith("+"):
        return f"{shown}: it is there already; write it without the +"
    return f"{shown}: it cannot be set; check the key and its value"


def of_resolution(error: OmegaConfBaseException, tree: DictConfig) -> str:
    """The mistake behind an error of the resolution of a composed tree: in which key, and what its value refers to."""
    key = printable(str(getattr(error, "full_key", "") or ""))
    value = _value_of(tree, key)
    where, shown = (f"{key}: " if key else ""), f" in {value}" if value else ""
    if isinstance(error, MissingMandatoryValue) or value == "???":
        return f"{where}??? stands for a value that has to be given: set {key or 'it'}=VALUE"
    if isinstance(error, InterpolationKeyError):
        return f"{where}the reference{shown} names no key of the configuration"
    if isinstance(error, GrammarParseError):
        return f"{where}the reference{shown} cannot be read: it is written ${{KEY}}"
    return f"{where}the reference{shown} cannot be followed: ${{KEY}} takes the value of another key, " + (
        "${oc.env:NAME} that of an environment variable that is set"
    )


def _value_of(tree: DictConfig, key: str) -> str:
    """What stands at a key, not resolved; nothing where that cannot be told."""
    try:
        parent, _, name = key.rpartition(".")
        node = OmegaConf.select(tree, parent) if parent else tree
        return printable(str(OmegaConf.to_container(node, resolve=False)[name]))  # type: ignore[call-overload,index]
    except (OmegaConfBaseException, LookupError, TypeError, ValueError):
        return ""
