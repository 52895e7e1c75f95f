"""Fingerprints: everything that decides a stage's output, as one hash; also that of models and data from outside."""

import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pipeline.configuration.data_sources import all_nodes, content_of, sources_of
from stages.config import (
    GENERAL_VERSIONS,
    VERSIONS,
    CollectConfig,
    DataConfig,
    GrpoConfig,
    RewardModelsConfig,
    TracesConfig,
    output_fields,
)
from stages.contract.files import digest, sha256

SAMPLED_BLOCKS = 64  # of a weight file: hashing all of a large model would take many minutes at every plan
BLOCK_BYTES = 1 << 16
MAX_HASHED_BYTES = 1 << 28  # of a data file; larger ones by a sample
GYM = "reasoning-gym"
FIRST_GYM = "0.1.25"  # its version when versions began to count: what was finished before is of this one


def short_fingerprint(fingerprint: str) -> str:
    """The first 8 of its digits: what people are shown, and the name of the stage's directory."""
    return fingerprint[:8]


def stage_fingerprint(kind: str, config: Any, inputs: dict[str, str], data_files: dict[str, str], seed: int) -> str:
    """SHA-256 of all that decides a stage's output, in hexadecimal digits.

    A data file counts by content: its path is left out, so that a moved file changes nothing.

    Args:
        kind: The kind of the stage; the version of its code counts too.
        config: Its configuration; operational fields do not count.
        inputs: Fingerprints of what it is made from, by role.
        data_files: What `data_files` says of the configuration.
        seed: The run's seed.
    """
    fields = output_fields(config)
    for key, content in data_files.items():
        fields = with_content(fields, key.split("."), content)
    return digest({"kind": kind, "version": VERSIONS[kind], "config": fields, "inputs": inputs, "seed": seed})


def general_prompts(config: Any) -> dict[str, str]:
    """The version of the general prompts that a stage trains on, as something it is made from; empty without any."""
    data = getattr(config, "data", None)
    if data is None or data.general == "none":
        return {}
    draws = (
        isinstance(config, RewardModelsConfig)
        or (isinstance(config, CollectConfig) and config.num_general > 0)
        or (isinstance(config, GrpoConfig) and config.mix.helpful + config.mix.safety > 0)
    )
    return {f"prompts of data.general={data.general}": str(GENERAL_VERSIONS[data.general])} if draws else {}


def content_changes(old: dict[str, str], new: dict[str, str]) -> list[str]:
    """What has changed from one set of `data_files` to another, in words; empty where nothing has.

    >>> content_changes({"data": "reasoning-gym 0.1.26"}, {"data": "reasoning-gym 0.1.27"})
    ['the version of reasoning-gym']
    """
    pairs = [(old.get(key, ""), new.get(key, "")) for key in {*old, *new}]
    changed = [value for before, after in pairs if before != after for value in (before, after) if value]
    if not changed:
        return []
    is_library = all(value.startswith(GYM) for value in changed)
    return [f"the version of {GYM}" if is_library else "content of the data file"]


def with_content(fields: dict, names: list[str], content: str) -> dict:
    """The fields, in which the content of the source at `names` stands in the place of its path.

    The content says more than a revision, which is dropped: to pin the revision that is there already changes nothing.
    """
    if not names:
        return {**fields, "path": content, **({"revision": None} if "revision" in fields else {})}
    return {**fields, names[0]: with_content(fields[names[0]], names[1:], content)}


def data_files(config: Any) -> dict[str, str]:
    """Hashes of the files that a stage reads from outside, as far as they are there, by the key of the configuration.

    The keys are "data"; "data.sources.NAME" for the sources of a mixture; "settings.NAME" for evaluation suites.
    Problems that a library generates count by the library's version.
    """
    found = {key: content_of(source, data_hash) for key, source in sources_of(config).items()}
    found |= {key: _gym_version() for key, node in all_nodes(config).items() if _is_generated_by_gym(node)}
    found |= {f"settings.{name}": _suite_content(suite) for name, suite in getattr(config, "settings", {}).items()}
    return {key: content for key, content in found.items() if content}


def _is_generated_by_gym(node: DataConfig | TracesConfig) -> bool:
    return isinstance(node, DataConfig) and node.name == "reasoning_gym"


def _gym_version() -> str:
    """The library that generates problems of data=reasoning_gym; "" where it is missing, or of FIRST_GYM."""
    try:
        installed = version(GYM)
    except PackageNotFoundError:
        return ""
    return "" if installed == FIRST_GYM else f"{GYM} {installed}"


def _suite_content(suite: Any) -> str:
    """Hash of an evaluation suite's file and of its contests' standings, where it has them."""
    files: list[Path] = []
    for path in (suite.path, suite.standings):
        if path and Path(path).is_dir():
            files += [file for file in sorted(Path(path).iterdir()) if file.is_file()]
        elif path and Path(path).is_file():
            files.append(Path(path))
    return digest([data_hash(file) for file in files]) if files else ""


def data_hash(path: Path) -> str:
    """Hash of a data file; of a large one by a sample, as for weights, because a plan takes seconds."""
    return _file_hash(path) if path.stat().st_size <= MAX_HASHED_BYTES else _sampled_hash(path)


_HASHES: dict[tuple, str] = {}


def _file_hash(path: Path) -> str:
    stat = path.stat()
    key = (str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino)
    if key not in _HASHES:
        _HASHES[key] = sha256(path)
    return _HASHES[key]


def model_fingerprint(directory: Path) -> str:
    """Identity of a model directory: small files count as a whole, weight files by size and evenly spaced blocks."""
    entries = {}
    for path in sorted(directory.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            entries[path.name] = (
                _file_hash(path) if path.stat().st_size <= SAMPLED_BLOCKS * BLOCK_BYTES else _sampled_hash(path)
            )
    return digest(entries)


def _sampled_hash(path: Path) -> str:
    size = path.stat().st_size
    state = hashlib.sha256(str(size).encode())
    with open(path, "rb") as stream:
        for block in range(SAMPLED_BLOCKS):
            stream.seek(block * (size - BLOCK_BYTES) // (SAMPLED_BLOCKS - 1))
            state.update(stream.read(BLOCK_BYTES))
    return state.hexdigest()


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """The keys in which two nested configurations differ, a line each; a mapping that only one has is one line.

    >>> differences({"optim": {"lr": 1e-6}, "seed": 0}, {"optim": {"lr": 3e-6}, "seed": 0})
    ['optim.lr 1e-06 -> 3e-06']
    """
    lines = []
    for key in dict.fromkeys((*old, *new)):
        name, before, after = f"{prefix}{key}", old.get(key, "unset"), new.get(key, "unset")
        if isinstance(before, dict) and isinstance(after, dict):
            lines += differences(before, after, f"{name}.")
        elif (isinstance(before, dict) and key not in new) or (isinstance(after, dict) and key not in old):
            lines.append(f"{name} {'removed' if key in old else 'added'}")
        elif before != after:
            lines.append(f"{name} {_short(before)} -> {_short(after)}")
    return lines


def _short(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
