"""The peer's side: TRL's GRPOTrainer on the same work, with vLLM colocated."""

import os
import sys
import tempfile
import time
from itertools import pairwise

from bench_common import write_result

from gpu_check_tools.ours import watch_memory
from gpu_check_tools.work import BETA, SHAPES, reward_of


def run_trl(options) -> None:
    """Runs TRL's GRPOTrainer with vLLM in its process, asleep during updates.

    Model, prompts, lengths, beta and activation recomputation are the same as on our side.
    """
    os.environ.update(
        {
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "HF_HUB_OFFLINE": "1",
            "VLLM_LOGGING_LEVEL": "ERROR",
            "TOKENIZERS_PARALLELISM": "false",
            "RANK": "0",
            "LOCAL_RANK": "0",
            "WORLD_SIZE": "1",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": "29511",
        }
    )
    import torch
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    on_gpu = options.device == "cuda"
    if not on_gpu:
        from stages.engines.patches import inspect_models_in_process

        inspect_models_in_process()
    memory, steps, marks = watch_memory(), [], {"rollout": 0.0}
    micro = max(1, options.micro_batch_tokens // (options.tokens + options.prompt_tokens))
    while options.prompts * options.group % micro:
        micro -= 1
    settings = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=options.prompts * options.group // micro,
        num_generations=options.group,
        max_completion_length=options.tokens,
        beta=BETA,
        learning_rate=1e-6,
        lr_scheduler_type="constant",
        temperature=1.0,
        loss_type="grpo",
        max_steps=options.warmup + options.steps,
        logging_steps=10**6,
        report_to="none",
        save_strategy="no",
        use_cpu=not on_gpu,
        bf16=options.precision == "bf16",
        gradient_checkpointing=not options.keep_activations,
        adam_beta2=0.95,
        shuffle_dataset=False,
        disable_tqdm=True,
        use_vllm=True,
        vllm_mode="colocate",
        vllm_gpu_memory_utilization=options.gpu_memory_fraction if on_gpu else 0.1,
        vllm_enable_sleep_mode=on_gpu,
        vllm_max_model_length=options.tokens + options.prompt_tokens,
    )

    class Clock(TrainerCallback):
        def on_step_end(self, *_, **__):
            steps.append({"end": time.perf_counter(), **marks})
            marks["rollout"] = 0.0

    def reward(completion_ids, **_):
        marks["tokens"] = sum(map(len, completion_ids))
        return [reward_of(ids, SHAPES[options.shape]["vocab_size"]) for ids in completion_ids]

    data = load_dataset("json", data_files=options.data, split="train", cache_dir=tempfile.mkdtemp())
    data = data.map(lambda row: {"prompt": f"User:{row['prompt']}Assistant:"}).remove_columns("answer")
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32),
        args=settings,
        train_dataset=data,
        reward_funcs=[reward],
        processing_class=AutoTokenizer.from_pretrained(options.model),
        callbacks=[Clock()],
    )
    if not on_gpu:
        from bench_grpo_sides import reload_weights

        trainer.vllm_generation.sync_weights = lambda: reload_weights(trainer)
    generate = trainer._generate_single_turn

    def timed(*arguments, **more):
        started = time.perf_counter()
        result = generate(*arguments, **more)
        marks["rollout"] += time.perf_counter() - started
        return result

    trainer._generate_single_turn = timed
    trainer.train()
    rows = [{**row, "wall": row["end"] - before["end"]} for before, row in pairwise(steps)]
    write_result(options.result, {"rows": rows[max(0, options.warmup - 1) :], "micro": micro, **memory()})
    sys.stdout.flush()
    os._exit(0)
