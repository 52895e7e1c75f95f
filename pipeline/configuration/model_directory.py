"""Model directories: where a model from outside lies, and how many parameters it has, without loading it."""

import functools
import math
import os
import re
from pathlib import Path

from pipeline.configuration.known_models import KNOWN_MODELS
from pipeline.errors import MissingInput
from stages.config import ModelConfig
from stages.contract.files import find_json
from stages.contract.safetensors_header import BadWeights, raw_header

TINY_VOCABULARY = 288  # of the recipe's own tokenizer


def locate(path: str, revision: str | None) -> Path:
    """The directory of a model: a local path, or OWNER/NAME in the Hugging Face cache.

    Raises:
        MissingInput: There is no such directory; its fix is the command that downloads the model.
    """
    local = Path(path).expanduser()
    if local.is_dir():
        return local.resolve()
    if local.is_file():
        raise MissingInput(
            f"model.path {path} is a file", "give the directory that holds config.json, the tokenizer and the weights"
        )
    is_name = path.count("/") == 1
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    repository = cache / f"models--{path.replace('/', '--')}"
    reference = repository / "refs" / (revision or "main")
    commit = reference.read_text().strip() if reference.is_file() else revision or "main"
    snapshot = repository / "snapshots" / commit
    if is_name and snapshot.is_dir():
        return snapshot
    fix = "give an existing directory: model.path=DIRECTORY"
    by_name = re.fullmatch(r"(.+?)(?:-(\d+)-layers|-without-(\d+(?:-\d+)*))?", local.name)
    if by_name and by_name[1] in KNOWN_MODELS:  # as `models get` and `models cut` name what they make
        fix = f"r1 models get {by_name[1]}"
        whole = local.parent / by_name[1]
        if by_name[2]:
            fix = f"r1 models cut {whole} --layers {by_name[2]}, after {fix}"
        elif by_name[3]:
            fix = f"r1 models cut {whole} --without {by_name[3].replace('-', ',')}, after {fix}"
    elif is_name and not path.startswith((".", "/")):
        fix = f"hf download {path}" + (f" --revision {revision}" if revision else "")
    raise MissingInput(
        f"model.path {path}: no such directory, and no such model in the Hugging Face cache ({cache})", fix
    )


def num_parameters(model: ModelConfig) -> float:
    """Parameters of a model: from the headers of its weight files, or computed for the recipe's own Llama.

    0 for a model that is not there.
    """
    if model.path:
        try:
            directory = locate(model.path, model.revision)
        except MissingInput:
            return 0.0
        return sum(_parameters_of(path) for path in weight_files(directory))
    width, head = model.hidden_size, model.hidden_size // model.num_heads
    layer = 2 * width * width + 2 * width * head * model.num_kv_heads + 3 * width * model.intermediate_size
    return model.num_layers * layer + (1 if model.tie_embeddings else 2) * TINY_VOCABULARY * width


def width_of(model: ModelConfig) -> int:
    """The width of a model, the elements of a hidden state, by its config.json; 0 where that does not tell."""
    if not model.path:
        return model.hidden_size
    try:
        config = find_json(locate(model.path, model.revision) / "config.json")
    except MissingInput:
        return 0
    text = config.get("text_config") or config if isinstance(config, dict) else {}
    found = text.get("hidden_size") or text.get("n_embd") or text.get("d_model")
    return found if isinstance(found, int) else 0


def weight_files(directory: Path) -> list[Path]:
    """The files that hold a model's weights: those of its index, else model.safetensors, else all safetensors files.

    Some directories hold the same weights once more in another layout (consolidated.safetensors).
    """
    index = find_json(directory / "model.safetensors.index.json")
    named = set(index.get("weight_map", {}).values()) if isinstance(index, dict) else set()
    whole = directory / "model.safetensors"
    chosen = [directory / name for name in sorted(named)] or [whole]
    found = [path for path in chosen if path.is_file()]
    return found or sorted(directory.glob("*.safetensors"))


def _parameters_of(path: Path) -> float:
    """Parameters in a weight file; by its size where its header cannot be read."""
    stat = path.stat()
    counted = _count(path, stat.st_size, stat.st_mtime_ns)
    return stat.st_size / _weight_bytes(path.parent) if counted is None else counted


@functools.lru_cache(maxsize=1024)
def _count(path: Path, size: int, changed_ns: int) -> int | None:
    """Parameters in a weight file of this size, last changed then, which is read once; None without a header."""
    try:
        return sum(math.prod(entry["shape"]) for entry in raw_header(path).values())
    except BadWeights:
        return None


def _weight_bytes(directory: Path) -> int:
    """Bytes of a parameter in the weight files of a model directory."""
    config = find_json(directory / "config.json")
    if not isinstance(config, dict):
        return 2
    precision = config.get("dtype") or config.get("torch_dtype")  # the latter: transformers before 5
    return 4 if precision == "float32" else 2
