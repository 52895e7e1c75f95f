"""The command `models cut`: a smaller model, to distil into, from a larger one whose layers it shares."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated

from pipeline.commands.declaration import declare, exit_codes, option
from pipeline.errors import InvalidConfig, MissingInput
from pipeline.paths import REPOSITORY
from stages.contract.model_directory import model_problems

cut_app = declare(
    "cut",
    "DIR --layers NUMBER [--to DIRECTORY]",
    {"r1 models cut models/smollm2-135m --layers 24": "the student of recipe=smollm2"},
    exit_codes(0, 2, 3),
    parent="r1 models",
)


@cut_app.default
def cut(
    directory: Path,
    /,
    *,
    layers: Annotated[int, option("--layers", value="NUMBER")],
    to: Annotated[Path | None, option("--to", value="DIRECTORY")] = None,
) -> int:
    """Make a smaller model by leaving out layers in the middle.

    It is not trained: that is for the stage distill.

    Args:
        directory: The model.
        layers: How many layers stay.
        to: The directory that is made; by default DIR-NUMBER-layers.
    """
    lacks = model_problems(directory)
    if lacks:
        raise MissingInput(f"{directory} is no model that can be cut: {'; '.join(lacks)}", "name a model directory")
    place = to or directory.with_name(f"{directory.name}-{layers}-layers")
    if place.exists():
        raise InvalidConfig([f"{place} exists already: remove it, or name another place with --to DIRECTORY"])
    place.parent.mkdir(parents=True, exist_ok=True)
    # A child process does it, since this one loads no torch.
    command = [sys.executable, "-m", "stages.engines.cut", str(directory.resolve()), str(place.resolve())]
    done = subprocess.run([*command, "--layers", str(layers)], capture_output=True, text=True, cwd=REPOSITORY)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        raise InvalidConfig([lines[-1].strip()])
    print(f"{place} has {int(done.stdout.split()[-1]) / 1e6:.0f}M parameters in {layers} layers.")
    print(f"use it with student.path={place}")
    return 0
