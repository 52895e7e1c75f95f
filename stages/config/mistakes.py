"""What pydantic finds wrong with a configuration, as sentences with the key, the value and the fix."""

import dataclasses
import difflib
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from stages.config.introspect import documentation, fields_of, without_none

# pydantic's type of a range error -> (name of the bound in its context, sign that people read)
RANGES = {
    "greater_than": ("gt", ">"),
    "greater_than_equal": ("ge", ">="),
    "less_than": ("lt", "<"),
    "less_than_equal": ("le", "<="),
}

# pydantic's type of a type error -> what was expected
EXPECTED = {
    "int_type": "an integer",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
}


class ConfigError(ValueError):
    """One or more mistakes in a configuration.

    `errors` lists them, each a sentence with the key, the value and the fix.
    """

    def __init__(self, errors: list[str]):
        self.errors = list(errors)
        super().__init__("\n".join(self.errors))


def sentences(expected: Any, error: ValidationError, path: str = "", field: FieldInfo | None = None) -> list[str]:
    """The mistakes that pydantic found, each with its full key.

    Args:
        expected: the type that the data was read as.
        error: what pydantic raised.
        path: key of the data; empty for a whole configuration.
        field: the field of that key, where there is one.
    """
    found = error.errors(include_url=False)
    return [line for mistake in found for line in _sentences_of(mistake, expected, path, field)]


def hint(name: Any, known: Iterable[Any]) -> str:
    """A question for the end of a sentence, after the known name that is close to `name`; empty if none is."""
    close = difflib.get_close_matches(str(name), [str(one) for one in known], n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _sentences_of(mistake: ErrorDetails, expected: Any, path: str, field: FieldInfo | None) -> list[str]:
    kind, value, context = mistake["type"], mistake["input"], mistake.get("ctx", {})
    location = tuple(step for step in mistake["loc"] if step != "[key]")
    key = _dotted(path, location)
    if kind == "value_error" and isinstance(context["error"], ConfigError):  # rules between the fields of a section
        return [f"{key}.{line}" if key else line for line in context["error"].errors]
    if kind == "unexpected_keyword_argument":
        section, _ = _at(expected, location[:-1], field)
        return [f"{key}: unknown key{hint(location[-1], fields_of(section))}"]
    place, field = _at(expected, location, field)
    if kind in RANGES:
        bound, sign = RANGES[kind]
        told = f" {documentation(field)}" if field else ""
        return [f"{key}: must be {sign} {_short(context[bound])}, got {value}.{told}"]
    if kind == "literal_error":
        choices = get_args(place)
        return [f"{key}: {value!r} is not one of {', '.join(map(str, choices))}{hint(value, choices)}"]
    if kind == "dataclass_type":
        return [f"{key}: expected a mapping of {place.__name__} fields, got {value!r}"]
    return [f"{key}: expected {EXPECTED.get(kind, mistake['msg'])}, got {value!r}"]


def _at(expected: Any, location: tuple[int | str, ...], field: FieldInfo | None) -> tuple[Any, FieldInfo | None]:
    """(type, field) of the place in `expected` that pydantic calls `location`."""
    for step in location:
        section = without_none(expected)
        if dataclasses.is_dataclass(section):
            field = fields_of(section)[str(step)]
            expected = field.annotation
        else:  # a list or a mapping, documented as a whole
            expected = get_args(section)[-1]
    return without_none(expected), field


def _dotted(path: str, location: tuple[int | str, ...]) -> str:
    """`path` with the steps of a location: optim.betas[0]."""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        else:
            path += f".{step}" if path else step
    return path


def _short(bound: float) -> str:
    """A bound as it was written: 1 for 1.0."""
    return str(int(bound) if bound == int(bound) else bound)
