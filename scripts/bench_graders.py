"""Grades ordinary right answers: none may be lost, whatever is done against hard wrong ones.

    python scripts/bench_graders.py [--numbers 200] [--entries 10]

    word problems    numbers as GSM8K's solutions end in them, in 20 ordinary spellings
    reasoning-gym    answers of the library's mathematical families: numbers as they are, formulas in LaTeX and as typed
    competitions     answers as MATH, AIME and multiple-choice sets have them (tests/fixtures/ordinary_answers.jsonl)

Math-Verify is measured beside it, on the text as it is and, where that is not read, in a box. It is not asked about
letters of options and exact texts, which it does not grade. Lost answers are printed.
"""

import argparse
import json
import logging
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from stages.prompting.prompt import Prompt  # noqa: E402
from stages.rewards.grading import Pair, grade_many  # noqa: E402

FIXTURE = ROOT / "tests" / "fixtures" / "ordinary_answers.jsonl"
BATCH = 256
HEADS = f"{'answers':>8} {'lost':>6} {'a second':>9}"


class Answer(NamedTuple):
    """A right answer with its reference."""

    verifier: str
    reference: str
    text: str
    options: tuple[str, ...] = ()


SPELLINGS: tuple[Callable[[int], str], ...] = (
    str,
    "{}.".format,
    "${}$".format,
    "\\${}".format,
    "{}.00".format,
    "{:,}".format,
    "\\boxed{{{}}}".format,
    "$\\boxed{{{:,}}}$".format,
    "**{}**".format,
    "The answer is {}.".format,
    "The answer is ${}$.".format,
    "The final answer is $\\boxed{{{}}}$.".format,
    "x = {}".format,
    "\\text{{{}}}".format,
    "{}\n".format,
    "= {}".format,
    "{} apples".format,
    "{} \\text{{ dollars}}".format,
    "\\({}\\)".format,
    "\\[{}\\]".format,
)
UNITS = ("apples", "dollars")  # spellings with a unit, and of money, are not whole numbers to the verifier `integer`
_FAMILIES = """
complex_arithmetic intermediate_integration polynomial_equations polynomial_multiplication simple_equations
simple_integration count_primes basic_arithmetic chain_sum count_bits decimal_arithmetic decimal_chain_sum dice
fraction_simplification gcd gsm_symbolic lcm leg_counting power_function products number_sequence rectangle_count
simple_geometry advanced_geometry prime_factorization
"""
FAMILIES = _FAMILIES.split()


def word_problems(count: int) -> Iterator[Answer]:
    """Yields numbers of word problems in ordinary spellings, for `math` and, where it is no amount, for `integer`."""
    draw = random.Random(0)
    for _ in range(count):
        value = draw.choice((draw.randint(1, 60), draw.randint(61, 999), draw.randint(1000, 250_000)))
        for spell in SPELLINGS:
            text = spell(value)
            yield Answer("math", str(value), text)
            if not any(unit in text for unit in UNITS) and not text.startswith("\\$"):
                yield Answer("integer", str(value), text)


def gym_answers(entries: int) -> Iterator[Answer]:
    """Yields answers of reasoning-gym's mathematical families in ordinary spellings."""
    import reasoning_gym
    import sympy

    for family in FAMILIES:
        for entry in reasoning_gym.create_dataset(family, size=entries, seed=1):
            answer = str(entry["answer"]).strip()
            if "Integral" in answer:
                continue  # the library found no answer
            reference, typed = answer, [answer]
            if "x" in answer or "*" in answer:  # a formula in Python's notation
                more = " + C" if "+ C" in answer else ""
                reference = sympy.latex(sympy.sympify(answer.replace("+ C", ""))) + more
                typed = [reference, answer.replace("**", "^")]
            for text in typed:
                for written in (text, f"\\boxed{{{text}}}", f"The answer is ${text}$."):
                    yield Answer("math", reference, written)
            yield Answer("math", reference, f"${typed[0]}$")


def competitions() -> Iterator[Answer]:
    """Yields the answers of the fixture."""
    for line in FIXTURE.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        yield Answer(row["verifier"], row["reference"], row["answer"], tuple(row.get("options", ())))


def pair_of(answer: Answer) -> Pair:
    """Returns the completion and the prompt of an answer."""
    checks = json.dumps({"options": answer.options}) if answer.options else ""
    prompt = Prompt("p", "What is it?", "bench", "reasoning", "en", answer.reference, answer.verifier, checks)
    return f"<think></think><answer>{answer.text}</answer>", prompt


def lost(answers: list[Answer]) -> list[Answer]:
    """Returns the answers that our verifiers do not grade as right."""
    found = []
    for start in range(0, len(answers), BATCH):
        batch = answers[start : start + BATCH]
        found += [one for one, grade in zip(batch, grade_many(list(map(pair_of, batch)))) if grade.value < 1]
    return found


def lost_by_math_verify(answers: list[Answer]) -> list[Answer]:
    """Returns the answers that Math-Verify does not find equal, neither as they are nor in a box."""
    from math_verify import parse, verify

    logging.disable(logging.CRITICAL)
    return [
        one
        for one in answers
        if not any(verify(parse(f"${one.reference}$"), parse(text)) for text in (one.text, f"\\boxed{{{one.text}}}"))
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--numbers", type=int, default=200, help="numbers of word problems")
    parser.add_argument("--entries", type=int, default=10, help="problems of each family of reasoning-gym")
    parser.add_argument("--alone", action="store_true", help="do not measure Math-Verify")
    options = parser.parse_args()
    materials = {
        "word problems": list(word_problems(options.numbers)),
        "reasoning-gym": list(gym_answers(options.entries)),
        "competitions": list(competitions()),
    }
    num_lost = 0
    print(f"{'':16} {HEADS}   Math-Verify: {HEADS}")
    for name, answers in materials.items():
        seconds, ours = timed(lambda answers=answers: lost(answers))
        line = f"{name:16} {len(answers):>8,} {len(ours):>6,} {len(answers) / seconds:>9,.0f}"
        if not options.alone:
            asked = [one for one in answers if one.verifier in ("math", "integer")]
            seconds, theirs = timed(lambda asked=asked: lost_by_math_verify(asked))
            line += f"   {'':12} {len(asked):>8,} {len(theirs):>6,} {len(asked) / seconds:>9,.0f}"
        print(line)
        for one in ours[:30]:
            print(f"  lost: {one.verifier}, {one.reference!r}: {one.text!r}")
        num_lost += len(ours)
    return int(bool(num_lost))


def timed(function: Callable[[], list[Answer]]) -> tuple[float, list[Answer]]:
    """Returns the seconds that a function takes, and its result."""
    started = time.perf_counter()
    result = function()
    return time.perf_counter() - started, result


if __name__ == "__main__":
    sys.exit(main())
