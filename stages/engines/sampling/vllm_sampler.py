"""vLLM in the trainer's process, on CPUs and GPUs alike: one engine for each rank, new weights by reference.

With lora.sampler=adapter it keeps the weights that it has begun with and gets new adapters instead, which it adds
itself.

What the calls below guard against: `load_weights` of the model raises on a CPU; the CPU backend keeps a packed copy of
a tied head (`patches.repack_tied_head`); seeded requests crash with chunked prefill on a CPU; cached prefixes outlive a
reload; LLM() and its steps draw from the global generators.
"""

import gc
import itertools
import os
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from stages.config import RolloutConfig
from stages.engines import patches
from stages.engines.sampling import Completion, OnGroup
from stages.engines.sampling.vllm_adapter import MERGED_WAY_OUT, VllmAdapter
from stages.engines.vllm_models import WAY_OUT, prepare_vllm
from stages.runtime.deadline import deadline
from stages.runtime.errors import InputError

if TYPE_CHECKING:
    from vllm import CompletionOutput, RequestOutput

    from stages.modeling.adapters import Adapters


class PolicyLoader:
    """Mixed into vLLM's worker, so that it takes new weights as `VllmSampler.sync` gives them."""

    reload_weights: Callable[..., None]  # the worker's

    def load_policy(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Loads (name in the checkpoint, tensor) pairs; then packs a tied head again, which the reload does not do."""
        self.reload_weights(weights_iterator=iter(weights))
        patches.repack_tied_head(self)


MAX_SAID = 400  # characters of what vLLM says that a message quotes


@contextmanager
def untouched_generators() -> Iterator[None]:
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


@contextmanager
def _unfit_models(what: str, way_out: str = WAY_OUT) -> Iterator[None]:
    """Turns what vLLM raises where it lacks something for a kind of model into an InputError with the way out.

    Args:
        what: Begins the message.
        way_out: Ends it.
    """
    kinds = (AttributeError, LookupError, ValueError, TypeError, AssertionError, NotImplementedError, ImportError)
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if not isinstance(error, kinds) and type(error) is not RuntimeError:  # memory, a disk, another rank
            raise
        lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
        said = " ".join(lines[:2])[:MAX_SAID]  # of pydantic the second line has the reason
        raise InputError(
            f"{what} ({type(error).__name__}: {said}): where this is the kind of the model and not a setting, {way_out}"
        ) from error


def prefer_newer_runner(model_dir: Path) -> None:
    """Makes vLLM run Qwen2 models with its newer model runner, unless the environment says which runner to use.

    vLLM 0.24 runs them with its older one, which keeps a generator for each seeded request and launches a kernel for
    each at every token. The newer one, the default of later versions, draws from (seed, position): 1.35 times the
    tokens per second on an H200 (docs/benchmarks/gpu.md). To be called before the first engine of a process is made.
    """
    from transformers import AutoConfig

    if "Qwen2ForCausalLM" in (AutoConfig.from_pretrained(model_dir).architectures or []):
        os.environ.setdefault("VLLM_USE_V2_MODEL_RUNNER", "1")


def engine_settings(
    config: RolloutConfig, model_dir: Path, max_prompt_tokens: int, max_model_tokens: int, precision: str
) -> dict[str, Any]:
    """The arguments of vLLM's LLM, for an engine that samples on this machine.

    Args:
        config: Limits of the engine.
        model_dir: An HF directory.
        max_prompt_tokens: Most tokens of a prompt.
        max_model_tokens: Most tokens of a prompt with its completion.
        precision: fp32 or bf16.
    """
    on_gpu = torch.cuda.is_available()
    block = 16 if on_gpu else 32  # tokens; only whole blocks are shared, and the CPU's default of 128 is too long
    memory: dict[str, Any] = (
        {"gpu_memory_utilization": config.gpu_memory_fraction}
        if on_gpu
        else {"kv_cache_memory_bytes": int(config.kv_cache_gib * 2**30)}
    )
    return dict(
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
        # Completions share no shorter prefix, and hashing all blocks is 4% of the sampling of a tiny model.
        enable_prefix_caching=max_prompt_tokens > block,
        seed=0,
        worker_extension_cls="stages.engines.sampling.vllm_sampler.PolicyLoader",
        distributed_executor_backend="external_launcher",
        tensor_parallel_size=config.tensor_parallel,
        disable_log_stats=True,
        **memory,
    )


class VllmSampler:
    """See `stages.engines.sampling.Sampler`."""

    takes_checkpoint_names = True

    def __init__(
        self,
        config: RolloutConfig,
        model_dir: Path,
        max_prompt_tokens: int,
        max_completion_tokens: int,
        precision: str,
        can_sleep: bool = False,
        is_synced_first: bool = False,
        adapters: "Adapters | None" = None,
    ):
        on_gpu = torch.cuda.is_available()
        from vllm import LLM

        if on_gpu:
            prefer_newer_runner(model_dir)
        prepare_vllm(on_gpu)
        max_model_tokens = max_prompt_tokens + max_completion_tokens
        settings = engine_settings(config, model_dir, max_prompt_tokens, max_model_tokens, precision)
        self.can_sleep = can_sleep and on_gpu
        self.is_asleep = False
        if self.can_sleep:
            settings["enable_sleep_mode"] = True  # an error on CPU
        self.adapter = None if adapters is None else VllmAdapter(adapters, model_dir)
        self.adds_adapters = self.adapter is not None
        self.way_out = WAY_OUT
        if self.adapter is not None:
            settings |= self.adapter.settings()
            self.way_out = MERGED_WAY_OUT
        elif is_synced_first:
            settings["load_format"] = "dummy"
        # vLLM collects garbage as it starts, five times: 0.3 s each if all that was imported is looked through
        gc.freeze()
        self.model_dir, self.has_been_synced = model_dir, False
        with untouched_generators(), _unfit_models(f"vLLM does not start with the model in {model_dir}", self.way_out):
            self.llm = LLM(**settings)
        # Python looks for cycles after 700 new objects, which is several times in a decoding step: 6% of a rollout
        gc.set_threshold(50_000, 20, 100)
        self.stop_ids: list[int] = []  # `make_sampler` sets them
        self.top_p = config.top_p
        self.limit_s = config.engine_timeout_s
        self.names = itertools.count()  # of requests
        self.has_sampled = False

    def sample(
        self,
        prompts: list[list[int]],
        seeds: list[int],
        n: int,
        temperature: float,
        max_tokens: int,
        on_group: OnGroup | None = None,
        top_p: float | None = None,
        with_logprobs: bool = True,
    ) -> list[list[Completion]]:
        """See `Sampler.sample`."""
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
        groups: list[list[Completion]] = [[] for _ in prompts]
        with untouched_generators(), deadline("a decoding step of vLLM", self.limit_s) as limit:
            engine = self.llm.llm_engine
            place: dict[str, int] = {}  # of a request's prompt
            adapter = self.adapter.request() if self.adapter else None
            for i, (ids, own) in enumerate(zip(prompts, patches.with_seeds(shared, seeds))):
                name = str(next(self.names))
                place[name] = i
                engine.add_request(name, tokens_input(ids), own, lora_request=adapter)
            while engine.has_unfinished_requests():
                for output in self._step():
                    i = place[output.request_id]
                    in_order = sorted(output.outputs, key=lambda drawn: drawn.index)
                    groups[i] = [_completion(drawn, with_logprobs) for drawn in in_order]
                    if on_group:
                        on_group(i, groups[i])
                limit.renew()
        return groups

    def _step(self) -> list["RequestOutput"]:
        """One decoding step. The first one finds out whether vLLM has all kernels that the model needs."""
        if self.has_sampled:
            return self.llm.llm_engine.step()
        with _unfit_models(f"vLLM cannot compute the model in {self.model_dir}", self.way_out):
            outputs = self.llm.llm_engine.step()
        self.has_sampled = True
        return outputs

    def sync(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """See `Sampler.sync`."""
        if self.is_asleep:
            torch.cuda.empty_cache()
            self.llm.wake_up(tags=["weights"])  # written below: sleep dropped them
        what = "weights" if self.adapter is None else "adapters"
        where = f"vLLM does not take the {what} of the model in {self.model_dir}"
        first = nullcontext() if self.has_been_synced else _unfit_models(where, self.way_out)
        with deadline("vLLM to take new weights", self.limit_s), first:
            if self.adapter is None:
                self.llm.collective_rpc("load_policy", args=(weights,))
            else:
                self.adapter.load(self.llm, weights)
        self.has_been_synced = True
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

    def sleep(self) -> bool:
        """See `Sampler.sleep`."""
        if self.can_sleep and not self.is_asleep:
            # KV cache dropped, and the weights too where every sync sends them all; else they go to host memory
            self.llm.sleep(level=2 if self.adapter is None else 1)
            self.is_asleep = True
        return self.is_asleep

    def close(self) -> None:
        """See `Sampler.close`."""
        with patches.world_group_kept():
            patches.shut_down(self.llm)
            del self.llm
            gc.collect()
        if self.adapter is not None:
            self.adapter.close()


def _completion(drawn: "CompletionOutput", with_logprobs: bool) -> Completion:
    """vLLM's output as ours."""
    logprobs = np.asarray(drawn.logprobs.logprobs if with_logprobs else [], np.float32)
    return Completion(np.asarray(drawn.token_ids, np.int32), logprobs, drawn.finish_reason == "length")
