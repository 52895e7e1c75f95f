"""The servers of a stage, as rank 0 keeps them: started, checked, given weights, replaced or waited for."""

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from stages.config import RolloutConfig
from stages.contract.exit_codes import BAD_INPUT
from stages.contract.served_model import Wanted, why_unusable
from stages.engines.sampling.servers.channel import CHANNELS, Call, Channel, Named, chunks
from stages.engines.sampling.servers.client import Client, ServerLost, ServerRefuses
from stages.runtime.environment import ABOVE
from stages.runtime.errors import HasFix, InputError, Passing

END_S = 10.0  # for a server on another machine to end by itself
LOOK_S = 0.5  # between two looks at servers that start
ASK_S = 10.0  # for a question to a server
TAIL = 12  # lines of a server's log that a message quotes
# What a launcher sets for a rank, which a server is not.
OF_RANKS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_", "GROUP_", "ROLE_", "TORCHELASTIC_",
            "GLOO_", "NCCL_ASYNC", "STAGE_GUARD_PID", "VLLM_ENABLE_V1_MULTIPROCESSING")  # fmt: skip


class NoServers(RuntimeError, HasFix):
    """A server of our own has ended before it served anything: the next one would end likewise."""

    def __init__(self, message: str, fix: str):
        super().__init__(message)
        self.fix = fix


class ServersLost(Passing, NoServers):
    """No server is left, and none could be replaced or came back in time; the message names each with its reason."""


@dataclass(frozen=True)
class Policy:
    """What the servers serve, and what they are asked for."""

    model_dir: Path
    max_prompt_tokens: int
    max_completion_tokens: int
    precision: str
    wanted: Wanted


@dataclass
class Replica:
    """One server."""

    name: str  # its address, or "replica 0" of our own
    url: str | None  # None: a process of ours that has not said it yet
    process: subprocess.Popen | None = None
    log: Path | None = None
    started: float = 0.0
    client: Client | None = None
    channel: Channel | None = None  # None: it has to be connected
    is_ready: bool = False  # it answers and has been checked
    lost: str | None = None  # why it is taken for lost
    label: str = ""  # of the weights that it has
    has_served: bool = False  # it has taken weights before

    def has_ended(self) -> bool:
        """Whether its process is ours and gone."""
        return self.process is not None and self.process.poll() is not None


class ServerGroup:
    """All servers of a stage.

    Args:
        config: `rollout` of the stage.
        policy: What they serve.
        directory: For their logs and addresses.
        world_size: Ranks on this machine, whose GPUs are taken.
        say: Tells people what happens to servers.
    """

    def __init__(
        self, config: RolloutConfig, policy: Policy, directory: Path, world_size: int, say: Callable[[str], None]
    ):
        self.config, self.policy, self.directory, self.world_size = config, policy, directory, world_size
        self.say = say
        self.restarts = 0  # since weights were last sent
        self.replicas: list[Replica] = []
        if config.server.urls:
            self.replicas = [Replica(url.rstrip("/"), url.rstrip("/")) for url in config.server.urls]
            self._check_addresses()
            return
        directory.mkdir(parents=True, exist_ok=True)
        self.replicas = [Replica(f"replica {i}", None) for i in range(config.server.replicas)]
        for replica in self.replicas:
            self._start(replica)

    def _check_addresses(self) -> None:
        """Raises InputError where a server of `urls` cannot be used."""
        problems = []
        for replica in self.replicas:
            why = why_unusable(replica.name, self.policy.wanted, ASK_S)
            if why is not None:
                problems.append(f"{replica.name} {why[0]}: {why[1]}")
            replica.is_ready = True
            replica.client = self._client(replica.name)
        if problems:
            raise InputError("rollout.server.urls: " + "; ".join(problems))

    def _client(self, url: str) -> Client:
        return Client(url, self.config.engine_timeout_s, ASK_S)

    # processes of our own

    def _start(self, replica: Replica) -> None:
        number = self.replicas.index(replica)
        address = self.directory / f"replica_{number}.json"
        address.unlink(missing_ok=True)
        replica.log = self.directory / f"replica_{number}.log"
        command = [*_launcher(self.config), *self._command(address)]
        with open(replica.log, "ab") as log:
            replica.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL if self.config.server.start == "local" else subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment(number),
                start_new_session=True,
            )
        replica.started = time.monotonic()
        replica.url, replica.client, replica.channel = None, None, None
        replica.is_ready, replica.lost, replica.label = False, None, ""

    def _command(self, address: Path) -> list[str]:
        config, policy = self.config, self.policy
        host = "0.0.0.0" if config.server.start == "slurm" else "127.0.0.1"
        options = {
            "max-prompt-tokens": policy.max_prompt_tokens,
            "max-completion-tokens": policy.max_completion_tokens,
            "precision": policy.precision,
            "transfer": policy.wanted.transfer or "gloo",
            "host": host,
            "announce": address,
            "tensor-parallel": config.server.tensor_parallel,
            "max-sequences": config.max_sequences,
            "kv-cache-gib": config.kv_cache_gib,
            "gpu-memory-fraction": config.gpu_memory_fraction,
        }
        words = [sys.executable, "-m", "stages.rollout_server", str(policy.model_dir), "--random-weights"]
        words += ["--with-parent" if config.server.start == "local" else "--with-input"]
        return words + [word for name, value in options.items() for word in (f"--{name}", str(value))]

    def _environment(self, number: int) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OF_RANKS)}
        root = str(Path(__file__).parents[4])
        if self.config.server.start == "local":
            kept[ABOVE] = str(os.getpid())
        kept["PYTHONPATH"] = os.pathsep.join(part for part in (root, kept.get("PYTHONPATH", "")) if part)
        if torch.cuda.is_available() and self.config.server.start == "local":
            kept["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, self._gpus(number)))
        return kept

    def _gpus(self, number: int) -> list[int | str]:
        """The GPUs of a replica, by the names that the driver of the GPUs has for them."""
        server = self.config.server
        visible: list[int | str] = [
            name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name
        ] or list(range(torch.cuda.device_count()))
        if self.policy.wanted.transfer == "ipc":
            return [visible[torch.cuda.current_device()]]
        size = server.tensor_parallel
        places = server.gpus or list(range(self.world_size, self.world_size + server.replicas * size))
        own = places[number * size : (number + 1) * size]
        if any(place >= len(visible) for place in own):
            raise InputError(
                f"replica {number} needs the GPUs {own} of this machine, which has {len(visible)}, of which the ranks "
                f"take {self.world_size}: use fewer ranks (launcher.num_processes), fewer rollout.server.replicas, "
                "servers on other machines (rollout.server.urls), or rollout=vllm, which shares the GPUs"
            )
        return [visible[place] for place in own]

    # states

    def mark_lost(self, lost: Iterable[tuple[str, str]]) -> None:
        """Notes servers that ranks have lost, as (address, why)."""
        for url, why in lost:
            for replica in self.replicas:
                if replica.url == url and replica.lost is None:
                    replica.lost = why
        self.note_lost()

    def note_lost(self) -> None:
        """Says which servers are lost, where it is new, and replaces our own."""
        for replica in self.replicas:
            if replica.has_ended() and replica.lost is None:
                replica.lost = f"has ended with code {replica.process.returncode if replica.process else None}"
            if replica.lost is None or not (replica.is_ready or replica.process):
                continue
            name = replica.name if replica.process is None else f"{replica.name} ({replica.url or 'starting'})"
            what = f"the rollout server {name} {replica.lost}"
            replica.is_ready, replica.channel = False, None
            if replica.process is None:
                self.say(f"WARNING: {what}")
                continue
            self.restarts += 1
            if replica.process.poll() == BAD_INPUT:
                raise InputError(what + self._tail(replica))
            if not replica.has_served:  # what does not start once does not start again
                raise self._nothing_left(what, replica, NoServers)
            if self.restarts > self.config.server.max_restarts:
                raise self._nothing_left(what, replica)
            _end(replica.process)
            self._start(replica)
            self.say(f"WARNING: {what}: it is replaced")

    def replicas_ready(self) -> list[Replica]:
        """Servers that can be given weights."""
        return [replica for replica in self.replicas if replica.is_ready and replica.lost is None]

    def look(self) -> None:
        """Finds out which servers that were starting, or away, are there now."""
        for replica in self.replicas:
            if replica.is_ready:
                continue
            if replica.url is None:
                replica.url = self._announced(replica)
            client = None if replica.url is None else replica.client or self._client(replica.url)
            if client is None or not client.is_healthy():
                limit_s = self.config.server.start_timeout_s
                if replica.process is not None and time.monotonic() - replica.started > limit_s:
                    replica.lost = replica.lost or f"has not started within {limit_s:g} s"
                continue
            why = self._why_unusable(replica)
            if why is not None:
                replica.lost = f"{why[0]}: {why[1]}"
                continue
            replica.client, replica.channel, replica.is_ready, replica.lost = client, None, True, None

    def _why_unusable(self, replica: Replica) -> tuple[str, str] | None:
        """Why a server that has come back, perhaps as another, cannot be used; our own are what we have started."""
        if replica.process is not None:
            return None
        return why_unusable(replica.name, self.policy.wanted, ASK_S)

    def _announced(self, replica: Replica) -> str | None:
        try:
            return str(json.loads((self.directory / f"replica_{self.replicas.index(replica)}.json").read_text())["url"])
        except (OSError, ValueError, KeyError):
            return None

    def wait(self, count: int) -> None:
        """Waits until `count` servers are there.

        Raises:
            InputError: A server of ours cannot serve the model.
            ServersLost: The deadline has passed.
        """
        server = self.config.server
        limit_s = server.wait_s if server.urls else server.start_timeout_s
        started, has_said = time.monotonic(), False
        while True:
            self.look()
            if len(self.replicas_ready()) >= count:
                return
            self.note_lost()
            if not has_said:
                others = "" if server.urls else f"; their logs are in {self.directory}"
                self.say(f"waiting up to {limit_s:g} s for {count} rollout server(s){others}")
                has_said = True
            if time.monotonic() - started > limit_s:
                key = "wait_s" if server.urls else "start_timeout_s"
                raise self._nothing_left(f"waited {limit_s:g} s (rollout.server.{key}) for rollout servers")
            time.sleep(LOOK_S)

    def _nothing_left(
        self, what: str, replica: Replica | None = None, kind: type[NoServers] = ServersLost
    ) -> NoServers:
        named = [f"{one.name}: {one.lost or 'does not answer'}" for one in self.replicas if not one.is_ready]
        tail = self._tail(replica or self.replicas[0])
        if self.config.server.urls:
            fix = "start the servers again; the same command continues from the last checkpoint"
        else:
            fix = f"see {self.directory}/replica_*.log; the same command continues from the last checkpoint"
        return kind("; ".join([what, *named]) + tail, fix)

    def _tail(self, replica: Replica) -> str:
        if replica.log is None or not replica.log.is_file():
            return ""
        lines = replica.log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:]
        return "; the end of its log:\n  " + "\n  ".join(lines)

    # weights

    def send(self, weights: Iterable[Named], version: str) -> dict[str, str]:
        """Gives all servers that are ready these weights, under a label; goes through `weights` once.

        Returns:
            Why each server that was lost meanwhile is lost, by its name.

        Raises:
            InputError: A server does not take the first weights that it gets: it has another model.
        """
        targets = self.replicas_ready()
        _each(targets, self._begin)
        for chunk in chunks(weights):
            _each([one for one in targets if one.lost is None], _sender(chunk))
        _each([one for one in targets if one.lost is None], lambda one: self._finish(one, version))
        self.restarts = 0 if any(one.lost is None for one in targets) else self.restarts
        return {one.name: one.lost for one in targets if one.lost is not None}

    def _begin(self, replica: Replica) -> None:
        client = replica.client
        assert client is not None
        replica.label = ""
        client.pause()
        if replica.channel is None:
            try:
                client.disconnect()  # from an earlier trainer
            except ServerRefuses:
                client.begin_anew()
                client.disconnect()
            channel = CHANNELS[self.policy.wanted.transfer or "gloo"](client, self.config.engine_timeout_s)
            channel.connect()
            client.begin_anew()
            replica.channel = channel
        client.start_update()

    def _finish(self, replica: Replica, version: str) -> None:
        assert replica.client is not None
        replica.client.finish_update(version)
        replica.client.resume()
        replica.label, replica.has_served = version, True

    def close(self) -> None:
        """Ends the servers of our own."""
        for replica in self.replicas:
            if replica.process is not None:
                _end(replica.process)


def _each(replicas: list[Replica], work: Callable[[Replica], None]) -> None:
    """Does the same with several servers at once; one that fails is marked as lost, and holds up no other."""
    calls = [(replica, Call("server", functools.partial(work, replica))) for replica in replicas]
    for replica, call in calls:
        call.thread.join()
        if isinstance(call.error, ServerRefuses) and not replica.has_served:
            raise InputError(
                f"the rollout server {call.error}: it has another model than the policy, or does not take its weights: "
                "start it with the model directory of the policy"
            )
        if isinstance(call.error, (ServerLost, ServerRefuses)):
            replica.lost = str(call.error).removeprefix(f"{replica.url} ")
        elif call.error is not None:
            raise call.error


def _launcher(config: RolloutConfig) -> list[str]:
    """What stands before the command of a server."""
    if config.server.start == "local":
        return []
    gpus = [f"--gpus-per-task={config.server.tensor_parallel}"] if torch.cuda.is_available() else []
    return ["srun", "--nodes=1", "--ntasks=1", "--overlap", *gpus, *config.server.srun]


def _end(process: subprocess.Popen) -> None:
    """Ends a server with its engine's processes.

    One behind srun ends with its input: srun itself, killed, could leave it on its machine.
    """
    if process.stdin is not None:
        process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_S)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)  # with what it has just started
    process.wait()


def _sender(chunk: list[Named]) -> Callable[[Replica], None]:
    """What gives a chunk to a server."""

    def send(replica: Replica) -> None:
        assert replica.channel is not None
        replica.channel.send(chunk)

    return send
