"""The axes of a chart: where a value stands on the paper, and which values are written beside the axis."""

import math
from dataclasses import dataclass

NUM_TICKS = 5  # about so many are written
_NICE = (1, 2, 2.5, 5, 10)
_UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True)
class Axis:
    """Maps the values from `low` to `high` to the way from `start` to `end`, in pixels."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def place(self, value: float) -> float:
        """Where a value stands, in pixels."""
        low, high, value = (self._scaled(number) for number in (self.low, self.high, value))
        return round(self.start + (value - low) / (high - low) * (self.end - self.start), 1)

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.is_log else value


def limits(values: list[float], settings: dict, is_log: bool = False) -> tuple[float, float]:
    """The two ends of an axis that shows these values.

    Args:
        values: All that the axis has to show; may be empty.
        settings: The figure's own wishes, `range` or `rangemode`.
        is_log: Whether the axis is logarithmic: whole powers of ten are its ends.
    """
    if "range" in settings:
        low, high = settings["range"]
        return float(low), float(high)
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if is_log:
        low, high = 10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high))
        return (low, high) if high > low else (low, 10 * low)
    if settings.get("rangemode") == "tozero":
        low, high = min(low, 0.0), max(high, 0.0)
    if high == low:
        high, low = (high + abs(high) * 0.1 or 1.0), (low - abs(low) * 0.1 if low else 0.0)
    room = 0.05 * (high - low)
    return (low if low == 0 else low - room), (high if high == 0 else high + room)


def ticks(low: float, high: float, is_log: bool = False) -> list[float]:
    """The values that are written beside an axis.

    >>> ticks(0, 1.04)
    [0.0, 0.25, 0.5, 0.75, 1.0]
    >>> ticks(0, 36)
    [0.0, 10.0, 20.0, 30.0]
    """
    if is_log:
        first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
        every = max(1, math.ceil((last - first) / NUM_TICKS))
        return [10.0**power for power in range(first, last + 1, every)]
    step = nice_step((high - low) / NUM_TICKS)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def nice_step(least: float) -> float:
    """The smallest round number that is at least so large.

    >>> nice_step(0.21), nice_step(7.2)
    (0.25, 10.0)
    """
    power = 10.0 ** math.floor(math.log10(least))
    return next(nice * power for nice in _NICE if nice * power >= least * (1 - 1e-9))


def tick_texts(values: list[float], tickformat: str = "", is_log: bool = False) -> list[str]:
    """The values as they are written beside an axis: in percent, as powers of ten, or short numbers.

    >>> tick_texts([0, 0.5, 1], ".0%"), tick_texts([0, 5000, 10000])
    (['0%', '50%', '100%'], ['0', '5k', '10k'])
    >>> tick_texts([0, 0.0005, 0.001])
    ['0', '5e-4', '1e-3']
    """
    if "%" in tickformat:
        digits = _digits([100 * value for value in values])
        return [f"{100 * value:.{digits}f}%" for value in values]
    largest = max((abs(value) for value in values), default=0)
    if is_log or 0 < largest < 0.01:
        return ["0" if value == 0 else _scientific(value) for value in values]
    size, unit = next(((size, unit) for size, unit in _UNITS if largest >= size), (1, ""))
    digits = _digits([value / size for value in values])
    return ["0" if value == 0 else f"{value / size:.{digits}f}{unit}" for value in values]


def _digits(values: list[float]) -> int:
    """The fewest decimal places that tell the values apart."""
    return next((digits for digits in range(4) if all(abs(round(v, digits) - v) < 1e-9 for v in values)), 4)


def _scientific(value: float) -> str:
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
