"""Measures what the sandbox costs on this machine.

Runs of a trivial Python program, bare and in a box, one after the other and in the pool; and C++.

    python scripts/bench_sandbox.py [--runs 40]

Prints times and ratios. Run it on an idle machine; `load` in the first line says whether it was one.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from stages.config import SandboxConfig
from stages.prompting.prompt import Prompt
from stages.rewards.verifiers.code import CodeGrader, free_cores

PYTHON = "print(2 * int(input()))"
CPP = "#include <bits/stdc++.h>\nint main() { int n; std::cin >> n; std::cout << 2 * n << std::endl; }"
HOSTILE = (
    "while True: pass",
    "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "while True: print('x' * 100000)",
    "import time\ntime.sleep(99)",
)


def prompt(**checks) -> Prompt:
    return Prompt("bench", "", "file", "reasoning", "en", "", verifier="code", checks=json.dumps(checks))


def answer(source: str, tag: str = "python") -> str:
    return f"```{tag}\n{source}\n```"


def seconds(action, runs: int) -> float:
    """Median time of one run."""
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def rate(grader: CodeGrader, task: Prompt, runs: int) -> float:
    """Programs a second in the pool; each program differs from the others."""
    started = time.perf_counter()
    futures = [grader.submit(answer(f"{PYTHON}  # {number}"), task) for number in range(runs)]
    assert all(future.result().value == 1 for future in futures)
    return runs / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=40, help="runs of each measurement")
    runs = parser.parse_args().runs
    grader = CodeGrader(SandboxConfig(workers=len(os.sched_getaffinity(0)), time_limit_s=1))
    if problem := grader.sandbox_problem:
        sys.exit(problem)
    print(
        f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}; "
        f"workers by default here {free_cores()}, in this benchmark {grader.config.workers}"
    )
    sandbox, limits, stdin = grader.executor, grader.limits(), b"21\n"

    python = sandbox.build("python", PYTHON)
    bare = seconds(
        lambda: subprocess.run(
            [sandbox.python, "-B", "-s", "-c", PYTHON], input=stdin, capture_output=True, check=True, env={}
        ),
        runs,
    )
    boxed = seconds(lambda: sandbox.run(python, stdin, limits), runs)
    print(f"python, bare subprocess   {bare * 1000:7.1f} ms")
    print(
        f"python, in a box          {boxed * 1000:7.1f} ms   {boxed / bare:.2f} times bare, "
        f"{(boxed - bare) * 1000:.1f} ms more"
    )

    compiled = seconds(lambda: sandbox.build("cpp", CPP), 3)
    cpp = sandbox.build("cpp", CPP)
    assert not cpp.compile_error, cpp.compile_error
    print(f"C++, compiled in a box    {compiled * 1000:7.1f} ms   (bits/stdc++.h, -O2)")
    print(f"C++, in a box             {seconds(lambda: sandbox.run(cpp, stdin, limits), runs) * 1000:7.1f} ms")

    task = prompt(type="stdin", tests=[{"input": "21\n", "output": "42\n"}])
    call = prompt(type="call", fn_name="double", tests=[{"args": [21], "expected": 42}])
    unit = prompt(type="unit", tests=[{"code": "from solution import double\nassert double(21) == 42"}])
    function = answer("def double(n): return 2 * n")
    print(f"function call             {seconds(lambda: grader.grade(function, call), runs // 2) * 1000:7.1f} ms")
    print(f"unit test                 {seconds(lambda: grader.grade(function, unit), runs // 2) * 1000:7.1f} ms")

    before = rate(grader, task, 2 * runs)
    started = time.perf_counter()
    assert not any(future.result().value for future in [grader.submit(answer(source), task) for source in HOSTILE * 2])
    hostile = time.perf_counter() - started
    after = rate(grader, task, 2 * runs)
    print(f"in the pool               {before:7.1f} programs a second")
    print(
        f"{2 * len(HOSTILE)} hostile programs        {hostile:7.1f} s; then {after:.1f} programs a second, "
        f"{after / before:.2f} of before"
    )


if __name__ == "__main__":
    main()
