"""The machines of a run besides the driver's: each follows the driver's calls and starts its share of the workers."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from pipeline.errors import StageFailed
from pipeline.execution import nodes
from pipeline.execution.launch import end_guard, node_command, worker_environment
from pipeline.execution.nodes import BEAT_S, OVER, RUNNING, Call, Node, Silence
from pipeline.view.words import duration

POLL_S = 0.2


def follow(run_dir: Path, address: str | None, patience_s: float, stays: bool, say: Callable[[str], None]) -> None:
    """Starts this machine's workers for each stage that the run's driver launches. Returns when the driver has ended.

    Args:
        run_dir: The run's directory, which all machines see. It may not be there yet.
        address: The address by which the other machines reach this one; None for its host name.
        patience_s: How long to wait for a driver.
        stays: Whether to wait for the next driver when one has ended.
        say: Prints a line for people.

    Raises:
        StageFailed: No driver came, or the one that came was silent, for `patience_s`.
    """
    member = _Member(run_dir, address)
    last = Call.find(nodes.directory_of(run_dir))  # it may be of a driver that was killed long ago
    followed = ""
    alive_at = time.monotonic()
    say(f"{member.name} waits for the driver of {run_dir}")
    try:
        while True:
            member.beat()
            call = Call.find(nodes.directory_of(run_dir))
            if call is not None and call != last:
                last, alive_at = call, time.monotonic()
                if call.state == OVER and not stays:
                    say("the driver has ended")
                    return
                if call.state == RUNNING and call.id != followed:
                    followed = call.id
                    say(f"{call.directory}: starting {call.num_processes} of {_ranks(call)}")
                    say(f"{call.directory}: {member.run(call)}")
                    alive_at = time.monotonic()
            if time.monotonic() - alive_at > patience_s:
                raise StageFailed(
                    f"no driver has called {member.name} for {duration(patience_s)} from {nodes.directory_of(run_dir)}",
                    "start it on one machine with: r1 run ... launcher=torchrun",
                )
            time.sleep(POLL_S)
    finally:
        member.leave()


def _ranks(call: Call) -> str:
    return f"{call.num_nodes * call.num_processes} ranks on {call.num_nodes} machines"


class _Member:
    """This machine among those of the run."""

    def __init__(self, run_dir: Path, address: str | None):
        self.run_dir, self.address = run_dir, address
        self.name = nodes.node_name(address)
        self.note = Node(name=self.name, address=address or self.name, pid=os.getpid())
        self._written_at = 0.0

    def beat(self, call: str = "") -> None:
        """Says, every two seconds, that this machine is there and which call it follows."""
        now = time.monotonic()
        if now - self._written_at < BEAT_S and call == self.note.call:
            return
        self._written_at = now
        self.note = Node(
            name=self.note.name, address=self.note.address, pid=self.note.pid, call=call, beats=self.note.beats + 1
        )
        if self.run_dir.is_dir():
            nodes.directory_of(self.run_dir).mkdir(exist_ok=True)
            self.note.write_path(nodes.note_of(self.run_dir, self.name), durable=False)

    def leave(self) -> None:
        """Takes this machine's note away."""
        with suppress(OSError):
            nodes.note_of(self.run_dir, self.name).unlink(missing_ok=True)

    def run(self, call: Call) -> str:
        """Runs this machine's workers of a call; returns how they ended."""
        directory = self.run_dir / call.directory
        launcher = nodes.launcher_of(call, self.address)
        log = directory / "logs" / f"attempt_{call.attempt}" / f"node_{self.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        command = node_command(directory, launcher, call.endpoint, call.id, is_host=False)
        with open(log, "wb") as stream:
            guard = subprocess.Popen(
                [sys.executable, "-m", "pipeline.execution.guard", str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=worker_environment(launcher, call.attempt),
            )
        try:
            return self._watch(guard, call)
        finally:
            end_guard(guard)

    def _watch(self, guard: subprocess.Popen, call: Call) -> str:
        silence, ended_at = Silence(), None
        while guard.poll() is None:
            self.beat(call.id)
            latest = Call.find(nodes.directory_of(self.run_dir))
            if latest is None or silence.of(latest) > call.lost_after_s:
                return f"the driver has been silent for {duration(call.lost_after_s)}; its workers here were ended"
            if latest.id != call.id or latest.state != RUNNING:
                ended_at = ended_at or time.monotonic()
                if time.monotonic() - ended_at > BEAT_S:  # workers that have ended too are about to say so
                    return "the driver has ended the launch; its workers here were ended"
            time.sleep(POLL_S)
        return "done" if guard.returncode == 0 else f"its workers here ended with exit code {guard.returncode}"
