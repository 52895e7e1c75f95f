"""The names that keys can choose from, where several keys have the same choice or a table elsewhere has the code.

The schema imports no code of the stages, so the names stand here once more; tests/unit/test_choices.py holds each type
against its table.
"""

from typing import Literal

# How answers are compared: VERIFIERS in stages/rewards/grading.py.
Verifier = Literal["integer", "math", "choice", "exact", "instructions", "code", "judge", "reasoning_gym"]

# Published data sets whose columns need more than a name: ADAPTERS in stages/data/adapters/__init__.py.
Adapter = Literal[
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
]

# Schemas of evaluation suites: LOADERS in stages/kinds/evaluation/suites/__init__.py.
Loader = Literal["aime", "math500", "gsm8k", "gpqa", "mmlu", "livecodebench", "codeforces", "ifeval", "tiny", "own"]

# The GRPO family: LOSSES in stages/modeling/losses.py.
Loss = Literal["grpo", "bnpo", "dapo", "dr_grpo", "gspo", "cispo"]

# What advantages are divided by: ADVANTAGES in stages/modeling/losses.py.
Advantage = Literal["group", "batch", "none"]

# Importance weights for a sampler that disagrees with the trainer: none, or one of CORRECTIONS in
# stages/modeling/losses.py.
Correction = Literal["none", "token_truncate", "token_mask", "sequence_truncate", "sequence_mask"]

# What prompts are about: DOMAINS in stages/data/mapping.py, the fields of MixConfig.
Domain = Literal["reasoning", "helpful", "safety"]

# How prompts are put before a model: stages/prompting/templates.py.
Template = Literal["plain", "r1_zero", "chat"]

# What is done with rows that cannot be used.
OnMalformed = Literal["fail", "skip"]

# Type of parameters and computations.
Precision = Literal["fp32", "bf16"]

# Whether sequences share rows: the layouts of stages/modeling/batching.py.
Packing = Literal["auto", "on", "off"]
