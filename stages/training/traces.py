"""What a supervised stage learns from: prompts and completions, from the recipe's own data stage or a file of yours.

The recipe's rows carry the user's words beside the prompt as the teacher saw it. They are put into the student's
template and tokenised with its tokenizer, so that teacher and student may differ in both.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.config import TracesConfig
from stages.data.malformed import Malformed
from stages.data.rows import Tally, rows_of
from stages.prompting.templates import apply_template
from stages.text.completion import opening_of, without_opening


@dataclass(frozen=True)
class Trace:
    """A prompt and the completion to learn."""

    text: str  # the user's words
    completion: str  # thinking tags and all
    prompt: str = ""  # already templated: rows that were made before the words were kept


def recipe_traces(path: Path) -> list[Trace]:
    """The traces of a collecting stage: the rows of its data/train.parquet."""
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(path).to_pylist()
    return [
        Trace(row["text"], (row.get("opening") or "") + row["completion"])
        if row.get("text")
        else Trace("", row["completion"], row["prompt"])
        for row in rows
    ]


def file_traces(config: TracesConfig) -> tuple[list[Trace], str]:
    """The traces of the user's file.

    Returns:
        The traces, and a sentence for the log about rows that were left out; empty where none was.

    Raises:
        ValueError: there are rows that cannot be used and are not to be skipped, or none that can.
    """
    tally = Tally()
    traces = []
    for row in rows_of(config, "traces"):
        if tally.add(row) and not isinstance(row, Malformed):
            traces.append(Trace(row.prompt, row.completion))
    tally.check("traces", config.path, config.malformed)
    if not traces:
        raise ValueError(
            f"traces.path={config.path}: none of {tally.num_rows} rows can be used: {tally.shown() or 'there are none'}"
        )
    return traces, tally.summary()


def prompt_and_completion(trace: Trace, template: str, tokenizer: Any) -> tuple[str, str]:
    """The prompt as this model sees it, and the text that it is to write after it.

    Where the model's template opens the thought itself, that text is the completion without the opening.

    Args:
        trace: of any teacher.
        template: plain, r1_zero or chat.
        tokenizer: the model's; its chat template is used where `template` is chat.
    """
    if trace.prompt:
        return trace.prompt, trace.completion
    prompt = apply_template(trace.text, template, tokenizer)
    return prompt, without_opening(trace.completion, opening_of(prompt))
