"""Model directories from outside of the run: whether they can be used, and as what."""

import itertools
import re
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pipeline.configuration.model_directory import locate, num_parameters
from pipeline.errors import MessageAndFix, MissingInput
from pipeline.planning.fingerprint import model_fingerprint
from stages.config.choices import Template
from stages.contract.description import StageDescription
from stages.contract.inputs import StageInput
from stages.contract.model_directory import model_problems

__all__ = [
    "Prompting",
    "locate",
    "num_parameters",
    "outside_input",
    "outside_inputs",
    "template_of_directory",
    "trained_prompting",
    "trained_template",
]


def outside_input(path: str, revision: str | None) -> StageInput:
    """A model from outside, as an input of a stage.

    Args:
        path: A local directory, or a name of the hub that is in the local cache.
        revision: Which revision of the hub's model; None for main.

    Raises:
        MissingInput: The directory is not there or cannot be used.
    """
    directory = locate(path, revision)
    lacks = model_problems(directory)
    if lacks:
        raise MissingInput(
            f"the model directory {directory} cannot be used: {'; '.join(lacks)}",
            "give a directory that transformers' save_pretrained wrote, model and tokenizer: model.path=DIRECTORY",
        )
    return StageInput(path=str(directory), model_dir=str(directory), fingerprint=model_fingerprint(directory))


def outside_inputs(paths: list[str]) -> tuple[dict[str, StageInput], list[MessageAndFix]]:
    """({name: input}, errors) of model directories that are evaluated.

    A model is named after the stage that made it, where its directory says so, else after its directory; a second one
    of the same name is NAME-2, and so on. A stage's directory stands for the model in it.
    """
    inputs: dict[str, StageInput] = {}
    errors: list[MessageAndFix] = []
    for path in paths:
        of_stage = Path(path).expanduser() / "model"
        try:
            directory = str(of_stage) if (of_stage / "config.json").is_file() else path
            found = outside_input(directory, None)
        except MissingInput as error:
            fix = "give a directory of a model, as transformers' save_pretrained writes it: model=DIRECTORY"
            errors.append((str(error), fix))
            continue
        inputs[_free_name(_name_of(Path(found.path)), inputs)] = found
    return inputs, errors


def _free_name(name: str, taken: Container[str]) -> str:
    """The name, or the first of NAME-2, NAME-3, ... that is not taken."""
    if name not in taken:
        return name
    return next(f"{name}-{number}" for number in itertools.count(2) if f"{name}-{number}" not in taken)


def _name_of(model_dir: Path) -> str:
    """The stage that made a model, else the name of its directory, in letters that a file name may have."""
    made_by = StageDescription.find(model_dir.parent)
    return re.sub(r"[^A-Za-z0-9._-]", "-", made_by.stage if made_by else model_dir.name) or "model"


@dataclass(frozen=True)
class Prompting:
    """What a stage writes around its prompts."""

    template: str
    system: str = ""
    examples: str | None = None

    @property
    def is_by_name(self) -> bool:
        """Whether it is a template by its name and nothing more."""
        return self.template in get_args(Template) and not self.system and not self.examples

    def __str__(self) -> str:
        name = self.template if self.template in get_args(Template) else "of a file"
        more = [word for word, value in (("a system prompt", self.system), ("examples", self.examples)) if value]
        return " with ".join([name, *([" and ".join(more)] if more else [])])


def trained_prompting(kind: str | None, config: dict) -> Prompting | None:
    """What a trained stage wrote around its prompts; None for a stage that trains nothing.

    Args:
        kind: The kind of the stage.
        config: Its configuration as plain data.
    """
    if kind == "pretrain":
        return Prompting("plain")  # every world's documents are written so
    if kind not in ("grpo", "reward_models", "sft"):
        return None
    section = config if kind == "sft" else config["data"]
    return Prompting(section["template"], section.get("system") or "", section.get("examples"))


def trained_template(kind: str | None, config: dict) -> str | None:
    """The template that a trained model is to be asked in; None for a stage that trains nothing.

    An export's own chat template, `chat`, has all that stood around the prompts in training.
    """
    prompting = trained_prompting(kind, config)
    if prompting is None:
        return None
    return prompting.template if prompting.is_by_name else "chat"


def template_of_directory(model_dir: Path) -> str | None:
    """The template of a model that a stage of ours made, where its directory still lies in that stage's."""
    made_by = StageDescription.find(model_dir.parent)
    try:
        return trained_template(made_by.kind, made_by.config) if made_by else None
    except (KeyError, TypeError):  # of a version without templates
        return None
