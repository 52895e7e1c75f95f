"""Checks the judges of the stages that are going to run: each has its key, and its endpoint serves the model."""

import json
import os
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.configuration.resolve import uses_judge
from pipeline.configuration.schema import RunConfig
from pipeline.errors import MessageAndFix
from stages.config import JudgeConfig, RewardModelsConfig
from stages.contract.files import find_json

if TYPE_CHECKING:
    from pipeline.planning.plan import Step

ANSWER_S = 3.0


def check_judges(config: RunConfig, steps: Sequence["Step"]) -> list[MessageAndFix]:
    """What is wrong with the judges that will be asked, each judge once."""
    asking = [
        step
        for step in reversed(steps)
        if hasattr(step.config, "judge") and uses_judge(step.config) and not step.is_made
    ]
    judges = {step.config.judge: step.stage for step in asking}
    errors = [error for step in asking for error in _cannot_judge_data(step)]
    for judge, stage in judges.items():
        errors += _cannot_be_asked(judge, stage, config.launcher.environment)
    return errors


def _cannot_judge_data(step: "Step") -> list[MessageAndFix]:
    """The rules of a world know only that world's prompts.

    Where only a column of the data could name the verifier `judge`, it is the worker that says so of such rows.
    """
    backend, data = step.config.judge.backend, step.config.data
    if backend not in ("tiny_world", "english") or not uses_judge(step.config, by_column=False):
        return []
    is_about_english = data.general == "english" and isinstance(step.config, RewardModelsConfig)
    if (backend == "tiny_world" and data.name == "tiny_world") or (backend == "english" and is_about_english):
        return []
    knows = "the tiny world's prompts" if backend == "tiny_world" else "the general prompts of data.general=english"
    message = f"{step.stage} asks a judge about your own data, but judge.backend={backend} knows only {knows}"
    also = ", or judge=english for its general prompts" if is_about_english else ""
    return [(message, f"choose judge=openai or judge=vllm{also} (docs/judges.md)")]


def _cannot_be_asked(judge: JudgeConfig, stage: str, environment: dict[str, str]) -> list[MessageAndFix]:
    """Why a judge cannot be asked from here, if it cannot.

    Args:
        judge: Its settings.
        stage: The stage that asks it first, for the message.
        environment: The variables that the workers get besides those of this process.
    """
    if judge.backend == "vllm" and not (Path(str(judge.model)) / "config.json").is_file():
        message = f"{stage} asks a judge, but judge.model={judge.model} is not a model directory"
        return [(message, "give one with judge.model=DIRECTORY")]
    if judge.backend == "vllm":
        return _too_long(judge, stage)
    if judge.backend != "openai":
        return []
    key = {**os.environ, **environment}.get(judge.api_key_env, "") if judge.api_key_env else ""
    if judge.api_key_env and not key:
        variable = f"the environment variable {judge.api_key_env} (judge.api_key_env)"
        return [(f"{stage} asks a judge, but {variable} is not set", f"export {judge.api_key_env}=...")]
    try:
        served = _served_models(str(judge.url), key)
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{stage} asks a judge, but {judge.url} does not list its models ({error})"
        return [(message, "start the server, or set judge.url")]
    if judge.model in served:
        return []
    message = f"{stage} asks a judge, but {judge.url} does not serve {judge.model}"
    return [(message, f"set judge.model to one of {', '.join(served) or 'its models'}")]


def _too_long(judge: JudgeConfig, stage: str) -> list[MessageAndFix]:
    """A context that the local judge's model does not hold, or that a reply fills by itself."""
    found = find_json(Path(str(judge.model)) / "config.json")
    limit = found.get("max_position_embeddings") if isinstance(found, dict) else None
    asked = f"{stage} asks a judge, but judge.max_model_tokens={judge.max_model_tokens}"
    if isinstance(limit, int) and judge.max_model_tokens > limit:
        return [(f"{asked} is more than the {limit} that {judge.model} holds", f"judge.max_model_tokens={limit}")]
    if judge.max_tokens >= judge.max_model_tokens:
        return [(f"{asked} leaves no room beside a reply of judge.max_tokens={judge.max_tokens}", "lower the latter")]
    return []


def _served_models(url: str, key: str) -> list[str]:
    """The models that an OpenAI-compatible endpoint lists."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(f"{url.rstrip('/')}/models", headers=headers)
    with urllib.request.urlopen(request, timeout=ANSWER_S) as response:
        return [model["id"] for model in json.load(response)["data"]]
