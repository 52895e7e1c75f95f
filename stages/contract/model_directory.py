"""Whether a directory from outside holds a model that can be used, as far as its files say without reading the weights.

Both halves ask: `plan` before anything is launched, a worker before it loads. What needs the tensors, or the names that
the model's class expects, is found where the model is loaded (stages/modeling/loading.py).
"""

import os
import re
from pathlib import Path
from typing import Any

from stages.contract.adapter_directory import adapter_problem
from stages.contract.files import find_json
from stages.contract.safetensors_header import BadWeights, TensorEntry, is_lfs_pointer, read_header

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model", "tokenizer_config.json")
NOT_GENERATING = re.compile(
    r"For(SequenceClassification|TokenClassification|QuestionAnswering|MaskedLM|MultipleChoice|RewardModel)$|RewardModel$"
)
# What wrappers put before all names: DDP and DataParallel, FSDP, torch.compile, PEFT, DeepSpeed.
WRAPPERS = ("module.", "_fsdp_wrapped_module.", "_orig_mod.", "base_model.model.", "_forward_module.")
MALFORMED = (TypeError, KeyError, AttributeError, ValueError)  # JSON that is not of the form that it should have
MOST_LAYERS = 10_000  # a number beyond is a mistake that the class of the model will find
LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks|block)\.(\d+)\.")
EXPERT = re.compile(r"(.*\.experts)\.(\d+)\.(.*)$")
EMBEDDING = re.compile(r"(?:^|\.)(?:embed_tokens|wte|embed_in|word_embeddings|embeddings)\.weight$")
WHOLE_NUMBERS = re.compile(r"^(F8|F6|F4|[IU]\d)")  # types in which no weight can be trained


def model_problems(directory: Path, is_trained: bool = True, is_classifier: bool = False) -> list[str]:
    """What is wrong with a model directory: phrases that name the file and say what to do; none where it is fine.

    Args:
        directory: Of the model, with its tokenizer.
        is_trained: Whether it is trained; some that cannot be, vLLM can run.
        is_classifier: Whether it is a reward model, and so generates no text.
    """
    unreadable = _unreadable(directory)
    if unreadable:
        return [unreadable]
    pointers = _lfs_pointers(directory)
    if pointers:
        return [f"{listed(pointers)}: pointers of Git LFS, not the files: fetch them with `git lfs pull`"]
    config = find_json(directory / "config.json")
    adapter = adapter_problem(directory, read_tensors)
    if adapter:
        return [adapter]
    problems = _config_problems(directory, config, is_trained, is_classifier)
    if not any((directory / name).is_file() for name in TOKENIZER_FILES):
        problems.append("no tokenizer (tokenizer.json or tokenizer.model)")
    try:
        tensors = read_tensors(directory)
    except BadWeights as error:
        return [*problems, str(error)]
    config = config if isinstance(config, dict) else {}
    return problems + _tensor_problems(tensors, text_config(config), is_trained) + _row_problems(directory, tensors)


def listed(names: list[str], most: int = 3) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def text_config(config: dict[str, Any]) -> dict[str, Any]:
    """The part of a configuration that describes the language model."""
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) else config


def _files(directory: Path) -> list[Path]:
    """The files that a model can be made of, links to nowhere among them."""
    patterns = ("*.safetensors", "*.json", "tokenizer.model", "*.bin")
    return sorted({path for pattern in patterns for path in directory.glob(pattern) if not path.is_dir()})


def _unreadable(directory: Path) -> str | None:
    """Which files cannot be read at all, and why."""
    lost = [path.name for path in _files(directory) if not path.exists()]
    if lost:
        return f"{listed(lost)}: links to files that are not there (a cache that was moved or cleaned): get them again"
    forbidden = [path.name for path in _files(directory) if not os.access(path, os.R_OK)]
    if forbidden:
        return f"{listed(forbidden)}: this user may not read them"
    return None


def _lfs_pointers(directory: Path) -> list[str]:
    return [path.name for path in _files(directory) if is_lfs_pointer(path)]


def _config_problems(directory: Path, config: Any, is_trained: bool, is_classifier: bool) -> list[str]:
    """What is wrong with config.json."""
    if not (directory / "config.json").is_file():
        return ["no config.json"]
    if config is None:
        return ["config.json is not JSON: it was cut off or edited; get it again"]
    if not isinstance(config, dict) or not (config.get("model_type") or config.get("architectures")):
        return ["config.json is not a model's (it names no model_type)"]
    problems = []
    names = config.get("architectures")
    names = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    if not names:
        problems.append('config.json names no architectures: add its class, e.g. "architectures": ["LlamaForCausalLM"]')
    if not is_classifier and any(NOT_GENERATING.search(name) for name in names):
        problems.append(f"config.json: {names[0]} generates no text: give a causal language model")
    if config.get("is_encoder_decoder"):
        problems.append("config.json: an encoder-decoder model (is_encoder_decoder): give a causal language model")
    quantization = config.get("quantization_config")
    if quantization and is_trained:
        method = quantization.get("quant_method", "unknown") if isinstance(quantization, dict) else "unknown"
        problems.append(
            f"config.json: its weights are quantised ({method}), which cannot be trained: give the model in bf16 or "
            "fp32, or save it so with model.dequantize()"
        )
    return problems


def weight_files(directory: Path) -> list[Path]:
    """The weight files that transformers reads of a directory.

    Raises:
        BadWeights: There are none, or some are missing.
    """
    shards: list[str] = []
    if (directory / INDEX).is_file():
        shards = sorted(set(_weight_map(directory).values()))
        missing = [name for name in shards if not (directory / name).is_file()]
        if missing:
            raise BadWeights(f"weight files of its index are missing: {listed(missing)}")
    if (directory / WEIGHTS).is_file():  # before any index, as transformers does
        return [directory / WEIGHTS]
    if shards:
        return [directory / name for name in shards]
    others = sorted(path.name for path in directory.glob("*.safetensors"))
    if others:
        raise BadWeights(
            f"its weights ({listed(others)}) have no {INDEX} and are not named {WEIGHTS}: save them again with "
            "save_pretrained, or fetch the index too"
        )
    packed = sorted(path.name for path in directory.glob("*.gguf"))
    if packed:
        raise BadWeights(
            f"its weights are a GGUF file ({packed[0]}): convert them with AutoModelForCausalLM.from_pretrained(DIR, "
            f'gguf_file="{packed[0]}") and save_pretrained'
        )
    pickles = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in directory.glob(pattern))
    if pickles:
        raise BadWeights(
            f"its weights are a pickle ({pickles[0]}), which can run code when it is read: save them again with "
            "save_pretrained(..., safe_serialization=True)"
        )
    raise BadWeights("no weights (*.safetensors)")


def _weight_map(directory: Path) -> dict[str, str]:
    index = find_json(directory / INDEX)
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict) or not weight_map or not all(isinstance(n, str) for n in weight_map.values()):
        raise BadWeights(f"{INDEX} cannot be read, or has no weight_map")
    return weight_map


def read_tensors(directory: Path) -> dict[str, TensorEntry]:
    """All tensors of a model directory by name, from the headers of its files.

    Raises:
        BadWeights: A file is missing or damaged, or lacks what the index says is in it.
    """
    paths = weight_files(directory)
    headers = {path.name: read_header(path) for path in paths}
    if (directory / INDEX).is_file() and not (directory / WEIGHTS).is_file():
        absent = sorted(name for name, file in _weight_map(directory).items() if name not in headers[file])
        if absent:
            raise BadWeights(f"{INDEX} names tensors that its files do not have: {listed(absent)}")
    return {name: entry for header in headers.values() for name, entry in header.items()}


def _tensor_problems(tensors: dict[str, TensorEntry], config: dict[str, Any], is_trained: bool) -> list[str]:
    """What the names and types of the tensors say."""
    for prefix in WRAPPERS:
        if tensors and all(name.startswith(prefix) for name in tensors):
            return [
                f"the names of all its tensors begin with '{prefix}' ({next(iter(tensors))}), as a wrapper saves them: "
                f"save the inner model, or cut '{prefix}' off the names"
            ]
    problems = []
    found = {int(match.group(1)) for match in map(LAYER.search, tensors) if match}
    count = config.get("num_hidden_layers") or config.get("n_layer") or config.get("num_layers")
    if found and isinstance(count, int) and count <= MOST_LAYERS and set(range(count)) - found:
        absent = sorted(set(range(count)) - found)
        problems.append(
            f"config.json says {count} layers, but the weights have no tensor of layer {listed(list(map(str, absent)))}"
        )
    absent_experts = _absent_experts(tensors)
    if absent_experts:
        problems.append(f"the weights lack {listed(absent_experts)}, which other experts have")
    quantised = [
        name for name, entry in tensors.items() if name.endswith("weight") and WHOLE_NUMBERS.match(entry.dtype)
    ]
    if quantised and is_trained:
        problems.append(
            f"its weights are of type {tensors[quantised[0]].dtype} ({listed(quantised)}), which cannot be trained: "
            "give the model in bf16 or fp32"
        )
    return problems


def _absent_experts(tensors: dict[str, TensorEntry]) -> list[str]:
    """Tensors that some expert of a layer has not got, and another one has."""
    numbers: dict[tuple[str, str], set[int]] = {}
    for match in filter(None, map(EXPERT.match, tensors)):
        numbers.setdefault((match[1], match[3]), set()).add(int(match[2]))
    count = max((number for found in numbers.values() for number in found), default=-1) + 1
    return [
        f"{before}.{number}.{after}"
        for (before, after), found in numbers.items()
        for number in sorted(set(range(count)) - found)
    ]


def _row_problems(directory: Path, tensors: dict[str, TensorEntry]) -> list[str]:
    """A tokenizer that cannot be read, or that has more tokens than the embedding has rows."""
    content = find_json(directory / "tokenizer.json")
    if content is None and (directory / "tokenizer.json").is_file():
        return ["tokenizer.json is not JSON: it was cut off or edited; get it again"]
    rows = [
        (entry.shape[0], name) for name, entry in tensors.items() if EMBEDDING.search(name) and len(entry.shape) == 2
    ]
    try:
        tokens = _num_tokens(directory, content)
    except MALFORMED as error:
        return [f"the tokenizer's files are not as transformers writes them ({type(error).__name__}: {error})"]
    if not rows or tokens is None or tokens <= max(rows)[0]:
        return []
    count, name = max(rows)
    return [
        f"its tokenizer has {tokens} tokens, but {name} has {count} rows: enlarge the model with "
        "resize_token_embeddings(len(tokenizer)), or remove the tokens that were added"
    ]


def num_tokens(directory: Path) -> int | None:
    """One more than the largest id of the tokenizer, from its JSON files; None where they do not say."""
    try:
        return _num_tokens(directory, find_json(directory / "tokenizer.json"))
    except MALFORMED:
        return None


def _num_tokens(directory: Path, content: Any) -> int | None:
    """The same, where `content` is that of tokenizer.json.

    An unknown token that the vocabulary cannot give does not count: Qwen2Tokenizer adds `<|endoftext|>` to any one.
    """
    ids: dict[str, int] = {}
    model: dict[str, Any] = {}
    if isinstance(content, dict):
        model = content.get("model") or {}
        vocabulary = model.get("vocab") or {}
        ids |= vocabulary if isinstance(vocabulary, dict) else {"": len(vocabulary) - 1}
        ids |= {token["content"]: token["id"] for token in content.get("added_tokens") or []}
    elif isinstance(vocabulary := find_json(directory / "vocab.json"), dict):  # older tokenizers
        ids |= vocabulary
    added = find_json(directory / "added_tokens.json")
    ids |= added if isinstance(added, dict) else {}
    settings = find_json(directory / "tokenizer_config.json")
    settings = settings if isinstance(settings, dict) else {}
    ids |= {token["content"]: int(i) for i, token in (settings.get("added_tokens_decoder") or {}).items()}
    unknown, *roles = (_content(settings.get(f"{role}_token")) for role in ("unk", "eos", "pad", "bos"))
    if unknown not in (None, model.get("unk_token"), *roles) and unknown not in (model.get("vocab") or {}):
        ids.pop(unknown, None)
    return max(ids.values()) + 1 if ids else None


def _content(token: Any) -> Any:
    """The text of a token, which tokenizer_config.json may write as an object."""
    return token.get("content") if isinstance(token, dict) else token
