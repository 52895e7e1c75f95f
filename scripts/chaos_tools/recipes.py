"""What is killed: the stages, and their small configurations in each of the recipes."""

KINDS = {  # of the stages that can be killed
    "student_base": "pretrain",
    "r1_zero": "grpo",
    "cold_start_data": "collect",
    "cold_start": "sft",
    "reasoning_rl": "grpo",
    "rejection_data": "collect",
    "rejection_sft": "sft",
    "reward_models": "reward_models",
    "preference_rl": "grpo",
    "distill": "sft",
    "evaluate": "evaluate",
}


GRPO = {
    "num_steps": 5,
    "prompts_per_step": 4,
    "group_size": 4,
    "max_completion_tokens": "[[0,48]]",
    "reference_every": 2,
    "save_every": 1,
}


SFT = {"max_steps": 6, "batch_size": 8, "save_every": 1}


TINY = {
    "student_base": {"num_steps": 8, "batch_size": 8, "save_every": 1},
    "base": {"num_steps": 400, "batch_size": 16, "save_every": 100},  # enough to solve a few problems
    "r1_zero": GRPO,
    "cold_start_data": {
        "num_prompts": 48,
        "samples_per_prompt": 6,
        "chunk_prompts": 12,
        "max_completion_tokens": 64,
        "min_language": 0.3,
    },
    "cold_start": SFT,
    "reasoning_rl": {**GRPO, "num_steps": 6, "updates_per_rollout": 2},
    "rejection_data": {
        "num_prompts": 48,
        "chunk_prompts": 12,
        "max_completion_tokens": 64,
        "min_language": 0.3,
        "num_general": 200,
    },
    "rejection_sft": SFT,
    "reward_models": {
        "num_prompts": 24,
        "samples_per_prompt": 6,
        "num_safety_prompts": 24,
        "batch_size": 8,
        "num_steps": 4,
        "safety_steps": 4,
        "save_every": 1,
    },
    "preference_rl": {
        **GRPO,
        "num_steps": 4,
        "preference_last_steps": 3,
        "oversampling": 2.0,
        "max_sampling_rounds": 2,
    },
    "distill": SFT,
    "evaluate": {
        "num_reasoning": 16,
        "num_general": 16,
        "num_safety": 8,
        "max_completion_tokens": 48,
        "models": "[r1_zero,cold_start,distill]",
    },
}


SMOLLM2_GRPO = {
    "num_steps": 3,
    "prompts_per_step": 2,
    "group_size": 4,
    "max_completion_tokens": "[[0,48]]",
    "save_every": 1,
    "save_every_minutes": 0,
}


SMOLLM2_SFT = {"max_steps": 3, "batch_size": 4, "save_every": 1, "save_every_minutes": 0}


SMOLLM2 = {  # the real model of models/smollm2-135m: one process with two threads, checkpoints of 1.6 GB
    "r1_zero": SMOLLM2_GRPO,
    "cold_start_data": {"num_prompts": 24, "chunk_prompts": 8},
    "cold_start": SMOLLM2_SFT,
    "reasoning_rl": SMOLLM2_GRPO,
    "rejection_data": {"num_prompts": 24, "chunk_prompts": 8, "num_general": 40},
    "rejection_sft": SMOLLM2_SFT,
    "reward_models": {
        "num_prompts": 24,
        "num_safety_prompts": 24,
        "batch_size": 4,
        "num_steps": 2,
        "safety_steps": 2,
        "save_every": 1,
        "save_every_minutes": 0,
    },
    "preference_rl": {**SMOLLM2_GRPO, "preference_last_steps": 2},
    "distill": SMOLLM2_SFT,
    "evaluate": {"num_reasoning": 8, "num_general": 8, "num_safety": 4, "models": "[r1_zero,preference_rl]"},
}


SHORT = {"tiny": TINY, "smollm2": SMOLLM2}  # recipe -> stages in their order, with what is overridden
