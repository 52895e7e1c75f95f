"""Fingerprints: what decides a stage's output, as one hash. Pure functions on plain data; and the identity of models and data from outside."""
import hashlib
from pathlib import Path
from typing import Any

from pipeline.files import digest, sha256
from stages.config import VERSIONS, output_fields

SAMPLED_BLOCKS = 64  # of a weight file: hashing all of a large model would take many minutes at every plan
BLOCK_BYTES = 1 << 16


def stage_fingerprint(kind: str, config: Any, inputs: dict[str, str], data_files: dict[str, str], seed: int) -> str:
    """SHA-256 of a stage's output fields, its inputs' fingerprints, the content of its data files, the seed, its kind and version.

    A data file counts by content: its path is left out, so that a moved file changes nothing.
    """
    fields = output_fields(config)
    for key, content in data_files.items():
        fields = _with(fields, ["data", "path"] if key == "data" else key.split("."), content)
    return digest({"kind": kind, "version": VERSIONS[kind], "config": fields, "inputs": inputs, "seed": seed})


def data_files(config: Any) -> dict[str, str]:
    """SHA-256 of the files that a stage reads, those that exist: {"data": of its data file, "settings.NAME.path": of a suite's, ...}."""
    data = getattr(config, "data", None)
    paths = {"data": data.path} if data is not None and data.path else {}
    for name, suite in getattr(config, "settings", {}).items():
        paths |= {f"settings.{name}.{key}": getattr(suite, key) for key in ("path", "standings") if getattr(suite, key)}
    return {key: _content_hash(Path(path)) for key, path in paths.items() if Path(path).exists()}


def _content_hash(path: Path) -> str:
    """Of a file; or of the files of a directory, with their names."""
    return digest({file.name: _file_hash(file) for file in sorted(path.iterdir()) if file.is_file()}) if path.is_dir() else _file_hash(path)


def _with(fields: dict, key: list[str], value: Any) -> dict:
    """`fields` with another value at a nested key."""
    return {**fields, key[0]: value if len(key) == 1 else _with(fields[key[0]], key[1:], value)}


_HASHES: dict[tuple, str] = {}


def _file_hash(path: Path) -> str:
    stat = path.stat()
    key = (str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino)
    if key not in _HASHES:
        _HASHES[key] = sha256(path)
    return _HASHES[key]


def model_fingerprint(directory: Path) -> str:
    """Identity of a model directory: small files whole, weight files by size and evenly spaced blocks."""
    entries = {}
    for path in sorted(directory.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            entries[path.name] = _file_hash(path) if path.stat().st_size <= SAMPLED_BLOCKS * BLOCK_BYTES else _sampled_hash(path)
    return digest(entries)


def _sampled_hash(path: Path) -> str:
    size = path.stat().st_size
    state = hashlib.sha256(str(size).encode())
    with open(path, "rb") as stream:
        for block in range(SAMPLED_BLOCKS):
            stream.seek(block * (size - BLOCK_BYTES) // (SAMPLED_BLOCKS - 1))
            state.update(stream.read(BLOCK_BYTES))
    return state.hexdigest()


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """{"optim.lr": 1e-3, ...}: nested mappings as dotted keys; lists stay whole."""
    if not isinstance(value, dict):
        return {prefix: value}
    flat = {}
    for key, item in value.items():
        flat |= flatten(item, f"{prefix}.{key}" if prefix else str(key))
    return flat


def differences(old: Any, new: Any) -> list[str]:
    """Changed keys of two nested configs, each as "optim.lr 1e-06 -> 3e-06"."""
    old_flat, new_flat = flatten(old), flatten(new)
    return [f"{key} {_short(old_flat.get(key, 'unset'))} -> {_short(new_flat.get(key, 'unset'))}"
            for key in dict.fromkeys((*old_flat, *new_flat)) if old_flat.get(key) != new_flat.get(key)]


def _short(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
