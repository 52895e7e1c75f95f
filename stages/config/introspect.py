"""What a class of the schema says of itself: its fields, and what is marked on them."""

import dataclasses
import types
from dataclasses import dataclass
from typing import Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class KeysOf:
    """Marks a mapping that holds some keys of a section: Annotated[dict[str, Any], KeysOf(SftConfig)]."""

    section: type


def fields_of(cls: Any) -> dict[str, FieldInfo]:
    """The fields of a class of the schema by name: annotation, default, description and range."""
    fields: dict[str, FieldInfo] = cls.__pydantic_fields__
    return fields


def is_operational(field: FieldInfo) -> bool:
    """Whether a field does not change what a stage produces."""
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra.get("operational"))


def counts(field: FieldInfo, value: Any) -> bool:
    """Whether a field with this value is a part of what decides a stage's output, and of its fingerprint.

    Operational fields are not; nor is one that was added later, as long as it has its default or is switched off (it
    then says `is_on` False).

    Args:
        field: of a class of the schema.
        value: of the field, as an object of the schema or as plain data.
    """
    if is_operational(field):
        return False
    extra = field.json_schema_extra
    if not (isinstance(extra, dict) and extra.get("added_later")):
        return True
    if getattr(value, "is_on", True) is False:
        return False
    default = field.get_default(call_default_factory=True)
    return plain(value) != plain(default)


def plain(value: Any) -> Any:
    """A value of the schema as plain data."""
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value


def unit_of(field: FieldInfo) -> str:
    """The unit of a number; nothing for what is no number, "none" for a number without a unit."""
    return str(field.json_schema_extra.get("unit", "")) if isinstance(field.json_schema_extra, dict) else ""


def documentation(field: FieldInfo) -> str:
    """What people are told of a field, its unit included."""
    unit = unit_of(field)
    return f"{field.description} Unit: {unit}." if unit not in ("", "none") else field.description or ""


def section_of(field: FieldInfo) -> Any:
    """The class whose keys the value of a field has; the type of the value where it is no section."""
    marked = [mark.section for mark in field.metadata if isinstance(mark, KeysOf)]
    return marked[0] if marked else field.annotation


def without_none(expected: Any) -> Any:
    """X for `X | None`; any other type as it is."""
    if get_origin(expected) in (Union, types.UnionType):
        return next(one for one in get_args(expected) if one is not type(None))
    return expected
