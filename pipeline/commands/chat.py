"""The command `chat`: a model of a run or a directory answers, in a child process: the driver loads no engine."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, get_args

from pipeline.commands.declaration import Overrides, declare, exit_codes, option
from pipeline.commands.run_directory import find_run
from pipeline.configuration.graph import FAMILIES, NODES, family_of, is_stage, stage_order
from pipeline.configuration.prompt_files import SUFFIXES, template_of
from pipeline.errors import InvalidConfig, MissingInput, StageFailed
from pipeline.paths import REPOSITORY
from pipeline.planning.models import locate, template_of_directory
from pipeline.planning.whole import command_again
from pipeline.view.console import standard_console
from stages.config import ConfigError
from stages.config.choices import Template
from stages.contract.description import StageDescription
from stages.contract.model_directory import model_problems

MODEL_STAGES = [node.name for node in NODES if node.makes == "model"]  # the stages of named students are families of it

app = declare(
    "chat",
    "[model=DIRECTORY] [--stage NAME] [--prompt TEXT] [--template TEMPLATE] [--system TEXT] [run=NAME] [runs_dir=DIR]",
    {
        "r1 chat": "the model that is furthest along the recipe",
        "r1 chat --stage r1_zero --prompt 'what is 24-3+7?'": "one answer of one stage's model",
        "r1 chat model=models/smollm2-135m": "a model directory, by its own chat template",
    },
    exit_codes(0, 2, 3) | {4: "the process that holds the model failed"},
)


@app.default
def chat(
    *overrides: Overrides,
    stage: Annotated[str | None, option("--stage", value="NAME")] = None,
    prompt: Annotated[str | None, option("--prompt", value="TEXT", may_begin_with_dash=True)] = None,
    template: Annotated[str | None, option("--template", value="TEMPLATE")] = None,
    system: Annotated[str, option("--system", value="TEXT", may_begin_with_dash=True)] = "",
) -> int:
    """Talk to a model of a run, or to a model directory.

    An empty line or Ctrl-D ends the chat.

    Args:
        overrides: `run=NAME` and `runs_dir=DIRECTORY`, by default the run that was worked on last; or
            `model=DIRECTORY`, any model directory or the directory of a stage.
        stage: The stage whose model answers; by default the one furthest along the recipe.
        prompt: Ask only this, print the answer and end.
        template: How the prompt is put before the model: plain, r1_zero, chat or a file FILE.jinja. By default as the
            model was trained, and a model from outside by the chat template of its tokenizer.
        system: What the model is told before every prompt.
    """
    model_dir, name = _model(overrides, stage)
    chosen = _template(template) if template else template_of_directory(model_dir) or "auto"
    command = [sys.executable, "-m", "stages.chat", str(model_dir), "--template", chosen, f"--system={system}"]
    if prompt is not None:
        command.append(f"--prompt={prompt}")
    else:
        standard_console().print(f"{name}; an empty line or Ctrl-D ends the chat", highlight=False, soft_wrap=True)
    path = os.pathsep.join(part for part in (str(REPOSITORY), os.environ.get("PYTHONPATH", "")) if part)
    try:
        code = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}).returncode
    except KeyboardInterrupt:
        return 0
    if code:
        raise StageFailed(f"the chat process ended with exit code {code}", "its message stands above")
    return 0


def _model(overrides: Sequence[str], stage: str | None) -> tuple[Path, str]:
    """The model directory that is asked for, and its name for people."""
    models = [word.partition("=")[2] for word in overrides if word.startswith("model=")]
    if not models:
        run_dir = find_run(overrides, "chat")
        directory = model_stage(run_dir, stage)
        return directory / "model", f"{StageDescription.read(directory).stage} of run {run_dir.name}"
    if len(overrides) > 1 or stage is not None:
        raise InvalidConfig([f"model={models[-1]} is all that says which model answers: leave out --stage and run="])
    of_stage = Path(models[0]).expanduser() / "model"
    model_dir = locate(str(of_stage) if (of_stage / "config.json").is_file() else models[0], None)
    lacks = model_problems(model_dir)
    if lacks:
        raise MissingInput(
            f"the model directory {model_dir} cannot be used: {'; '.join(lacks)}",
            "give a directory that transformers' save_pretrained wrote, model and tokenizer: model=DIRECTORY",
        )
    return model_dir, str(model_dir)


def _template(text: str) -> str:
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


def model_stage(run_dir: Path, stage: str | None) -> Path:
    """The directory of a finished stage that made a model.

    Args:
        run_dir: the run's directory.
        stage: the stage's name; None for the one furthest along the recipe, a student only where there is no other.

    Raises:
        MissingInput: there is no such model; the message names those that there are.
    """
    names = {path.name for path in run_dir.iterdir() if is_stage(path.name) and family_of(path.name) in MODEL_STAGES}
    made = [name for name in sorted(names, key=stage_order) if (run_dir / name / "latest" / "manifest.json").exists()]
    if stage is not None and stage not in made:
        there_are = f"; it has {', '.join(made)}" if made else ""
        command = command_again(run_dir, stage if is_stage(stage) else "all")
        raise MissingInput(f"the run {run_dir.name} has no model of {stage}{there_are}", command)
    if not made:
        raise MissingInput(f"the run {run_dir.name} has no model yet", command_again(run_dir, "all"))
    teachers = [name for name in made if family_of(name) not in FAMILIES]
    return (run_dir / (stage or (teachers or made)[-1]) / "latest").resolve()
