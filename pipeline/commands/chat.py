"""The command `chat`: models of a run or of directories answer, in a child process: the driver loads no engine."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, get_args

from pipeline.commands import chosen_models
from pipeline.commands.chosen_models import ChosenModel
from pipeline.commands.declaration import Overrides, declare, exit_codes, option
from pipeline.commands.run_directory import find_run
from pipeline.configuration.graph import is_stage
from pipeline.configuration.prompt_files import SUFFIXES, template_of
from pipeline.errors import InvalidConfig, StageFailed
from pipeline.paths import REPOSITORY
from pipeline.view.words import size
from stages.config import ConfigError
from stages.config.choices import Template

INTERRUPTED = 130  # exit code of the child when Ctrl-C ended it

app = declare(
    "chat",
    "[model=DIRECTORY | --stage NAME | --compare A,B] [--prompt TEXT] [OPTIONS] [run=NAME] [runs_dir=DIR]",
    {
        "r1 chat": "the model that is furthest along the recipe",
        "r1 chat --stage r1_zero --prompt 'what is 24-3+7?'": "one answer of one stage's model",
        "r1 chat --compare base,preference_rl": "two models answer side by side",
        "echo 'what is 24-3+7?' | r1 chat --temperature 0 > answers.txt": "each line of a pipe is a prompt",
        "r1 chat model=models/smollm2-135m": "a model directory, by its own chat template",
    },
    exit_codes(0, 2, 3) | {4: "the process that holds the model failed"},
    more="In the chat, `/1` asks the first prompt of the list, `/prompts` shows the list, `/new` forgets the earlier "
    "turns, an empty line or Ctrl-D ends it, and Ctrl-C stops an answer.",
)


@app.default
def chat(
    *overrides: Overrides,
    stage: Annotated[str | None, option("--stage", value="NAME")] = None,
    compare: Annotated[list[str] | None, option("--compare", value="A,B", may_stand_alone=True)] = None,
    prompt: Annotated[str | None, option("--prompt", value="TEXT", may_begin_with_dash=True)] = None,
    template: Annotated[str | None, option("--template", value="TEMPLATE")] = None,
    system: Annotated[str, option("--system", value="TEXT", may_begin_with_dash=True)] = "",
    thinking: Annotated[Literal["auto", "on", "off"], option("--thinking", value="WHEN")] = "auto",
    turns: Annotated[int | None, option("--turns", value="N")] = None,
    temperature: Annotated[float, option("--temperature", value="T")] = 0.6,
    max_tokens: Annotated[int, option("--max-tokens", value="N")] = 0,
    seed: Annotated[int, option("--seed", value="N")] = 0,
) -> int:
    """Talk to a model of a run, or to a model directory.

    Answers are shown as they are drawn. Where the input is no terminal, each of its lines is a prompt, and only the
    answers go to the standard output.

    Args:
        overrides: `run=NAME` and `runs_dir=DIRECTORY`, by default the run that was worked on last; or
            `model=DIRECTORY`, any model directory or the directory of a stage.
        stage: The stage whose model answers; by default the one furthest along the recipe.
        compare: Several models that answer side by side: stages or model directories, with commas between them; by
            default the base and the model furthest along the recipe.
        prompt: Ask only this, print the answer and end.
        template: How the prompt is put before the model: plain, r1_zero, chat or a file FILE.jinja. By default as the
            model was trained, and a model from outside by the chat template of its tokenizer.
        system: What the model is told before every prompt.
        thinking: `on` or `off` sets the switch for thoughts of a chat template that has one (`thinking`,
            `enable_thinking`); `auto` leaves it.
        turns: How many earlier turns a model is shown; by default all that fit its context, and none where it was
            trained on single prompts, by a template without turns.
        temperature: How freely tokens are drawn; 0 takes the most likely one every time.
        max_tokens: The most tokens of an answer; 0 is what the context leaves.
        seed: The same seed gives the same answer.
    """
    _check_numbers(turns, temperature, max_tokens)
    models, known = _chosen(overrides, stage, compare)
    templates = [checked_template(template)] * len(models) if template else [model.template for model in models]
    command = [sys.executable, "-m", "stages.chat", *(str(model.directory) for model in models)]
    command += [f"--name={model.name}" for model in models] + [f"--template={one}" for one in templates]
    command += [f"--known={text}" for text in known]
    command += [f"--system={system}", f"--thinking={thinking}", f"--temperature={temperature}"]
    command += [f"--max-tokens={max_tokens}", f"--seed={seed}"]
    command += [f"--turns={turns}"] if turns is not None else []
    command += [f"--prompt={prompt}"] if prompt is not None else []
    for model in models:
        print(f"loading {model.about} ({size(_bytes(model.directory))}) ...", file=sys.stderr, flush=True)
    code = _run(command)
    if code not in (0, INTERRUPTED):
        raise StageFailed(f"the chat process ended with exit code {code}", "its message stands above")
    return 0


def _run(command: list[str]) -> int:
    """Runs the child, which is the one that Ctrl-C means; returns its exit code."""
    path = os.pathsep.join(part for part in (str(REPOSITORY), os.environ.get("PYTHONPATH", "")) if part)
    child = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path})
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # after the start: the child would ignore it too
    try:
        return child.wait()
    finally:
        signal.signal(signal.SIGINT, before)


def _check_numbers(turns: int | None, temperature: float, max_tokens: int) -> None:
    mistakes = [
        f"{name} {value}: must not be negative"
        for name, value in (("--turns", turns), ("--temperature", temperature), ("--max-tokens", max_tokens))
        if value is not None and not value >= 0
    ]
    if mistakes:
        raise InvalidConfig(mistakes)


def _chosen(
    overrides: Sequence[str], stage: str | None, compare: list[str] | None
) -> tuple[list[ChosenModel], list[str]]:
    """The models that are asked for, and prompts to offer."""
    models = [word.partition("=")[2] for word in overrides if word.startswith("model=")]
    if models and (len(overrides) > 1 or stage is not None or compare is not None):
        raise InvalidConfig(
            [f"model={models[-1]} is all that says which model answers: leave out --stage, --compare and run="]
        )
    if models:
        return [chosen_models.model_in(models[0])], []
    if compare is None:
        run_dir = find_run(overrides, "chat")
        return [chosen_models.model_of_run(run_dir, stage)], chosen_models.known_prompts(run_dir)
    if stage is not None:
        raise InvalidConfig([f"--stage {stage} and --compare: name all models behind --compare"])
    names = [name.strip() for text in compare for name in text.split(",") if name.strip()]
    if len(names) == 1:
        raise InvalidConfig([f"--compare {names[0]}: name two models or more, with commas between them, or none"])
    return _compared(overrides, names)


def _compared(overrides: Sequence[str], names: list[str]) -> tuple[list[ChosenModel], list[str]]:
    """The models behind --compare: stages of the run, or directories."""
    if names and all(_is_directory(name) for name in names):
        return [chosen_models.model_in(name) for name in names], []
    run_dir = find_run(overrides, "chat")
    if names:
        models = [
            chosen_models.model_in(name) if _is_directory(name) else chosen_models.model_of_run(run_dir, name)
            for name in names
        ]
    else:
        models = [chosen_models.root_model(run_dir), chosen_models.model_of_run(run_dir, None)]
    return models, chosen_models.known_prompts(run_dir)


def _is_directory(name: str) -> bool:
    """Whether a name is that of a directory and of no stage."""
    return not is_stage(name) and ("/" in name or Path(name).is_dir())


def _bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.glob("*.safetensors"))


def checked_template(text: str) -> str:
    """A template as it was typed, checked: a name, or the absolute path of a file."""
    if text in get_args(Template):
        return text
    if not text.endswith(SUFFIXES):
        raise InvalidConfig([f"--template {text} is not one of {', '.join(get_args(Template))}, nor a file FILE.jinja"])
    try:
        template_of(text)
    except ConfigError as error:
        raise InvalidConfig([f"--template: {line}" for line in error.errors]) from None
    return str(Path(text).expanduser().resolve())
