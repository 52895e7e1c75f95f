"""Every private part of a library that the workers use or change, each in one function.

A function here says what it changes, why, for which versions, and when it can go. `tests/unit/test_patches.py` has a
test for each, named after it, which fails when the private part has moved or has another form: after a library is
updated, run it first. Nothing heavy is imported before it is needed, so that any module may import this one.

What depends on a library's internals and cannot stand here, because it must run before an import or lies in a room
below this one (the same test file looks after these too):

    stages/__init__.py              hides torchvision, torchaudio and torchcodec of a CUDA build from a CPU build of
                                    torch, before anything imports them
    stages/modeling/patches.py      what loading and saving of models need, in the same form
    stages/engines/optimizers.py    `ReplicatedOptimizer._global_grad_norm`, where DeepSpeed's engine looks for the norm
    stages/runtime/heartbeat.py     the file of torch's collectives, and the words of gloo's time-out
    stages/runtime/disk.py          the words in which torch.save says that a file could not grow
"""

import copy
import functools
import importlib.util
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from deepspeed import DeepSpeedEngine
    from torch.distributed import ProcessGroup, Store
    from vllm import LLM, SamplingParams


def inspect_models_in_process() -> None:
    """Makes vLLM look at a model's class in this process and not in a child process.

    Changes: `vllm.model_executor.models.registry._run_in_subprocess` calls the function it is given.
    Reason: vLLM asks a child process so that this one does not initialise CUDA. On a CPU there is nothing to protect,
        the child lacks the guard against mismatched torchvision builds (`stages/__init__.py`), and importing everything
        a second time takes 10 s.
    Versions: vLLM 0.24 to 0.32; used on CPUs only.
    Remove when: vLLM has a setting for it, or no longer starts a process on its CPU platform.
    """
    from vllm.model_executor.models import registry

    def in_process(inspect: Callable[[], Any]) -> Any:
        return inspect()

    registry._run_in_subprocess = in_process


def fork_engine() -> None:
    """Makes a vLLM server on a CPU fork the process of its engine, and not start Python once more.

    Changes: `vllm.v1.engine.utils.get_mp_context` gives a context that forks.
    Reason: vLLM's platform for CPUs insists on a new interpreter, for the sake of threads that are bound to cores. It
        imports everything a second time, which takes 10 s of processor time. Ours has one thread and binds none.
    Versions: vLLM 0.32; used on CPUs only.
    Remove when: the platform respects VLLM_WORKER_MULTIPROC_METHOD=fork.
    """
    import multiprocessing

    from vllm.v1.engine import utils

    utils.get_mp_context = lambda: multiprocessing.get_context("fork")


def repack_tied_head(worker: Any) -> None:
    """Packs the output head of vLLM's CPU backend again, after new weights were loaded.

    Changes: calls `process_weights_after_loading` of each `ParallelLMHead` that has a `cpu_linear`.
    Reason: on a CPU the head multiplies by a packed copy of its weights that is made when the model is loaded.
        `reload_weights` leaves the copy of a head that is tied to the embedding as it was: a new body, an old head.
        Does nothing on a GPU, where there is no such copy.
    Versions: vLLM 0.24 to 0.32.
    Remove when: `tests/engines/test_failures.py` no longer finds the stale head without this function.

    Args:
        worker: vLLM's worker, or an extension mixed into it (`worker_extension_cls`).
    """
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    from vllm.config import set_current_vllm_config
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

    with set_current_vllm_config(worker.vllm_config):
        for module in worker.get_model().modules():
            if isinstance(module, ParallelLMHead) and hasattr(module, "cpu_linear"):
                module.quant_method.process_weights_after_loading(module)


def repack_experts() -> None:
    """Makes vLLM's CPU backend pack the weights of fused experts again whenever they are reloaded.

    Changes: `UnquantizedFusedMoEMethod.process_weights_after_loading` also calls its experts' method of that name once
        there is a kernel.
    Reason: experts are packed (and padded) for the kernel only when it is made. A reload would leave plain weights in
        the place of packed ones: wrong experts, without a word.
    Versions: vLLM 0.32; used on CPUs only.
    Remove when: the row Qwen3-MoE of scripts/check_families.py works without it.
    """
    from vllm.model_executor.layers.fused_moe.unquantized_fused_moe_method import UnquantizedFusedMoEMethod

    process = UnquantizedFusedMoEMethod.process_weights_after_loading
    if hasattr(process, "__wrapped__"):  # by an engine before this one
        return

    @functools.wraps(process)
    def process_and_pack(self: Any, layer: "torch.nn.Module") -> None:
        is_reload = self.moe_kernel is not None
        process(self, layer)
        if is_reload:
            self.moe_kernel.fused_experts.process_weights_after_loading(layer)

    UnquantizedFusedMoEMethod.process_weights_after_loading = process_and_pack


def rotate_heads_by_torch() -> None:
    """Makes vLLM's CPU backend rotate queries that come as [T, H, D] with torch, and not with its own kernel.

    Changes: `RotaryEmbedding.forward_cpu` calls `forward_native` for such queries.
    Reason: its kernel gives wrong values for them. Models with latent attention (DeepSeek-V3) have them, all others
        come with [T, H * D].
    Versions: vLLM 0.32; used on CPUs only.
    Remove when: the row DeepSeek-V3 of scripts/check_families.py works without it.
    """
    from vllm.model_executor.layers.rotary_embedding.base import RotaryEmbedding

    rotate = RotaryEmbedding.forward_cpu
    if hasattr(rotate, "__wrapped__"):
        return

    @functools.wraps(rotate)
    def rotate_by_shape(self: Any, positions: Any, query: "torch.Tensor", key: "torch.Tensor | None" = None) -> Any:
        by_kernel = query.dim() < 3
        return rotate(self, positions, query, key) if by_kernel else self.forward_native(positions, query, key)

    RotaryEmbedding.forward_cpu = rotate_by_shape


def divide_models_over_gloo() -> None:
    """Makes ranks that hold one vLLM engine on a CPU speak over torch.distributed, and not over a named memory segment.

    Changes: `CpuCommunicator._all_group_ranks_share_shm_group_name` says no.
    Reason: with the external launcher the segment's name is the same for every engine of a machine, so that two runs,
        or one after a kill, fail with "create shm in SHMManager failed".
    Versions: vLLM 0.32; used on CPUs only.
    Remove when: the name has the run's port or another part of its own under `env://`.
    """
    from vllm.distributed.device_communicators.cpu_communicator import CpuCommunicator

    CpuCommunicator._all_group_ranks_share_shm_group_name = lambda self: False


def gloo_group(store: "Store", rank: int, world_size: int, timeout: timedelta, address: str) -> "ProcessGroup":
    """A process group over gloo beside the default one, which speaks from one address of this machine.

    Changes: nothing; makes a `ProcessGroupGloo` by its options `_devices` and `_timeout`.
    Reason: `torch.distributed.new_group` is for ranks of the default group, and a vLLM server is none. Without a device
        gloo takes the interface of the host name, or of GLOO_SOCKET_IFNAME, which is that of the trainer's own ranks.
    Versions: torch 2.11 to 2.13.
    Remove when: torch makes groups beside the default one with an address.

    Args:
        store: Where the members meet.
        rank: Of this process in the group.
        world_size: Members.
        timeout: Longest that a collective may take.
        address: Of this machine, as the others reach it.
    """
    import torch.distributed as dist

    options = dist.ProcessGroupGloo._Options()  # type: ignore[attr-defined]
    options._devices = [dist.ProcessGroupGloo.create_device(hostname=address)]
    options._timeout = timeout
    return dist.ProcessGroupGloo(store, rank, world_size, options)  # type: ignore[return-value]


def share_model_classes() -> None:
    """Keeps what vLLM does to a class of transformers for its own model away from the trainer's models of that class.

    Changes: `Base._decorate_cls_for_torch_compile` of vLLM's models made of transformers' code. The decorated
        `__init__` and `__call__` then serve vLLM's own models only, all others get those that the class had.
    Reason: vLLM decorates the class itself, for torch.compile. A model made before it fails at its next forward pass
        ("object has no attribute 'do_not_compile'"), one made later as it is made, and hooks are never called.
    Versions: vLLM 0.32.
    Remove when: the row GPT-NeoX of scripts/check_families.py works without it.
    """
    from vllm.config import get_current_vllm_config_or_none
    from vllm.model_executor.models.transformers.base import Base

    decorate = Base._decorate_cls_for_torch_compile
    if hasattr(decorate, "__wrapped__"):
        return

    @functools.wraps(decorate)
    def decorate_for_vllm(self: Any, cls: type, *args: Any, **kwargs: Any) -> None:
        plain_init, plain_call = cls.__init__, cls.__call__  # type: ignore[misc]
        decorate(self, cls, *args, **kwargs)
        own_init, own_call = cls.__init__, cls.__call__  # type: ignore[misc]
        if own_init is plain_init:  # it was decorated for an engine before this one
            return

        def __init__(model: Any, *args: Any, **kwargs: Any) -> None:
            is_vllms = get_current_vllm_config_or_none() is not None  # set while vLLM makes its model
            (own_init if is_vllms else plain_init)(model, *args, **kwargs)

        def __call__(model: Any, *args: Any, **kwargs: Any) -> Any:
            is_vllms = "do_not_compile" in vars(model)
            return (own_call if is_vllms else plain_call)(model, *args, **kwargs)

        cls.__init__, cls.__call__ = __init__, __call__  # type: ignore[misc, method-assign]

    Base._decorate_cls_for_torch_compile = decorate_for_vllm


def vllm_architectures() -> frozenset[str]:
    """The architectures that the installed vLLM has code of its own for; none where vLLM is not installed.

    Changes: nothing; reads the keys of `_TEXT_GENERATION_MODELS` and `_MULTIMODAL_MODELS` from the source of
        `vllm.model_executor.models.registry`.
    Reason: the public list (`ModelRegistry.get_supported_archs`) needs vLLM imported, which takes seconds and loads
        torch: too long for `plan`.
    Versions: vLLM 0.24 to 0.32.
    Remove when: vLLM has the list in a file that can be read by itself.
    """
    found = importlib.util.find_spec("vllm")
    if found is None or not found.submodule_search_locations:
        return frozenset()
    source = Path(found.submodule_search_locations[0], "model_executor", "models", "registry.py")
    tables = re.findall(
        r"^_(?:TEXT_GENERATION|MULTIMODAL)_MODELS = \{\n(.*?)^\}", source.read_text(encoding="utf-8"), re.M | re.S
    )
    return frozenset(name for table in tables for name in re.findall(r'^    "(\w+)": ', table, re.M))


def vllm_can_run_code_of(model_class: Any) -> bool:
    """Whether vLLM can run the code of this class of transformers, where it has none of its own.

    Changes: nothing; asks `_can_set_attn_implementation` of the class, beside the public `is_backend_compatible`.
    Reason: it is what vLLM's registry (`_try_resolve_transformers`) asks, as its engine starts.
    Versions: transformers 5.19, vLLM 0.32.
    Remove when: vLLM has a function for it.
    """
    return bool(model_class.is_backend_compatible() or model_class._can_set_attn_implementation())


@contextmanager
def world_group_kept() -> Iterator[None]:
    """Keeps the default process group alive while a vLLM engine ends inside the block.

    Changes: `torch.distributed.destroy_process_group` without a group does nothing inside the block.
    Reason: an engine that ends also destroys the default process group, although it did not make it: with
        `distributed_executor_backend="external_launcher"` that group is the trainer's.
    Versions: vLLM 0.24 to 0.32.
    Remove when: an engine that ends destroys no group that was there before it.
    """
    import torch

    destroy = torch.distributed.destroy_process_group

    def destroy_own_group(group: Any = None) -> None:
        if group is not None:
            destroy(group)

    torch.distributed.destroy_process_group = destroy_own_group
    try:
        yield
    finally:
        torch.distributed.destroy_process_group = destroy


def shut_down(llm: "LLM") -> None:
    """Ends a vLLM engine that lives in this process, and frees its memory; to be called under `world_group_kept`.

    Changes: nothing; calls `LLM.llm_engine.engine_core.shutdown()`.
    Reason: `LLM` has no method that ends it.
    Versions: vLLM 0.24 to 0.32.
    Remove when: `LLM` has such a method.
    """
    llm.llm_engine.engine_core.shutdown()


def with_seeds(shared: "SamplingParams", seeds: list[int]) -> "list[SamplingParams]":
    """One copy of the sampling parameters for each seed, which vLLM takes without checking and copying it again.

    Changes: sets `SamplingParams.skip_clone`, a flag that vLLM calls internal, and copies the checked object.
    Reason: made one by one, vLLM checks every one and then copies it deeply, for each request: docs/benchmarks/cpu.md
        says what that costs.
    Versions: vLLM 0.24 to 0.32.
    Remove when: vLLM makes SamplingParams for a thousand requests in a few milliseconds.
    """
    shared.skip_clone = True
    several = [copy.copy(shared) for _ in seeds]
    for own, seed in zip(several, seeds):
        own.seed = seed
    return several


def without_shared_memory_collectives() -> None:
    """Keeps DeepSpeed from compiling its operator for collectives in shared memory.

    Changes: `deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"]` is False.
    Reason: DeepSpeed builds it with the first process group on a CPU. That needs a compiler and takes long, and only
        its inference engine uses it.
    Versions: DeepSpeed 0.19.
    Remove when: DeepSpeed builds it on demand or has a setting against it.
    """
    import deepspeed

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def set_default_timeout(timeout: timedelta) -> None:
    """Sets how long the collectives of process groups that libraries make wait for the other ranks.

    Changes: `default_pg_timeout` and `default_pg_nccl_timeout` of `torch.distributed.distributed_c10d`.
    Reason: DeepSpeed makes groups of its own and passes no time-out on; torch has no public way to set the default.
    Versions: torch 2.11 to 2.13.
    Remove when: torch has a function for it, or DeepSpeed passes on the time-out of `init_distributed`.
    """
    from torch.distributed import distributed_c10d

    distributed_c10d.default_pg_timeout = distributed_c10d.default_pg_nccl_timeout = timeout


def skip_allreduce(engine: "DeepSpeedEngine") -> None:
    """Makes a DeepSpeed engine at ZeRO 0 leave the gradients where they are, for a process that trains alone.

    Changes: `DeepSpeedEngine.enable_backward_allreduce` is False.
    Reason: alone, DeepSpeed would still copy all gradients to a flat buffer and back at every step.
    Versions: DeepSpeed 0.19.
    Remove when: DeepSpeed skips the copy in a world of one.
    """
    engine.enable_backward_allreduce = False


def collect_parts(engine: "DeepSpeedEngine") -> list[tuple[Path, dict]]:
    """Makes a DeepSpeed engine hand over what it would write into a checkpoint, instead of writing it.

    Changes: `DeepSpeedEngine.checkpoint_engine` is a subclass of DeepSpeed's `TorchCheckpointEngine` whose `save` keeps
        path and state. The interface (`CheckpointEngine`) is documented; putting an own one in its place is not.
    Reason: the parts are written by a thread while training goes on, with a checksum (`stages/engines/saver.py`).
    Versions: DeepSpeed 0.19.
    Remove when: DeepSpeed's configuration takes a class of one's own.

    Returns:
        The list to which `save_checkpoint` adds (path, state); whoever reads it empties it.
    """
    from deepspeed.runtime.checkpoint_engine import TorchCheckpointEngine

    collected: list[tuple[Path, dict]] = []

    class PartCollector(TorchCheckpointEngine):
        def save(self, state_dict: dict, path: str) -> None:
            collected.append((Path(path), state_dict))

    engine.checkpoint_engine = PartCollector()
    return collected


@contextmanager
def reading_universal_checkpoint(engine: "DeepSpeedEngine", is_universal: bool) -> Iterator[None]:
    """Makes `load_checkpoint` of a DeepSpeed engine read the universal format inside the block, if `is_universal`.

    Changes: `DeepSpeedEngine._config.load_universal_checkpoint`.
    Reason: the public setting (`checkpoint.load_universal`) is read when the engine is made. Which checkpoint will be
        loaded, and how many processes wrote it, is known only later.
    Versions: DeepSpeed 0.19.
    Remove when: `load_checkpoint` takes the format as an argument.
    """
    engine._config.load_universal_checkpoint = is_universal
    try:
        yield
    finally:
        engine._config.load_universal_checkpoint = False


def num_elements(parameter: "torch.nn.Parameter") -> int:
    """The number of elements of a whole parameter, also where ZeRO-3 has left only a part of it on this rank.

    Changes: nothing; reads `ds_numel`, which DeepSpeed adds to parameters that it divides up.
    Reason: `numel()` of a divided parameter is 0.
    Versions: DeepSpeed 0.19.
    Remove when: DeepSpeed has a function for it.
    """
    return getattr(parameter, "ds_numel", parameter.numel())


def parse_latex_in_two_stages() -> None:
    """Makes latex2sympy2_extended parse fast first, and thoroughly only where that fails.

    Changes: `latex2sympy2_extended.latex2sympy2._Latex2Sympy` is a subclass that sets the prediction mode of ANTLR's
        parser (`Parser._interp.predictionMode`).
    Reason: 10 times as fast for products. These are the two stages that ANTLR recommends: the tree of its mode SLL is
        right wherever it finds one. latex2sympy2_extended has no setting for it.
    Versions: latex2sympy2_extended 1.11 with antlr4-python3-runtime 4.9, which Math-Verify 0.9.0 brings.
    Remove when: latex2sympy2_extended does it, or lets the mode be chosen.
    """
    from antlr4.atn.PredictionMode import PredictionMode
    from latex2sympy2_extended import latex2sympy2

    class TwoStageParser(latex2sympy2._Latex2Sympy):
        is_fast = True

        def create_parser(self, latex_str: str) -> Any:
            parser = super().create_parser(latex_str)
            parser._interp.predictionMode = PredictionMode.SLL if self.is_fast else PredictionMode.LL
            return parser

        def parse(self, latex_str: str) -> Any:
            try:
                return super().parse(latex_str)
            except Exception:
                self.is_fast = False
                return super().parse(latex_str)

    latex2sympy2._Latex2Sympy = TwoStageParser
