"""One run of a command in a box: feeds it, reads what it says, watches what it uses, and leaves no process behind."""

import json
import os
import select
import selectors
import signal
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

from stages.sandbox.interface import MIB, Limits, Result, SandboxError

LOOK_EVERY_S = 0.05  # between two looks at what a program uses
START_LIMIT_S = 30.0  # for the box itself, on a busy machine
_CHUNK = 65536


def memory_file(content: bytes) -> int:
    """A file without a name, open for reading from its start."""
    fd = os.memfd_create("sandbox", os.MFD_CLOEXEC)
    with open(fd, "wb", closefd=False) as stream:
        stream.write(content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


class Box:
    """The processes of a box, seen from outside.

    Args:
        init: The host's id of the first process of the box's process-id namespace; when it ends, all have ended.
    """

    def __init__(self, init: int):
        self.init, self.pidfd = init, os.pidfd_open(init)

    def usage(self) -> tuple[float, int, int, int]:
        """What all processes use, those that were already waited for included.

        Returns:
            Processor seconds, bytes of memory, bytes of scratch files, and their number.
        """
        cpu, memory = 0.0, 0
        for pid in self._processes():
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                cpu += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
                memory += _memory(pid)
            except (OSError, IndexError):
                continue  # it has just ended
        place = f"/proc/{self.init}/root/tmp"
        try:
            # Until bubblewrap has made the box, which takes a while on a busy machine, this is /tmp of the host.
            is_in_the_box = os.stat(place).st_dev != os.stat("/tmp").st_dev
            scratch = os.statvfs(place)
        except OSError:
            is_in_the_box = False
        if not is_in_the_box:
            return cpu, memory, 0, 0
        return cpu, memory, (scratch.f_blocks - scratch.f_bfree) * scratch.f_frsize, scratch.f_files - scratch.f_ffree

    def _processes(self) -> list[int]:
        """Ids of the processes below `init`, without itself; orphans of the box are its children too."""
        found, todo = [], [self.init]
        while todo:
            pid = todo.pop()
            children = _children(pid)
            found += children
            todo += children
        return found

    def kill(self) -> None:
        """Kills the first process of the box, and with it all others."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def close(self) -> None:
        """Kills what is left and waits until the kernel has ended the last process."""
        self.kill()
        ready = select.select([self.pidfd], [], [], START_LIMIT_S)[0]
        os.close(self.pidfd)
        if not ready:
            raise SandboxError(f"processes of the box of pid {self.init} do not end")


def _children(pid: int) -> list[int]:
    """Ids of the children of all threads of a process; none where it has just ended."""
    try:
        return [
            int(child)
            for task in os.listdir(f"/proc/{pid}/task")
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split()
        ]
    except OSError:
        return []


def _memory(pid: int) -> int:
    """Bytes of memory of a process; pages that it shares with others count in proportion."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def run_boxed(
    command: tuple[str, ...],
    options: list[str],
    seccomp: bytes | None,
    files: dict[str, bytes],
    inner: list[str],
    stdin: bytes,
    limits: Limits,
) -> Result:
    """Runs a command in a fresh box and watches it.

    Args:
        command: How bubblewrap is started.
        options: Its options, without those for files, filter and status, which are added to the list.
        seccomp: The filter, or None.
        files: What the scratch directory holds, by name.
        inner: The command that runs in the box.
        stdin: Its standard input.
        limits: Its limits.

    Raises:
        SandboxError: Bubblewrap did not start, or processes of the box do not end.
    """
    with ExitStack() as closing:

        def opened(fd: int) -> int:
            closing.callback(os.close, fd)
            return fd

        started = time.monotonic()
        passed = [opened(memory_file(content)) for content in (*files.values(), *([seccomp] if seccomp else []))]
        for name, fd in zip(files, passed):
            options += ["--perms", "0755", "--file", str(fd), f"/tmp/{name}"]
        if seccomp:
            options += ["--seccomp", str(passed[-1])]
        status_read, status_write = os.pipe()
        block_read, block_write = os.pipe()
        for fd in (status_read, block_read, block_write):
            opened(fd)
        ours_no_more = closing.enter_context(open(status_write, "wb"))
        options += ["--json-status-fd", str(status_write), "--block-fd", str(block_read)]
        arguments = opened(memory_file(b"".join(option.encode() + b"\0" for option in options)))
        process = subprocess.Popen(
            [*command, "--args", str(arguments), "--", *inner],
            stdin=opened(memory_file(stdin)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[*passed, arguments, status_write, block_read],
            env={},
            cwd="/",
            bufsize=0,
        )
        ours_no_more.close()
        try:
            box = Box(_init_of(process, status_read))
            try:
                os.write(block_write, b"1")
                return _watched(process, box, limits, started)
            finally:
                box.close()
        finally:
            _kill_with_children(process)
            process.wait()
            for stream in _outputs_of(process):
                stream.close()


def _outputs_of(process: subprocess.Popen) -> tuple[IO[bytes], IO[bytes]]:
    """Standard output and standard error of a process that was started with pipes for them."""
    assert process.stdout is not None and process.stderr is not None
    return process.stdout, process.stderr


def _init_of(process: subprocess.Popen, status_fd: int) -> int:
    """The host's process id of the first process in the box, which waits for us."""
    line, deadline = b"", time.monotonic() + START_LIMIT_S
    while not line.endswith(b"\n") and select.select([status_fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
        piece = os.read(status_fd, 4096)
        if not piece:
            break
        line += piece
    if line.endswith(b"\n"):
        return json.loads(line)["child-pid"]
    _kill_with_children(process)
    raise SandboxError(f"bubblewrap did not start: {process.communicate()[1].decode(errors='replace').strip()[-500:]}")


def _kill_with_children(process: subprocess.Popen) -> None:
    """Kills bubblewrap, and before it the first process of a box that is not set up yet.

    That one would not notice that bubblewrap is gone.
    """
    for child in _children(process.pid):
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    process.kill()


def _watched(process: subprocess.Popen, box: Box, limits: Limits, started: float) -> Result:
    """Reads what the program says until it has ended or goes over a limit."""
    streams = [stream.fileno() for stream in _outputs_of(process)]
    outputs = {fd: bytearray() for fd in streams}
    ended = os.pidfd_open(process.pid)
    try:
        with selectors.DefaultSelector() as selector:
            for fd in streams:
                os.set_blocking(fd, False)
                selector.register(fd, selectors.EVENT_READ)
            selector.register(ended, selectors.EVENT_READ)
            status, has_ended = _watch(selector, ended, outputs, box, limits)
        if has_ended:
            process.wait()
            for fd, output in outputs.items():
                while _read(fd, output) and len(output) <= limits.output_mib * MIB:
                    pass
    finally:
        os.close(ended)
    stdout, stderr = (bytes(outputs[fd]) for fd in streams)
    return _result(process, status, stdout, stderr, limits, time.monotonic() - started)


def _watch(
    selector: selectors.BaseSelector, ended: int, outputs: dict[int, bytearray], box: Box, limits: Limits
) -> tuple[str, bool]:
    """Reads into `outputs` until the process of `ended` has ended or the program is over a limit.

    Returns:
        The limit, or nothing, and whether the process has ended.
    """
    began = time.monotonic()
    next_look = began + LOOK_EVERY_S
    status, has_ended = "", False
    while not status and not has_ended:
        for key, _ in selector.select(max(0.0, next_look - time.monotonic())):
            if key.fd == ended:
                has_ended = True
            elif not _read(key.fd, outputs[key.fd]):
                selector.unregister(key.fd)
            elif len(outputs[key.fd]) > limits.output_mib * MIB:
                status = "output"
        now = time.monotonic()
        if now >= next_look and not has_ended and not status:
            next_look = now + LOOK_EVERY_S
            status = "time" if now - began > limits.wall_s else _over(box, limits)
    return status, has_ended


def _read(fd: int, output: bytearray) -> bool:
    """Appends what there is; False at the end, or where nothing is there now."""
    try:
        data = os.read(fd, _CHUNK)
    except BlockingIOError:
        return False
    output += data
    return bool(data)


def _over(box: Box, limits: Limits) -> str:
    """The limit that the program is over now, or nothing."""
    cpu, memory, scratch, num_files = box.usage()
    if cpu > limits.cpu_s:
        return "time"
    if memory + scratch > limits.memory_mib * MIB:
        return "memory"
    return "files" if num_files > limits.scratch_files else ""


def _result(
    process: subprocess.Popen, status: str, stdout: bytes, stderr: bytes, limits: Limits, wall_s: float
) -> Result:
    """How the run ended. `status`: the limit that the program was found to be over, or nothing."""
    code = process.returncode
    if not status and max(len(stdout), len(stderr)) > limits.output_mib * MIB:
        status = "output"
    if not status:
        status = {0: "ok", 128 + signal.SIGXCPU: "time", 128 + signal.SIGXFSZ: "files"}.get(code, "error")
    return Result(status, code, stdout[: limits.output_mib * MIB], stderr[-_CHUNK:], wall_s)


def limited(limits: Limits, command: list[str]) -> list[str]:
    """The command under the kernel's own limits.

    They are set inside the box: there the number of processes counts for the box alone (Linux 5.14).
    """
    cpu = max(1, -int(-limits.cpu_s // 1))
    stack = min(64, limits.memory_mib) * MIB
    values = {
        "as": limits.memory_mib * MIB,
        "nproc": limits.processes,
        "fsize": limits.scratch_mib * MIB,
        "core": 0,
        "nofile": 256,
        "stack": stack,
        "memlock": 64 * 1024,
        "msgqueue": 0,
        "sigpending": 256,
    }
    return [
        "/usr/bin/prlimit",
        f"--cpu={cpu}:{cpu + 1}",
        *(f"--{name}={value}" for name, value in values.items()),
        "--",
        *command,
    ]
