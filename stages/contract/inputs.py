"""inputs.json: what a stage is made from, {role: input}. The driver writes it before the launch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stages.contract import files
from stages.contract.json_file import LEFT_OUT_IF_NONE, DamagedFile, read_as, to_plain

FILE_NAME = "inputs.json"


@dataclass(frozen=True, kw_only=True)
class StageInput:
    """The result of another stage, or a model from outside of the run."""

    stage: str | None = None  # the stage that made it; None: it comes from outside
    fingerprint: str
    path: str  # the stage's directory; of a model from outside, the directory of the model
    model_dir: str | None = None  # the Hugging Face directory, where it is a model
    template: str | None = field(
        default=None, metadata=LEFT_OUT_IF_NONE
    )  # for `evaluate`: the prompt template that the model was trained with


def read_inputs(directory: Path) -> dict[str, StageInput]:
    """The inputs of a stage directory by role. Raises FileNotFoundError, or DamagedFile where it is not such a file."""
    return read_as(dict[str, StageInput], directory / FILE_NAME, "stage's inputs")


def find_inputs(directory: Path) -> dict[str, StageInput] | None:
    """The inputs of a stage directory by role; None where the file is missing or damaged."""
    try:
        return read_inputs(directory)
    except (FileNotFoundError, NotADirectoryError, DamagedFile):
        return None


def write_inputs(directory: Path, inputs: Mapping[str, StageInput]) -> None:
    """Writes the inputs of a stage directory."""
    files.write_json(directory / FILE_NAME, to_plain(dict(inputs)))
