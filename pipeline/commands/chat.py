"""`chat`: talk to a model of the run. The model answers in a child process; the driver loads no engine."""

import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from pipeline.configuration.graph import FAMILIES, NODES, family_of, is_stage, stage_order
from pipeline.errors import MissingInput, StageFailed
from pipeline.paths import REPOSITORY
from pipeline.planning.models import template_of_directory
from stages.contract.description import StageDescription

MODEL_STAGES = [node.name for node in NODES if node.makes == "model"]  # and those of named students


def main(run_dir: Path, stage: str | None, prompt: str | None, console: Console) -> int:
    """Starts `python -m stages.chat MODEL_DIR ...` for a stage's model, by default the furthest one of the recipe."""
    directory = model_stage(run_dir, stage)
    command = [
        sys.executable,
        "-m",
        "stages.chat",
        str(directory / "model"),
        "--template",
        template_of_directory(directory / "model") or "plain",
    ]
    if prompt is not None:
        command += ["--prompt", prompt]
    else:
        console.print(
            f"{StageDescription.read(directory).stage} of run {run_dir.name}; an empty line or Ctrl-D ends the chat",
            highlight=False,
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
    """The directory of a finished stage with a model. Raises MissingInput with what there is."""
    names = {path.name for path in run_dir.iterdir() if is_stage(path.name) and family_of(path.name) in MODEL_STAGES}
    made = [name for name in sorted(names, key=stage_order) if (run_dir / name / "latest" / "manifest.json").exists()]
    if stage is not None and stage not in made:
        command = f"python -m pipeline run +stage={stage if is_stage(stage) else 'all'} run={run_dir.name}"
        raise MissingInput(
            f"the run {run_dir.name} has no model of {stage}" + (f"; it has {', '.join(made)}" if made else ""), command
        )
    if not made:
        raise MissingInput(
            f"the run {run_dir.name} has no model yet", f"python -m pipeline run +stage=all run={run_dir.name}"
        )
    teachers = [name for name in made if family_of(name) not in FAMILIES]
    return (run_dir / (stage or (teachers or made)[-1]) / "latest").resolve()
