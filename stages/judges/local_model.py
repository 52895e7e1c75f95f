"""A chat model from a directory, in this process with vLLM. Made after the sampler where a stage has both; they share a
GPU by the two fractions.
"""

import torch

from stages.config import JudgeConfig
from stages.engines import patches
from stages.engines.sampling import stop_token_ids
from stages.engines.sampling.vllm_sampler import check_head_size, untouched_generators
from stages.judges.calls import Call, OnFailure, OnReply, Reply
from stages.runtime.errors import InputError


class LocalModel:
    """See `stages.judges.calls.ChatModel`. A tokenizer without a chat template gets instruction and text as plain
    paragraphs.
    """

    def __init__(self, config: JudgeConfig):
        self.config = config
        self.llm = None

    def check(self) -> None:
        """The directory holds a model with a tokenizer and a context as long as asked for."""
        from transformers import AutoConfig, AutoTokenizer

        try:
            limit = getattr(AutoConfig.from_pretrained(self.config.model), "max_position_embeddings", None)
            AutoTokenizer.from_pretrained(self.config.model)
        except (OSError, ValueError) as error:
            raise InputError(
                f"judge.model={self.config.model} is not a model directory with a tokenizer: "
                f"{str(error).splitlines()[0]}"
            ) from error
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

    def _engine(self):
        if self.llm is None:
            from vllm import LLM

            config, on_gpu = self.config, torch.cuda.is_available()
            if not on_gpu:
                check_head_size(config.model)
                patches.inspect_models_in_process()
            memory = (
                {"gpu_memory_utilization": config.gpu_memory_fraction}
                if on_gpu
                else {"kv_cache_memory_bytes": int(config.kv_cache_gib * 2**30)}
            )
            with untouched_generators():
                self.llm = LLM(
                    model=str(config.model),
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
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        llm, config, stops = self._engine(), self.config, stop_token_ids(self.config.model)
        tokenizer, rows, places = llm.get_tokenizer(), [], []
        for i, call in enumerate(calls):
            ids = self._encode(tokenizer, call)
            if len(ids) + config.max_tokens > config.max_model_tokens:
                on_reply(
                    i,
                    Reply(
                        None,
                        problem=f"{len(ids)} tokens, and {config.max_tokens} for the reply, "
                        "are more than judge.max_model_tokens",
                    ),
                )
            else:
                rows.append((call, ids))
                places.append(i)
        params = [
            SamplingParams(
                temperature=config.temperature,
                max_tokens=config.max_tokens,
                seed=call.seed if config.temperature > 0 else None,
                stop_token_ids=stops,
                output_kind=RequestOutputKind.FINAL_ONLY,
                structured_outputs=StructuredOutputsParams(json=call.schema)
                if call.schema and config.structured
                else None,
            )
            for call, _ in rows
        ]
        if not rows:
            return
        with untouched_generators():
            outputs = llm.generate([{"prompt_token_ids": ids} for _, ids in rows], params, use_tqdm=False)
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

    def _encode(self, tokenizer, call: Call) -> list[int]:
        if tokenizer.chat_template:
            messages = [{"role": "system", "content": call.system}, {"role": "user", "content": call.user}]
            text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
            return tokenizer(text, add_special_tokens=False)["input_ids"]
        return tokenizer(f"{call.system}\n\n{call.user}\n\n")["input_ids"]

    def close(self) -> None:
        if self.llm is not None:
            with patches.world_group_kept():
                patches.shut_down(self.llm)
                self.llm = None
