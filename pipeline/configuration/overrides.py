"""Checks every override against the schema before Hydra composes.

Hydra stops at the first mistake and knows no ranges. Here each override is looked at on its own, so that one run of a
command reports all mistakes.
"""

import dataclasses
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException

from pipeline.configuration.keys import Key, UnknownKey, groups, look_up
from stages.config.convert import value_mistakes
from stages.config.mistakes import hint


def check_overrides(overrides: list[str], is_sweep: bool = False) -> tuple[list[str], list[str]]:
    """(mistakes, overrides without a mistake); several values of a key are allowed in a sweep only."""
    errors, good = [], []
    parser = OverridesParser.create()
    for text in overrides:
        try:
            mistakes = _mistakes(parser.parse_overrides([text])[0], is_sweep)
        except HydraException as error:
            mistakes = [f"{text}: not a valid override ({str(error).splitlines()[0]})"]
        errors += mistakes
        if not mistakes:
            good.append(text)
    return errors, good


def is_swept(override: str) -> bool:
    """Whether a valid override gives its key several values."""
    return OverridesParser.create().parse_overrides([override])[0].is_sweep_override()


def _mistakes(override: Override, is_sweep: bool) -> list[str]:
    key = override.key_or_group
    if key == "hydra" or key.startswith(("hydra.", "hydra/")):
        return []
    if override.is_sweep_override() and not is_sweep:
        fix = "add --multirun for a sweep, or quote it as a list: 'key=[a,b]'"
        if key == "stage":
            fix = "'+stage=[a,b]' selects several"
        return [f"{override.input_line}: several values; {fix}"]
    if override.type == OverrideType.DEL:
        return [f"{override.input_line}: keys cannot be removed; set {key}=null or choose another option"]
    known = groups()
    if key in known and (override.package or not isinstance(_first_value(override), dict)):
        return _group_mistakes(override, known[key])
    if override.package:
        return [f"{key}@{override.package}: no config group {key!r}{hint(key, known)}"]
    try:
        found = look_up(key)
    except UnknownKey as error:
        return [str(error)]
    return [line for value in _sweep_values(override) for line in _value_mistakes(key, value, found)]


def _group_mistakes(override: Override, options: list[str]) -> list[str]:
    """Options of a config group that are not there, and a package (`group@package=option`) that is no key."""
    errors = []
    if override.package:
        try:
            look_up(override.package)
        except UnknownKey as error:
            errors.append(str(error))
    group = override.key_or_group
    what = "stage" if group == "stage" else f"option of {group}"
    for value in _sweep_values(override) or [override.value()]:
        for name in value if isinstance(value, list) else [value]:
            if str(name) not in options:
                known = ", ".join(options)
                errors.append(f"{group}={name}: unknown {what}; known: {known}{hint(name, options)}")
    return errors


def _first_value(override: Override) -> Any:
    values = _sweep_values(override)
    return values[0] if values else override.value()


def _sweep_values(override: Override) -> list[Any]:
    """The values of a swept override that can be listed.

    Nothing for a plain override: its value is checked in the composed configuration.
    """
    if not override.is_sweep_override() or not override.is_discrete_sweep():
        return []
    return list(override.sweep_iterator(transformer=lambda element: getattr(element, "text", element)))


def _value_mistakes(key: str, value: Any, found: Key) -> list[str]:
    if (isinstance(value, str) and "${" in value) or dataclasses.is_dataclass(found.type):
        return []
    return value_mistakes(found.type, found.field, value, key)
