"""The judge of the stages that are going to run, before anything is launched: its key is there, its endpoint answers
and serves the model.
"""

import json
import os
import urllib.request
from pathlib import Path

from pipeline.configuration.resolve import uses_judge
from pipeline.configuration.schema import RunConfig
from stages.config import JudgeConfig

ANSWER_S = 3.0

Error = tuple[str, str]


def check_judges(config: RunConfig, steps) -> list[Error]:
    """Errors of the judges that are asked, each judge once."""
    asking = [
        step
        for step in reversed(steps)
        if hasattr(step.config, "judge") and uses_judge(step.config) and not step.is_done
    ]
    judges = {step.config.judge: step.stage for step in asking}
    return [error for step in asking for error in _misplaced(step)] + [
        error for judge, stage in judges.items() for error in _errors(judge, stage, config.launcher.environment)
    ]


def _misplaced(step) -> list[Error]:
    """Where only a column could name the verifier `judge`, the worker says so of the rows that do."""
    if (
        step.config.judge.backend != "tiny_world"
        or step.config.data.name == "tiny_world"
        or not uses_judge(step.config, by_column=False)
    ):
        return []
    return [
        (
            f"{step.stage} asks a judge about your own data, but judge.backend=tiny_world knows only the tiny "
            "world's prompts",
            "choose judge=openai or judge=vllm (docs/judges.md)",
        )
    ]


def _errors(judge: JudgeConfig, stage: str, environment: dict[str, str]) -> list[Error]:
    if judge.backend == "vllm" and not (Path(judge.model) / "config.json").is_file():
        return [
            (
                f"{stage} asks a judge, but judge.model={judge.model} is not a model directory",
                "give one with judge.model=DIRECTORY",
            )
        ]
    if judge.backend != "openai":
        return []
    key = {**os.environ, **environment}.get(judge.api_key_env, "") if judge.api_key_env else ""
    if judge.api_key_env and not key:
        return [
            (
                f"{stage} asks a judge, but the environment variable {judge.api_key_env} (judge.api_key_env) is not "
                "set",
                f"export {judge.api_key_env}=...",
            )
        ]
    try:
        known = _models(judge.url, key)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return [
            (
                f"{stage} asks a judge, but {judge.url} does not list its models ({error})",
                "start the server, or set judge.url",
            )
        ]
    if judge.model in known:
        return []
    return [
        (
            f"{stage} asks a judge, but {judge.url} does not serve {judge.model}",
            f"set judge.model to one of {', '.join(known) or 'its models'}",
        )
    ]


def _models(url: str, key: str) -> list[str]:
    request = urllib.request.Request(
        f"{url.rstrip('/')}/models", headers={"Authorization": f"Bearer {key}"} if key else {}
    )
    with urllib.request.urlopen(request, timeout=ANSWER_S) as response:
        return [model["id"] for model in json.load(response)["data"]]
