"""What the report calls things: stages with their labels and colours, metrics, evaluation sets; and their order."""

from dataclasses import dataclass

from pipeline.configuration.graph import family_of


@dataclass(frozen=True)
class StageName:
    """How a stage is shown. `about` says what it does in the recipe."""

    label: str
    about: str
    color: str


STAGES: dict[str, StageName] = {
    "base": StageName("Base", "A base model, pretrained from scratch because the recipe was given none.", "#6b7280"),
    "student_base": StageName("Student base", "The smaller base model that is distilled into.", "#a8a29e"),
    "r1_zero": StageName(
        "R1-Zero", "Reinforcement learning straight from the base, with accuracy and format rewards only.", "#d9480f"
    ),
    "cold_start_data": StageName(
        "Cold-start data", "Readable completions sampled from R1-Zero, filtered and refined.", "#b8a2c8"
    ),
    "cold_start": StageName("Dev1", "The base, fine-tuned on the cold-start data.", "#8b3fa8"),
    "reasoning_rl": StageName(
        "Dev2", "Reinforcement learning on reasoning, with a reward for one language.", "#0b7a62"
    ),
    "rejection_data": StageName("Rejection data", "Correct, clean completions of Dev2, and general data.", "#8fbcae"),
    "rejection_sft": StageName(
        "Dev3", "The base again, fine-tuned on the rejection-sampled and general data.", "#c2255c"
    ),
    "reward_models": StageName(
        "Reward models", "One model of helpfulness from pairs, one of safety from single completions.", "#9a7b00"
    ),
    "preference_rl": StageName("R1", "Reinforcement learning with rule, language and preference rewards.", "#1d4ed8"),
    "distill": StageName("Student", "The student base, fine-tuned on Dev2's completions.", "#0e7490"),
    "student_rl": StageName(
        "Student by RL", "The student base, trained by reinforcement learning instead, to compare with.", "#65a30d"
    ),
    "evaluate": StageName("Evaluation", "Every model on the same held-out prompts.", "#374151"),
    "report": StageName("Report", "This file.", "#374151"),
}
SPARE_COLORS = ("#7c2d12", "#3f6212", "#155e75", "#581c87", "#831843")


def stage_name(name: str) -> StageName:
    """How a stage is shown; made up for what STAGES does not know: a second student, a model from outside."""
    if name in STAGES:
        return STAGES[name]
    family = family_of(name)
    color = SPARE_COLORS[sum(name.encode()) % len(SPARE_COLORS)]
    if family in STAGES:
        return StageName(f"{STAGES[family].label} {name.removeprefix(family)[1:]}", STAGES[family].about, color)
    return StageName(name, "", color)


def stage_order(name: str) -> tuple[int, str]:
    """Sorting key: the recipe's order; a student's stage is with its kind, an unknown name before the evaluation."""
    known = list(STAGES)
    family = family_of(name)
    return (known.index(family), name) if family in known else (known.index("evaluate") - 1, name)


METRIC_LABELS = {
    "pass@1": "pass@1",
    "cons@k": "cons@k",
    "format": "format",
    "language": "language",
    "reflection": "reflection",
    "tokens": "tokens",
    "thinking_tokens": "thinking tokens",
    "truncated": "truncated",
    "no_answer": "no answer",
    "grader_errors": "grader errors",
    "rating": "rating",
    "percentile": "percentile",
    "rude": "rude",
    "polite": "polite",
    "refused": "refused",
    "helpfulness": "helpfulness",
    "harmful_refused": "harmful refused",
    "harmful_safe": "harmful safe",
    "benign_refused": "benign refused",
    "benign_correct": "benign correct",
    "benign_rude": "benign rude",
}
SET_LABELS = {
    "aime24": "AIME 2024",
    "aime25": "AIME 2025",
    "math500": "MATH-500",
    "gpqa": "GPQA Diamond",
    "mmlu": "MMLU",
    "mmlu_pro": "MMLU-Pro",
    "gsm8k": "GSM8K",
    "livecodebench": "LiveCodeBench",
    "codeforces": "Codeforces",
    "ifeval": "IFEval",
    "tiny_math": "Reasoning",
    "tiny_general": "General tasks",
    "tiny_safety": "Safety",
    "english_general": "General tasks",
    "english_safety": "Safety",
}


def set_label(name: str) -> str:
    """The name of an evaluation set as people read it: tiny_math is "Reasoning (tiny_math)"."""
    return f"{SET_LABELS[name]} ({name})" if name in SET_LABELS else name


def metric_label(metric: str) -> str:
    """The name of a metric as people read it: thinking_tokens is "thinking tokens"."""
    return METRIC_LABELS.get(metric, metric.replace("_", " "))


def metric_order(metric: str) -> tuple[int, str]:
    """Sorting key: pass@k and cons@k first, then as METRIC_LABELS lists them, then by name."""
    known = list(METRIC_LABELS)
    for family, first in (("pass@", "pass@1"), ("cons@", "cons@k")):
        if metric.startswith(family):
            return known.index(first), metric
    return (known.index(metric), "") if metric in known else (len(known), metric)
