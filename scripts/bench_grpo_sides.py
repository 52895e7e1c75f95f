"""The sides that `bench_grpo.py` compares: our worker, a bare loop of vLLM and torch, and TRL's GRPOTrainer."""

import json
import os
import random
import statistics
import tempfile
import time
from pathlib import Path

from bench_common import (
    matmul_flops,
    matmul_rate,
    peak_gib,
    write_result,
)

WORK = {
    "tiny": {"prompts": 16, "group": 16, "tokens": 48, "prompt_tokens": 10, "micro_batch_tokens": 1600},
    "86m": {"prompts": 4, "group": 8, "tokens": 64, "prompt_tokens": 12, "micro_batch_tokens": 400},
    "smollm2": {"prompts": 4, "group": 8, "tokens": 64, "prompt_tokens": 28, "micro_batch_tokens": 600},
}
BETA = 0.001
LR = 1e-4
KV_CACHE_GIB = {"tiny": 0.08, "86m": 0.08, "smollm2": 0.2}
RANK, ALPHA = 16, 32  # of adapters in every linear layer


def prompt_text(index: int, work: dict, vocabulary: int) -> str:
    rng = random.Random(index)
    return " ".join(f"w{rng.randrange(4, vocabulary)}" for _ in range(work["prompt_tokens"]))


def reward_of(kind: str, completion_ids: list[int], vocabulary: int) -> float:
    """The reward of a completion.

    dense: the share of tokens in the lower half of the vocabulary; it differs within every group, so that no group can
    be left out. sparse: 1 for the one completion in 20 whose second token is in the lowest twentieth; about half of the
    groups of 16 then have no signal.
    """
    if kind == "sparse":
        return float(len(completion_ids) > 1 and completion_ids[1] < vocabulary / 20)
    return sum(token < vocabulary / 2 for token in completion_ids) / max(1, len(completion_ids))


def our_config(side: str, options, work: dict) -> dict:
    """The stage's configuration: the published loss with its KL, no checkpoint in between."""
    return {
        "num_steps": 10**6,
        "prompts_per_step": work["prompts"],
        "group_size": work["group"],
        "updates_per_rollout": 1,
        "beta": BETA,
        "max_completion_tokens": [[0, work["tokens"]]],
        "reference_every": 0,
        "rewards": {"format": 0.0},
        "save_every": 10**6,
        "micro_batch_tokens": options.micro_batch_tokens or work["micro_batch_tokens"],
        "data": {"max_prompt_tokens": 32},
        "optim": {"lr": LR},
        "rollout": {
            "kv_cache_gib": KV_CACHE_GIB[options.shape],
            "engine": "transformers" if side.endswith("_hf") else "vllm",
        },
        "packing": options.packing,
        **({"lora": our_lora(side)} if "_lora" in side else {}),
    }


def our_lora(side: str) -> dict:
    """The keys `lora.*` of a side."""
    sampler = "adapter" if side.endswith("_adapter") else "merged"
    return {"rank": RANK, "alpha": ALPHA, "sampler": sampler}


def ours(options, work: dict) -> None:
    """The project's own loop; only the source of prompts and the reward are the benchmark's."""
    from stages.runtime import environment

    environment.prepare()
    import torch

    from stages.kinds.grpo import groups as sampling
    from stages.kinds.grpo.trainer import GrpoTrainer
    from stages.prompting.prompt import Prompt
    from stages.runtime.worker import Worker

    vocabulary = json.loads((Path(options.model) / "config.json").read_text())["vocab_size"]

    def apply_rules(rollouts, *_):
        for r in rollouts:
            r.reward_parts = {
                "accuracy": reward_of(options.reward, r.completion_ids.tolist(), vocabulary),
                "format": 0.0,
                "language": 0.0,
            }

    sampling.apply_rules = apply_rules
    with Worker(options.stage) as worker:
        trainer = GrpoTrainer(worker)
        trainer.groups.source.get = lambda index, domain="reasoning": Prompt(
            f"p{index}", prompt_text(index, work, vocabulary), "bench", "reasoning", "en", ""
        )
        trainer.groups.encode = lambda prompt: trainer.tokenizer(prompt.text)["input_ids"]
        kept = []
        trainer.recorder.log_step = keep_times(trainer.recorder, kept)
        steps = []
        for _ in range(options.warmup + options.steps):
            started, used = time.perf_counter(), time.process_time()
            scored = trainer.rollout()
            trainer.train_on(scored)
            trained = [r for r in scored.rollouts if r.group in scored.informative]
            steps.append(
                {
                    "step": time.perf_counter() - started,
                    "processor": time.process_time() - used,
                    **kept[-1],
                    "tokens": sum(r.num_completion_tokens for r in scored.rollouts),
                    "trained_tokens": computed_tokens(trained, trainer.policy.shares_prompts),
                    "trained_targets": sum(r.num_completion_tokens for r in trained),
                }
            )
        peak = peak_gib()
        model_config = trainer.engine.module.model.config
        flops = [
            4
            * matmul_flops(
                model_config, row["trained_tokens"], row["trained_targets"], work["tokens"] + work["prompt_tokens"]
            )
            for row in steps[options.warmup :]
        ]  # policy forward and backward, reference forward
        write_result(
            options.result,
            {
                "steps": steps[options.warmup :],
                "peak": peak,
                "update_flops": statistics.median(flops),
                "rate": matmul_rate(),
                "mismatch": trainer.probe.max,
                "torch": torch.__version__,
            },
        )
    if worker.exit_code:
        raise SystemExit(worker.exit_code)


def computed_tokens(trained: list, shares_prompts: bool) -> int:
    """Tokens of a forward pass over these rollouts, where a prompt counts once for its group if it is shared."""
    if not shares_prompts:
        return sum(r.num_tokens for r in trained)
    prompts = {r.group: r.num_prompt_tokens for r in trained}
    return sum(r.num_completion_tokens for r in trained) + sum(prompts.values())


def keep_times(recorder, kept: list[dict]):
    """The recorder's own log of a step, with its times kept for us."""
    log_step = recorder.log_step

    def both(*arguments):
        kept.append(dict(recorder.times))
        return log_step(*arguments)

    return both


def bare(options, work: dict) -> None:
    """vLLM's own generate() with our engine settings, on our requests: what a rollout costs at least."""
    from stages.runtime import environment

    environment.prepare()
    import torch.distributed as dist

    from stages.config import RolloutConfig
    from stages.engines.sampling import make_sampler
    from stages.engines.training import init_distributed
    from stages.runtime.seeds import seed_for

    init_distributed()
    vocabulary = json.loads((Path(options.model) / "config.json").read_text())["vocab_size"]
    sampler = make_sampler(
        RolloutConfig(kv_cache_gib=KV_CACHE_GIB[options.shape]), Path(options.model), 32, work["tokens"]
    )
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    steps = []
    for step in range(options.warmup + options.steps):
        places = range(options.rank, work["prompts"], dist.get_world_size())
        prompts = [
            {
                "prompt_token_ids": [
                    int(w[1:]) for w in prompt_text(step * work["prompts"] + i, work, vocabulary).split()
                ]
            }
            for i in places
        ]
        params = [
            SamplingParams(
                n=work["group"],
                temperature=1.0,
                max_tokens=work["tokens"],
                seed=seed_for(step, i),
                stop_token_ids=[2],
                logprobs=0,
                flat_logprobs=True,
                detokenize=False,
                output_kind=RequestOutputKind.FINAL_ONLY,
            )
            for i in places
        ]
        dist.barrier()
        started = time.perf_counter()
        outputs = sampler.llm.generate(prompts, params, use_tqdm=False)
        mine = time.perf_counter() - started
        dist.barrier()
        steps.append(
            {
                "step": time.perf_counter() - started,
                "rollout": mine,
                "tokens": sum(len(c.token_ids) for o in outputs for c in o.outputs),
            }
        )
    write_result(options.result, {"steps": steps[options.warmup :], "peak": peak_gib()})


def trl(options, work: dict, with_vllm: bool, with_lora: bool = False) -> None:
    """GRPOTrainer with the same work; phases by wrapping its methods."""
    if with_vllm:
        os.environ.update(
            {
                "VLLM_CPU_KVCACHE_SPACE": "1",
                "VLLM_CPU_OMP_THREADS_BIND": "nobind",
                "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
                "VLLM_LOGGING_LEVEL": "ERROR",
                "RANK": "0",
                "LOCAL_RANK": "0",
                "WORLD_SIZE": "1",
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": "29511",
            }
        )
    os.environ.update({"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"})
    if with_vllm:
        from stages.engines.patches import inspect_models_in_process

        inspect_models_in_process()
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    world = int(os.environ.get("WORLD_SIZE", "1"))
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    vocabulary, total = model.config.vocab_size, work["prompts"] * work["group"]
    micro = options.trl_micro_batch or total // world
    count = options.warmup + options.steps
    rows = Dataset.from_list(
        [{"prompt": prompt_text(i, work, vocabulary)} for i in range((count + 1) * work["prompts"])]
    )
    adapters = None
    if with_lora:
        from peft import LoraConfig

        adapters = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")
    vllm = {"use_vllm": True, "vllm_mode": "colocate", "vllm_gpu_memory_utilization": 0.1} if with_vllm else {}
    settings = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=total // micro // world,
        num_generations=work["group"],
        max_completion_length=work["tokens"],
        beta=BETA,
        learning_rate=LR,
        lr_scheduler_type="constant",
        temperature=1.0,
        loss_type="grpo",
        max_steps=count,
        logging_steps=10**6,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        adam_beta2=0.95,
        shuffle_dataset=False,
        disable_tqdm=True,
        **vllm,
    )
    steps, times, marks = [], {}, {}

    def timed(name, function):
        def call(*arguments, **more):
            started = time.perf_counter()
            result = function(*arguments, **more)
            times[name] = times.get(name, 0.0) + time.perf_counter() - started
            return result

        return call

    class Clock(TrainerCallback):
        def on_step_begin(self, *_, **__):
            times.clear()
            marks.update(begin=time.perf_counter(), used=time.process_time())

        def on_step_end(self, *_, **__):
            steps.append(
                {
                    "step": time.perf_counter() - marks["begin"],
                    "processor": time.process_time() - marks["used"],
                    **times,
                    "tokens": marks["tokens"],
                }
            )

    def reward(completion_ids, **_):
        marks["tokens"] = sum(map(len, completion_ids))
        return [reward_of(options.reward, ids, vocabulary) for ids in completion_ids]

    trainer = GRPOTrainer(
        model=model,
        args=settings,
        train_dataset=rows,
        reward_funcs=[reward],
        processing_class=AutoTokenizer.from_pretrained(options.model),
        callbacks=[Clock()],
        peft_config=adapters,
    )
    if with_vllm:
        trainer.vllm_generation.sync_weights = lambda: reload_weights(trainer)
    trainer._generate_single_turn = timed("rollout", trainer._generate_single_turn)
    trainer.train()
    write_result(
        options.result,
        {
            "steps": [{**row, "train": row["step"] - row["rollout"]} for row in steps[options.warmup :]],
            "peak": peak_gib(),
            "micro": micro,
        },
    )


def reload_weights(trainer) -> None:
    """Loads the weights into vLLM as our sampler does.

    TRL uses the engine model's load_weights, which fails on CPUs whose kernels pack the weights.
    """
    llm = trainer.vllm_generation.llm
    llm.collective_rpc(
        "reload_weights",
        kwargs={"weights_iterator": ((name, p.detach()) for name, p in trainer.model.named_parameters())},
    )
    llm.reset_prefix_cache()
