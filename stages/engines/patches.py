"""Every private part of a library that the workers use or change, each in one function.

A function here says what it changes, why, for which versions, and when it can go. `tests/unit/test_patches.py` has a
test for each, named after it, which fails when the private part has moved or has another form: after a library is
updated, run it first. Nothing heavy is imported before it is needed, so that any module may import this one.

What depends on a library's internals and cannot stand here, because it must run before an import or lies in a room
below this one (the same test file looks after these too):

    stages/__init__.py              hides torchvision, torchaudio and torchcodec of a CUDA build from a CPU build of
                                    torch, before anything imports them
    stages/engines/optimizers.py    `ReplicatedOptimizer._global_grad_norm`, where DeepSpeed's engine looks for the norm
    stages/runtime/heartbeat.py     the file of torch's collectives, and the words of gloo's time-out
    stages/runtime/disk.py          the words in which torch.save says that a file could not grow
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from deepspeed import DeepSpeedEngine
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
