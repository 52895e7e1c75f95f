"""Model directories that come from outside: where they are and whether they can be used."""

import os
import re
from pathlib import Path

from pipeline.errors import MissingInput
from pipeline.planning.fingerprint import model_fingerprint
from stages.contract.description import StageDescription
from stages.contract.files import find_json
from stages.contract.inputs import StageInput

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model", "tokenizer_config.json")


def outside_input(path: str, revision: str | None) -> StageInput:
    """The inputs.json entry of a model from outside. Raises MissingInput when the directory cannot be used."""
    directory = locate(path, revision)
    problems = check(directory)
    if problems:
        raise MissingInput(
            f"the model directory {directory} cannot be used: {'; '.join(problems)}",
            "give a directory that transformers' save_pretrained wrote, model and tokenizer: model.path=DIRECTORY",
        )
    return StageInput(path=str(directory), model_dir=str(directory), fingerprint=model_fingerprint(directory))


def outside_inputs(paths: list[str]) -> tuple[dict[str, StageInput], list[tuple[str, str]]]:
    """({name: inputs.json entry}, [(message, fix)]) of model directories that are evaluated. A name is the stage that
    made the model, where its directory says so, else that of the directory; a second one of the same name is numbered.
    """
    entries: dict[str, StageInput] = {}
    errors: list[tuple[str, str]] = []
    for path in paths:
        try:
            directory = Path(path).expanduser()
            entry = outside_input(
                str(directory / "model" if (directory / "model" / "config.json").is_file() else path), None
            )
        except MissingInput as error:
            errors.append(
                (str(error), "give a directory of a model, as transformers' save_pretrained writes it: model=DIRECTORY")
            )
            continue
        name = _name_of(Path(entry.path))
        number = next(
            number
            for number in range(1, len(paths) + 1)
            if (name if number == 1 else f"{name}-{number}") not in entries
        )
        entries[name if number == 1 else f"{name}-{number}"] = entry
    return entries, errors


def _name_of(model_dir: Path) -> str:
    made_by = StageDescription.find(model_dir.parent)
    return re.sub(r"[^A-Za-z0-9._-]", "-", made_by.stage if made_by else model_dir.name) or "model"


def trained_template(kind: str | None, config: dict) -> str | None:
    """The template that the prompts of a trained stage were put into, from its kind and plain configuration; None for
    what trains nothing.
    """
    if kind == "pretrain":
        return "plain"  # every world's documents are written so
    if kind in ("grpo", "reward_models"):
        return config["data"]["template"]
    return config["template"] if kind == "sft" else None


def template_of_directory(model_dir: Path) -> str | None:
    """The template of a model that a stage of ours made, where its directory still lies in that stage's."""
    made_by = StageDescription.find(model_dir.parent)
    try:
        return trained_template(made_by.kind, made_by.config) if made_by else None
    except (KeyError, TypeError):  # of a version without templates
        return None


def locate(path: str, revision: str | None) -> Path:
    """The directory of a local path or of a model in the Hugging Face cache."""
    if Path(path).expanduser().is_dir():
        return Path(path).expanduser().resolve()
    if Path(path).expanduser().is_file():
        raise MissingInput(
            f"model.path {path} is a file", "give the directory that holds config.json, the tokenizer and the weights"
        )
    cache = Path(
        os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser() / "hub"
    )
    repository = cache / f"models--{path.replace('/', '--')}"
    reference = repository / "refs" / (revision or "main")
    snapshot = repository / "snapshots" / (reference.read_text().strip() if reference.is_file() else revision or "main")
    if path.count("/") == 1 and snapshot.is_dir():
        return snapshot
    fix = (
        f"hf download {path}{f' --revision {revision}' if revision else ''}"
        if path.count("/") == 1 and not path.startswith((".", "/"))
        else "give an existing directory: model.path=DIRECTORY"
    )
    raise MissingInput(
        f"model.path {path}: no such directory, and no such model in the Hugging Face cache ({cache})", fix
    )


def check(directory: Path) -> list[str]:
    """What a model directory lacks, each a phrase."""
    problems = []
    config = find_json(directory / "config.json")
    if not (directory / "config.json").is_file():
        problems.append("no config.json")
    elif not isinstance(config, dict) or not (config.get("model_type") or config.get("architectures")):
        problems.append("config.json is not a model's (it names no model_type)")
    if not any((directory / name).is_file() for name in TOKENIZER_FILES):
        problems.append("no tokenizer (tokenizer.json or tokenizer.model)")
    return problems + _weight_problems(directory)


def _weight_problems(directory: Path) -> list[str]:
    index = find_json(directory / "model.safetensors.index.json")
    if isinstance(index, dict):
        missing = sorted(name for name in set(index.get("weight_map", {}).values()) if not (directory / name).is_file())
        return (
            [f"weight files of its index are missing: {', '.join(missing[:3])}{' ...' if len(missing) > 3 else ''}"]
            if missing
            else []
        )
    if any(directory.glob("*.safetensors")):
        return []
    pickles = sorted(
        path.name for path in (*directory.glob("*.bin"), *directory.glob("*.pt"), *directory.glob("*.pth"))
    )
    if pickles:
        return [
            f"its weights are a pickle ({pickles[0]}), which can run code when it is read: save them again with "
            "save_pretrained(..., safe_serialization=True)"
        ]
    return ["no weights (*.safetensors)"]


def num_parameters(model) -> float:
    """Parameters of a ModelConfig: from the sizes of its weight files, or computed for the recipe's own Qwen2."""
    if model.path:
        try:
            directory = locate(model.path, model.revision)
        except MissingInput:
            return 0.0
        bytes_per_parameter = (
            4 if (find_json(directory / "config.json", {}) or {}).get("torch_dtype") == "float32" else 2
        )
        return sum(path.stat().st_size for path in directory.glob("*.safetensors")) / bytes_per_parameter
    width, head = model.hidden_size, model.hidden_size // model.num_heads
    layer = 2 * width * width + 2 * width * head * model.num_kv_heads + 3 * width * model.intermediate_size
    return model.num_layers * layer + (1 if model.tie_embeddings else 2) * 288 * width
