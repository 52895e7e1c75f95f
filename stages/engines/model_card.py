"""The README.md of a trained model: what it is and what it was made from, on what data, with which numbers, how."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.contract.description import StageDescription
from stages.contract.inputs import StageInput, find_inputs


def model_card(
    description: StageDescription,
    inputs: dict[str, StageInput],
    metrics: dict[str, float],
    chat_template: str = "",
    ends: Sequence[str] = (),
    adapters: Sequence[str] = (),
) -> str:
    """Writes the card of a model.

    It names no clock times: a resumed stage writes the same.

    Args:
        description: of the stage.
        inputs: of the stage, by role.
        metrics: its numbers at the end.
        chat_template: the Jinja template that the model is exported with; "" where it has none.
        ends: the tokens that end a completion.
        adapters: lines on the adapters that were merged into it.
    """
    stage = description.stage
    lines = [
        "---",
        _front_matter(description, inputs),
        "---",
        "",
        f"# {description.run}: {stage}",
        "",
        f"A language model, made by the stage `{stage}` ({description.kind}) of a reproduction of the "
        "DeepSeek-R1 recipe "
        f"([arXiv 2501.12948](https://arxiv.org/abs/2501.12948)). {_how_to_prompt(chat_template, ends)}"
        "Sample at temperature 0.6.",
        "",
        "## How it was made",
        "",
        *origin_lines(description, inputs),
        *adapters,
        *number_lines(metrics),
        "## Configuration of the stage",
        "",
        "```",
        *flat(description.config),
        "```",
        "",
    ]
    return "\n".join(lines)


def origin_lines(description: StageDescription, inputs: dict[str, StageInput]) -> list[str]:
    """The command that made a stage, its fingerprint, what it was made from, and its data."""
    return [
        "```",
        card_command(description.command or f"python -m pipeline run +stage={description.stage}"),
        "```",
        "",
        f"Fingerprint `{description.fingerprint}`, seed {description.seed}.",
        "",
        "### Lineage",
        "",
        *lineage(description.stage, description.fingerprint, inputs),
        "",
        "### Data",
        "",
        *data_lines(description, inputs),
        "",
    ]


def number_lines(metrics: dict[str, float]) -> list[str]:
    """The section on a stage's numbers at its end."""
    return [
        "## Numbers at the end of training",
        "",
        "| metric | value |",
        "|---|---|",
        *(f"| {name} | {value:.4g} |" for name, value in metrics.items()),
        "",
    ]


def _how_to_prompt(chat_template: str, ends: Sequence[str]) -> str:
    """What the model's chat template does and what ends a completion, in a sentence or two."""
    said = f"Completions end with {' or '.join(f'`{end}`' for end in ends)}. " if ends else ""
    if not chat_template:
        return said
    begins_thought = re.search(r"\bthinking\b", chat_template) and "<think>" in chat_template
    more = "; `thinking=True` begins the reply with `<think>`" if begins_thought else ""
    return f"Prompts are rendered by its chat template{more}. {said}"


def languages(description: StageDescription, inputs: dict[str, StageInput]) -> list[str]:
    """The languages of the data that a model was trained on, ISO 639-1; none where nothing says them."""
    data = description.config.get("data")
    if "data" in inputs:  # what a builder has made: the languages of its prompts
        made_by = StageDescription.find(Path(inputs["data"].path))
        data = made_by.config.get("data") if made_by else None
    traces = description.config.get("traces")
    if isinstance(traces, dict) and traces.get("path"):
        data = {"name": "file", **traces}
    if not isinstance(data, dict):
        return []
    if data.get("name", "file") != "file":
        return {"tiny_world": ["en", "zh"], "reasoning_gym": ["en"]}.get(data["name"], [])
    sources = list((data.get("sources") or {}).values()) or [data]
    known = {source.get("language") for source in sources if not source.get("language_column")}
    return sorted(known - {None, "auto"})


def _front_matter(description: StageDescription, inputs: dict[str, StageInput]) -> str:
    """What the Hub reads of a card, in YAML."""
    from huggingface_hub import ModelCardData

    parents = [source.path for role, source in inputs.items() if role == "policy" and source.stage is None]
    return ModelCardData(
        library_name="transformers",
        pipeline_tag="text-generation",
        language=languages(description, inputs) or None,
        tags=["r1-recipe", "reasoning", description.kind],
        base_model=[name for name in map(hub_name, parents) if name] or None,
    ).to_yaml()


def card_command(command: str) -> str:
    """The command without the directory in which this machine keeps its runs."""
    return shlex.join(word for word in shlex.split(command) if not word.startswith("runs_dir="))


def hub_name(path: str) -> str | None:
    """org/name of a model in the Hugging Face cache; None for any other directory."""
    parts = [part for part in Path(path).parts if part.startswith("models--")]
    return parts[-1].removeprefix("models--").replace("--", "/", 1) if parts else None


def lineage(stage: str, fingerprint: str, inputs: dict[str, StageInput], depth: int = 0) -> list[str]:
    """A nested list in Markdown: the stage, under it what it was made from, as far as the directories are there."""
    lines = [f"* `{stage}` {fingerprint[:8]}"] if depth == 0 else []
    for role, source in inputs.items():
        name = source.stage or hub_name(source.path) or Path(source.path).name
        lines.append(f"{'  ' * (depth + 1)}* {role}: `{name}` {source.fingerprint[:8]}")
        below = find_inputs(Path(source.path)) if source.stage else None
        if below is not None:
            lines += lineage(name, source.fingerprint, below, depth + 1)
    return lines


def data_lines(description: StageDescription, inputs: dict[str, StageInput]) -> list[str]:
    """What the model was trained on, as a list in Markdown.

    Files by name and content, else the stage that made the data, else the recipe's own world.
    """
    config, hashes = description.config, description.data_files
    lines = [
        f"* `{Path(config[name]['path']).name}`, SHA-256 `{hashes.get(name, 'unknown')}`"
        for name in ("traces", "data")
        if isinstance(config.get(name), dict) and config[name].get("path")
    ]
    if "data" in inputs:
        lines.append(f"* `data/train.parquet` of `{inputs['data'].stage}` {inputs['data'].fingerprint[:8]}")
    return lines or [_generated(config.get("data"))]


def _generated(data: Any) -> str:
    """A line on data that is no single file: several sources, or generated by a world."""
    data = data if isinstance(data, dict) else {}
    if data.get("name") == "reasoning_gym":
        return f"* reasoning-gym: {', '.join(data.get('tasks') or [])}"
    if data.get("name") == "file":
        paths = [Path(str(source.get("path"))).name for source in (data.get("sources") or {}).values()]
        return f"* {', '.join(f'`{path}`' for path in paths) or 'files of its own'}"
    return "* the tiny world, generated by the repository"


def flat(config: dict[str, Any], prefix: str = "") -> list[str]:
    """A configuration as lines `a.b = value`; paths of this machine by their last part."""
    lines = []
    for key, value in config.items():
        if isinstance(value, dict) and value:
            lines += flat(value, f"{prefix}{key}.")
        else:
            is_local = key == "path" and isinstance(value, str) and value.startswith("/")
            lines.append(f"{prefix}{key} = {Path(value).name if is_local else value}")
    return lines
