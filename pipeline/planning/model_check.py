"""What the files of a model directory tell without its weights being read: the cheap part of `models check`."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

from stages.contract.files import find_json
from stages.contract.model_directory import model_problems, num_tokens, read_tensors, text_config
from stages.contract.model_finding import ModelFinding
from stages.contract.safetensors_header import BadWeights, TensorEntry

PRECISIONS = {"F32": "fp32", "BF16": "bf16", "F16": "fp16", "F64": "fp64"}
CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")


def quick_findings(directory: Path) -> list[ModelFinding]:
    """Family, parameters, precision, context, tokenizer and files of a model directory."""
    config = find_json(directory / "config.json")
    config = config if isinstance(config, dict) else {}
    try:
        tensors = read_tensors(directory)
    except (BadWeights, OSError):
        tensors = {}
    found = [_family(config), *_weights(tensors), _context(text_config(config)), _tokens(directory)]
    problems = model_problems(directory)
    found += [ModelFinding("files", "problem", problem) for problem in problems]
    return found if problems else [*found, ModelFinding("files", "ok", "whole")]


def _family(config: dict[str, Any]) -> ModelFinding:
    names, kind = config.get("architectures"), config.get("model_type", "no model_type")
    if not isinstance(names, list) or not names:
        return ModelFinding("family", "note", f"config.json names no architectures ({kind})")  # `files` says it too
    return ModelFinding("family", "ok", f"{names[0]} ({kind})")


def _weights(tensors: dict[str, TensorEntry]) -> list[ModelFinding]:
    """How many parameters there are, and of which types."""
    if not tensors:
        return []
    counts: Counter[str] = Counter()
    for entry in tensors.values():
        counts[entry.dtype] += math.prod(entry.shape)
    total = sum(counts.values())
    types = ", ".join(
        PRECISIONS.get(dtype, dtype) + (f" ({count / total:.1%})" if len(counts) > 1 else "")
        for dtype, count in counts.most_common()
    )
    return [
        ModelFinding("parameters", "ok", f"{total:,} in {len(tensors)} tensors"),
        ModelFinding("precision", "ok", types),
    ]


def _context(config: dict[str, Any]) -> ModelFinding:
    length = next((config[key] for key in CONTEXT_KEYS if isinstance(config.get(key), int)), None)
    if length is None:
        return ModelFinding("context", "note", "config.json names no limit")
    return ModelFinding("context", "ok", f"{length:,} tokens")


def _tokens(directory: Path) -> ModelFinding:
    count = num_tokens(directory)
    text = "its files do not say how many" if count is None else f"{count:,}"
    return ModelFinding("tokens", "ok" if count is not None else "note", text)
