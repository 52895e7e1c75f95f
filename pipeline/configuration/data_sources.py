"""What the driver knows of data from outside: presets of a mixture, what a source can serve, the identity of its files,
a first look at its rows.
"""

import dataclasses
from functools import lru_cache
from itertools import islice
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
)
from stages.contract.files import digest
from stages.data.readers import data_files
from stages.data.rows import Tally, rows_of

PRESETS = CONF_DIR / "data"
MAX_CHECKED_ROWS = 20_000  # a longer source is looked at up to here before launch; the worker reads all of it

Error = tuple[str, str]


@lru_cache
def preset(name: str) -> dict[str, Any]:
    """The keys of conf/data/<name>.yaml."""
    return yaml.safe_load((PRESETS / f"{name}.yaml").read_text(encoding="utf-8")) or {}


def preset_names() -> list[str]:
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def with_presets(tree: Any, key: str = "") -> tuple[Any, list[str]]:
    """(the composed tree with the preset of each source of a mixture filled in, mistakes). Keys that are given win."""
    if not isinstance(tree, dict):
        return tree, []
    result, errors = {}, []
    for name, value in tree.items():
        here = f"{key}.{name}" if key else name
        if key.rsplit(".", 1)[-1] in ("sources", "against") and isinstance(value, dict) and value.get("preset"):
            value, mistake = _filled(value, here)
            errors += mistake
        result[name], more = with_presets(value, here)
        errors += more
    return result, errors


def _filled(source: dict, key: str) -> tuple[dict, list[str]]:
    if source["preset"] not in preset_names():
        return source, [
            f"{key}.preset: {source['preset']!r} is not a file of conf/data/; there are {', '.join(preset_names())}"
        ]
    known = {spec.name for spec in dataclasses.fields(SourceConfig)}
    return {**{name: value for name, value in preset(source["preset"]).items() if name in known}, **source}, []


def all_nodes(config: Any) -> dict[str, DataConfig | TracesConfig]:
    """Field -> data node of a stage that reads rows from outside."""
    return (
        {
            spec.name: node
            for spec in dataclasses.fields(config)
            if isinstance(node := getattr(config, spec.name), (DataConfig, TracesConfig))
        }
        if config
        else {}
    )


def without_what_data_lacks(stage: Any) -> Any:
    """A stage whose own data has no general or safety prompts is asked for none; with them (`domain`) it stays as it
    is.
    """
    data = getattr(stage, "data", None)
    if data is None or data.name == "tiny_world":
        return stage
    if isinstance(stage, PretrainConfig):
        return (
            dataclasses.replace(stage, data=DataConfig()) if data.name == "file" else stage
        )  # a file is no corpus: the tiny world's is
    if isinstance(stage, GrpoConfig):
        mix = (
            MixConfig(**{domain: share if domain in data.domains else 0.0 for domain, share in vars(stage.mix).items()})
            if any(share and domain in data.domains for domain, share in vars(stage.mix).items())
            else MixConfig()
        )
        if data.has_general_prompts:
            return dataclasses.replace(stage, mix=mix)
        return dataclasses.replace(
            stage, mix=MixConfig(), preference_last_steps=0, rewards=dataclasses.replace(stage.rewards, preference=0.0)
        )
    if isinstance(stage, CollectConfig):
        has_general = (
            any(
                source.rows == "sft" and (source.domain != "reasoning" or source.domain_column)
                for source in data.all_sources.values()
            )
            if stage.general == "data"
            else "helpful" in data.domains
        )
        return dataclasses.replace(
            stage,
            num_general=stage.num_general if has_general else 0,
            refine="none" if stage.refine == "rules" else stage.refine,
        )
    if isinstance(stage, EvaluateConfig):
        return dataclasses.replace(stage, num_general=0, num_safety=0)
    return stage


def serves_reward_models(data: DataConfig) -> bool:
    """Whether there is anything to build preferences from: general prompts, or pairs that are there already."""
    return data.has_general_prompts or data.has("preferences") or data.has("labels")


def sources_of(config: Any) -> dict[str, SourceConfig]:
    """Key -> source of a stage's configuration: `data`, or `data.sources.NAME` of a mixture."""
    return {
        f"{field}.sources.{name}" if node.sources else field: source
        for field, node in all_nodes(config).items()
        for name, source in node.all_sources.items()
    }


def content_of(source: SourceConfig, hash_of) -> str | None:
    """Identity of a source's files by content; None where they are not there. `hash_of`: hash of a file."""
    try:
        files = data_files(source)
    except ValueError:
        return None
    return hash_of(files[0]) if len(files) == 1 else digest([hash_of(path) for path in files])


def check_source(source: SourceConfig, malformed: str, key: str) -> list[Error]:
    """What is wrong with the first rows of a source, as (message, fix)."""
    tally, num_used = Tally(), 0
    try:
        for item in islice(rows_of(source, key), MAX_CHECKED_ROWS):
            num_used += tally.add(item)
    except ValueError as error:
        return [(f"data file: {error}", f"name a file, a directory or a fetched hub name: {key}.path=FILE")]
    if not tally.num_rows:
        return [(f"data file {source.path} has no rows", f"name a file with rows: {key}.path=FILE")]
    if tally.num_fatal and (malformed == "fail" or not num_used):
        return [
            (
                f"data file {source.path}: {tally.num_fatal} of "
                f"{'the first ' if tally.num_rows == MAX_CHECKED_ROWS else ''}{tally.num_rows} rows "
                f"cannot be used: {tally.shown()}",
                f"mend {source.path}, or name its columns with {key}.prompt_column and "
                f"{key}.{'completion' if source.rows == 'sft' else 'answer'}_column, or leave such "
                f"rows out with {'traces' if isinstance(source, TracesConfig) else 'data'}.malformed=skip",
            )
        ]
    return []
