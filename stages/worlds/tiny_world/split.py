"""Divides arithmetic into training, tuning (dev) and test, so that no part of a held-out problem is ever trained on.

An expression is a start value and steps, worked from left to right: 31-3-7+5 is (31, -3 -7 +5), with the values 31, 28,
21, 26. Its *windows* are its contiguous parts of exactly two operations, written with the value that they start from:
31-3-7 and 28-7+5. Every part with two operations or more is a chain of such windows.

THE RULE. Each window belongs to one split, by a salted hash of its canonical form: 10% test, 10% dev, 80% train.
* A training document or prompt contains train windows only. This holds for the problem and for every expression that
  the document writes: jumps (also those that start from a wrong intermediate value), checks, chains, and single steps
  that follow each other directly where one starts with the result of the one before (31-3=28,28-7=21 counts as 31-3-7).
* A test (dev) problem consists of test (dev) windows only.
Hence no part of a held-out problem with two operations or more, and so no held-out problem, occurs in training. Single
operations (28-7=21) are in all splits: every problem is made of them.
"""

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

SALT = "tiny-world-2"  # a salt of its own: nothing has been tuned on this split's test part
MAX_VALUE = 59  # every value of an expression lies in 1..MAX_VALUE
OPERANDS = range(2, 10)
TEST_PERCENT, DEV_PERCENT = 10, 10

Step = tuple[str, int]  # operator "+" or "-", operand
Window = tuple[int, Step, Step]
STEPS: tuple[Step, ...] = tuple((operator, operand) for operator in "+-" for operand in OPERANDS)

_EQUATION = re.compile(r"(\d+)((?:[+-]\d+)+)(?:=(\d+)(?=(,\3\D)?))?")


def apply_step(value: int, step: Step) -> int:
    """Returns the value after one step."""
    return value + step[1] if step[0] == "+" else value - step[1]


def bucket_of(key: str, test_percent: int, dev_percent: int) -> str:
    """Returns the split of a key by its salted hash: "test", "dev" or, for the other percents, "train"."""
    percent = int(hashlib.sha256(f"{SALT}/{key}".encode()).hexdigest()[:8], 16) % 100
    if percent < test_percent:
        return "test"
    return "dev" if percent < test_percent + dev_percent else "train"


@cache
def window_split(value: int, first: Step, second: Step) -> str:
    """Returns the split of the window `value first second`."""
    return bucket_of(f"{value}{first[0]}{first[1]}{second[0]}{second[1]}", TEST_PERCENT, DEV_PERCENT)


def is_in_range(value: int, steps: list[Step] | tuple[Step, ...]) -> bool:
    """Returns whether every value of the expression, start included, is in 1..MAX_VALUE."""
    for step in steps:
        if not 1 <= value <= MAX_VALUE:
            return False
        value = apply_step(value, step)
    return 1 <= value <= MAX_VALUE


def windows(value: int, steps: list[Step] | tuple[Step, ...]) -> list[Window]:
    """Returns the windows of an expression; none for a single operation."""
    found = []
    for first, second in pairwise(steps):
        found.append((value, first, second))
        value = apply_step(value, first)
    return found


def is_all(split: str, value: int, steps: list[Step] | tuple[Step, ...]) -> bool:
    """Returns whether every window of the expression belongs to a split (true for a single operation)."""
    return all(window_split(*window) == split for window in windows(value, steps))


def _written_windows(text: str) -> Iterator[Window]:
    """Yields the windows of all expressions in a text."""
    carried: tuple[int, Step] | None = None  # last step of the equation before, where this one continues it
    for match in _EQUATION.finditer(text):
        value = int(match[1])
        steps = [(part[0], int(part[1:])) for part in re.findall(r"[+-]\d+", match[2])]
        if carried:
            yield (*carried, steps[0])
        yield from windows(value, steps)
        for step in steps[:-1]:
            value = apply_step(value, step)
        carried = (value, steps[-1]) if match[4] else None


def held_out_parts(text: str) -> list[str]:
    """Returns the dev and test windows that a text contains, as "28-7+5"; a text without any may be trained on."""
    return [
        f"{value}{first[0]}{first[1]}{second[0]}{second[1]}"
        for value, first, second in _written_windows(text)
        if window_split(value, first, second) != "train"
    ]
