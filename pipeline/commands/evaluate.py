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
from pipeline.commands.run_directory import find_run
from pipeline.configuration import compose, spelling
from pipeline.configuration.graph import STAGES
from pipeline.configuration.ignored import ignored
from pipeline.configuration.schema import RunConfig
from pipeline.errors import InvalidConfig, MissingInput
from pipeline.execution.prefect import server as prefect_server
from pipeline.execution.run import run_stages
from pipeline.planning.command_line import remember_overrides, remember_typed
from pipeline.planning.whole import configuration_of, last_overrides
from pipeline.view.console import standard_console
from stages.config import output_fields
from stages.config.quoting import hydra_quoted
from stages.contract.results import find_comparisons, find_results

USAGE = "[model=DIRECTORY | 'model=[A,B]'] ['eval=[SUITE,...]'] [run=NAME] [KEY=VALUE ...]"

OF_RECIPES = ("recipe=", "experiment=")  # groups that choose the data too

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
    compared on the same problems by a paired test. The models of a run are those that it was last run with; an
    evaluation on other suites stands beside the recipe's own one, which status, report and publish go on to show.

    Args:
        overrides: `model=DIRECTORY` or `'model=[A,B]'`, without it the models of the run that `run=` names;
            `eval=SUITE` or `'eval=[A,B]'`, by default the held-out prompts of the data that `data=`, `data.path=` or
            `recipe=` names, else those of the tiny world; `eval.SUITE.key=value` for a key of a suite; any other key
            of the configuration. By default it is the run that was worked on last.
    """
    console = standard_console()
    words = as_overrides([*of_run(overrides), *overrides])
    remember_typed("evaluate", overrides)
    remember_overrides(words)
    config, tree = compose.compose_with_tree(words)
    typed = spelling.rewrite([word for word in overrides if not word.startswith("model=")])
    for line in ignored(typed, tree, config):
        console.print(f"note: {line}", highlight=False, markup=False, soft_wrap=True)
    is_aside = is_on_the_side(config)
    try:
        plan = run_stages(config, console, is_aside=is_aside, keeps_command=has_models(config.run_dir))
    finally:
        prefect_server.stop()
    step = next(step for step in plan.steps if step.stage == "evaluate")
    show(step.dir, console)
    if is_aside and (step.dir.parent / "latest").resolve() != step.dir:
        console.print("the recipe's own evaluation stays the current one of the run", highlight=False)
    return 0


def of_run(words: Sequence[str]) -> list[str]:
    """The overrides that the run was last run with, where its own models are evaluated: they say which models it has.

    It is the run that `run=` names, by default the one worked on last. What is typed again is left out.
    """
    if any(word.startswith("model=") for word in words):
        return []
    named = [word for word in words if word.startswith(("run=", "runs_dir="))]
    try:
        run_dir = find_run(named, "evaluate")
    except MissingInput:  # the plan says what is missing
        return []
    typed = {word.partition("=")[0].lstrip("+") for word in (*words, *spelling.rewrite(list(words)))}
    typed |= {"run", "runs_dir"}
    kept = [word for word in last_overrides(run_dir) or [] if not _sets_one_of(word, typed)]
    place = {"run": run_dir.name, "runs_dir": str(run_dir.parent)}
    named = [f"{key}={hydra_quoted(value)}" for key, value in place.items() if not _is_typed(key, words)]
    return [*kept, *named]


def _is_typed(key: str, words: Sequence[str]) -> bool:
    return any(word.startswith(f"{key}=") for word in words)


def _sets_one_of(word: str, keys: set[str]) -> bool:
    """Whether an override sets one of these keys, or something within it."""
    own = word.partition("=")[0].lstrip("+")
    return any(own == key or own.startswith(f"{key}.") for key in keys)


def is_on_the_side(config: RunConfig) -> bool:
    """Whether an evaluation is another one than the recipe's of its run, which then stays the current one."""
    if not has_models(config.run_dir):
        return False  # a run of evaluations only
    before = configuration_of(config.run_dir)
    if before is None:
        return True
    return output_fields(before.stage("evaluate")) != output_fields(config.stage("evaluate")) or bool(
        config.stages.evaluate.directories
    )


def has_models(run_dir: Path) -> bool:
    """Whether a run has stages of the recipe, and evaluations beside them."""
    return any((run_dir / name).is_dir() for name in STAGES if name not in ("evaluate", "report"))


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
        names_data = any(key in ("data", "data.path") or key.startswith("data.sources") for key in keys)
        chosen += _defaults_for_outside_models(models, keys, names_data or _recipe_has_data(others))
    return spelling.rewrite([*chosen, *others])


def _defaults_for_outside_models(models: list[str], keys: set[str], names_data: bool) -> list[str]:
    """What an evaluation of model directories needs, but for the keys that were given.

    Args:
        models: the directories.
        keys: what was given.
        names_data: whether the words, or the recipe that they name, say which prompts are the run's own.
    """
    chosen = [f"stages.evaluate.directories={json.dumps(models, ensure_ascii=False)}"]
    if "run" not in keys:
        chosen.append("run=evaluate")
    if not keys & {"eval", "stages.evaluate.suites"}:
        chosen.append("eval=own" if names_data else "eval=tiny")
    if not keys & {"data.template", "eval.own.template"}:  # by its own chat template, also on prompts of one's own
        chosen.append("eval.own.template=auto")
    if not names_data:  # suites bring their own prompts
        chosen.append("data=tiny_world")
        if "data.template" not in keys:  # for a model without a chat template: the paper's
            chosen.append("data.template=r1_zero")
    return chosen


def _recipe_has_data(words: Sequence[str]) -> bool:
    """Whether the recipe that is named brings prompts of its own, other than the tiny world's.

    One that waits for a file (data=file without data.path) brings none.
    """
    named = [word for word in spelling.rewrite(list(words)) if word.lstrip("+").startswith(OF_RECIPES)]
    if not named:
        return False
    try:
        data = compose.compose_tree(named).data
    except InvalidConfig:  # no such recipe: the whole composition says so
        return False
    return data.name != "tiny_world" and bool(data.name != "file" or data.path or data.sources)


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
