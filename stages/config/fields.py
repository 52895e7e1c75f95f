"""What the classes of the schema are made of: documented fields with ranges, strict types, rules between fields."""

import copy
import functools
from typing import Annotated, Any, Self, TypeVar, cast, dataclass_transform

import pydantic
from pydantic import BeforeValidator, ConfigDict, Field, Strict, ValidationError, model_validator

from stages.config.mistakes import ConfigError, sentences

T = TypeVar("T")


def _whole_number(value: Any) -> Any:
    """1000 for 1e3, which YAML reads as a float; anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


# Values of other types are not converted: text is no number, and true is not 1. But an integer is a Float, and a Float
# without a fraction is an Int.
Int = Annotated[int, Strict(), BeforeValidator(_whole_number)]
Float = Annotated[float, Strict()]
Bool = Annotated[bool, Strict()]


def setting(
    default: Any,
    description: str,
    *,
    unit: str = "",
    gt: float | None = None,
    ge: float | None = None,
    lt: float | None = None,
    le: float | None = None,
    operational: bool = False,
    added_later: bool = False,
) -> Any:
    """A field with its default, its documentation and, where it is a number, its range.

    Args:
        default: the default value; of a section, its class.
        description: what people read of it, with its source: a section of a paper in brackets, or [ours].
        unit: of a number; "none" for one without, e.g. a temperature.
        gt: the value is greater than this; likewise `ge` (greater or equal), `lt` (less) and `le` (less or equal).
        operational: the field does not change what a stage produces, and stays out of its fingerprint.
        added_later: its default is what stages did before the field existed: with the default it stays out of their
            fingerprints, so that they need not be made anew.
    """
    extra: dict[str, Any] = {"unit": unit} if unit else {}
    if operational:
        extra["operational"] = True
    if added_later:
        extra["added_later"] = True
    field = functools.partial(Field, description=description, gt=gt, ge=ge, lt=lt, le=le, json_schema_extra=extra)
    if isinstance(default, type):
        return field(default_factory=default)
    if isinstance(default, (list, dict)):
        return field(default_factory=functools.partial(copy.deepcopy, default))
    return field(default=default)


@dataclass_transform(frozen_default=True)
def config_class(cls: type[T]) -> type[T]:
    """Makes a class of the schema: a frozen dataclass whose fields pydantic checks and converts.

    Its constructor, and with it `dataclasses.replace`, raises ConfigError with every mistake.
    """
    made = pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid"))(cls)
    construct = made.__init__

    @functools.wraps(construct)
    def __init__(self: Any, *values: Any, **named: Any) -> None:
        try:
            construct(self, *values, **named)
        except ValidationError as error:
            raise ConfigError(sentences(made, error)) from None

    made.__init__ = __init__  # type: ignore[method-assign]  # the constructor that pydantic made, wrapped
    return cast(type[T], made)


@config_class
class Checked:
    """Base of all classes of the schema: `mistakes` holds the rules between their fields."""

    def mistakes(self) -> list[str]:
        """What breaks a rule between fields; each a sentence that starts with a field's name."""
        return []

    def idle(self) -> dict[str, str]:
        """The fields that count for nothing beside the values of the others, each with the reason, as a clause."""
        return {}

    @model_validator(mode="after")
    def _rules_hold(self) -> Self:
        found = self.mistakes()
        if found:
            raise ConfigError(found)
        return self
