"""Weights over gloo: a weight-transfer engine of vLLM's own kind for machines without GPUs.

vLLM's worker imports this module as that of its extension class (`worker_extension_cls`), in the process that holds the
model. That is where the engine has to be registered, and where vLLM has to be mended for a CPU.
"""

import datetime
import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from vllm.distributed.weight_transfer.base import (
    WeightTransferEngine,
    WeightTransferInitInfo,
    WeightTransferUpdateInfo,
)
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory

from stages.engines import patches
from stages.engines.sampling.servers.settings import PREFIX, address_towards
from stages.engines.vllm_models import prepare_vllm
from stages.runtime.environment import ABOVE, die_with_parent

NAME = "gloo"  # of the engine, in vLLM's registry and in rollout.server.transfer


@dataclass
class GlooInitInfo(WeightTransferInitInfo):
    """Where the group of trainer and server meets. The trainer is its rank 0."""

    master_address: str
    master_port: int
    rank_offset: int
    world_size: int
    timeout_s: float


@dataclass
class GlooUpdateInfo(WeightTransferUpdateInfo):
    """The tensors of a chunk, in the order in which they come."""

    names: list[str]
    dtype_names: list[str]
    shapes: list[list[int]]


class GlooEngine(WeightTransferEngine[GlooInitInfo, GlooUpdateInfo]):
    """The server's end: each tensor is a broadcast from the trainer."""

    init_info_cls = GlooInitInfo
    update_info_cls = GlooUpdateInfo
    group: dist.ProcessGroup | None = None

    def init_transfer_engine(self, init_info: GlooInitInfo) -> None:
        """Joins the group of the trainer."""
        own = self.parallel_config
        rank = own.data_parallel_index * own.world_size + own.rank + init_info.rank_offset
        timeout = datetime.timedelta(seconds=init_info.timeout_s)
        store = dist.TCPStore(
            init_info.master_address, init_info.master_port, is_master=False, timeout=timeout, wait_for_workers=False
        )
        own_address = address_towards(init_info.master_address, init_info.master_port)
        self.group = patches.gloo_group(
            dist.PrefixStore(PREFIX, store), rank, init_info.world_size, timeout, own_address
        )

    def start_weight_update(self) -> None:
        """See vLLM's reload by layers."""
        from vllm.model_executor.model_loader.reload import initialize_layerwise_reload

        initialize_layerwise_reload(self.model)

    def receive_weights(self, update_info: GlooUpdateInfo) -> None:
        """Takes the tensors of a chunk, one after the other."""
        if self.group is None:
            raise RuntimeError("no trainer has connected: init_weight_transfer_engine comes first")
        for name, dtype, shape in zip(update_info.names, update_info.dtype_names, update_info.shapes, strict=True):
            tensor = torch.empty(shape, dtype=getattr(torch, dtype))
            self.group.broadcast([tensor], dist.BroadcastOptions()).wait()
            self.model.load_weights([(name, tensor)])

    def finish_weight_update(self) -> None:
        """Puts the new weights in place; packs a tied head again, which the reload does not do on a CPU."""
        from vllm.model_executor.model_loader.reload import finalize_layerwise_reload

        finalize_layerwise_reload(self.model, self.model_config)
        patches.repack_tied_head(self)

    def get_model(self) -> torch.nn.Module:
        """The model, as a worker of vLLM gives it."""
        return self.model

    def shutdown(self) -> None:
        """Leaves the group."""
        self.group = None


class ServerWorker:
    """Mixed into vLLM's worker; vLLM imports its module, which is all that is needed of it."""


def _prepare_worker() -> None:
    """Registers the engine, mends vLLM, and ties the life of an engine's process to that of its server."""
    WeightTransferEngineFactory.register_engine(NAME, GlooEngine)
    on_gpu = torch.cuda.is_available()
    prepare_vllm(on_gpu)
    if os.environ.get(ABOVE):  # a server of ours has left its process id
        die_with_parent()


_prepare_worker()
