"""The private parts of vLLM that `stages/engines/patches.py` uses or changes are still there, and of the same form."""

import inspect
import os
from types import SimpleNamespace

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


def test_repack_experts(monkeypatch):
    """vLLM packs experts only as their kernel is made; ours packs them at each reload."""
    from vllm.model_executor.layers.fused_moe import unquantized_fused_moe_method as module

    setup = inspect.getsource(module.UnquantizedFusedMoEMethod._setup_kernel)
    before, packs = setup.split("if not is_weight_update:")
    call = "fused_experts.process_weights_after_loading(layer)"
    assert call in packs and call not in before

    class Experts:
        def __init__(self):
            self.calls = []

        def process_weights_after_loading(self, layer):
            self.calls.append(layer)

    class Method:
        moe_kernel = None

        def process_weights_after_loading(self, layer):
            self.moe_kernel = SimpleNamespace(fused_experts=Experts())

    monkeypatch.setattr(module, "UnquantizedFusedMoEMethod", Method)
    for _ in range(2):  # a second engine changes nothing more
        patches.repack_experts()
    method = Method()
    method.process_weights_after_loading("loaded")
    method.process_weights_after_loading("reloaded")
    assert method.moe_kernel.fused_experts.calls == ["reloaded"]


def test_rotate_heads_by_torch():
    from vllm.config import VllmConfig, set_current_vllm_config
    from vllm.model_executor.layers.rotary_embedding import get_rope

    patches.rotate_heads_by_torch()
    parameters = {"rope_theta": 1e4, "rope_type": "default"}
    with set_current_vllm_config(VllmConfig()):
        rope = get_rope(64, max_position=64, rope_parameters=parameters, is_neox_style=False, dtype=torch.float32)
    positions, query, key = torch.arange(5), torch.randn(5, 2, 64), torch.randn(5, 1, 64)
    expected = rope.forward_native(positions, query.clone(), key.clone())
    for right, found in zip(expected, rope.forward_cpu(positions, query.clone(), key.clone()), strict=True):
        torch.testing.assert_close(found, right)
    flat = rope.forward_cpu(positions, query.flatten(1).clone(), key.flatten(1).clone())
    torch.testing.assert_close(flat[0].view(5, 2, 64), expected[0])


def test_divide_models_over_gloo(monkeypatch):
    """The question that the patch answers is the one that decides; without the patch ranks would agree on one name."""
    import inspect

    from vllm.distributed.device_communicators.cpu_communicator import CpuCommunicator

    name = "_all_group_ranks_share_shm_group_name"
    assert f"self.{name}()" in inspect.getsource(CpuCommunicator.__init__)
    monkeypatch.setattr(CpuCommunicator, name, getattr(CpuCommunicator, name))
    patches.divide_models_over_gloo()
    assert getattr(CpuCommunicator, name)(None) is False


def test_share_model_classes():
    """A class that vLLM decorates still serves models that are not vLLM's: those made before, and those made later."""
    from transformers import GPTNeoXConfig, GPTNeoXModel
    from vllm.config import CompilationConfig, VllmConfig, set_current_vllm_config
    from vllm.model_executor.models.transformers.base import Base

    class Decoder(GPTNeoXModel):
        pass

    def a_decoder():
        return Decoder(
            GPTNeoXConfig(vocab_size=9, hidden_size=8, intermediate_size=8, num_attention_heads=2, num_hidden_layers=1)
        )

    patches.share_model_classes()
    earlier, called = a_decoder(), []
    Base._decorate_cls_for_torch_compile(
        SimpleNamespace(), Decoder, dynamic_arg_dims={"input_ids": 1}, enable_if=None, is_encoder=False
    )
    ids = torch.tensor([[1, 2, 3]])
    for decoder in (earlier, a_decoder()):
        decoder.register_forward_hook(lambda *_: called.append("hook"))
        assert decoder(ids).last_hidden_state.shape == (1, 3, 8)
    assert called == ["hook", "hook"]
    with set_current_vllm_config(VllmConfig(compilation_config=CompilationConfig(mode=0))):
        assert a_decoder().do_not_compile is True  # vLLM's own is made as vLLM wants it


def test_vllm_architectures():
    from vllm import ModelRegistry

    names = patches.vllm_architectures()
    assert {"LlamaForCausalLM", "Qwen3MoeForCausalLM", "DeepseekV3ForCausalLM"} <= names
    assert names <= set(ModelRegistry.get_supported_archs()) and "GPTNeoXForCausalLM" not in names


def test_vllm_can_run_code_of():
    from transformers import GPTNeoXForCausalLM, T5ForConditionalGeneration
    from vllm.model_executor.models import registry

    asked = inspect.getsource(registry._ModelRegistry._try_resolve_transformers)
    assert "transformers_model_cls.is_backend_compatible()" in asked
    assert "transformers_model_cls._can_set_attn_implementation()" in asked
    assert patches.vllm_can_run_code_of(GPTNeoXForCausalLM)
    assert isinstance(patches.vllm_can_run_code_of(T5ForConditionalGeneration), bool)


def test_fork_engine(monkeypatch):
    """The process of a server's engine is made by the context that this name gives."""
    from vllm.v1.engine import utils

    assert "context = get_mp_context()" in inspect.getsource(utils.CoreEngineProcManager.__init__)
    monkeypatch.setattr(utils, "get_mp_context", None)
    patches.fork_engine()
    assert utils.get_mp_context().get_start_method() == "fork"
