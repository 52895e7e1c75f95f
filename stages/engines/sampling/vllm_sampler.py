"""vLLM in the trainer's process, CPU and GPU alike: one engine a rank, new weights by reference at every sync.

What the calls below guard against: `raw load_weights` raises on CPU; the CPU backend keeps a packed copy of a tied head
(re-packed here); seeded requests crash with chunked prefill on CPU; cached prefixes outlive a reload; LLM() and
generate() draw from the global generators.
"""

import gc
import itertools
import os
import random
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from stages.config import VLLM_CPU_HEAD_SIZES, RolloutConfig
from stages.engines import patches
from stages.engines.sampling import Completion, stop_token_ids
from stages.runtime.deadline import deadline
from stages.runtime.errors import InputError


class PolicyLoader:
    """Mixed into vLLM's worker: loads (HF name, tensor) pairs, then re-packs a tied head that the CPU backend would
    leave stale.
    """

    def load_policy(self, weights):
        self.reload_weights(weights_iterator=iter(weights))
        patches.repack_tied_head(self)


@contextmanager
def untouched_generators():
    """Restores Python's, numpy's and torch's global generators: sampling must not move the trainer's streams."""
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)


def prefer_newer_runner(model_dir: Path) -> None:
    """Makes vLLM run Qwen2 models with its newer model runner, unless the environment says which runner to use.

    vLLM 0.24 runs them with its older one, which keeps a generator for each seeded request and launches a kernel for
    each at every token. The newer one, the default of later versions, draws from (seed, position): 1.35 times the
    tokens per second on an H200 (docs/benchmarks/gpu.md).
    """
    from transformers import AutoConfig

    if "Qwen2ForCausalLM" in (AutoConfig.from_pretrained(model_dir).architectures or []):
        os.environ.setdefault("VLLM_USE_V2_MODEL_RUNNER", "1")


def check_head_size(model_dir: Path) -> None:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model_dir)
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if size not in VLLM_CPU_HEAD_SIZES:
        raise InputError(
            f"the model in {model_dir} has attention heads of {size}; vLLM on CPU has {VLLM_CPU_HEAD_SIZES}: "
            "use rollout=transformers"
        )


class VllmSampler:
    """See `stages.engines.sampling.Sampler`."""

    def __init__(
        self,
        config: RolloutConfig,
        model_dir: Path,
        max_prompt_tokens: int,
        max_completion_tokens: int,
        precision: str,
        can_sleep: bool = False,
    ):
        from vllm import LLM

        on_gpu = torch.cuda.is_available()
        if on_gpu:
            prefer_newer_runner(model_dir)
        else:
            check_head_size(model_dir)
            patches.inspect_models_in_process()
        memory = (
            {"gpu_memory_utilization": config.gpu_memory_fraction}
            if on_gpu
            else {"kv_cache_memory_bytes": int(config.kv_cache_gib * 2**30)}
        )
        max_model_tokens, block = max_prompt_tokens + max_completion_tokens, 16 if on_gpu else 32
        settings = dict(
            model=str(model_dir),
            dtype="float32" if precision == "fp32" else "bfloat16",
            skip_tokenizer_init=True,
            enforce_eager=not on_gpu,
            max_model_len=max_model_tokens,
            max_num_seqs=config.max_sequences,
            max_num_batched_tokens=max(4096, max_model_tokens),
            block_size=block,
            enable_chunked_prefill=on_gpu,
            logprobs_mode="processed_logprobs",
            enable_prefix_caching=max_prompt_tokens
            > block,  # completions share no shorter one, and hashing all blocks is 4% of the sampling of a tiny model
            seed=0,
            worker_extension_cls="stages.engines.sampling.vllm_sampler.PolicyLoader",
            distributed_executor_backend="external_launcher",
            tensor_parallel_size=config.tensor_parallel,
            disable_log_stats=True,
            **memory,
        )
        self.can_sleep, self.is_asleep = can_sleep and on_gpu, False
        if self.can_sleep:
            settings["enable_sleep_mode"] = True  # an error on CPU
        # vLLM collects garbage as it starts, five times: 0.3 s each if all that was imported is looked through
        gc.freeze()
        with untouched_generators():
            self.llm = LLM(**settings)
        gc.set_threshold(
            50_000, 20, 100
        )  # Python looks for cycles after 700 new objects, which is several times a decoding step: 6% of a rollout
        self.stop_ids, self.top_p, self.limit_s = stop_token_ids(model_dir), config.top_p, config.engine_timeout_s
        self.names = itertools.count()  # of requests

    def sample(self, prompts, seeds, n, temperature, max_tokens, on_group=None, top_p=None, with_logprobs=True):
        if not prompts:
            return []
        from vllm import SamplingParams
        from vllm.inputs import tokens_input
        from vllm.sampling_params import RequestOutputKind

        shared = SamplingParams(
            n=n,
            temperature=temperature,
            top_p=top_p or self.top_p,
            max_tokens=max_tokens,
            seed=0,
            stop_token_ids=self.stop_ids,
            detokenize=False,
            logprobs=0 if with_logprobs else None,
            flat_logprobs=with_logprobs,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        params = patches.with_seeds(shared, seeds)
        groups: list[list[Completion]] = [[] for _ in prompts]
        with untouched_generators(), deadline("a decoding step of vLLM", self.limit_s) as limit:
            engine, place = self.llm.llm_engine, {}
            for i, (ids, own) in enumerate(zip(prompts, params)):
                name = str(next(self.names))
                place[name] = i
                engine.add_request(name, tokens_input(ids), own)
            while engine.has_unfinished_requests():
                for output in engine.step():
                    i = place[output.request_id]
                    groups[i] = [
                        Completion(
                            list(c.token_ids),
                            list(c.logprobs.logprobs) if with_logprobs else [],
                            c.finish_reason == "length",
                        )
                        for c in sorted(output.outputs, key=lambda c: c.index)
                    ]
                    if on_group:
                        on_group(i, groups[i])
                limit.renew()
        return groups

    def sync(self, weights):
        if self.is_asleep:
            torch.cuda.empty_cache()
            self.llm.wake_up(tags=["weights"])  # written below: sleep dropped them
        with deadline("vLLM to take new weights", self.limit_s):
            self.llm.collective_rpc("load_policy", args=(weights,))
        if self.is_asleep:
            if self.llm.wake_up(tags=["kv_cache"]) is False:
                raise RuntimeError(
                    "vLLM is not fully awake after its weights and its KV cache were: it would never schedule a request"
                )
            self.is_asleep = False
        if not self.llm.reset_prefix_cache():
            raise RuntimeError(
                "vLLM kept its prefix cache at a weight sync: requests are still running, "
                "completions would mix two policies"
            )

    def sleep(self):
        if self.can_sleep and not self.is_asleep:
            self.llm.sleep(level=2)  # weights and KV cache dropped: every sync sends all weights anyway
            self.is_asleep = True
        return self.is_asleep

    def close(self):
        with patches.world_group_kept():
            patches.shut_down(self.llm)
            del self.llm
            gc.collect()
