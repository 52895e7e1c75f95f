"""Plain data to configuration classes, every mistake reported at once, and back."""

import dataclasses
from typing import Annotated, Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from stages.config.introspect import counts, fields_of
from stages.config.mistakes import ConfigError, sentences

T = TypeVar("T")


def from_dict(cls: type[T], data: Any, path: str = "") -> T:
    """Builds `cls` from plain data. Raises ConfigError with every mistake found, each naming its full key.

    Args:
        cls: a class of the schema.
        data: a mapping from field names to values; what is not in it has its default.
        path: key of this data in the configuration, with which the mistakes begin.
    """
    try:
        return TypeAdapter(cls).validate_python(data)
    except ValidationError as error:
        raise ConfigError(sentences(cls, error, path)) from None


def value_mistakes(expected: Any, field: FieldInfo | None, value: Any, key: str) -> list[str]:
    """What is wrong with the value of one key.

    Args:
        expected: the type of the key.
        field: its field, with its range; None for an entry of a mapping.
        value: plain data.
        key: the full key, with which each mistake begins.
    """
    ranged: Any = Annotated[expected, *field.metadata] if field and field.metadata else expected
    try:
        TypeAdapter(ranged).validate_python(value)
    except ValidationError as error:
        return sentences(expected, error, key, field)
    return []


def to_dict(config: Any) -> dict[str, Any]:
    """The plain data that `from_dict` reads."""
    return dataclasses.asdict(config)


def output_fields(config: Any) -> Any:
    """The part of a configuration that decides a stage's output, as plain data: the fingerprint hashes it.

    It is everything but the operational fields and those that were added later and have their default.
    """
    if dataclasses.is_dataclass(config):
        values = {name: (field, getattr(config, name)) for name, field in fields_of(type(config)).items()}
        return {name: output_fields(value) for name, (field, value) in values.items() if counts(field, value)}
    if isinstance(config, dict):
        return {key: output_fields(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [output_fields(value) for value in config]
    return config
