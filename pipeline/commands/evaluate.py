"""The command `evaluate`: any model directories, or the models of a run, on any suites; the stage `evaluate` without
the rest of the recipe.
"""

import json
import shlex
from pathlib import Path

from rich.console import Console

from pipeline.commands import evaluation_tables as view_results
from pipeline.configuration import compose, spelling
from pipeline.errors import InvalidConfig
from pipeline.execution.prefect import server as prefect_server
from pipeline.execution.run import run_stages
from pipeline.planning.plan import remember_overrides
from stages.contract.files import find_json

USAGE = (
    "evaluate [model=DIR | 'model=[A,B]'] [eval=[aime24,math500,tiny]] [eval.SUITE.path=FILE] [run=NAME] [key=value "
    "...]: without model= the models of the run "
    "that run= names"
)


def main(arguments: list[str], console: Console) -> int:
    """Plans (and skips, or resumes) the stage, runs it, prints its tables; returns the exit code."""
    flags = [word for word in arguments if word.startswith("-")]
    if flags:
        raise InvalidConfig([f"{flag}: evaluate knows no such flag. {USAGE}" for flag in flags])
    overrides = as_overrides(arguments)
    remember_overrides(overrides)
    config = compose.compose_config(overrides)
    try:
        plan = run_stages(config, console)
    finally:
        prefect_server.stop()
    step = next(step for step in plan.steps if step.stage == "evaluate")
    show(step.dir, console)
    return 0


def as_overrides(arguments: list[str]) -> list[str]:
    """The stage's overrides for this command's words. Models from outside get a run of their own and do without the
    recipe's data.
    """
    models = [
        directory
        for word in arguments
        if word.startswith("model=")
        for directory in _directories(word.partition("=")[2])
    ]
    rest = [word for word in arguments if not word.startswith("model=")]
    keys = {word.partition("=")[0].lstrip("+") for word in rest}
    if any(not word.partition("=")[1] for word in rest):
        raise InvalidConfig([f"{word}: expected key=value. {USAGE}" for word in rest if "=" not in word])
    chosen = ["+stage=evaluate", *([] if "orchestrator" in keys else ["orchestrator=none"])]
    if models:
        chosen += [f"stages.evaluate.directories={json.dumps(models, ensure_ascii=False)}"]
        chosen += [] if "run" in keys else ["run=evaluate"]
        chosen += [] if "eval" in keys or "stages.evaluate.suites" in keys else ["eval=tiny"]
        if not keys & {
            "data",
            "data.path",
        }:  # suites bring their own; what the template of a model without a chat template is, is the paper's
            chosen += ["data=tiny_world", *([] if "data.template" in keys else ["data.template=r1_zero"])]
    return spelling.rewrite([*chosen, *rest])


def _directories(value: str) -> list[str]:
    """DIR, [A,B] or A,B; quotes around a name are for names with commas."""
    words = shlex.shlex(value.removeprefix("[").removesuffix("]"), posix=True)
    words.whitespace, words.whitespace_split, words.commenters = ",", True, ""
    names = [word.strip() for word in words if word.strip()]
    if not names:
        raise InvalidConfig([f"model={value}: name a model directory: model=DIR, or several: 'model=[A,B]'"])
    return names


def show(directory: Path, console: Console) -> None:
    """The tables of a finished evaluation."""
    results, comparisons = find_json(directory / "results.json", []), find_json(directory / "comparisons.json", [])
    view_results.print_results(console, results)
    view_results.print_comparisons(console, comparisons)
    console.print(f"results: {directory / 'results.json'}", highlight=False, soft_wrap=True)
