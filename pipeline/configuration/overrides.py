"""Checks every override against the schema before Hydra composes.

Hydra stops at the first mistake and knows no ranges. Here each override is looked at on its own, so that one run of a
command reports all mistakes.
"""

import dataclasses
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, OverrideType
from hydra.errors import HydraException

from pipeline.configuration.keys import Key, UnknownKey, groups, look_up
from stages.config.convert import value_mistakes
from stages.config.mistakes import hint
from stages.config.quoting import hydra_quoted, printable, unquoted
from stages.config.quoting import override as quoted_override


def check_overrides(overrides: list[str], is_sweep: bool = False) -> tuple[list[str], list[str]]:
    """(mistakes, overrides that can be composed); several values of a key are allowed in a sweep only.

    An override whose only mistake is that its value lacks quotes is composed with them: without its value, keys that
    depend on it would be reported as mistakes too.
    """
    errors, good = [], []
    parser = OverridesParser.create()
    for text in overrides:
        try:
            if printable(text) != text:
                raise HydraException
            override = parser.parse_overrides([text])[0]
        except HydraException:
            mistake, quoted = _unreadable(text, parser)
            errors.append(mistake)
            good += quoted
            continue
        mistakes = _mistakes(override, is_sweep)
        errors += mistakes
        if not mistakes:
            good.append(text)
        elif _is_text_with_comma(override, is_sweep):
            good.append(_quoted(text))
    return errors, good


def unreadable_overrides(overrides: list[str]) -> list[str]:
    """A mistake for each override that Hydra's parser cannot read."""
    errors = []
    parser = OverridesParser.create()
    for text in overrides:
        try:
            parser.parse_overrides([text])
        except HydraException:
            errors.append(_unreadable(text, parser)[0])
    return errors


def _unreadable(text: str, parser: OverridesParser) -> tuple[str, list[str]]:
    """(the mistake, the override with quotes where these mend it) of an override that Hydra's parser cannot read."""
    key, equals, value = text.partition("=")
    name = key.removeprefix("++")
    shown = printable(f"{name}{equals}{value}")
    if not equals:
        return f"{shown}: a value is missing, as {shown}=VALUE", []
    group = name.lstrip("+~").split("@")[0]
    if group in groups():
        return f"{shown}: unknown option of {group}; known: {', '.join(groups()[group])}", []
    try:
        found = look_up(name.lstrip("+~"))
    except UnknownKey as error:
        return printable(str(error)), []
    if not _is_text(found):
        return f"{shown}: {_unreadable_value(name, value, found)}", []
    if value.count("${") > value.count("}"):
        return f"{shown}: a reference to another key has both braces, ${{KEY}}", []
    one_line = " ".join(printable(unquoted(value)).split("\n"))
    quoted = f"{key}={hydra_quoted(one_line)}"
    try:
        is_mended = not _mistakes(parser.parse_overrides([quoted])[0], False)
    except HydraException:
        is_mended = False
    advice = f"the value has characters that need quotes: {quoted_override(name, value)}"
    if printable(value) != value:
        advice = "the value is not UTF-8 text: rename the file, or set LC_ALL=C.UTF-8"
    elif one_line != value:
        shown, advice = name, f"the value {value!r} has a line end"
    return f"{shown}: {advice}", [quoted] if is_mended else []


def _unreadable_value(key: str, value: str, found: Key) -> str:
    """What is wrong with a value that is no text and cannot be read."""
    mistakes = [] if value[:1] in ("[", "{") else value_mistakes(found.type, found.field, value, key)
    return (
        mistakes[0].removeprefix(f"{key} ").removeprefix(f"{key}: ")
        if mistakes
        else (
            f"the value cannot be read; '{key}=[a,b]' is a list, '{key}={{a: 1}}' a mapping, "
            "and an entry with other characters is in quotes"
        )
    )


def _quoted(text: str) -> str:
    key, _, value = text.partition("=")
    return f"{key}={hydra_quoted(value)}"


def _is_text(found: Key) -> bool:
    """Whether a key takes text, as paths and names are, and nothing composed."""
    return found.type is str or found.type == (str | None)


def _is_text_with_comma(override: Override, is_sweep: bool) -> bool:
    """Whether an override has several values only because its text has a comma."""
    try:
        return override.is_sweep_override() and not is_sweep and _is_text(look_up(override.key_or_group))
    except UnknownKey:
        return False


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
        elif _is_text_with_comma(override, is_sweep):
            value = (override.input_line or "").partition("=")[2]
            fix = f"as one value with a comma: {quoted_override(key, value)}; for a sweep add --multirun"
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
    if found.type in (int, int | None) and _has_fractions(override):
        interval = (override.input_line or "").partition("=")[2]
        return [f"{override.input_line}: {key} takes whole numbers; write '{key}=int({interval})'"]
    return [line for value in _sweep_values(override) for line in _value_mistakes(key, value, found)]


def _has_fractions(override: Override) -> bool:
    """Whether an override is an interval of all numbers between its ends."""
    value = override.value()
    return isinstance(value, IntervalSweep) and isinstance(value.start, float)


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
    """The values of a swept override that can be listed; of an interval its two ends.

    Nothing for a plain override: its value is checked in the composed configuration.
    """
    if not override.is_sweep_override():
        return []
    if not override.is_discrete_sweep():
        value = override.value()
        return [value.start, value.end] if isinstance(value, IntervalSweep) else []
    return list(override.sweep_iterator(transformer=lambda element: getattr(element, "text", element)))


def _value_mistakes(key: str, value: Any, found: Key) -> list[str]:
    if (isinstance(value, str) and "${" in value) or dataclasses.is_dataclass(found.type):
        return []
    return value_mistakes(found.type, found.field, value, key)
