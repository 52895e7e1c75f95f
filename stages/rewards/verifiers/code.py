"""Verifier `code`: the program of the answer passes its tests [V2 B.3.1], in the sandbox.

No expected output and no grader is in the sandbox: a program gets an input and gives an output, which is judged here.
docs/sandbox.md has the form of the tests (`checks`) and what cannot be protected.
"""

import json
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from stages.prompting.prompt import Prompt
from stages.rewards.grading import Grade, GraderAway, Pair
from stages.rewards.verifiers.code_checks import Checks, read_checks
from stages.rewards.verifiers.code_compare import same_output, same_value
from stages.sandbox import Executor, Limits, Program, SandboxError, executor
from stages.sandbox.languages import LANGUAGES

_BLOCK = re.compile(
    r"```([\w+#.-]*)[ \t]*\n(.*?)^[ \t]*```", re.DOTALL | re.MULTILINE
)  # it ends where a line begins with the fence
_ANSWER = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL)
_HARNESS = Path(__file__).parents[2] / "sandbox" / "harness.py"
_TRIES = 2  # of a run whose sandbox fails


class CodeGrader:
    """Runs and judges programs, `config.workers` at a time. One for a configuration; threads start with the first
    program.
    """

    def __init__(self, config):
        self.config = config
        self.executor: Executor = executor(config.backend, config.url, python=config.python)
        self.pool = ThreadPoolExecutor(config.workers or free_cores(), thread_name_prefix="sandbox")

    def limits(self, time_limit_s: float | None = None, memory_mib: int | None = None) -> Limits:
        """Of one run: what the tests say, else the configuration."""
        config, cpu = self.config, time_limit_s or self.config.time_limit_s
        return Limits(
            cpu,
            cpu * config.wall_factor + 1,
            memory_mib or config.memory_mib,
            config.processes,
            config.scratch_mib,
            config.scratch_files,
            config.output_mib,
        )

    @cache
    def problem(self) -> str | None:
        """Why no program can be run here, and what to do about it. Found out once."""
        return self.executor.problem(self.limits())

    def submit(self, completion: str, prompt: Prompt) -> Future:
        return self.pool.submit(self.grade, completion, prompt)

    def grade(self, completion: str, prompt: Prompt) -> Grade:
        """Where the sandbox fails for this program alone, 0 with the reason. Raises GraderAway where it fails for every
        program.
        """
        try:
            checks = read_checks(prompt.checks)
            language, source = find_program(completion, checks.language)
            if source is None:
                return Grade(0.0)
            return Grade(self._credit(checks, self._passed(checks, language, source)))
        except SandboxError as error:
            if cause := self.executor.problem(self.limits()):
                raise GraderAway(
                    f"no program can be run any more: {cause}. Set it right and give the same command again: "
                    "it goes on with what is on the disk"
                ) from error
            return _ungraded(error)
        except ValueError as error:
            return _ungraded(error)

    def _passed(self, checks: Checks, language: str, source: str) -> list[bool]:
        """Which tests the program passes; those after `program_limit_s` do not count as passed, nor any after the first
        failure if all must pass.
        """
        if checks.type == "stdin":
            program = _retried(lambda: self.executor.build(language, source))
            if program.compile_error:
                return [False] * len(checks.tests)
        else:
            program = Program("python", {LANGUAGES["python"].source: _HARNESS.read_bytes()})
        limits = self.limits(checks.time_limit_s, checks.memory_mib)
        deadline, passed = time.monotonic() + self.config.program_limit_s, []
        for test in checks.tests:
            passed.append(time.monotonic() < deadline and self._passes(checks, test, program, source, limits))
            if self.config.credit == "all" and not passed[-1]:
                break
        return passed + [False] * (len(checks.tests) - len(passed))

    def _passes(self, checks: Checks, test: dict[str, Any], program: Program, source: str, limits: Limits) -> bool:
        if checks.type == "stdin":
            result = _retried(lambda: self.executor.run(program, test["input"].encode(errors="replace"), limits))
            return result.status == "ok" and same_output(
                result.stdout.decode(errors="replace"), test["output"], checks.compare, checks.tolerance
            )
        if checks.type == "call":
            request = {"mode": "call", "code": source, "name": checks.fn_name, "args": test["args"]}
            result = _retried(lambda: self.executor.run(program, json.dumps(request).encode(), limits))
            expected = test["expected"] if test.get("any_of") else [test["expected"]]
            return result.status == "ok" and any(
                same_value(_plain(result.stdout), value, checks.tolerance) for value in expected
            )
        nonce = secrets.token_hex(16)
        request = {"mode": "unit", "code": source, "tests": test["code"], "nonce": nonce}
        result = _retried(lambda: self.executor.run(program, json.dumps(request).encode(), limits))
        return result.status == "ok" and result.stdout == nonce.encode()

    def _credit(self, checks: Checks, passed: list[bool]) -> float:
        if self.config.credit == "all":
            return float(all(passed))
        weights = [test["weight"] if self.config.credit == "weighted" else 1.0 for test in checks.tests]
        return sum(weight for weight, does_pass in zip(weights, passed) if does_pass) / sum(weights)


def _ungraded(error: Exception) -> Grade:
    return Grade(0.0, f"code: {' '.join(str(error).split())[:300]}")


def _retried(attempt: Callable):
    """What `attempt` gives; tried again where the sandbox failed, not the program."""
    for _ in range(_TRIES - 1):
        with suppress(SandboxError):
            return attempt()
    return attempt()


class _Nothing:
    """What a program gave that is no JSON: equal to nothing."""


def _plain(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _Nothing()


def find_program(completion: str, language: str | None) -> tuple[str, str | None]:
    """(language, source): the last fenced block of the answer whose tag names the language, else the last one without a
    tag. The answer is what stands in the last <answer>, else after </think>. Without a `language` the tag of the last
    block decides, python where it has none.
    """
    tagged = _ANSWER.findall(completion)
    answer = tagged[-1] if tagged else completion.rsplit("</think>", 1)[-1]
    blocks = [(tag.casefold(), text) for tag, text in _BLOCK.findall(answer)]
    known = {tag: name for name, rules in LANGUAGES.items() for tag in rules.tags}
    if language is None:
        language = next((known[tag] for tag, _ in reversed(blocks) if tag in known), "python")
    for is_wanted in (lambda tag: known.get(tag) == language, lambda tag: not tag):
        if chosen := [text for tag, text in blocks if is_wanted(tag)]:
            return language, chosen[-1]
    return language, None


def free_cores() -> int:
    """Cores of this machine that training leaves to one rank: all but the ranks' own threads, shared among the ranks;
    at least 1.
    """
    ranks, threads = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), int(os.environ.get("OMP_NUM_THREADS") or 1)
    return max(1, (len(os.sched_getaffinity(0)) - ranks * threads) // ranks)


_grader: CodeGrader | None = None
_lock = threading.Lock()


def configure(config) -> None:
    """Sets the stage's `sandbox` node (SandboxConfig) for all programs that are graded from now on."""
    global _grader
    with _lock:
        if _grader is None or _grader.config != config:
            _grader = CodeGrader(config)


def grader() -> CodeGrader:
    if _grader is None:
        from stages.config import SandboxConfig

        configure(SandboxConfig())
    return _grader


def grade_many(pairs: Sequence[Pair]) -> list[Grade]:
    """Concurrently; completions of one prompt with the same program run once."""
    running: dict[tuple, Future] = {}
    for completion, prompt in pairs:
        key = _key(completion, prompt)
        if key not in running:
            running[key] = grader().submit(completion, prompt)
    return [running[_key(completion, prompt)].result() for completion, prompt in pairs]


def grade(completion: str, prompt: Prompt) -> float:
    return grade_many([(completion, prompt)])[0].value


def vote(completion: str, prompt: Prompt) -> str | None:
    """None: two programs that do the same look different, so there is nothing to count."""
    return None


def problem(prompt: Prompt) -> str | None:
    return problem_many([prompt])[0]


def problem_many(prompts: Sequence[Prompt]) -> list[str | None]:
    """What is wrong with the tests of each. Raises ValueError where programs cannot be run at all."""
    require_sandbox()
    return [_problem(prompt) for prompt in prompts]


def require_sandbox() -> None:
    """Raises ValueError where programs cannot be run, with what to do about it."""
    if cause := grader().problem():
        raise ValueError(f"the verifier code cannot work here: {cause}")


def _problem(prompt: Prompt) -> str | None:
    try:
        read_checks(prompt.checks)
    except ValueError as error:
        return str(error)
    return None


def _key(completion: str, prompt: Prompt) -> tuple:
    try:
        return (*find_program(completion, read_checks(prompt.checks).language), prompt.checks)
    except ValueError:
        return "", prompt.checks
