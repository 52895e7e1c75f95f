"""A small parent between the driver and torchrun, so that no process outlives its driver: `python -m
pipeline.execution.guard DRIVER_PID COMMAND...`

It adopts every descendant (child subreaper), is told by the kernel when the driver dies, and then kills them all;
torchrun puts each rank in a session of its own, so killing a process group would miss them. Signals: SIGUSR1 asks the
ranks to stop after a checkpoint (SIGTERM to the children of its child); SIGTERM kills everything. Exits like its
command.
"""

import ctypes
import os
import signal
import subprocess
import sys

import psutil

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def main(arguments: list[str]) -> int:
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
    """Reaps children, adopted ones too, until `pid` has ended; its exit code as a shell would give it."""
    while True:
        try:
            ended, status = os.wait()
        except ChildProcessError:  # kill_all has reaped them
            return 128 + signal.SIGKILL
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def ask_to_stop(torchrun: int) -> None:
    """SIGTERM to the ranks; srun, which has no local ranks, passes it on itself."""
    try:
        process = psutil.Process(torchrun)
        is_torchrun = any(word.endswith("torch.distributed.run") for word in process.cmdline())
        targets = process.children() if is_torchrun else [process]
        for target in targets:
            target.send_signal(signal.SIGTERM)
    except psutil.Error:
        return
    if not targets:  # no rank has started: nothing to save, and nobody to hear it
        kill_all()


def kill_all(*_) -> None:
    """SIGKILL to every descendant, again until there is none."""
    while True:
        alive = [
            process for process in psutil.Process().children(recursive=True) if process.status() != psutil.STATUS_ZOMBIE
        ]
        if not alive:
            return
        for process in alive:
            try:
                process.kill()
            except psutil.Error:
                pass
        psutil.wait_procs(alive, timeout=1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
