"""Which models a command is about: stages of a run or model directories, each with the template of its training."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.configuration.graph import FAMILIES, NODES, STAGES, family_of, is_stage, stage_order
from pipeline.errors import MissingInput
from pipeline.planning.models import locate, template_of_directory
from pipeline.planning.whole import command_again
from stages.contract.description import StageDescription
from stages.contract.files import read_jsonl
from stages.contract.inputs import read_inputs
from stages.contract.manifest import verify
from stages.contract.model_directory import model_problems

MODEL_STAGES = [node.name for node in NODES if node.makes == "model"]  # the stages of named students are families of it
ROOT = "base"
NUM_SHOWN = 6  # prompts that a chat offers
LONGEST_SHOWN = 300  # characters of one


@dataclass(frozen=True)
class ChosenModel:
    """A model directory that can be used."""

    directory: Path
    name: str  # the stage that made it, else the name of its directory
    about: str  # which one it is, for people
    template: str  # that its prompts are put into; auto: its tokenizer's

    @property
    def stage_dir(self) -> Path | None:
        """The directory of the stage that made it; None for a model from outside."""
        return self.directory.parent if StageDescription.find(self.directory.parent) else None


def model_in(directory: str) -> ChosenModel:
    """The model in a directory, of a stage or of any origin.

    Raises:
        MissingInput: there is none, or it cannot be used.
    """
    of_stage = Path(directory).expanduser() / "model"
    model_dir = locate(str(of_stage) if (of_stage / "config.json").is_file() else directory, None)
    lacks = model_problems(model_dir)
    if lacks:
        raise MissingInput(
            f"the model directory {model_dir} cannot be used: {'; '.join(lacks)}",
            "give a directory that transformers' save_pretrained wrote, model and tokenizer: model=DIRECTORY",
        )
    made_by = StageDescription.find(model_dir.parent)
    name = made_by.stage if made_by else model_dir.name
    return ChosenModel(model_dir, name, str(model_dir), template_of_directory(model_dir) or "auto")


def model_of_run(run_dir: Path, stage: str | None) -> ChosenModel:
    """The model of a stage of a run; None for the one furthest along the recipe.

    Raises:
        MissingInput: as `model_stage`; or a file of the stage was changed since.
    """
    directory = model_stage(run_dir, stage)
    name = StageDescription.read(directory).stage
    model_dir = directory / "model"
    if problems := verify(directory).problems:
        raise MissingInput(
            f"the model of {name} in the run {run_dir.name} is damaged: {'; '.join(problems)}",
            f"make it again: {command_again(run_dir, name)} force=true\nor take it as it is: model={model_dir}",
        )
    return ChosenModel(model_dir, name, f"{name} of run {run_dir.name}", template_of_directory(model_dir) or "auto")


def made_models(run_dir: Path) -> list[str]:
    """The finished stages of a run that made a model, in the recipe's order."""
    names = {path.name for path in run_dir.iterdir() if is_stage(path.name) and family_of(path.name) in MODEL_STAGES}
    return [name for name in sorted(names, key=stage_order) if (run_dir / name / "latest" / "manifest.json").exists()]


def model_stage(run_dir: Path, stage: str | None) -> Path:
    """The directory of a finished stage that made a model.

    Args:
        run_dir: the run's directory.
        stage: the stage's name; None for the one furthest along the recipe, a student only where there is no other.

    Raises:
        MissingInput: there is no such model; the message names those that there are.
    """
    made = made_models(run_dir)
    if stage is not None and stage not in made:
        there_are = f"; it has {', '.join(made)}" if made else ""
        raise MissingInput(
            f"the run {run_dir.name} has no model of {stage}{there_are}{did_you_mean(stage, [*made, *MODEL_STAGES])}",
            command_again(run_dir, stage if is_stage(stage) else "all")
            if is_stage(stage) or not made
            else "name one of the stages that it has",
        )
    if not made:
        raise MissingInput(f"the run {run_dir.name} has no model yet", command_again(run_dir, "all"))
    return (run_dir / (stage or furthest(made)) / "latest").resolve()


def root_model(run_dir: Path) -> ChosenModel:
    """The model that the recipe began with: its base, or the one from outside in its place.

    Raises:
        MissingInput: the run has none yet.
    """
    made = made_models(run_dir)
    if ROOT in made or not made:
        return model_of_run(run_dir, ROOT)
    for stage in made:
        policy = read_inputs(run_dir / stage / "latest").get("policy")
        if policy is not None and policy.stage is None and policy.model_dir:
            return replace(model_in(policy.model_dir), name=ROOT)
    return model_of_run(run_dir, made[0])


def known_prompts(run_dir: Path) -> list[str]:
    """Prompts that the models of a run were measured on: held-out ones, some of each set, where it was evaluated."""
    by_set: dict[str, list[str]] = {}
    for row in read_jsonl(run_dir / "evaluate" / "latest" / "samples.jsonl"):
        prompts = by_set.setdefault(str(row.get("set")), [])
        text = row.get("prompt")
        if isinstance(text, str) and text not in prompts and len(text) <= LONGEST_SHOWN:
            prompts.append(text)
    share = max(1, NUM_SHOWN // max(1, len(by_set)))
    return [text for prompts in by_set.values() for text in prompts[:share]][:NUM_SHOWN]


def furthest(made: list[str]) -> str:
    """The model that is furthest along the recipe, a student only where there is no other."""
    teachers = [name for name in made if family_of(name) not in FAMILIES]
    return (teachers or made)[-1]


def no_such_stage(name: str) -> str:
    """What is said of a name that is none of a stage."""
    return f"{name}: no such stage; stages are {', '.join(STAGES)}{did_you_mean(name, STAGES)}"


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """The question after a name that looks mistyped; "" where nothing is near, or the name is right."""
    known = list(names)
    close = [] if word in known else difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
