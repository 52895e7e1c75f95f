"""What a supervised stage learns from: prompts and completions, from the recipe's own data stage or from a file of the
user's.

The recipe's rows carry the user's words beside the prompt as the teacher saw it. They are put into the student's
template and tokenised with its tokenizer, so that teacher and student may differ in both.
"""

from dataclasses import dataclass
from pathlib import Path

from stages.config import TracesConfig
from stages.data.rows import Tally, rows_of
from stages.prompting.templates import apply_template
from stages.text.completion import opening_of, without_opening


@dataclass(frozen=True)
class Trace:
    text: str  # the user's words
    completion: str  # thinking tags and all
    prompt: str = ""  # already templated: rows that were made before the words were kept


def recipe_traces(path: Path) -> list[Trace]:
    """data/train.parquet of a collecting stage."""
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(path).to_pylist()
    return [
        Trace(row["text"], (row.get("opening") or "") + row["completion"])
        if row.get("text")
        else Trace("", row["completion"], row["prompt"])
        for row in rows
    ]


def file_traces(config: TracesConfig) -> tuple[list[Trace], str]:
    """The rows of the user's file, and what to say of those left out. Raises ValueError with the rows that cannot be
    used.
    """
    tally = Tally()
    rows = [row for row in rows_of(config, "traces") if tally.add(row)]
    tally.check("traces", config.path, config.malformed)
    if not rows:
        raise ValueError(
            f"traces.path={config.path}: none of {tally.num_rows} rows can be used: {tally.shown() or 'there are none'}"
        )
    return [Trace(row.prompt, row.completion) for row in rows], tally.summary()


def prompt_and_completion(trace: Trace, template: str, tokenizer) -> tuple[str, str]:
    """The prompt as this model sees it, and what it is to write: where its template opens the thought itself, all but
    that.
    """
    if trace.prompt:
        return trace.prompt, trace.completion
    prompt = apply_template(trace.text, template, tokenizer)
    return prompt, without_opening(trace.completion, opening_of(prompt))
