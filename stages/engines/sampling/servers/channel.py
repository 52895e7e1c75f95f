"""The trainer's end of a weight transfer to one server: over gloo, over NCCL, or by handles of GPU memory (CUDA IPC).

vLLM's own trainer classes broadcast on the calling thread, where a server that dies in the middle leaves the trainer
waiting without an end and without a word. Here the four calls of the protocol are made one by one: the collective runs
on a daemon thread, the request beside it, and both have a deadline. Each server has a group of its own, so that a lost
one holds no other up.

Weights go in chunks. A chunk is one request, which names its tensors, and as many bytes as CHUNK_BYTES at least, but
for the last one.
"""

import base64
import datetime
import pickle
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

import torch
import torch.distributed as dist

from stages.engines import patches
from stages.engines.sampling.servers.client import Client, ServerLost
from stages.engines.sampling.servers.settings import PREFIX, address_towards, free_port
from stages.runtime.errors import Passing

CHUNK_BYTES = 256 << 20
RENDEZVOUS_S = 60.0  # for both ends to meet
HANG_S = 30.0  # what a collective may take to notice that its server is gone, before the rank gives up

Named = tuple[str, torch.Tensor]


class TransferHangs(Passing, RuntimeError):
    """A collective with a lost server cannot be ended; only the end of this process frees the device."""


def chunks(weights: Iterable[Named]) -> Iterator[list[Named]]:
    """The weights in their order, in lists of CHUNK_BYTES or more, the last one as it comes.

    >>> [len(chunk) for chunk in chunks([("a", torch.zeros(1)), ("b", torch.zeros(1))])]
    [2]
    """
    chunk: list[Named] = []
    size = 0
    for name, tensor in weights:
        chunk.append((name, tensor))
        size += tensor.nbytes
        if size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def description(chunk: list[Named]) -> dict[str, Any]:
    """What a server is told of a chunk: names, types and shapes of its tensors."""
    return {
        "names": [name for name, _ in chunk],
        "dtype_names": [str(tensor.dtype).removeprefix("torch.") for _, tensor in chunk],
        "shapes": [list(tensor.shape) for _, tensor in chunk],
    }


class Channel(ABC):
    """One server and the way to it.

    Args:
        client: The server.
        limit_s: Longest that a chunk may take.
    """

    def __init__(self, client: Client, limit_s: float):
        self.client, self.limit_s = client, limit_s

    @abstractmethod
    def connect(self) -> None:
        """Meets the server; raises ServerLost or ServerRefuses."""

    @abstractmethod
    def send(self, chunk: list[Named]) -> None:
        """Gives the server a chunk; raises ServerLost or ServerRefuses."""

    def _both(self, collective: Callable[[], Any], request: Callable[[], Any], limit_s: float) -> Any:
        """Runs the trainer's part of a collective beside the request that makes the server take part.

        Returns:
            What the collective gave.

        Raises:
            ServerLost: One of them failed, or took longer than the limit.
            TransferHangs: The collective goes on after the server is lost, and holds the GPU.
        """
        ours, theirs = Call("weights out", collective), Call("weights in", request)
        deadline = time.monotonic() + limit_s
        while ours.is_running or theirs.is_running:
            if theirs.error is not None or ours.error is not None or time.monotonic() > deadline:
                break
            time.sleep(0.0005)
        if ours.error is not None:
            theirs.thread.join(5.0)  # what the server says of it is the better reason
        if theirs.error is not None:
            self._end(ours)
            raise theirs.error
        if ours.error is not None:
            raise ServerLost(f"{self.client.url} broke off a transfer of weights ({ours.error})")
        if ours.is_running or theirs.is_running:
            self._end(ours)
            raise ServerLost(f"{self.client.url} did not take weights within {limit_s:g} s")
        return ours.result

    def _end(self, ours: "Call") -> None:  # noqa: B027 (most channels need nothing)
        """Nothing waits for a collective on a CPU, which ends by its own time-out."""


class Call:
    """A function on a daemon thread: what it gave, or what it raised. A thread that hangs ends with the process."""

    def __init__(self, name: str, function: Callable[[], Any]):
        self.result: Any = None
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self._run, args=(function,), name=name, daemon=True)
        self.thread.start()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self.thread.is_alive()

    def _run(self, function: Callable[[], Any]) -> None:
        try:
            self.result = function()
        except Exception as error:  # whoever waits for it raises it
            self.error = error


class GlooChannel(Channel):
    """Tensor by tensor over gloo, from and to host memory."""

    group: dist.ProcessGroup | None = None

    def connect(self) -> None:
        """See `Channel.connect`."""
        world_size = 1 + self.client.world_size()
        host, port = _host_and_port(self.client.url)
        own = address_towards(host, port)
        timeout = datetime.timedelta(seconds=self.limit_s)
        store = dist.TCPStore(own, 0, is_master=True, timeout=timeout, wait_for_workers=False)
        info = {
            "master_address": own,
            "master_port": store.port,
            "rank_offset": 1,
            "world_size": world_size,
            "timeout_s": self.limit_s,
        }
        meeting = dist.PrefixStore(PREFIX, store)
        self.group = self._both(
            lambda: patches.gloo_group(meeting, 0, world_size, timeout, own),
            lambda: self.client.connect(info, RENDEZVOUS_S),
            RENDEZVOUS_S,
        )
        self.store = store  # the master's end lives as long as the group

    def send(self, chunk: list[Named]) -> None:
        """See `Channel.send`."""
        group = self.group
        assert group is not None, "connect comes first"

        def broadcast() -> None:
            for _, tensor in chunk:
                group.broadcast([tensor.detach().cpu().contiguous()], dist.BroadcastOptions()).wait()

        self._both(broadcast, lambda: self.client.update(description(chunk)), self.limit_s)


class NcclChannel(Channel):
    """A packed chunk after the other over NCCL, by vLLM's own helpers for trainers."""

    group: Any = None  # vLLM's PyNcclCommunicator

    def connect(self) -> None:
        """See `Channel.connect`."""
        from vllm.distributed.weight_transfer.nccl_common import trainer_init

        world_size = 1 + self.client.world_size()
        own = address_towards(*_host_and_port(self.client.url))
        place = {"master_address": own, "master_port": free_port(own), "world_size": world_size}
        packing = {"rank_offset": 1, "packed": True, "packed_buffer_size_bytes": CHUNK_BYTES, "packed_num_buffers": 2}
        device = torch.cuda.current_device()

        def meet() -> Any:
            torch.cuda.set_device(device)
            return trainer_init(place)

        self.group = self._both(meet, lambda: self.client.connect(place | packing, RENDEZVOUS_S), RENDEZVOUS_S)

    def send(self, chunk: list[Named]) -> None:
        """See `Channel.send`."""
        from vllm.distributed.weight_transfer.packed_tensor import packed_nccl_broadcast_producer

        device = torch.cuda.current_device()
        torch.cuda.current_stream().synchronize()  # the tensors are whole before another stream reads them

        def broadcast() -> None:
            torch.cuda.set_device(device)
            packed_nccl_broadcast_producer(
                iter(chunk), self.group, 0, lambda named: named[1].detach(), CHUNK_BYTES, num_buffers=2
            )

        self._both(broadcast, lambda: self.client.update(description(chunk)), self.limit_s)

    def _end(self, ours: Call) -> None:
        """A kernel that waits for a lost server holds the GPU."""
        ours.thread.join(HANG_S)
        if ours.is_running:
            raise TransferHangs(
                f"the transfer of weights to {self.client.url} hangs in NCCL, because the server is lost: this rank "
                "ends, and the same command continues from the last checkpoint"
            )


class IpcChannel(Channel):
    """Handles of this GPU's memory, for a server on the same GPU."""

    def connect(self) -> None:
        """See `Channel.connect`."""
        self.client.connect({"packed": False}, RENDEZVOUS_S)
        device = torch.cuda.current_device()
        self.gpu = str(torch.cuda.get_device_properties(device).uuid)

    def send(self, chunk: list[Named]) -> None:
        """See `Channel.send`."""
        from torch.multiprocessing.reductions import reduce_tensor

        shared = [tensor.detach().contiguous() for _, tensor in chunk]  # alive until the server has copied them
        torch.cuda.current_stream().synchronize()
        handles = [{self.gpu: reduce_tensor(tensor)[1]} for tensor in shared]
        pickled = base64.b64encode(pickle.dumps(handles)).decode()
        self.client.update({**description(chunk), "ipc_handles_pickled": pickled})
        del shared
        torch.cuda.ipc_collect()


CHANNELS: dict[str, type[Channel]] = {"gloo": GlooChannel, "nccl": NcclChannel, "ipc": IpcChannel}


def _host_and_port(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
