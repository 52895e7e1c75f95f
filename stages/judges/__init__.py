"""Judges decide where no rule can: whether an answer is right, which of two is better, whether a reply is safe.

One interface (`interface.py`) and its backends: the rules of a world, an OpenAI-compatible endpoint, a local
vLLM model. docs/judges.md says how to use them.
"""

from stages.judges.calls import JudgeUnavailable
from stages.judges.factory import make_judge
from stages.judges.interface import Comparison, Judge, Judged
from stages.judges.stage_judge import (
    close_stage,
    current_judge,
    has_stage,
    open_stage,
    record_cost,
    require_judge,
    unload,
)

__all__ = [
    "Comparison",
    "Judge",
    "JudgeUnavailable",
    "Judged",
    "close_stage",
    "current_judge",
    "has_stage",
    "make_judge",
    "open_stage",
    "record_cost",
    "require_judge",
    "unload",
]
