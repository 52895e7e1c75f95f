"""Typed JSON files: a frozen dataclass says which keys a file of a stage directory has, and reads and writes it.

A reader is tolerant of other versions of the code. Unknown keys are ignored. A key that is missing, or that holds a
value of another type, takes the default of its field; where the field has no default, the file is not what its name
says, and `DamagedFile` names the file, the key and what is wrong with it.
"""

import dataclasses
import functools
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from stages.contract import files

LEFT_OUT_IF_NONE = {"is_left_out_if_none": True}  # metadata of a field whose key is not written where it is None


class DamagedFile(ValueError):
    """A file is not what its name says. The message names the file and what is wrong with it."""

    def __init__(self, path: Path, what: str, reason: str):
        super().__init__(f"{path} is not a {what}: {reason}")
        self.path, self.what, self.reason = path, what, reason


class WrongType(ValueError):
    """A value is not of the type that was asked for; `key` is where, `reason` what is wrong."""

    def __init__(self, reason: str, key: str = ""):
        super().__init__(f"{key}: {reason}" if key else reason)
        self.reason, self.key = reason, key

    def below(self, key: str) -> "WrongType":
        """The same, seen from the object that holds the value under `key`."""
        return WrongType(self.reason, f"{key}.{self.key}" if self.key else key)


@dataclass(frozen=True, kw_only=True)
class JsonFile:
    """Base of the models; a subclass says, for messages, what it is."""

    WHAT: ClassVar[str]

    @classmethod
    def read_path(cls, path: Path) -> Self:
        """Reads a file. Raises FileNotFoundError, or DamagedFile where it is not such a file."""
        return read_as(cls, path, cls.WHAT)

    @classmethod
    def find_path(cls, path: Path) -> Self | None:
        """Reads a file; None where there is none, or where it is not such a file."""
        try:
            return cls.read_path(path)
        except (FileNotFoundError, NotADirectoryError, DamagedFile):
            return None

    def write_path(self, path: Path, durable: bool = True) -> None:
        """Writes the file, atomically; `durable`: it is on the disk when this returns."""
        files.write_json(path, to_plain(self), durable)


@dataclass(frozen=True, kw_only=True)
class StageFile(JsonFile):
    """Base of the models of which a stage directory has one, under a name of its own."""

    FILE_NAME: ClassVar[str]

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Reads the file of a stage directory. Raises FileNotFoundError, or DamagedFile where it is not such a file."""
        return cls.read_path(directory / cls.FILE_NAME)

    @classmethod
    def find(cls, directory: Path) -> Self | None:
        """Reads the file of a stage directory; None where there is none, or where it is not such a file."""
        return cls.find_path(directory / cls.FILE_NAME)

    def write(self, directory: Path, durable: bool = True) -> None:
        """Writes the file into a stage directory, as `write_path` does."""
        self.write_path(directory / self.FILE_NAME, durable)


def read_as(kind: Any, path: Path, what: str) -> Any:
    """Reads a JSON file as a value of a type. Raises OSError, or DamagedFile: "PATH is not a WHAT: ..."."""
    try:
        value = files.read_json(path)
    except ValueError as error:  # of the encoding or of JSON
        raise DamagedFile(path, what, f"it is not JSON ({error})") from None
    try:
        return from_plain(kind, value)
    except WrongType as error:
        raise DamagedFile(path, what, str(error)) from None


def from_plain(kind: Any, value: Any) -> Any:
    """Converts plain data, as JSON has it, to a type: a dataclass, dict[str, X], list[X], X | None or a plain type.

    Raises:
        WrongType: where the value, or something in it that has no default, is of another type.
    """
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _object(kind, value)
    if typing.is_typeddict(kind):
        return _typed_dict(kind, value)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return None if value is None else from_plain(arguments[0], value)  # only X | None is used
    if origin is dict:
        return {key: _entry(arguments[1], key, item) for key, item in _checked(dict, value).items()}
    if origin is list:
        return [_entry(arguments[0], str(place), item) for place, item in enumerate(_checked(list, value))]
    return _checked(kind, value)


_NAMES = {dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "an integer", float: "a number"}


def _checked(kind: type, value: Any) -> Any:
    """The value, where it is of this plain type; an integer is a number too, and true is no integer."""
    is_right = isinstance(value, (int, float) if kind is float else kind)
    if not is_right or (isinstance(value, bool) and kind is not bool):
        raise WrongType(f"{_NAMES[kind]} is expected, not {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return _NAMES[type(value)]
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _entry(kind: Any, key: str, value: Any) -> Any:
    try:
        return from_plain(kind, value)
    except WrongType as error:
        raise error.below(key) from None


@functools.cache
def _fields(kind: type) -> list[tuple[str, Any, bool]]:
    """(name, type, whether it has a default) of the fields of a dataclass."""
    hints = typing.get_type_hints(kind)
    missing = dataclasses.MISSING
    return [
        (spec.name, hints[spec.name], spec.default is not missing or spec.default_factory is not missing)
        for spec in dataclasses.fields(kind)
    ]


def _object(kind: Any, value: Any) -> Any:
    given = _checked(dict, value)
    found = {}
    for name, field_kind, has_default in _fields(kind):
        if name in given:
            try:
                found[name] = _entry(field_kind, name, given[name])
            except WrongType:
                if not has_default:
                    raise
        elif not has_default:
            raise WrongType(f"its key {name!r} is missing")
    return kind(**found)


def _typed_dict(kind: Any, value: Any) -> Any:
    given = _checked(dict, value)
    found = {}
    for name, field_kind in typing.get_type_hints(kind).items():
        if name in given:
            found[name] = _entry(field_kind, name, given[name])
        elif name in kind.__required_keys__:
            raise WrongType(f"its key {name!r} is missing")
    return found


def to_plain(value: Any) -> Any:
    """Converts dataclasses, mappings and lists to plain data for JSON, in the order of their fields."""
    if dataclasses.is_dataclass(value):
        return {
            spec.name: to_plain(item)
            for spec in dataclasses.fields(value)
            if (item := getattr(value, spec.name)) is not None or not spec.metadata.get("is_left_out_if_none")
        }
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [to_plain(item) for item in value]
    return value
