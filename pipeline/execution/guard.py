"""A small parent between the driver and torchrun, so that no process outlives its driver.

    python -m pipeline.execution.guard DRIVER_PID COMMAND...

It adopts every descendant (child subreaper), the kernel tells it when the driver dies, and then it kills them all.
Killing a process group would not do: torchrun puts each rank in a session of its own.

Signals: SIGUSR1 asks the ranks to stop after a checkpoint (SIGTERM to the children of its child); SIGTERM kills
everything. It exits as its command does.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys

import psutil

TORCHRUN = "stages.runtime.torchrun"  # the module by which a torchrun is told from other commands
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36  # options of prctl(2)


def main(arguments: list[str]) -> int:
    """Runs the command of `arguments` (driver's process number, command) and returns its exit code."""
    driver, command = int(arguments[0]), arguments[1:]
    signal.signal(signal.SIGTERM, kill_all)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != driver:
        return 1  # it died before we could ask to be told
    if not command[0].endswith("srun"):  # the ranks look for us above their launcher; under srun it is none of ours
        os.environ["STAGE_GUARD_PID"] = str(os.getpid())
    child = subprocess.Popen(command, preexec_fn=lambda: _prctl(PR_SET_PDEATHSIG, signal.SIGKILL))
    signal.signal(signal.SIGUSR1, lambda *_: ask_to_stop(child.pid))
    code = _wait_for(child.pid)
    kill_all()
    return code


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value)


def _wait_for(pid: int) -> int:
    """Reaps children, adopted ones too, until `pid` has ended. Returns its exit code as a shell would give it."""
    while True:
        try:
            ended, status = os.wait()
        except ChildProcessError:  # kill_all has reaped them
            return 128 + signal.SIGKILL
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def ask_to_stop(torchrun: int) -> None:
    """Sends SIGTERM to the ranks. srun, which has no ranks on this machine, gets it itself and passes it on."""
    try:
        process = psutil.Process(torchrun)
        is_torchrun = any(word.endswith(TORCHRUN) for word in process.cmdline())
        targets = process.children() if is_torchrun else [process]
        for target in targets:
            target.send_signal(signal.SIGTERM)
    except psutil.Error:
        return
    if not targets:  # no rank has started: nothing to save, and nobody to hear it
        kill_all()


def kill_all(*_: object) -> None:
    """Sends SIGKILL to every descendant, again until there is none. Also a signal handler."""
    while True:
        alive = [
            process for process in psutil.Process().children(recursive=True) if process.status() != psutil.STATUS_ZOMBIE
        ]
        if not alive:
            return
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(alive, timeout=1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
