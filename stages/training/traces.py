"""What a supervised stage learns from: prompts and completions, from the recipe's own data stage or a file of yours.

The recipe's rows carry the user's words beside the prompt as the teacher saw it. They are put into the student's
template and tokenised with its tokenizer, so that teacher and student may differ in both.
"""

from dataclasses import dataclass, field
from pathlib import Path

from stages.config import TracesConfig
from stages.data.malformed import Malformed
from stages.data.rows import Tally, rows_of
from stages.prompting.control_tokens import UnencodableText
from stages.prompting.encoding import Encoder
from stages.text.completion import without_opening


@dataclass(frozen=True)
class Trace:
    """A prompt and the completion to learn."""

    text: str  # the user's words
    completion: str  # thinking tags and all
    prompt: str = ""  # already templated: rows that were made before the words were kept
    where: str = field(default="", compare=False)  # the row of a file, for messages


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
            traces.append(Trace(row.prompt, row.completion, where=row.where))
    tally.check("traces", config.path, config.malformed)
    if not traces:
        raise ValueError(
            f"traces.path={config.path}: none of {tally.num_rows} rows can be used: {tally.shown() or 'there are none'}"
        )
    return traces, tally.summary()


def tokenized(traces: list[Trace], encoder: Encoder) -> list[tuple[list[int], list[int]]]:
    """The token ids of each prompt as this model sees it, and of what it is to write after it, with the end.

    Where the model's template opens the thought itself, that is the completion without the opening.

    Raises:
        ValueError: names of control tokens in a trace cannot be read as words.
    """
    fresh = [trace for trace in traces if not trace.prompt]
    try:
        prompts = iter(encoder.prompts([trace.text for trace in fresh]))
    except UnencodableText as error:
        raise ValueError(f"the prompt of {_name(fresh[error.place], error.place)} cannot be used: {error}") from error
    prompt_ids = [encoder.templated(trace.prompt) if trace.prompt else next(prompts) for trace in traces]
    texts = [
        trace.completion if trace.prompt else without_opening(trace.completion, encoder.opening) for trace in traces
    ]
    try:
        return list(zip(prompt_ids, encoder.targets(texts)))
    except UnencodableText as error:
        raise ValueError(
            f"the completion of {_name(traces[error.place], error.place)} cannot be used: {error}"
        ) from error


def _name(trace: Trace, place: int) -> str:
    return trace.where or f"row {place + 1}"
