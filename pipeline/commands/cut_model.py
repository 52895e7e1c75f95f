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
    "DIR --layers NUMBER|--without NUMBERS [--to DIRECTORY]",
    {
        "r1 models cut models/smollm2-135m --without 12,17": "the student of recipe=smollm2",
        "r1 models cut DIR --layers 24": "leave out as many layers in the middle as are too many",
    },
    exit_codes(0, 2, 3),
    parent="r1 models",
)


@cut_app.default
def cut(
    directory: Path,
    /,
    *,
    layers: Annotated[int | None, option("--layers", value="NUMBER")] = None,
    without: Annotated[str | None, option("--without", value="NUMBERS")] = None,
    to: Annotated[Path | None, option("--to", value="DIRECTORY")] = None,
) -> int:
    """Make a smaller model by leaving out layers: as many in the middle as are too many, or those that are named.

    It is not trained: that is for the stage distill.

    Args:
        directory: The model.
        layers: How many layers stay.
        without: The layers that are left out, counted from 0, with commas between them.
        to: The directory that is made; by default DIR-NUMBER-layers or DIR-without-NUMBERS.
    """
    lacks = model_problems(directory)
    if lacks:
        raise MissingInput(f"{directory} is no model that can be cut: {'; '.join(lacks)}", "name a model directory")
    if (layers is None) == (without is None):
        raise InvalidConfig(["give either --layers NUMBER or --without NUMBERS: which layers are left out?"])
    left_out = _numbers(without) if without is not None else []
    words = ["--without", *left_out] if left_out else ["--layers", str(layers)]
    place = to or directory.with_name(
        f"{directory.name}-without-{'-'.join(left_out)}" if left_out else f"{directory.name}-{layers}-layers"
    )
    if place.exists():
        raise InvalidConfig([f"{place} exists already: remove it, or name another place with --to DIRECTORY"])
    place.parent.mkdir(parents=True, exist_ok=True)
    # A child process does it, since this one loads no torch.
    command = [sys.executable, "-m", "stages.engines.cut", str(directory.resolve()), str(place.resolve())]
    done = subprocess.run([*command, *words], capture_output=True, text=True, cwd=REPOSITORY)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        raise InvalidConfig([lines[-1].strip()])
    print(f"{place} has {int(done.stdout.split()[-1]) / 1e6:.0f}M parameters.")
    print(f"use it with student.path={place}")
    return 0


def _numbers(text: str) -> list[str]:
    """The layers of "17, 12" in order, each once: ["12", "17"]."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() for word in words):
        raise InvalidConfig([f"--without takes the numbers of layers with commas between them, as 12,17; got {text!r}"])
    return [str(number) for number in sorted({int(word) for word in words})]
