"""Writes worked examples of a few families for the pretraining corpus: hasty, partly wrong, partly broken in format.

Every writer first jumps to a result, a hard step that is wrong half of the time. Some then check: they redo the jump in
small right steps and continue from that result. This is what R1-Zero can discover: checking pays. No example contains a
whole other problem, because its jumps are shorter than the shortest problem.

A family has a writer, a function (rng, entry, checks) -> (thought, answer), where `checks` says whether it checks its
jumps; and a textbook page, a list of clean small steps in the form "question:steps".
"""

import random
import re
from collections.abc import Callable
from typing import Any

JUMP_ERROR_SHARE = 0.5
STYLES = {"direct": 0.12, "plain": 0.36, "check": 0.34, "broken": 0.18}
_JUMP_ERRORS = (-9, -6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6, 9)

Writer = Callable[[random.Random, dict[str, Any], bool], tuple[str, str]]


def completion(rng: random.Random, task: str, entry: dict[str, Any]) -> str:
    """Returns a completion of the corpus for an entry of family `task`, in a random style."""
    style = rng.choices(list(STYLES), list(STYLES.values()))[0]
    checks = style == "check" or (style == "broken" and rng.random() < 0.3)
    thought, answer = WRITERS[task](rng, entry, checks)
    if style == "direct":
        return f"{'<think></think>' if rng.random() < 0.25 else ''}<answer>{answer}</answer>"
    if style == "broken":
        return rng.choice(
            (
                thought,
                f"<think>{thought}<answer>{answer}</answer>",
                f"{thought},{answer}",
                f"<think>{thought}</think>{answer}",
                f"<think>{thought}</think><answer>{answer}",
            )
        )
    return f"<think>{thought}</think><answer>{answer}</answer>"


def _checked(guess: str, steps: str, truth: str) -> str:
    """Returns a guess followed by its check."""
    verdict = "ok" if guess.endswith(("=" + truth, " " + truth)) else "no"
    return f"{guess}, wait check {steps} {verdict}"


def chain_sum(rng: random.Random, entry: dict[str, Any], checks: bool) -> tuple[str, str]:
    """Works a chain of sums: "first 4-3+9=12, wait check 4-3=1,1+9=10 no, then 10-2=8, so 8"."""
    start, *rest = re.findall(r"[+-]?\d+", entry["metadata"]["expression"].replace(" ", ""))
    value = int(start)
    parts: list[str] = []
    while rest:
        jump, rest = rest[:2], rest[2:]
        truth = value + sum(map(int, jump))
        is_wrong = len(jump) == 2 and rng.random() < JUMP_ERROR_SHARE
        written = truth + rng.choice(_JUMP_ERRORS) if is_wrong else truth
        guess = f"{', then ' if parts else 'first '}{value}{''.join(jump)}={written}"
        parts.append(_checked(guess, sums(value, jump), str(truth)) if checks and len(jump) == 2 else guess)
        value = truth if checks else written
    return f"{''.join(parts)}, so {value}", str(value)


def sums(value: int, steps: list[str]) -> str:
    """Writes signed steps from a value one by one: sums(4, ["-3", "+9"]) is "4-3=1,1+9=10"."""
    parts = []
    for step in steps:
        parts.append(f"{value}{step}={value + int(step)}")
        value += int(step)
    return ",".join(parts)


def chain_sum_page(rng: random.Random) -> list[str]:
    """Writes two single-digit steps from any value that a chain can reach, without spaces or as questions have them."""

    def step() -> str:
        return f"{rng.choice('+-')}{rng.randint(0, 9)}"

    items = []
    for _ in range(4):
        value, steps = rng.randint(-36, 45), [step(), step()]
        if rng.random() < 0.5:
            question = f"{value}{''.join(steps)}"
        else:
            question = " ".join([str(value), *(f"{written[0]} {written[1:]}" for written in steps)])
        items.append(f"{question}:{sums(value, steps)}")
    return items


def gcd(rng: random.Random, entry: dict[str, Any], checks: bool) -> tuple[str, str]:
    """Works a greatest common divisor: "first 3, wait check 42%18=6,18%6=0 no, so 6"."""
    a, b = entry["metadata"]["numbers"]
    truth = entry["metadata"]["result"]
    guess = truth
    if rng.random() < JUMP_ERROR_SHARE:
        guess = rng.choice([divisor for divisor in (1, 2, 3, 4, 5, 6, 8, 10) if divisor != truth])
    if not checks:
        return f"first {guess}, so {guess}", str(guess)
    return f"{_checked(f'first {guess}', remainders(a, b), str(truth))}, so {truth}", str(truth)


def remainders(a: int, b: int) -> str:
    """Writes Euclid's algorithm: remainders(18, 42) is "42%18=6,18%6=0"."""
    a, b = max(a, b), min(a, b)
    parts = []
    while b:
        parts.append(f"{a}%{b}={a % b}")
        a, b = b, a % b
    return ",".join(parts)


def gcd_page(rng: random.Random) -> list[str]:
    """Writes six single remainders."""
    pairs = [sorted((rng.randint(1, 50), rng.randint(1, 50)), reverse=True) for _ in range(6)]
    return [f"{a}%{b}:{a}%{b}={a % b}" for a, b in pairs]


WRITERS: dict[str, Writer] = {"chain_sum": chain_sum, "gcd": gcd}
PAGES: dict[str, Callable[[random.Random], list[str]]] = {"chain_sum": chain_sum_page, "gcd": gcd_page}
