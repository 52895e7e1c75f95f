"""From the rows of scripts/check_families.py to the table in docs/models.md."""

import textwrap
from typing import Any

BEGIN, END = "<!-- families: begin -->\n", "<!-- families: end -->\n"
HEADER = (
    "| family | architecture | padded | packed | export, reload | reward model | sampler: vLLM "
    "| sampler: transformers | 2 SFT steps | 2 GRPO steps | verdict |\n|" + " --- |" * 11 + "\n"
)
QUESTIONS = ("padded", "packed", "export", "reward", "vllm", "transformers", "sft", "grpo", "grpo_transformers")


def verdict(row: dict[str, Any]) -> str:
    """What people can do with the family: works, works with rollout=transformers, or refused with its sentence."""
    failures = [f"{name} {row[name]}" for name in QUESTIONS if not _is_sound(row.get(name))]
    if failures:
        return f"**wrong**: {'; '.join(failures)}"
    if row["sft"] != "works":
        return row["sft"]
    if row["grpo"] == "works":
        return "works"
    if row["grpo_transformers"] == "works":
        return "works with `rollout=transformers`"
    return row["grpo_transformers"]


def is_sound(row: dict[str, Any]) -> bool:
    """Whether all of a row works or is refused with a sentence: nothing is silently wrong, and nothing crashes."""
    return all(_is_sound(row.get(name)) for name in QUESTIONS)


def _is_sound(answer: Any) -> bool:
    """Whether an answer is a small difference, "works", a refusal, or was not asked."""
    if isinstance(answer, str):
        return answer == "works" or answer.startswith("refused: ")
    return answer is None or answer <= 1e-3


def page_with(page: str, rows: dict[str, dict[str, Any]]) -> str:
    """The page with the table of these rows between its marks, and below it the sentences of what is refused."""
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    notes: list[str] = []
    lines = [
        "| " + " | ".join([family, f"`{row.get('architecture', '')}`", *_cells(row, notes), verdict(row)]) + " |\n"
        for family, row in rows.items()
    ]
    said = "".join(
        textwrap.fill(f"{number}. {note}", 120, subsequent_indent="   ", break_long_words=False) + "\n"
        for number, note in enumerate(notes, start=1)
    )
    return before + BEGIN + HEADER + "".join(lines) + ("\n" + said if said else "") + END + after


def _cells(row: dict[str, Any], notes: list[str]) -> list[str]:
    """The cells between architecture and verdict; a sentence becomes a note below the table."""
    names = ("padded", "packed", "export", "reward", "vllm", "transformers", "sft", "grpo")
    optional = ("packed", "reward")  # what a family can do without
    return [_cell(row.get(name), notes, "no" if name in optional else "refused") for name in names]


def _cell(answer: Any, notes: list[str], refused: str) -> str:
    if answer is None:
        return "–"
    if not isinstance(answer, str):
        return f"{answer:.0e}" if answer else "0"
    if answer == "works":
        return answer
    kind, _, sentence = answer.partition(": ")
    sentence = sentence.replace("|", "\\|").replace("\n", " ")
    if sentence not in notes:
        notes.append(sentence)
    return f"{refused if kind == 'refused' else kind} ({notes.index(sentence) + 1})"
