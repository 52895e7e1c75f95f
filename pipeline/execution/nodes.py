"""What the machines of a run tell each other, as files that all of them see: runs/<run>/nodes/.

    call.json         by the driver: the stage whose workers every machine is to start now
    node_NAME.json    by `r1 join` on each other machine: that it is there, and what it does

Nobody compares clocks of two machines: a file that does not change any more, by the clock of the one who looks, is
silent.
"""

import os
import socket
import time
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from pipeline.configuration.schema import LauncherConfig
from stages.contract.json_file import JsonFile, StageFile

BEAT_S = 2.0  # how often each side writes
RUNNING, ENDED, OVER = "running", "ended", "over"  # states of a call; OVER: the driver has ended, and no more will come


@dataclass(frozen=True, kw_only=True)
class Call(StageFile):
    """Which workers are to be started, and where they find each other."""

    FILE_NAME: ClassVar[str] = "call.json"
    WHAT: ClassVar[str] = "call of a driver"

    id: str  # of this launch; no two are alike
    state: str = RUNNING
    directory: str = ""  # of the stage, below the run's directory
    attempt: int = 0
    endpoint: str = ""  # host:port of the rendezvous
    num_nodes: int = 1
    num_processes: int = 1  # on each machine
    device: str = "any"
    threads_per_process: int = 1
    collective_timeout_s: float = 0.0
    join_timeout_s: float = 0.0
    lost_after_s: float = 0.0
    grace_s: float = 0.0
    environment: dict[str, str] = field(default_factory=dict)
    beats: int = 0  # grows while the driver is at work


@dataclass(frozen=True, kw_only=True)
class Node(JsonFile):
    """A machine that waits for calls, or follows one."""

    WHAT: ClassVar[str] = "note of a machine"

    name: str
    address: str
    pid: int
    call: str = ""  # the id of the call that it follows
    beats: int = 0


def directory_of(run_dir: Path) -> Path:
    """Where the files of a run's machines are."""
    return run_dir / "nodes"


def node_name(address: str | None) -> str:
    """The name of this machine among those of a run: its address where one was given, else its host name."""
    return address or socket.gethostname()


def note_of(run_dir: Path, name: str) -> Path:
    """The file in which a machine says that it is there."""
    return directory_of(run_dir) / f"node_{name}.json"


class Silence:
    """Tells for how long something has not changed."""

    def __init__(self) -> None:
        self._last: object = None
        self._since = time.monotonic()

    def of(self, value: object) -> float:
        """Seconds since the value was another one."""
        if value != self._last:
            self._last, self._since = value, time.monotonic()
        return time.monotonic() - self._since


class Caller:
    """The driver's side of one launch: calls the other machines, and notices which of them are lost."""

    def __init__(self, directory: Path, launcher: LauncherConfig, attempt: int):
        """Takes the stage directory that is launched; `post` begins."""
        self.run_dir = directory.parent.parent
        self.call = Call(
            id=uuid.uuid4().hex,
            directory=str(directory.relative_to(self.run_dir)),
            attempt=attempt,
            endpoint=f"{launcher.address or socket.gethostname()}:{launcher.rendezvous_port}",
            num_nodes=launcher.num_nodes,
            num_processes=launcher.num_processes,
            device=launcher.device,
            threads_per_process=launcher.threads_per_process,
            collective_timeout_s=launcher.collective_timeout_s,
            join_timeout_s=launcher.join_timeout_s,
            lost_after_s=launcher.lost_after_s,
            grace_s=launcher.grace_s,
            environment=launcher.environment,
        )
        self._posted_at = 0.0
        self._silences: dict[str, Silence] = {}

    def post(self) -> None:
        """Says, every two seconds, that this launch is under way."""
        now = time.monotonic()
        if now - self._posted_at < BEAT_S and self.call.beats:
            return
        self._posted_at = now
        self.call = replace(self.call, beats=self.call.beats + 1)
        self._write()

    def end(self) -> None:
        """Says that the launch has ended, well or not: workers that are left on other machines are ended."""
        self.call = replace(self.call, state=ENDED)
        self._write()

    def _write(self) -> None:
        place = directory_of(self.run_dir)
        place.mkdir(exist_ok=True)
        self.call.write(place, durable=False)

    def joined(self) -> list[Node]:
        """The machines that follow this call."""
        notes = (Node.find_path(path) for path in sorted(directory_of(self.run_dir).glob("node_*.json")))
        return [note for note in notes if note is not None and note.call == self.call.id]

    def lost(self) -> list[str]:
        """The machines that followed this call and have been silent for `launcher.lost_after_s`."""
        for node in self.joined():
            self._silences.setdefault(node.name, Silence()).of(node.beats)
        beats = {node.name: node.beats for node in self.joined()}
        limit = self.call.lost_after_s
        return [name for name, silence in self._silences.items() if silence.of(beats.get(name)) > limit]

    def not_answering(self, wait_s: float = 5 * BEAT_S) -> list[str]:
        """The machines that followed this call and give no sign while this waits: why a rank has lost its peers."""
        before = now = {node.name: node.beats for node in self.joined()}
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline and any(now.get(name) == beats for name, beats in before.items()):
            time.sleep(BEAT_S / 4)
            now = {node.name: node.beats for node in self.joined()}
        return [name for name in self._silences if now.get(name) in (None, before.get(name))]


def say_over(run_dir: Path) -> None:
    """Tells the machines of a run that its driver has ended."""
    call = Call.find(directory_of(run_dir))
    if call is not None:
        replace(call, state=OVER).write(directory_of(run_dir), durable=False)


def launcher_of(call: Call, address: str | None) -> LauncherConfig:
    """The launcher's keys as a call has them, for a machine with this address."""
    return LauncherConfig(
        name="torchrun",
        num_nodes=call.num_nodes,
        num_processes=call.num_processes,
        device="gpu" if call.device == "gpu" else "any",
        threads_per_process=call.threads_per_process,
        collective_timeout_s=call.collective_timeout_s,
        join_timeout_s=call.join_timeout_s,
        lost_after_s=call.lost_after_s,
        grace_s=call.grace_s,
        environment=call.environment,
        address=address,
    )


def network_of(address: str | None) -> dict[str, str]:
    """Environment variables by which libraries use the network of an address; what is set already stays."""
    if address is None:
        return {}
    import psutil

    try:
        number = socket.gethostbyname(address)
    except OSError:  # torchrun will say so
        return {}
    interfaces = [
        name for name, entries in psutil.net_if_addrs().items() if any(entry.address == number for entry in entries)
    ]
    wanted = {"VLLM_HOST_IP": number}
    if interfaces:
        wanted |= dict.fromkeys(("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"), interfaces[0])
    return {name: value for name, value in wanted.items() if name not in os.environ}
