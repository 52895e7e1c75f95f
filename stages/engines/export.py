"""The end of a trained stage: a complete Hugging Face directory that people, vLLM, evaluation harnesses and the next
stage read.

Besides safetensors and tokenizer it has the chat template that renders the very prompts the model was trained on, the
ids that end a completion, sampling defaults as published [model card of DeepSeek-R1; V2 D.1], and a model card.
"""

import shlex
from pathlib import Path

from stages.contract import files
from stages.contract.description import StageDescription
from stages.contract.inputs import StageInput, find_inputs
from stages.engines.training import TrainEngine
from stages.prompting.templates import PLAIN_TEMPLATE, R1_ZERO_TEMPLATE
from stages.runtime.disk import all_or_nothing
from stages.runtime.worker import Worker

# Thoughts of earlier turns are left out, as in DeepSeek-R1's own template; `thinking=true` makes the reply begin with
# <think>, which its
# model card recommends. {begin}: what the tokenizer puts in front of every text.
_CHAT = (
    "{begin}{% set ns = namespace(system='') %}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{% set ns.system = message['content'] + '\\n' %}"
    "{% elif message['role'] == 'assistant' %}"
    "{{ message['content'] if loop.last else message['content'].split('</think>')[-1] }}{{ eos_token }}"
    "{% else %}{% set text = ns.system + message['content'] %}{% set ns.system = '' %}{user}{% endif %}"
    "{% endfor %}{% if add_generation_prompt and thinking is defined and thinking %}{{ '<think>' }}{% endif %}"
)


def chat_template(template: str, tokenizer) -> str | None:
    """The Jinja template of a model whose prompts have this template; the tokenizer's own where that was used (chat)."""
    if template == "chat":
        return tokenizer.chat_template
    before, after = {"plain": PLAIN_TEMPLATE, "r1_zero": R1_ZERO_TEMPLATE}[template].split("{prompt}")
    words = "text" if template == "plain" else "text.rstrip().removesuffix('.')"
    user = f"{{{{ {before!r} + {words} + {after!r} }}}}"
    return _CHAT.replace("{begin}", "{{ bos_token }}" if _adds_bos(tokenizer) else "").replace("{user}", user)


def _adds_bos(tokenizer) -> bool:
    ids = tokenizer("a")["input_ids"]
    return tokenizer.bos_token_id is not None and bool(ids) and ids[0] == tokenizer.bos_token_id


def set_generation_defaults(model, tokenizer) -> None:
    """generation_config.json: the end of sequence that was trained on first, then what the base model also stopped at."""
    from transformers import GenerationConfig

    before = model.generation_config.eos_token_id if model.generation_config is not None else None
    known = before if isinstance(before, list) else [before]
    ids = list(dict.fromkeys([tokenizer.eos_token_id, *(token for token in known if token is not None)]))
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=0.6,
        top_p=0.95,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=pad,
        eos_token_id=ids[0] if len(ids) == 1 else ids,
    )


def export(worker: Worker, engine: TrainEngine, tokenizer, template: str) -> None:
    """Writes model/ of a stage: weights, tokenizer with chat template, generation_config, README.md. Collective under
    ZeRO-3.
    """
    tokenizer.chat_template = chat_template(template, tokenizer)
    set_generation_defaults(engine.module.model, tokenizer)
    engine.export(tokenizer, worker.dir / "model")
    if worker.is_main:
        card = model_card(worker.description, worker.inputs, worker.metrics)
        with all_or_nothing(worker.dir / "model", len(card)):
            files.write_atomic(worker.dir / "model" / "README.md", card.encode())


def model_card(description: StageDescription, inputs: dict[str, StageInput], metrics: dict[str, float]) -> str:
    """README.md: what it is, what it was made from, on what data, with which numbers, by which command. No clocks: a
    resumed stage writes the same.
    """
    from huggingface_hub import ModelCardData

    parents = [source.path for role, source in inputs.items() if role == "policy" and source.stage is None]
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-generation",
        language=["en", "zh"],
        tags=["r1-recipe", "reasoning", description.kind],
        base_model=[name for name in map(hub_name, parents) if name] or None,
    )
    stage = description.stage
    command = card_command(description.command or f"python -m pipeline run +stage={stage}")
    lines = [
        "---",
        data.to_yaml(),
        "---",
        "",
        f"# {description.run}: {stage}",
        "",
        f"A language model, made by the stage `{stage}` ({description.kind}) of a reproduction of the "
        "DeepSeek-R1 recipe "
        "([arXiv 2501.12948](https://arxiv.org/abs/2501.12948)). Prompts are rendered by its chat template; "
        "`thinking=True` begins the reply with "
        "`<think>`. Sample at temperature 0.6.",
        "",
        "## How it was made",
        "",
        "```",
        command,
        "```",
        "",
        f"Fingerprint `{description.fingerprint}`, seed {description.seed}.",
        "",
        "### Lineage",
        "",
        *lineage(stage, description.fingerprint, inputs),
        "",
        "### Data",
        "",
        *data_lines(description, inputs),
        "",
        "## Numbers at the end of training",
        "",
        "| metric | value |",
        "|---|---|",
        *(f"| {name} | {value:.4g} |" for name, value in metrics.items()),
        "",
        "## Configuration of the stage",
        "",
        "```",
        *flat(description.config),
        "```",
        "",
    ]
    return "\n".join(lines)


def card_command(command: str) -> str:
    """The command without where this machine keeps its runs."""
    return shlex.join(word for word in shlex.split(command) if not word.startswith("runs_dir="))


def hub_name(path: str) -> str | None:
    """org/name of a model in the Hugging Face cache, None for a directory."""
    parts = [part for part in Path(path).parts if part.startswith("models--")]
    return parts[-1].removeprefix("models--").replace("--", "/", 1) if parts else None


def lineage(stage: str, fingerprint: str, inputs: dict[str, StageInput], depth: int = 0) -> list[str]:
    """A nested list: the stage, under it what it was made from, and so on as far as the directories are there."""
    lines = [f"* `{stage}` {fingerprint[:8]}"] if depth == 0 else []
    for role, source in inputs.items():
        name = source.stage or hub_name(source.path) or Path(source.path).name
        lines.append(f"{'  ' * (depth + 1)}* {role}: `{name}` {source.fingerprint[:8]}")
        below = find_inputs(Path(source.path)) if source.stage else None
        if below is not None:
            lines += lineage(name, source.fingerprint, below, depth + 1)
    return lines


def data_lines(description: StageDescription, inputs: dict[str, StageInput]) -> list[str]:
    """What it was trained on: files by name and content, else the stage that made the data, else the recipe's own
    world.
    """
    config, hashes = description.config, description.data_files
    lines = [
        f"* `{Path(config[name]['path']).name}`, SHA-256 `{hashes.get(name, 'unknown')}`"
        for name in ("traces", "data")
        if isinstance(config.get(name), dict) and config[name].get("path")
    ]
    if "data" in inputs:
        lines.append(f"* `data/train.parquet` of `{inputs['data'].stage}` {inputs['data'].fingerprint[:8]}")
    return lines or ["* the tiny world, generated by the repository"]


def flat(config: dict, prefix: str = "") -> list[str]:
    """a.b = value, one a line; paths of this machine by their last part."""
    lines = []
    for key, value in config.items():
        if isinstance(value, dict) and value:
            lines += flat(value, f"{prefix}{key}.")
        else:
            lines.append(
                f"{prefix}{key} = {Path(value).name if key == 'path' and isinstance(value, str) and value.startswith('/') else value}"
            )
    return lines
