"""Hostile programs in the sandbox: nothing escapes, nothing is rewarded, no process stays, and an honest program is
graded right after.
"""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from stages.config import SandboxConfig
from stages.rewards.verifiers.code import CodeGrader
from stages.sandbox import Limits, executor
from stages.sandbox.process import Box
from stages.sandbox.seccomp import filter_program
from tests.support.hostile_programs import CALLS, CPP, ESCAPES, PYTHON, UNITS
from tests.support.sandboxes import Boxes, answer, code_prompt, needs_bubblewrap, needs_compiler, stdin_prompt

pytestmark = [pytest.mark.slow, needs_bubblewrap]  # hostile programs run until their limits
MARK = secrets.token_hex(8)
HONEST = "print(2 * int(input()))"
UNIT_TESTS = """
import bisect, decimal, fractions, statistics
from solution import add
assert all([add(1, 2) == 3, add(4, 4) == 8])
def test_more():
    assert add(-5, 4) in [-1]
"""
SMALL = SandboxConfig(time_limit_s=1.0, wall_factor=1.5, memory_mib=256, output_mib=2, scratch_mib=32, workers=2)


@pytest.fixture(scope="module")
def grader() -> CodeGrader:
    grader = CodeGrader(SMALL)
    assert (
        grader.sandbox_problem is None
    )  # bubblewrap is installed: what is wrong with it is a failure, not a reason to skip
    return grader


@pytest.fixture
def boxes(monkeypatch):
    """Fails the test if a process of its boxes is left."""
    boxes = Boxes(monkeypatch)
    yield boxes
    assert boxes.namespaces and boxes.left() == []


@pytest.fixture
def host(tmp_path_factory, monkeypatch):
    """This machine as a program would like to find it: a file that anyone may write, a listening port, a secret in the
    environment.
    """
    monkeypatch.setenv("SECRET_TOKEN", MARK)
    file = tmp_path_factory.mktemp("host") / "file"
    file.write_text(f"{MARK} 84")
    file.chmod(0o666)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)

        def with_host(source: str) -> str:
            return (
                source.replace("HOST_FILE", str(file))
                .replace("PORT", str(listener.getsockname()[1]))
                .replace("PID", str(os.getpid()))
                .replace("MARK", MARK)
                .replace("KRAM", MARK[::-1])
            )

        yield with_host
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert file.read_text() == f"{MARK} 84"


def run(source: str, stdin: bytes = b"21\n", limits: Limits = Limits(cpu_s=2, wall_s=10), language: str = "python"):
    sandbox = executor("bubblewrap")
    return sandbox.run(sandbox.build(language, source), stdin, limits)


def honest_is_graded(grader: CodeGrader) -> None:
    started = time.monotonic()
    assert grader.grade(answer(HONEST), stdin_prompt(("21", "42"), ("0", "0"))).value == 1
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("name", PYTHON)
def test_no_hostile_program_is_rewarded(name, grader, boxes, host):
    prompt = stdin_prompt(("21\n", f"42 {MARK}\n"))
    assert grader.grade(answer(host(PYTHON[name])), prompt) == (0.0, "")
    honest_is_graded(grader)


@needs_compiler
@pytest.mark.parametrize("name", CPP)
def test_no_hostile_cpp_program_is_rewarded(name, grader, boxes, host):
    assert grader.grade(answer(host(CPP[name]), "cpp"), stdin_prompt(("21\n", f"{MARK}\n"))) == (0.0, "")


@pytest.mark.parametrize("name", ESCAPES)
def test_no_program_escapes(name, boxes, host):
    result = run(host(ESCAPES[name]))
    assert result.status == "error" and b"escaped" not in result.stdout, result


def test_what_lies_in_the_host_s_tmp_is_never_counted():
    """Bubblewrap begins in the host's file system; on a busy machine its files made a program go over its memory."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        box = Box(process.pid)
        try:
            assert box.usage()[2:] == (0, 0)
        finally:
            box.close()


def test_what_a_program_sees(boxes, host):
    seen = run(
        host(PYTHON["search for the tests"])
        + "\nprint(os.listdir('/'), os.getuid(), open('/proc/net/dev').read(), sorted(map(int, filter(str.isdigit, "
        "os.listdir('/proc')))))\nprint([line.split()[1] for line in open('/proc/1/status') if "
        "line.startswith(('Seccomp:', 'CapEff', 'NoNewPrivs'))])"
    ).stdout.decode()
    assert MARK not in seen
    assert (
        "SECRET_TOKEN" not in seen
        and "1000 Inter-" in seen
        and seen.count(":  ") <= 2
        and " lo:" in seen
        and "eth0" not in seen
    )
    assert "[1, 2]" in seen or "[1, 2, " in seen  # no process but those of the box
    assert "['0000000000000000', '1', '2']" in seen  # no capabilities, no new privileges, the filter
    assert not any(f"'{name}'" in seen for name in ("root", "home", "work", "var", "sys"))


@pytest.mark.parametrize("name", CALLS)
def test_no_forged_value_is_rewarded(name, grader, boxes):
    prompt = code_prompt(
        type="call", fn_name="add", tests=[{"args": [1, 2], "expected": 3}, {"args": [-5, 4], "expected": -1}]
    )
    assert grader.grade(answer(CALLS[name]), prompt) == (0.0, "")


@pytest.mark.parametrize("name", UNITS)
def test_no_program_passes_unit_tests_that_it_fails(name, grader, boxes):
    assert grader.grade(answer(UNITS[name]), code_prompt(type="unit", tests=[{"code": UNIT_TESTS}])) == (0.0, "")


def test_an_honest_function_passes_the_same_tests(grader, boxes):
    honest = answer("def add(a, b):\n    print('noise')\n    return a + b")
    assert grader.grade(honest, code_prompt(type="unit", tests=[{"code": UNIT_TESTS}])) == (1.0, "")
    assert grader.grade(
        honest,
        code_prompt(
            type="call", fn_name="add", tests=[{"args": [1, 2], "expected": 3}, {"args": [-5, 4], "expected": -1}]
        ),
    ) == (1.0, "")


@pytest.mark.parametrize(
    "name, tests", [("contains all", "assert 5 in add(1, 2)"), ("builtins", "assert all([add(1, 2) == 3])")]
)
def test_tests_do_not_ask_the_program_what_is_true(name, tests, grader, boxes):
    assert grader.grade(answer(UNITS[name]), code_prompt(type="unit", tests=[{"code": tests}])) == (0.0, "")


@pytest.mark.parametrize(
    "source",
    [
        "import os, time\nprint(2 * int(input()), flush=True)\nif os.fork() == 0: time.sleep(99)",
        "import os, time\nprint(2 * int(input()), flush=True)\nif os.fork() == 0:\n    os.setsid()\n    if "
        "os.fork() == 0:\n        os.closerange(0, 99)\n        while True: pass\n    os._exit(0)",
        "import subprocess\nprint(2 * int(input()), flush=True)\nsubprocess.Popen(['/usr/bin/nohup', "
        "'/usr/bin/sleep', '99'], start_new_session=True)",
    ],
    ids=["child", "daemon", "nohup"],
)
def test_what_a_program_leaves_behind_ends_with_it(source, boxes):
    started = time.monotonic()
    assert run(source).stdout == b"42\n"
    assert time.monotonic() - started < 9


def test_killed_with_its_grader(tmp_path):
    """A box does not outlive the process that made it, even if that is killed."""
    code = (
        "from stages.sandbox import *\nimport sys\nbox = executor('bubblewrap')\n"
        "print('ready', flush=True)\nbox.run(box.build('python', 'import time\\ntime.sleep(99)'), b'', "
        "Limits(cpu_s=9, wall_s=90))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as owner:
        owner.stdout.readline()
        family = wait_for(lambda: running_program(psutil.Process(owner.pid).children(recursive=True)))
        owner.send_signal(signal.SIGKILL)
    wait_for(lambda: not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in family))


def running_program(family: list[psutil.Process]) -> list[psutil.Process]:
    """All of them, once the program itself is one of them."""
    return (
        family
        if any(
            "python" in Path(process.cmdline()[0]).name and process.cmdline()[-1] == "main.py"
            for process in family
            if process.cmdline()
        )
        else []
    )


def wait_for(condition, seconds: float = 20.0):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return value


def test_many_hostile_programs_at_once_do_not_hold_up_honest_ones(grader, boxes):
    """Throughput recovers: after a full house of hostile programs the pool works as before."""
    prompt = stdin_prompt(("21", "42"))
    hostile = [
        grader.submit(answer(PYTHON[name]), prompt)
        for name in (
            "fork bomb",
            "infinite loop",
            "memory hog in many processes",
            "sleep",
            "output flood",
            "many files",
        )
    ]
    honest = [grader.submit(answer(HONEST + f"  # {number}"), prompt) for number in range(4)]
    assert [future.result(120).value for future in hostile] == [0.0] * 6 and [
        future.result(120).value for future in honest
    ] == [1.0] * 4


def test_limits_name_what_was_exceeded(boxes):
    small = Limits(cpu_s=1, wall_s=2, memory_mib=256, output_mib=1, scratch_files=100)
    assert run("while True: pass", limits=small).status == "time"
    assert run("import time\ntime.sleep(99)", limits=small).status == "time"
    assert run(PYTHON["memory hog in many processes"], limits=small).status == "memory"
    assert run(PYTHON["many files"], limits=small).status == "files"
    assert run(PYTHON["output flood"], limits=small).status == "output"
    assert run("raise SystemExit(3)", limits=small).exit_code == 3


def test_processes_are_counted_for_the_box_alone_whoever_starts_it(boxes):
    """The kernel exempts root from this limit: the box must not be root's even where we are root."""
    count = (
        "import os, time\nstarted = 0\ntry:\n    for _ in range(100):\n        if os.fork() == 0:\n            "
        "time.sleep(1)\n            os._exit(0)\n"
        "        started += 1\nexcept OSError: pass\nprint(started)"
    )
    assert 4 <= int(run(count, limits=Limits(processes=20)).stdout) < 20


def test_large_input_that_nobody_reads(boxes):
    assert run("print('done')", stdin=b"x" * (20 << 20)).stdout == b"done\n"
    assert run("import sys\nprint(len(sys.stdin.read()))", stdin=b"x" * (20 << 20)).stdout == b"20971520\n"


def test_the_filter_is_for_known_processors_only():
    assert filter_program("riscv64") is None
    assert len(filter_program("x86_64")) % 8 == 0 and len(filter_program("aarch64")) % 8 == 0


def test_without_bubblewrap_the_problem_says_how_to_get_it(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    from stages.sandbox.bubblewrap import Bubblewrap

    assert "apt-get install bubblewrap" in Bubblewrap().setup_problem(
        Limits()
    ) and "sandbox.backend=piston" in Bubblewrap().setup_problem(Limits())


def test_an_interpreter_that_is_not_there():
    from stages.sandbox.bubblewrap import Bubblewrap

    assert "sandbox.python=/nowhere/python" in Bubblewrap("/nowhere/python").setup_problem(Limits())
