"""The private parts of vLLM that `stages/engines/patches.py` uses or changes are still there, and of the same form."""

import inspect
import os

import torch

from stages.engines import patches


def test_inspect_models_in_process(monkeypatch):
    from vllm.model_executor.models import registry

    assert list(inspect.signature(registry._run_in_subprocess).parameters) == ["fn"]
    assert "_run_in_subprocess(" in inspect.getsource(registry._LazyRegisteredModel.inspect_model_cls)
    monkeypatch.setattr(registry, "_run_in_subprocess", None)
    patches.inspect_models_in_process()
    assert registry._run_in_subprocess(os.getpid) == os.getpid()


def test_repack_tied_head():
    """The head's multiplication is a closure over packed weights, made after loading; our worker reaches the heads."""
    from vllm.config import set_current_vllm_config
    from vllm.model_executor.layers import utils
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, UnquantizedEmbeddingMethod
    from vllm.platforms import current_platform
    from vllm.v1.worker.gpu_model_runner import GPUModelRunner
    from vllm.v1.worker.gpu_worker import Worker

    assert callable(set_current_vllm_config) and callable(current_platform.is_cpu)
    assert issubclass(ParallelLMHead, torch.nn.Module)
    assert "layer.cpu_linear = " in inspect.getsource(utils.dispatch_cpu_unquantized_gemm)
    assert "dispatch_cpu_unquantized_gemm" in inspect.getsource(
        UnquantizedEmbeddingMethod.process_weights_after_loading
    )
    assert "weights_iterator" in inspect.signature(GPUModelRunner.reload_weights).parameters
    assert "self.model_runner.reload_weights(" in inspect.getsource(Worker.reload_weights)
    assert callable(Worker.get_model)


def test_world_group_kept(monkeypatch):
    from vllm.distributed import parallel_state

    assert "torch.distributed.destroy_process_group()" in inspect.getsource(
        parallel_state.destroy_distributed_environment
    )
    destroyed = []
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda group=None: destroyed.append(group))
    with patches.world_group_kept():
        torch.distributed.destroy_process_group()
        torch.distributed.destroy_process_group("its own")
    torch.distributed.destroy_process_group()
    assert destroyed == ["its own", None]


def test_shut_down():
    from vllm import LLM
    from vllm.v1.engine.core_client import InprocClient
    from vllm.v1.engine.llm_engine import LLMEngine

    assert not hasattr(LLM, "shutdown") and not hasattr(LLM, "close"), "LLM can be closed: use that"
    assert "self.engine_core.shutdown()" in inspect.getsource(InprocClient.shutdown)
    assert "self.engine_core = EngineCoreClient.make_client(" in inspect.getsource(LLMEngine.__init__)
    assert "self.llm_engine" in inspect.getsource(LLM)


def test_with_seeds():
    from vllm import SamplingParams

    assert inspect.signature(SamplingParams).parameters["skip_clone"].default is False
    shared = SamplingParams(n=2, seed=0, max_tokens=5)
    first, second = patches.with_seeds(shared, [7, 8])
    assert (first.seed, second.seed, first.n, second.max_tokens) == (7, 8, 2, 5)
    clone = first.clone()
    assert clone is not first and clone.seed == 7 and clone.stop_token_ids is first.stop_token_ids  # a shallow copy
