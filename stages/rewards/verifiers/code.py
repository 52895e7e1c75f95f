"""Verifier `code`: the program in the answer must pass its tests [V2 B.3.1]; it runs in the sandbox.

Neither the expected output nor the grader enters the sandbox: a program gets an input and gives an output, which is
judged here. docs/sandbox.md has the form of the tests (`checks`) and says what cannot be protected.
"""

import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from stages.config import SandboxConfig
from stages.prompting.prompt import Prompt
from stages.rewards.grading import Explanation, Grade, GraderAway, Pair
from stages.rewards.verifiers.code_blocks import find_program
from stages.rewards.verifiers.code_checks import Checks, read_checks
from stages.rewards.verifiers.code_compare import same_output, same_value
from stages.rewards.verifiers.code_preload import with_preloaded
from stages.sandbox import Executor, Limits, Program, SandboxError, executor
from stages.sandbox.languages import LANGUAGES

T = TypeVar("T")
_HARNESS = Path(__file__).parents[2] / "sandbox" / "harness.py"
_TRIES = 2  # attempts at a run when the sandbox, not the program, fails


class CodeGrader:
    """Runs programs in the sandbox and grades them, `config.workers` at a time.

    There is one for each configuration. Its threads start with the first program.
    """

    def __init__(self, config: SandboxConfig):
        self.config = config
        self.executor: Executor = executor(config.backend, config.url, python=config.python)
        self.pool = ThreadPoolExecutor(config.workers or free_cores(), thread_name_prefix="sandbox")

    def limits(self, time_limit_s: float | None = None, memory_mib: int | None = None) -> Limits:
        """Returns the limits of one run.

        Args:
            time_limit_s: processor seconds that the tests allow; the configuration's where they say nothing.
            memory_mib: memory that the tests allow, MiB; the configuration's where they say nothing.
        """
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

    @cached_property
    def sandbox_problem(self) -> str | None:
        """Why no program can be run here and what to do about it, or None. It is found out once."""
        return self.executor.setup_problem(self.limits())

    def submit(self, completion: str, prompt: Prompt) -> Future[Grade]:
        """Starts grading a completion in one of the threads."""
        return self.pool.submit(self.grade, completion, prompt)

    def grade(self, completion: str, prompt: Prompt) -> Grade:
        """Grades a completion by the tests of its prompt.

        Returns:
            Its credit by `config.credit`; 0 with the reason where the sandbox fails for this program alone or the tests
            are malformed.

        Raises:
            GraderAway: the sandbox can run no program at all any more.
        """
        try:
            checks = read_checks(prompt.checks)
            language, source = find_program(completion, checks.language)
            if source is None:
                return Grade(0.0)
            return Grade(self._credit(checks, self._passed(checks, language, source)))
        except SandboxError as error:
            if cause := self.executor.setup_problem(self.limits()):
                raise GraderAway(
                    f"no program can be run any more: {cause}. Set it right and give the same command again: "
                    "it goes on with what is on the disk"
                ) from error
            return _ungraded(error)
        except ValueError as error:
            return _ungraded(error)

    def _passed(self, checks: Checks, language: str, source: str) -> list[bool]:
        """Returns for each test whether the program passes it.

        Tests that would start after `program_limit_s` do not count as passed. Where all tests must pass, none is run
        after the first failure.
        """
        if language == "python":
            source = with_preloaded(source, checks.fn_name)
        if checks.type == "stdin":
            program = _retried(lambda: self.executor.build(language, source))
            if program.compile_error:
                return [False] * len(checks.tests)
        else:
            program = Program("python", {LANGUAGES["python"].source: _HARNESS.read_bytes()})
        limits = self.limits(checks.time_limit_s, checks.memory_mib)
        deadline = time.monotonic() + self.config.program_limit_s
        passed: list[bool] = []
        for test in checks.tests:
            passed.append(time.monotonic() < deadline and self._passes(checks, test, program, source, limits))
            if self.config.credit == "all" and not passed[-1]:
                break
        return passed + [False] * (len(checks.tests) - len(passed))

    def _passes(self, checks: Checks, test: dict[str, Any], program: Program, source: str, limits: Limits) -> bool:
        """Runs one test and judges what came out. A unit test passes where the harness returns its secret number."""
        if checks.type == "stdin":
            result = _retried(lambda: self.executor.run(program, test["input"].encode(errors="replace"), limits))
            return result.status == "ok" and same_output(
                result.stdout.decode(errors="replace"), test["output"], checks.compare, checks.tolerance
            )
        if checks.type == "call":
            request = {"mode": "call", "code": source, "name": checks.fn_name, "args": test["args"]}
            result = _retried(lambda: self.executor.run(program, json.dumps(request).encode(), limits))
            expected = test["expected"] if test.get("any_of") else [test["expected"]]
            if result.status != "ok":
                return False
            given = _from_json(result.stdout)
            return any(same_value(given, value, checks.tolerance) for value in expected)
        nonce = secrets.token_hex(16)
        request = {"mode": "unit", "code": source, "tests": test["code"], "nonce": nonce}
        result = _retried(lambda: self.executor.run(program, json.dumps(request).encode(), limits))
        return result.status == "ok" and result.stdout == nonce.encode()

    def _credit(self, checks: Checks, passed: list[bool]) -> float:
        """Returns 1 or 0 where all tests must pass, else the share of the tests, or of their weights, that passed."""
        if self.config.credit == "all":
            return float(all(passed))
        weights = [test["weight"] if self.config.credit == "weighted" else 1.0 for test in checks.tests]
        return sum(weight for weight, does_pass in zip(weights, passed) if does_pass) / sum(weights)


def _ungraded(error: Exception) -> Grade:
    return Grade(0.0, f"code: {' '.join(str(error).split())[:300]}")


def _retried(attempt: Callable[[], T]) -> T:
    """Returns the result of `attempt`, which is repeated where the sandbox failed rather than the program."""
    for _ in range(_TRIES - 1):
        with suppress(SandboxError):
            return attempt()
    return attempt()


class _NotJson:
    """Stands for a program's output that is not JSON; it equals no value."""


def _from_json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _NotJson()


def free_cores() -> int:
    """Returns how many cores training leaves to this rank for programs, at least 1.

    These are the cores that this process may use, without those of the ranks' own threads, shared among the ranks.
    """
    ranks, threads = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), int(os.environ.get("OMP_NUM_THREADS") or 1)
    return max(1, (len(os.sched_getaffinity(0)) - ranks * threads) // ranks)


_grader: CodeGrader | None = None
_lock = threading.Lock()


def configure(config: SandboxConfig) -> CodeGrader:
    """Sets the stage's `sandbox` node for all programs that are graded from now on, and returns their grader."""
    global _grader
    with _lock:
        if _grader is None or _grader.config != config:
            _grader = CodeGrader(config)
        return _grader


def grader() -> CodeGrader:
    """Returns the grader of this process; it has the schema's defaults where nothing was configured."""
    return _grader or configure(SandboxConfig())


def grade_many(pairs: Sequence[Pair]) -> list[Grade]:
    """Grades a batch concurrently; completions of one prompt with the same program are run once."""
    keys = [_key(completion, prompt) for completion, prompt in pairs]
    running: dict[tuple, Future[Grade]] = {}
    for key, (completion, prompt) in zip(keys, pairs):
        if key not in running:
            running[key] = grader().submit(completion, prompt)
    return [running[key].result() for key in keys]


def grade(completion: str, prompt: Prompt) -> float:
    """Returns the credit of the program in a completion, 0..1."""
    return grade_many([(completion, prompt)])[0].value


def vote(completion: str, prompt: Prompt) -> str | None:
    """Returns None: programs that do the same look different, so there is nothing to count."""
    return None


def explain(completion: str, prompt: Prompt) -> Explanation:
    """Says how many tests there are, which program was found, and what it earns; runs it."""
    if problem := _checks_problem(prompt):
        return Explanation(None, None, f"The tests cannot be used: {problem}.")
    checks = read_checks(prompt.checks)
    tests = f"{len(checks.tests)} test{'s' * (len(checks.tests) > 1)} of type {checks.type}"
    language, source = find_program(completion, checks.language)
    if source is None:
        return Explanation(tests, None, f"The answer has no closed block of code in {language}.")
    (given,) = grade_many([(completion, prompt)])
    why = "The program passes all tests." if given.value == 1 else f"The program earns {given.value:g} of 1."
    return Explanation(tests, source, f"The program was not graded: {given.error}." if given.error else why)


def reference_problem(prompt: Prompt) -> str | None:
    """Returns what is wrong with the tests of a prompt, as `reference_problem_many` does for several."""
    return reference_problem_many([prompt])[0]


def reference_problem_many(prompts: Sequence[Prompt]) -> list[str | None]:
    """Returns what is wrong with each prompt's tests, or None; raises ValueError where no program can be run."""
    require_sandbox()
    return [_checks_problem(prompt) for prompt in prompts]


def require_sandbox() -> None:
    """Raises ValueError where programs cannot be run here; the message says what to do about it."""
    if cause := grader().sandbox_problem:
        raise ValueError(f"the verifier code cannot work here: {cause}")


def _checks_problem(prompt: Prompt) -> str | None:
    try:
        read_checks(prompt.checks)
    except ValueError as error:
        return str(error)
    return None


def _key(completion: str, prompt: Prompt) -> tuple:
    """Returns what decides a grade: the program, its language and its tests."""
    try:
        return (*find_program(completion, read_checks(prompt.checks).language), prompt.checks)
    except ValueError:
        return "", prompt.checks
