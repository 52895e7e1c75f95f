"""A chat model from a directory, in this process with vLLM.

It is made after the sampler where a stage has both; they share a GPU by the two fractions of its memory.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from stages.config import JudgeConfig
from stages.engines import patches
from stages.engines.sampling.vllm_sampler import untouched_generators
from stages.engines.vllm_models import prepare_vllm, why_not_vllm
from stages.judges.calls import Call, OnFailure, OnReply, Reply
from stages.modeling.loading import require_loadable
from stages.prompting.control_tokens import UnencodableText
from stages.prompting.encoding import Encoder
from stages.prompting.vocabulary import own_chat_template
from stages.runtime.errors import InputError

if TYPE_CHECKING:
    from vllm import LLM, SamplingParams


PARAGRAPHS = "{% for message in messages %}{{ message.content }}\n\n{% endfor %}"  # for a model without a template


class LocalModel:
    """See `stages.judges.calls.ChatModel`.

    Where the tokenizer has no chat template, the model gets instruction and text as plain paragraphs.
    """

    def __init__(self, config: JudgeConfig):
        assert config.model is not None, "the configuration was checked: a local model has a directory"
        self.config = config
        self.model_dir = config.model
        self.llm: LLM | None = None

    def check(self) -> None:
        """Raises InputError unless the directory has a model, a tokenizer and a context as long as asked for."""
        from transformers import AutoConfig, AutoTokenizer

        try:
            limit = getattr(AutoConfig.from_pretrained(self.config.model), "max_position_embeddings", None)
            AutoTokenizer.from_pretrained(self.config.model)
        except (OSError, ValueError) as error:
            raise InputError(
                f"judge.model={self.config.model} is not a model directory with a tokenizer: "
                f"{str(error).splitlines()[0]}"
            ) from error
        if Path(self.model_dir).is_dir():  # and not the name of a model in the hub's cache
            require_loadable(self.model_dir)
        if limit and self.config.max_model_tokens > limit:
            raise InputError(
                f"judge.max_model_tokens={self.config.max_model_tokens}, but the model in {self.config.model} holds "
                f"{limit}"
            )
        if self.config.max_tokens >= self.config.max_model_tokens:
            raise InputError(
                f"judge.max_tokens={self.config.max_tokens} leaves no room for a prompt in "
                f"judge.max_model_tokens={self.config.max_model_tokens}"
            )

    def _engine(self) -> "LLM":
        """The engine, made when it is first asked for."""
        if self.llm is None:
            from vllm import LLM

            config = self.config
            on_gpu = torch.cuda.is_available()
            if why := why_not_vllm(self.model_dir, on_gpu):
                raise InputError(f"judge.model={self.model_dir} {why}: give another model")
            prepare_vllm(on_gpu)
            memory: dict[str, Any] = (
                {"gpu_memory_utilization": config.gpu_memory_fraction}
                if on_gpu
                else {"kv_cache_memory_bytes": int(config.kv_cache_gib * 2**30)}
            )
            with untouched_generators():
                self.llm = LLM(
                    model=self.model_dir,
                    dtype="float32" if config.precision == "fp32" else "bfloat16",
                    enforce_eager=not on_gpu,
                    max_model_len=config.max_model_tokens,
                    max_num_seqs=config.concurrency,
                    block_size=16 if on_gpu else 32,
                    max_num_batched_tokens=max(4096, config.max_model_tokens),
                    enable_prefix_caching=True,
                    enable_chunked_prefill=on_gpu,
                    seed=0,
                    structured_outputs_config={"backend": "guidance", "disable_any_whitespace": True},
                    disable_log_stats=True,
                    distributed_executor_backend="external_launcher",
                    **memory,
                )
        return self.llm

    def complete(self, calls: list[Call], on_reply: OnReply, on_failure: OnFailure | None = None) -> None:
        """See `ChatModel.complete`; no call ever fails, and one that is too long gets a reply without a text."""
        llm, config = self._engine(), self.config
        tokenizer = llm.get_tokenizer()
        encoder = Encoder(tokenizer, "chat" if own_chat_template(tokenizer) else PARAGRAPHS)
        places: list[int] = []
        prompts: list[dict[str, list[int]]] = []
        for i, call in enumerate(calls):
            try:
                ids = encoder.prompt(call.user, system=call.system)
            except UnencodableText as error:
                on_reply(i, Reply(None, problem=str(error)))
                continue
            if len(ids) + config.max_tokens > config.max_model_tokens:
                why = f"{len(ids)} tokens, and {config.max_tokens} for the reply, are more than judge.max_model_tokens"
                on_reply(i, Reply(None, problem=why))
            else:
                places.append(i)
                prompts.append({"prompt_token_ids": ids})
        if not prompts:
            return
        params = self._sampling_params([calls[i] for i in places], encoder.stop_ids)
        with untouched_generators():
            outputs = llm.generate(prompts, params, use_tqdm=False)
        for i, output in zip(places, outputs):
            answer = output.outputs[0]
            on_reply(
                i,
                Reply(
                    answer.text,
                    len(output.prompt_token_ids),
                    len(answer.token_ids),
                    is_cut=answer.finish_reason == "length",
                ),
            )

    def _sampling_params(self, calls: list[Call], stop_ids: list[int]) -> "list[SamplingParams]":
        """How the reply to each call is sampled."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        config = self.config
        several = []
        for call in calls:
            schema = call.schema if config.structured else None
            several.append(
                SamplingParams(
                    temperature=config.temperature,
                    max_tokens=config.max_tokens,
                    seed=call.seed if config.temperature > 0 else None,
                    stop_token_ids=stop_ids,
                    output_kind=RequestOutputKind.FINAL_ONLY,
                    structured_outputs=StructuredOutputsParams(json=schema) if schema else None,
                )
            )
        return several

    def close(self) -> None:
        """Ends the engine; the next call makes a new one."""
        if self.llm is not None:
            with patches.world_group_kept():
                patches.shut_down(self.llm)
                self.llm = None
