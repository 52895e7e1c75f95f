"""The command `chat`: a model of a run answers, in a child process since the driver loads no engine."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

from pipeline.commands.declaration import Overrides, declare, exit_codes, option
from pipeline.commands.run_directory import find_run
from pipeline.configuration.graph import FAMILIES, NODES, family_of, is_stage, stage_order
from pipeline.errors import MissingInput, StageFailed
from pipeline.paths import REPOSITORY
from pipeline.planning.command_line import run_words
from pipeline.planning.models import template_of_directory
from pipeline.view.console import standard_console
from stages.contract.description import StageDescription

MODEL_STAGES = [node.name for node in NODES if node.makes == "model"]  # the stages of named students are families of it

app = declare(
    "chat",
    "[--stage NAME] [--prompt TEXT] [run=NAME] [runs_dir=DIRECTORY]",
    {
        "r1 chat": "the model that is furthest along the recipe",
        "r1 chat --stage r1_zero --prompt 'what is 24-3+7?'": "one answer of one stage's model",
    },
    exit_codes(0, 2, 3) | {4: "the process that holds the model failed"},
)


@app.default
def chat(
    *overrides: Overrides,
    stage: Annotated[str | None, option("--stage", value="NAME")] = None,
    prompt: Annotated[str | None, option("--prompt", value="TEXT", may_begin_with_dash=True)] = None,
) -> int:
    """Talk to a model of a run.

    An empty line or Ctrl-D ends the chat.

    Args:
        overrides: `run=NAME` and `runs_dir=DIRECTORY`; by default the run that was worked on last.
        stage: The stage whose model answers; by default the one furthest along the recipe.
        prompt: Ask only this, print the answer and end.
    """
    run_dir = find_run(overrides, "chat")
    directory = model_stage(run_dir, stage)
    model_dir = directory / "model"
    template = template_of_directory(model_dir) or "plain"
    command = [sys.executable, "-m", "stages.chat", str(model_dir), "--template", template]
    if prompt is not None:
        command += ["--prompt", prompt]
    else:
        name = StageDescription.read(directory).stage
        standard_console().print(
            f"{name} of run {run_dir.name}; an empty line or Ctrl-D ends the chat", highlight=False
        )
    path = os.pathsep.join(part for part in (str(REPOSITORY), os.environ.get("PYTHONPATH", "")) if part)
    try:
        code = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}).returncode
    except KeyboardInterrupt:
        return 0
    if code:
        raise StageFailed(f"the chat process ended with exit code {code}", "its message stands above")
    return 0


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
        command = f"python -m pipeline run +stage={stage if is_stage(stage) else 'all'} {run_words(run_dir)}"
        raise MissingInput(f"the run {run_dir.name} has no model of {stage}{there_are}", command)
    if not made:
        raise MissingInput(
            f"the run {run_dir.name} has no model yet", f"python -m pipeline run +stage=all {run_words(run_dir)}"
        )
    teachers = [name for name in made if family_of(name) not in FAMILIES]
    return (run_dir / (stage or (teachers or made)[-1]) / "latest").resolve()
