"""What the driver knows of rows from outside: presets, what they can serve, the identity of files, the first rows."""

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from pipeline.paths import CONF_DIR
from stages.config import (
    CollectConfig,
    DataConfig,
    EvaluateConfig,
    GrpoConfig,
    MixConfig,
    PretrainConfig,
    SourceConfig,
    TracesConfig,
    fields_of,
)
from stages.contract.files import digest
from stages.data.file_selection import data_files
from stages.data.rows import Tally, rows_of

PRESETS = CONF_DIR / "data"

# Rows of a source that are looked at before launch; the worker reads all of them.
MAX_CHECKED_ROWS = 20_000

Error = tuple[str, str]  # (message, fix)


@lru_cache
def preset(name: str) -> dict[str, Any]:
    """The keys of conf/data/<name>.yaml."""
    return yaml.safe_load((PRESETS / f"{name}.yaml").read_text(encoding="utf-8")) or {}


def preset_names() -> list[str]:
    """The files of conf/data/ by name."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def with_presets(tree: Any, key: str = "") -> tuple[Any, list[str]]:
    """Fills in the preset of each source of a mixture. Keys that are given win.

    Args:
        tree: a composed tree of plain data, or a part of it.
        key: the dotted key of that part.

    Returns:
        The tree with the presets, and mistakes in their names.
    """
    if not isinstance(tree, dict):
        return tree, []
    result, mistakes = {}, []
    for name, value in tree.items():
        here = f"{key}.{name}" if key else name
        if key.rsplit(".", 1)[-1] in ("sources", "against") and isinstance(value, dict) and value.get("preset"):
            value, mistakes_here = _filled(value, here)
            mistakes += mistakes_here
        result[name], mistakes_below = with_presets(value, here)
        mistakes += mistakes_below
    return result, mistakes


def _filled(source: dict[str, Any], key: str) -> tuple[dict[str, Any], list[str]]:
    """A source with the keys of its preset that are keys of a source, and a mistake where there is no such preset."""
    name = source["preset"]
    if name not in preset_names():
        return source, [f"{key}.preset: {name!r} is not a file of conf/data/; there are {', '.join(preset_names())}"]
    known = fields_of(SourceConfig)
    return {**{name: value for name, value in preset(name).items() if name in known}, **source}, []


def all_nodes(config: Any) -> dict[str, DataConfig | TracesConfig]:
    """The sections of a stage's configuration that read rows from outside, by field name; none for None."""
    if config is None:
        return {}
    nodes = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return {name: node for name, node in nodes.items() if isinstance(node, (DataConfig, TracesConfig))}


def without_what_data_lacks(stage: Any) -> Any:
    """A stage that asks its data only for prompts that there are.

    Where its own data has no general or safety prompts, the stage is asked for none. Rows that have such a domain
    change nothing.
    """
    data = getattr(stage, "data", None)
    if data is None or data.name == "tiny_world":
        return stage
    if isinstance(stage, PretrainConfig):  # a file is no corpus: the tiny world's is read
        return dataclasses.replace(stage, data=DataConfig()) if data.name == "file" else stage
    if isinstance(stage, GrpoConfig):
        return _with_possible_mix(stage)
    if isinstance(stage, CollectConfig):
        return dataclasses.replace(
            stage,
            num_general=stage.num_general if _has_general_pairs(stage) else 0,
            refine="none" if stage.refine == "rules" else stage.refine,
        )
    if isinstance(stage, EvaluateConfig) and data.general == "none":
        return dataclasses.replace(stage, num_general=0, num_safety=0)
    return stage


def _with_possible_mix(stage: GrpoConfig) -> GrpoConfig:
    """The shares of domains that the data has; without general prompts the preference reward is off too."""
    if not stage.data.has_general_prompts:
        rewards = dataclasses.replace(stage.rewards, preference=0.0)
        return dataclasses.replace(stage, mix=MixConfig(), preference_last_steps=0, rewards=rewards)
    shares = {domain: share if domain in stage.data.domains else 0.0 for domain, share in vars(stage.mix).items()}
    return dataclasses.replace(stage, mix=MixConfig(**shares) if any(shares.values()) else MixConfig())


def _has_general_pairs(stage: CollectConfig) -> bool:
    """Whether general prompt-completion pairs can be had: from rows, or from a judge that answers helpful prompts."""
    if stage.general == "judge" or stage.data.general != "none":
        return "helpful" in stage.data.domains
    return any(
        source.rows == "sft" and (source.domain != "reasoning" or bool(source.domain_column))
        for source in stage.data.all_sources.values()
    )


def serves_reward_models(data: DataConfig) -> bool:
    """Whether there is anything to build preferences from: general prompts, or pairs or labels that are there."""
    return data.has_general_prompts or data.has("preferences") or data.has("labels")


def sources_of(config: Any) -> dict[str, SourceConfig]:
    """The sources of rows of a stage's configuration by key: `data`, or `data.sources.NAME` of a mixture."""
    found: dict[str, SourceConfig] = {}
    for field, node in all_nodes(config).items():
        for name, source in node.all_sources.items():
            found[f"{field}.sources.{name}" if node.sources else field] = source
    return found


def content_of(source: SourceConfig, hash_of: Callable[[Path], str]) -> str | None:
    """The identity of a source's files by their content; None where they are not there.

    Args:
        source: where the files are.
        hash_of: gives the hash of one file.
    """
    try:
        files = data_files(source)
        return hash_of(files[0]) if len(files) == 1 else digest([hash_of(path) for path in files])
    except (ValueError, OSError):
        return None


def check_source(source: SourceConfig, malformed: str, key: str) -> list[Error]:
    """What is wrong with the first rows of a source.

    Args:
        source: where the rows are, and what their columns mean.
        malformed: fail or skip, as data.malformed says.
        key: dotted key of the source, for the advice.
    """
    tally, num_used = Tally(), 0
    try:
        for item in islice(rows_of(source, key), MAX_CHECKED_ROWS):
            num_used += tally.add(item)
    except ValueError as error:
        return [
            (f"data file: {error}", f"mend that, or name another file, directory or fetched hub name: {key}.path=FILE")
        ]
    if not tally.num_fatal or (malformed != "fail" and num_used):
        return []
    first = "the first " if tally.num_rows == MAX_CHECKED_ROWS else ""
    column = "completion" if source.rows == "sft" else "answer"
    section = "traces" if isinstance(source, TracesConfig) else "data"
    message = f"{tally.num_fatal} of {first}{tally.num_rows} rows cannot be used: {tally.shown()}"
    fix = (
        f"mend {source.path}, or name its columns with {key}.prompt_column and {key}.{column}_column, "
        f"or leave such rows out with {section}.malformed=skip"
    )
    return [(f"data file {source.path}: {message}", fix)]
