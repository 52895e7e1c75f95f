"""Plain data to configuration classes, every mistake reported at once, and back."""

import dataclasses
import difflib
import types
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from stages.config.fields import ConfigError, range_error


def from_dict(cls: type, data: Any, path: str = "") -> Any:
    """Builds `cls` from plain data. Raises ConfigError with every mistake found, each naming its full key."""
    errors: list[str] = []
    result = convert(cls, data, path, errors)
    if errors:
        raise ConfigError(errors)
    return result


def to_dict(config: Any) -> Any:
    """The plain data that `from_dict` reads."""
    return dataclasses.asdict(config)


def convert(expected: Any, value: Any, path: str, errors: list[str]) -> Any:
    """`value` as a field of type `expected`, or, with a line in `errors` that begins with `path`, something of no use."""
    origin = get_origin(expected)
    if expected is Any:
        return value
    if origin in (Union, types.UnionType):
        if value is None and type(None) in get_args(expected):
            return None
        return convert(next(arg for arg in get_args(expected) if arg is not type(None)), value, path, errors)
    if dataclasses.is_dataclass(expected):
        return _convert_dataclass(expected, value, path, errors)
    if origin is Literal:
        if value not in get_args(expected):
            errors.append(
                f"{path}: {value!r} is not one of "
                f"{', '.join(map(str, get_args(expected)))}{_hint(value, get_args(expected))}"
            )
        return value
    if origin is list:
        if not isinstance(value, (list, tuple)):
            errors.append(f"{path}: expected a list, got {value!r}")
            return []
        return [convert(get_args(expected)[0], item, f"{path}[{i}]", errors) for i, item in enumerate(value)]
    if origin is dict:
        if not isinstance(value, dict):
            errors.append(f"{path}: expected a mapping, got {value!r}")
            return {}
        return {key: convert(get_args(expected)[1], item, f"{path}.{key}", errors) for key, item in value.items()}
    return _convert_scalar(expected, value, path, errors)


def _convert_scalar(expected: type, value: Any, path: str, errors: list[str]) -> Any:
    if expected is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if expected is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, expected) and not (expected is int and isinstance(value, bool)):
        return value
    words = {int: "an integer", float: "a number", str: "text", bool: "true or false"}
    errors.append(f"{path}: expected {words.get(expected, expected.__name__)}, got {value!r}")
    return value


def _convert_dataclass(cls: type, data: Any, path: str, errors: list[str]) -> Any:
    if not isinstance(data, dict):
        errors.append(f"{path}: expected a mapping of {cls.__name__} fields, got {data!r}")
        return None
    hints = get_type_hints(cls)
    specs = {spec.name: spec for spec in dataclasses.fields(cls)}
    prefix = f"{path}." if path else ""
    for key in data:
        if key not in specs:
            errors.append(f"{prefix}{key}: unknown key{_hint(key, specs)}")
    values, before = {}, len(errors)
    for name, spec in specs.items():
        if name not in data:
            continue
        values[name] = convert(hints[name], data[name], prefix + name, errors)
        error = range_error(spec.metadata, values[name])
        if error:
            errors.append(f"{prefix}{name}: {error}. {spec.metadata.get('doc', '')}".rstrip())
    if len(errors) > before:
        return None
    try:
        return cls(**values)
    except ConfigError as error:
        errors += [prefix + line for line in error.errors]
    except TypeError as error:
        errors.append(f"{path or cls.__name__}: {error}")
    return None


def _hint(value: Any, known) -> str:
    close = difflib.get_close_matches(str(value), list(map(str, known)), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def output_fields(config: Any) -> Any:
    """The part of a config that decides the stage's output: everything but the operational fields. The fingerprint
    hashes this.
    """
    if dataclasses.is_dataclass(config):
        return {
            spec.name: output_fields(getattr(config, spec.name))
            for spec in dataclasses.fields(config)
            if not spec.metadata.get("operational")
        }
    if isinstance(config, dict):
        return {key: output_fields(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return [output_fields(value) for value in config]
    return config
