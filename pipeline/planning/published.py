"""What the paper's training cost [V2 Table 7]."""

# Row of the paper's table -> the stages that it is made of here, and its H800 hours; at 2 USD an hour.
PAPER = {
    "R1-Zero": (("r1_zero",), 101_000),
    "SFT data creation": (("cold_start_data", "rejection_data"), 5_000),
    "R1": (("cold_start", "reasoning_rl", "rejection_sft", "reward_models", "preference_rl"), 41_000),
}
