"""From a composed tree of plain data to a checked RunConfig, with presets filled in and paths made absolute."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pipeline.configuration.data_sources import with_presets, without_what_data_lacks
from pipeline.configuration.graph import is_stage
from pipeline.configuration.prompt_files import with_prompt_files
from pipeline.configuration.rules import family_mistakes, mistakes_between_parts, undefined_students
from pipeline.configuration.schema import RunConfig, StagesConfig
from stages.config import (
    CollectConfig,
    ConfigError,
    DataConfig,
    JudgeConfig,
    ModelConfig,
    RewardModelsConfig,
    SourceConfig,
    SuiteConfig,
    from_dict,
)

WithPath = TypeVar("WithPath", bound=SourceConfig | ModelConfig)


def from_tree(tree: dict[str, Any]) -> RunConfig:
    """Checks composed plain data and settles what follows from it. Raises ConfigError with every mistake."""
    mistakes = [f"selected.{name}: unknown stage" for name in tree.get("selected", {}) if not is_stage(name)]
    mistakes += without_repetitions(family_mistakes(tree)) + undefined_students(tree)
    tree, preset_mistakes = with_presets(tree)
    tree, file_mistakes = with_prompt_files(tree)
    mistakes += preset_mistakes + without_repetitions(file_mistakes)
    try:
        config = from_dict(RunConfig, tree)
    except ConfigError as error:
        raise ConfigError(mistakes + without_repetitions(error.errors)) from None
    mistakes += without_repetitions(mistakes_between_parts(config))
    if mistakes:
        raise ConfigError(mistakes)
    config = _with_absolute_paths(config)
    config = _with_each_stage(config, without_what_data_lacks)
    config = _with_each_stage(config, _without_idle_judge)
    return _with_suites(config)


def without_repetitions(mistakes: list[str]) -> list[str]:
    """Leaves out what stages repeat of a node that they share.

    `stages.r1_zero.data.tasks: ...` is left out where `data.tasks: ...` says the same.
    """
    return [line for line in mistakes if not (line.startswith("stages.") and line.split(".", 2)[-1] in mistakes)]


def uses_judge(stage: Any, by_column: bool = True) -> bool:
    """Whether anything in this stage asks the judge.

    Args:
        stage: a stage's configuration.
        by_column: whether a column that names each row's verifier counts: some row may name the judge.
    """
    if isinstance(stage, RewardModelsConfig):
        return not (stage.data.has("preferences") and stage.data.has("labels"))
    if isinstance(stage, CollectConfig):
        writes = stage.num_general > 0 and stage.general == "judge"
        if writes or stage.refine == "judge":
            return True
    sources = stage.data.all_sources.values() if getattr(stage, "data", None) else ()
    return any(source.verifier == "judge" or (by_column and bool(source.verifier_column)) for source in sources)


def _with_each_stage(config: RunConfig, change: Callable[[Any], Any]) -> RunConfig:
    """`config` with `change` made to the configuration of each stage."""
    stages = {field.name: change(getattr(config.stages, field.name)) for field in dataclasses.fields(config.stages)}
    return dataclasses.replace(config, stages=StagesConfig(**stages))


def _without_idle_judge(stage: Any) -> Any:
    """A judge that the stage never asks is taken out: choosing another one then does not make the stage anew."""
    if not hasattr(stage, "judge") or uses_judge(stage):
        return stage
    return dataclasses.replace(stage, judge=JudgeConfig())


def _with_suites(config: RunConfig) -> RunConfig:
    """Gives the evaluate stage the settings of the suites that it is asked for, with absolute paths."""
    evaluate = config.stages.evaluate
    changed = dataclasses.replace(
        evaluate,
        settings={name: _with_absolute_files(config.eval[name]) for name in evaluate.suites},
        directories=[_absolute_if_there(path) for path in evaluate.directories],
    )
    return dataclasses.replace(config, stages=dataclasses.replace(config.stages, evaluate=changed))


def _with_absolute_files(suite: SuiteConfig) -> SuiteConfig:
    return dataclasses.replace(
        suite,
        path=_absolute(suite.path) if suite.path else suite.path,
        standings=_absolute(suite.standings) if suite.standings else suite.standings,
    )


def _with_absolute_paths(config: RunConfig) -> RunConfig:
    """`config` with the paths of models, of rows and of judges made absolute, where they are on this machine."""
    prepare = dataclasses.replace(
        config.prepare, against={name: _located(source) for name, source in config.prepare.against.items()}
    )
    config = dataclasses.replace(
        config,
        prepare=prepare,
        model=_located(config.model),
        student=_located(config.student),
        data=_located(config.data),
        students={name: _located(student) for name, student in config.students.items()},
    )
    return _with_each_stage(config, _stage_with_absolute_paths)


def _stage_with_absolute_paths(stage: Any) -> Any:
    changes: dict[str, Any] = {
        name: _located(getattr(stage, name)) for name in ("data", "model", "traces") if hasattr(stage, name)
    }
    if hasattr(stage, "judge"):
        changes["judge"] = _located_judge(stage.judge)
    return dataclasses.replace(stage, **changes)


def _located(node: WithPath) -> WithPath:
    """A model or a source of rows with its path, and the paths of its sources, made absolute."""
    changes: dict[str, Any] = {}
    if isinstance(node, DataConfig) and node.sources:
        changes["sources"] = {name: _located(source) for name, source in node.sources.items()}
    if node.path is not None:
        changes["path"] = _absolute_if_there(node.path)
    return dataclasses.replace(node, **changes) if changes else node


def _located_judge(judge: JudgeConfig) -> JudgeConfig:
    if judge.backend != "vllm" or judge.model is None:
        return judge
    return dataclasses.replace(judge, model=_absolute_if_there(judge.model))


def _absolute_if_there(path: str) -> str:
    """The absolute path of what is on this machine; a hub id, or what is not there yet, stays as it is."""
    return _absolute(path) if Path(path).expanduser().exists() else path


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().resolve())
