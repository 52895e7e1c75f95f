"""Documented, range-checked fields, and the base of all configuration classes."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any


class ConfigError(ValueError):
    """One or more mistakes in a configuration; `errors` lists them, each a sentence with the key, the value and the
    fix.
    """

    def __init__(self, errors: list[str]):
        self.errors = list(errors)
        super().__init__("\n".join(self.errors))


def setting(
    default: Any, doc: str, *, gt=None, ge=None, lt=None, le=None, operational: bool = False, schema: type | None = None
) -> Any:
    """A documented, range-checked field. `operational` fields do not change the stage's output and stay out of its
    fingerprint. `schema`: of a mapping that holds some fields of that class.
    """
    metadata = {"doc": doc, "gt": gt, "ge": ge, "lt": lt, "le": le, "operational": operational, "schema": schema}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    if isinstance(default, type) and dataclasses.is_dataclass(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def range_error(metadata: dict, value: Any) -> str | None:
    """What is wrong with a number's range, or None. Lists are checked item by item."""
    if isinstance(value, (list, tuple)):
        return next((error for error in (range_error(metadata, item) for item in value) if error), None)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    for name, holds, sign in (
        ("gt", lambda v, b: v > b, ">"),
        ("ge", lambda v, b: v >= b, ">="),
        ("lt", lambda v, b: v < b, "<"),
        ("le", lambda v, b: v <= b, "<="),
    ):
        bound = metadata.get(name)
        if bound is not None and not holds(value, bound):
            return f"must be {sign} {bound}, got {value}"
    return None


@dataclass(frozen=True)
class Checked:
    """Base of all config classes: ranges are checked on construction; `mistakes` holds rules between fields."""

    def __post_init__(self):
        errors = []
        for spec in dataclasses.fields(self):
            error = range_error(spec.metadata, getattr(self, spec.name))
            if error:
                errors.append(f"{spec.name} {error}")
        errors += self.mistakes()
        if errors:
            raise ConfigError(errors)

    def mistakes(self) -> list[str]:
        """Rules between fields, each a sentence that starts with the field's name."""
        return []
