"""The command `evaluate`: any model directories, or the models of a run, on any suites.

It is the stage `evaluate` without the rest of the recipe.
"""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from pipeline.commands.declaration import Overrides, declare, exit_codes
from pipeline.commands.evaluation_tables import print_comparisons, print_results
from pipeline.configuration import compose, spelling
from pipeline.errors import InvalidConfig
from pipeline.execution.prefect import server as prefect_server
from pipeline.execution.run import run_stages
from pipeline.planning.command_line import remember_overrides
from pipeline.view.console import standard_console
from stages.contract.results import find_comparisons, find_results

USAGE = "[model=DIRECTORY | 'model=[A,B]'] ['eval=[SUITE,...]'] [run=NAME] [KEY=VALUE ...]"

app = declare(
    "evaluate",
    USAGE,
    {
        "r1 evaluate model=models/r1 'eval=[aime24,math500,gpqa]'": "a model directory on three suites",
        "r1 evaluate 'model=[models/a,models/b]' eval=aime24 eval.aime24.path=aime.jsonl": "two models, a local file",
        "r1 evaluate run=tiny": "the models of a run on its own held-out prompts",
    },
    exit_codes(0, 2, 3, 4, 5, 75),
)


@app.default
def evaluate(*overrides: Overrides) -> int:
    """Evaluate any model directories, or the models of a run, on benchmarks.

    What is done already is skipped, and an interrupted evaluation samples nothing twice. Two or more models are
    compared on the same problems by a paired test.

    Args:
        overrides: `model=DIRECTORY` or `'model=[A,B]'`, without it the models of the run that `run=` names;
            `eval=SUITE` or `'eval=[A,B]'`; `eval.SUITE.key=value` for a key of a suite; any other key of the
            configuration.
    """
    console = standard_console()
    words = as_overrides(overrides)
    remember_overrides(words)
    config = compose.compose_config(words)
    try:
        plan = run_stages(config, console)
    finally:
        prefect_server.stop()
    step = next(step for step in plan.steps if step.stage == "evaluate")
    show(step.dir, console)
    return 0


def as_overrides(words: Sequence[str]) -> list[str]:
    """The overrides of the configuration for the words of this command.

    Models from outside get a run of their own, named `evaluate`, and do without the recipe's data.

    Raises:
        InvalidConfig: a word is not `key=value`, or `model=` names nothing.
    """
    not_settings = [word for word in words if "=" not in word]
    if not_settings:
        raise InvalidConfig([f"{word}: expected key=value. Usage: evaluate {USAGE}" for word in not_settings])
    models: list[str] = []
    for word in words:
        if word.startswith("model="):
            models += _directories(word.partition("=")[2])
    others = [word for word in words if not word.startswith("model=")]
    keys = {word.partition("=")[0].lstrip("+") for word in others}
    chosen = ["+stage=evaluate"]
    if "orchestrator" not in keys:
        chosen.append("orchestrator=none")
    if models:
        chosen += _defaults_for_outside_models(models, keys)
    return spelling.rewrite([*chosen, *others])


def _defaults_for_outside_models(models: list[str], keys: set[str]) -> list[str]:
    """What an evaluation of model directories needs, but for the keys that were given."""
    chosen = [f"stages.evaluate.directories={json.dumps(models, ensure_ascii=False)}"]
    if "run" not in keys:
        chosen.append("run=evaluate")
    if not keys & {"eval", "stages.evaluate.suites"}:
        chosen.append("eval=tiny")
    if not keys & {"data.template", "eval.own.template"}:  # by its own chat template, also on prompts of one's own
        chosen.append("eval.own.template=auto")
    if not keys & {"data", "data.path"}:  # suites bring their own prompts
        chosen.append("data=tiny_world")
        if "data.template" not in keys:  # for a model without a chat template: the paper's
            chosen.append("data.template=r1_zero")
    return chosen


def _directories(value: str) -> list[str]:
    """The directories in `DIR`, `[A,B]` or `A,B`; a name with a comma stands in quotes."""
    words = shlex.shlex(value.removeprefix("[").removesuffix("]"), posix=True)
    words.whitespace, words.whitespace_split, words.commenters = ",", True, ""
    names = [word.strip() for word in words if word.strip()]
    if not names:
        raise InvalidConfig([f"model={value}: name a model directory: model=DIR, or several: 'model=[A,B]'"])
    return names


def show(directory: Path, console: Console) -> None:
    """Prints the tables of a finished evaluation, read from its stage directory."""
    print_results(console, find_results(directory))
    print_comparisons(console, find_comparisons(directory))
    console.print(f"results: {directory / 'results.json'}", highlight=False, soft_wrap=True)
