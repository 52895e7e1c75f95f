"""Measures what rewards cost.

Math checks a second, whether a pathological answer stalls the others, the integer verifier, the language part.

    python scripts/bench_rewards.py [--checks 4000]

Every pair is a different one, so nothing is remembered; the references repeat as in groups of 16 completions. The share
of kinds of answers is our own estimate of the MATH set. Run it on an idle machine: processor time a check is printed
beside the rate for that reason.
"""

import argparse
import random
import resource
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import psutil

from stages.prompting.prompt import Prompt
from stages.rewards.grading import grade_many
from stages.text.language import language_consistency

GROUP = 16
TOWERS = ("9^{9^{9^{9}}}", "(10^9)!", "2^{3^{4^{5^{6}}}}", "(x+y+z+w+1)^{4000}")
ENGLISH = "First we add the two numbers, then we subtract seven and check the result again before we answer. "


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checks", type=int, default=4000)
    num_checks = parser.parse_args().checks
    start_s, _ = timed(lambda: grade_many([pair("x+1", "y")]))
    print(f"math: the worker processes are up and the first check is done after {start_s:.2f} s")
    bench_math(num_checks)
    bench_unequal()
    bench_stall()
    bench_cheap()
    return 0


def bench_math(num_checks: int) -> None:
    draw = random.Random(0)
    kinds = draw.choices(list(KINDS), [share for share, _ in KINDS.values()], k=num_checks // GROUP)
    before, workers_before = resource.getrusage(resource.RUSAGE_SELF), workers_s()
    seconds, grades = timed(lambda: [grade for kind in kinds for grade in grade_many(group_of(kind, draw))])
    own = sum(resource.getrusage(resource.RUSAGE_SELF)[:2]) - sum(before[:2])
    theirs = workers_s() - workers_before
    print(
        f"math: {len(grades) / seconds:.0f} different checks a second in groups of {GROUP}, processor time of each: "
        f"{theirs / len(grades) * 1e3:.2f} ms "
        f"by the workers, {own / len(grades) * 1e3:.2f} ms here: {2 * len(grades) / (own + theirs):.0f} a second on "
        "2 cores that do nothing else; "
        f"{sum(g.value for g in grades) / len(grades):.0%} right, {sum(bool(g.error) for g in grades)} errors"
    )
    everything = [item for kind in kinds for item in group_of(kind, draw)]
    seconds, grades = timed(lambda: grade_many(everything))
    print(f"math: {len(grades) / seconds:.0f} a second as one batch")
    seconds, _ = timed(lambda: grade_many(everything))
    print(f"math: {len(everything) / seconds:.0f} a second remembered")


def bench_unequal() -> None:
    """Formulas that are not equal, of the kinds that are slow to simplify: they are told apart at random points."""
    for kind, (reference, answer_of) in UNEQUAL.items():
        before = workers_s()
        pairs = [pair(answer_of(i), reference) for i in range(2, 2 + 4 * GROUP)]
        grades = grade_many(pairs)
        assert not any(grade.value or grade.error for grade in grades), kind
        print(f"math: unequal {kind}: {(workers_s() - before) / len(pairs) * 1e3:.1f} ms of processor time each")


def workers_s() -> float:
    """Processor time of the pool's processes so far, s."""
    return sum(sum(process.cpu_times()[:2]) for process in psutil.Process().children(recursive=True))


def bench_stall() -> None:
    """Ordinary checks by themselves, and while each of the towers keeps a worker busy until it is killed."""
    draw = random.Random(1)
    batches = [[item for _ in range(25) for item in group_of("fraction", draw)] for _ in range(2)]
    alone, _ = timed(lambda: grade_many(batches[0]))
    outcomes: list = []
    for tower in TOWERS[:3]:
        thread = threading.Thread(
            target=lambda tower=tower: outcomes.append(timed(lambda: grade_many([pair(tower, "7")])))
        )
        thread.start()
        time.sleep(0.2)
        beside, _ = timed(lambda: grade_many(batches[1]))
        thread.join()
        batches[1] = [item for _ in range(25) for item in group_of("fraction", draw)]
        tower_s, (grade,) = outcomes[-1]
        print(
            f"stall: {len(batches[0])} checks take {beside:.2f} s beside {tower} and {alone:.2f} s without it "
            f"({beside / alone:.2f} times); "
            f"it: {tower_s:.1f} s, {grade.error[:60] or grade.value}"
        )


def bench_cheap() -> None:
    pairs = [pair(str(i), str(i), "integer") for i in range(5000)]
    seconds, _ = timed(lambda: grade_many(pairs))
    print(f"integer: {seconds / len(pairs) * 1e6:.1f} us a completion")
    for name, text in (
        ("the tiny world's words", "wait,check31-3=28,then28-7=21,so21,ok" * 2),
        ("2,000 characters of English", ENGLISH * 20),
    ):
        language_consistency(text, "en")
        seconds, _ = timed(lambda text=text: [language_consistency(text, "en") for _ in range(200)])
        print(f"language: {seconds / 200 * 1e6:.0f} us for {name}")


KINDS = {  # share, (answer, reference) from a number of the group and one of the completion
    "integer": (0.55, lambda a, b: (str(a if b % 3 else a + b), str(a))),
    "fraction": (0.18, lambda a, b: (f"\\frac{{{a if b % 3 else a + 1}}}{{{b + 2}}}", f"{a}/{b + 2}")),
    "decimal": (0.07, lambda a, b: (f"{a}.{b}", f"\\frac{{{10 * a + 5}}}{{10}}")),
    "root": (0.08, lambda a, b: (f"{b}\\sqrt{{{a}}}", f"{a}\\sqrt{{{a}}}")),
    "tuple": (0.05, lambda a, b: (f"({a}, {b})", f"({a},7)")),
    "set": (0.03, lambda a, b: (f"\\{{{b}, {a}\\}}", f"{a},7")),
    "polynomial": (0.04, lambda a, b: (f"{b}x^2+{a}x", f"{a}x+7x^{{2}}")),
}


UNEQUAL = {  # reference, answer from a number
    "trigonometry": ("\\frac{\\sin 2x}{1+\\tan x}", lambda i: f"\\frac{{\\sin {i}x+\\cos x}}{{1+\\tan^2 x}}"),
    "surds": (
        "\\frac{\\sqrt{\\sqrt{11}+7}}{15+2\\sqrt{33}}",
        lambda i: f"\\frac{{\\sqrt{{{i}+\\sqrt{{11}}}}}}{{15-2\\sqrt{{33}}}}",
    ),
    "logarithms": ("\\ln(x+1)-\\ln x", lambda i: f"\\ln({i}x+1)-\\frac{{1}}{{2}}\\ln({i}x^2+1)"),
    "equations": ("\\frac{x^2}{4}+\\frac{y^2}{9}=1", lambda i: f"\\frac{{x^2}}{{{i + 4}}}+\\frac{{y^2}}{{9}}=1"),
    "inequalities": ("(-2,3)", lambda i: f"|x-{i}|<5"),
    "sums": ("\\frac{n(n+1)}{2}", lambda i: f"\\sum_{{k=1}}^{{n}}k^2+{i}"),
}


def group_of(kind: str, draw: random.Random) -> list[tuple[str, Prompt]]:
    """A group's pairs: one number for its reference, and one for each of its completions."""
    number = draw.randrange(100, 10**6)
    return [pair(*KINDS[kind][1](number, i)) for i in range(GROUP)]


def pair(answer: str, reference: str, verifier: str = "math") -> tuple[str, Prompt]:
    return f"<think>hm</think><answer>{answer}</answer>", Prompt(
        "p", "what?", "bench", "reasoning", "en", reference, verifier
    )


def timed(function):
    started = time.perf_counter()
    result = function()
    return time.perf_counter() - started, result


if __name__ == "__main__":
    sys.exit(main())
