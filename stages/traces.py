"""What a supervised stage learns from: rows of prompt and completion, from the recipe's own data stage or from a file of the user's.

The recipe's rows carry the user's words beside the prompt as the teacher saw it. They are put into the student's template and tokenised
with its tokenizer, so that teacher and student may differ in both.
"""
from dataclasses import dataclass
from pathlib import Path

from stages.config import TracesConfig
from stages.data.file_prompts import _read_rows, _some
from stages.prompts import apply_template


@dataclass(frozen=True)
class Trace:
    """`messages` is the conversation up to the completion, the last of it the user's; `prompt` stands for it where it is already templated."""
    messages: list[dict]
    completion: str
    prompt: str = ""


def recipe_traces(path: Path) -> list[Trace]:
    """data/train.parquet of a collecting stage."""
    import pyarrow.parquet
    rows = pyarrow.parquet.read_table(path).to_pylist()
    return [Trace([{"role": "user", "content": row["text"]}], row["completion"]) if row.get("text") is not None
            else Trace([], row["completion"], row["prompt"]) for row in rows]


def file_traces(config: TracesConfig) -> list[Trace]:
    """The rows of the user's file. Raises ValueError with the rows that cannot be used."""
    try:
        rows = _read_rows(Path(config.path))
    except ValueError as error:
        raise ValueError(str(error).replace("data.path=", "traces.path=")) from None
    traces, errors = [], []
    for where, row in rows:
        try:
            traces.append(_of_row(row, config))
        except ValueError as error:
            errors.append(f"{where}: {error}")
    if errors or not traces:
        raise ValueError(f"traces.path={config.path}: {len(errors)} of {len(rows)} rows cannot be used: {_some(errors) or 'there are none'}. "
                         "Set traces.prompt_column and traces.completion_column, or traces.messages_column, or mend the file")
    return traces


def _of_row(row: dict, config: TracesConfig) -> Trace:
    messages = row.get(config.messages_column)
    if messages is None:
        for column in (config.prompt_column, config.completion_column):
            if not isinstance(row.get(column), str) or not row[column].strip():
                raise ValueError(f"{column} is missing, empty or not text; it has {', '.join(row) or 'no columns'}")
        return Trace([{"role": "user", "content": row[config.prompt_column].strip()}], row[config.completion_column])
    if not isinstance(messages, list) or not all(isinstance(m, dict) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str) for m in messages):
        raise ValueError(f"{config.messages_column} is not a list of {{role, content}} texts")
    roles = [message["role"] for message in messages]
    if roles[-2:] != ["user", "assistant"] or not messages[-1]["content"].strip():
        raise ValueError(f"{config.messages_column} must end with a user's and an assistant's message, its roles are {', '.join(roles) or 'none'}")
    return Trace([{"role": m["role"], "content": m["content"]} for m in messages[:-1]], messages[-1]["content"])


def prompt_text(trace: Trace, template: str, tokenizer) -> str:
    """The prompt as this model sees it. Raises ValueError where only a chat template could hold the conversation."""
    if trace.prompt:
        return trace.prompt
    if template == "chat" and getattr(tokenizer, "chat_template", None):
        return tokenizer.apply_chat_template(trace.messages, tokenize=False, add_generation_prompt=True)
    if len(trace.messages) > 1:
        raise ValueError(f"a conversation of {len(trace.messages)} messages needs template=chat, got template={template}")
    return apply_template(trace.messages[0]["content"], template, tokenizer)
