"""What a supervised stage learns from: prompts and completions, from the recipe's own data stage or from a file of the user's.

The recipe's rows carry the user's words beside the prompt as the teacher saw it. They are put into the student's template and tokenised
with its tokenizer, so that teacher and student may differ in both.
"""
from dataclasses import dataclass
from pathlib import Path

from stages.config import TracesConfig
from stages.data.rows import Tally, rows_of
from stages.prompts import apply_template


@dataclass(frozen=True)
class Trace:
    text: str         # the user's words
    completion: str   # thinking tags and all
    prompt: str = ""  # already templated: rows that were made before the words were kept


def recipe_traces(path: Path) -> list[Trace]:
    """data/train.parquet of a collecting stage."""
    import pyarrow.parquet
    rows = pyarrow.parquet.read_table(path).to_pylist()
    return [Trace(row.get("text") or "", row["completion"], "" if row.get("text") else row["prompt"]) for row in rows]


def file_traces(config: TracesConfig) -> tuple[list[Trace], str]:
    """The rows of the user's file, and what to say of those left out. Raises ValueError with the rows that cannot be used."""
    tally = Tally()
    rows = [row for row in rows_of(config, "traces") if tally.add(row)]
    tally.check("traces", config.path, config.malformed)
    if not rows:
        raise ValueError(f"traces.path={config.path}: none of {tally.num_rows} rows can be used: {tally.shown() or 'there are none'}")
    return [Trace(row.prompt, row.completion) for row in rows], tally.summary()


def prompt_text(trace: Trace, template: str, tokenizer) -> str:
    """The prompt as this model sees it."""
    return trace.prompt or apply_template(trace.text, template, tokenizer)
