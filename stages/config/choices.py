"""The names that a key can choose from, where the code behind them is in a table elsewhere. A test holds each tuple
against its table.
"""

# how answers are compared: the table of the same name in stages/rewards/grading.py
VERIFIERS = ("integer", "math", "choice", "exact", "instructions", "code", "judge", "reasoning_gym")

# published data sets whose columns need more than a name: the table of the same name in
# stages/data/adapters/__init__.py
ADAPTERS = (
    "none",
    "gsm8k",
    "boxed_solution",
    "numina_math_15",
    "dapo",
    "apps",
    "code_contests",
    "codeforces",
    "mmlu_pro",
    "sciq",
    "gpqa",
    "thoughts",
    "open_thoughts",
    "ultrafeedback",
    "helpsteer2",
    "helpsteer3",
    "pku_preferences",
    "pku_labels",
)

# schemas of evaluation suites: the table of the same name in stages/kinds/evaluation/suites/__init__.py
LOADERS = ("aime", "math500", "gsm8k", "gpqa", "mmlu", "livecodebench", "codeforces", "ifeval", "tiny", "own")

# the GRPO family: the table of the same name in stages/modeling/losses.py
LOSSES = ("grpo", "bnpo", "dapo", "dr_grpo", "gspo", "cispo")

# what advantages are divided by: the table of the same name in stages/modeling/losses.py
ADVANTAGES = ("group", "batch", "none")

# importance weights for a sampler that disagrees with the trainer: the table of the same name in
# stages/modeling/losses.py
CORRECTIONS = ("token_truncate", "token_mask", "sequence_truncate", "sequence_mask")
