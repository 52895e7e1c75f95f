"""What of a stage's model goes to the Hugging Face hub: its files, and the model card with the evaluation's results.

The files are those that the manifest lists under model/, or under adapter/, each checked against its checksum.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.errors import MissingInput
from pipeline.planning.whole import ancestors_of, command_of_run, current_directories, flaws, overrides_of
from stages.contract.inputs import find_inputs
from stages.contract.manifest import verify
from stages.contract.results import Result, find_results

CARD = "README.md"
TRAINING_NUMBERS = "## Numbers at the end of training"  # a heading of the card that a stage writes
ADAPTER_CONFIG = "adapter_config.json"
UNSAFE_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".py")


@dataclass(frozen=True)
class Parcel:
    """What goes to the hub: the files by their names there, and the text of the model card."""

    stage: str
    files: dict[str, Path]
    card: str
    texts: dict[str, str] = field(default_factory=dict)  # what goes there in the place of a file of this name

    @property
    def num_bytes(self) -> int:
        """The size of everything, the card included."""
        return sum(map(self.size_of, self.files)) + len(self.card.encode())

    def size_of(self, name: str) -> int:
        """Bytes of a file as it goes to the hub."""
        return len(self.texts[name].encode()) if name in self.texts else self.files[name].stat().st_size


def pack(run_dir: Path, directory: Path, folder: str = "model") -> Parcel:
    """The files of a finished stage's model, or adapters, and their card with the evaluation's results.

    Args:
        run_dir: the run's directory.
        directory: the stage directory in it.
        folder: model or adapter.

    Raises:
        MissingInput: the stage is not finished, a file is damaged, a file could run code when it is read, or there are
            no adapters.
    """
    verdict = verify(directory)
    if verdict.manifest is None or verdict.problems:
        raise MissingInput(
            f"{directory} is not a finished, undamaged stage: {'; '.join(verdict.problems) or 'it has no manifest'}",
            f"{command_of_run(run_dir, None, overrides_of(directory) or [], directory.parent.name)} force=true",
        )
    names = [name for name in verdict.manifest.files if name.startswith(f"{folder}/")]
    if not names:
        raise MissingInput(
            f"{directory} has no {folder}/: the stage trained all weights", "leave out --adapter: publish the model"
        )
    unsafe = [name for name in names if name.endswith(UNSAFE_SUFFIXES)]
    if unsafe:
        raise MissingInput(
            f"{directory} holds files that can run code when they are read: {', '.join(unsafe)}",
            "export it again as safetensors",
        )
    card = directory / folder / CARD
    text = card.read_text(encoding="utf-8") if card.is_file() else f"# {directory.parent.name}\n"
    files = {name.removeprefix(f"{folder}/"): directory / name for name in sorted(names)}
    files.pop(CARD, None)
    return Parcel(directory.parent.name, files, with_results(text, evaluation(run_dir, directory)))


def with_base(parcel: Parcel, base: str | None) -> Parcel:
    """Adapters whose configuration names their base as the hub knows it.

    Args:
        parcel: of adapters.
        base: OWNER/NAME of the base; None to keep the name that is there.

    Raises:
        MissingInput: the base is a directory of this machine, and no name is given.
    """
    config = json.loads(parcel.files[ADAPTER_CONFIG].read_text(encoding="utf-8"))
    named = config["base_model_name_or_path"]
    if base is None:
        if not named.startswith(("/", ".")):
            return parcel
        raise MissingInput(
            f"the adapters of {parcel.stage} are for {named}, which nobody else has",
            "publish the base too, and name it: --base OWNER/NAME",
        )
    text = json.dumps(config | {"base_model_name_or_path": base}, indent=2) + "\n"
    card = re.sub(r" BASE stands for [^\n]*", "", parcel.card).replace("BASE", base)
    return replace(parcel, texts={ADAPTER_CONFIG: text}, card=card)


def require_whole(run_dir: Path, stage: str) -> None:
    """Raises MissingInput where a model, what it was made from and its evaluation are not of one piece.

    The card would put the numbers of one model beside the weights of another one.
    """
    found = flaws(run_dir)
    ancestors = ancestors_of(stage, current_directories(run_dir))
    matter = [flaw for flaw in found if flaw.stage in ancestors or flaw.stage == "evaluate"]
    if matter:
        commands = dict.fromkeys(command for flaw in matter for command in flaw.mends)
        raise MissingInput(
            "\n".join(f"{stage} is not published, for the run is not of one piece: {flaw.message}" for flaw in matter),
            "\n".join([*commands, "or publish it as it is: add --anyway"]),
        )


def evaluation(run_dir: Path, directory: Path) -> list[Result]:
    """The rows of results.json on this very model; none where the latest evaluation was of another version of it."""
    latest = run_dir / "evaluate" / "latest"
    damages = verify(latest).problems
    if damages:
        raise MissingInput(
            f"the evaluation that the card would quote is damaged: {'; '.join(damages)}",
            command_of_run(run_dir, None, overrides_of(latest) or [], "evaluate") + " force=true",
        )
    stage = directory.parent.name
    source = (find_inputs(latest) or {}).get(stage)
    if source is None or source.fingerprint[:8] != directory.name:
        return []
    return [row for row in find_results(latest) if row["model"] == stage and row["n"]]


def with_results(card: str, rows: Sequence[Result]) -> str:
    """The card with a table of results, before the numbers of training where it has those, else at its end.

    >>> row = {"set": "aime24", "metric": "pass@1", "value": 0.5, "low": 0.4, "high": 0.6, "n": 30}
    >>> print(with_results("# My model", [row]))
    # My model
    <BLANKLINE>
    ## Evaluation
    <BLANKLINE>
    | set | metric | value | 95% interval | n |
    |---|---|---|---|---|
    | aime24 | pass@1 | 0.5 | 0.4 to 0.6 | 30 |
    <BLANKLINE>
    <BLANKLINE>
    """
    if not rows:
        return card
    lines = ["## Evaluation", "", "| set | metric | value | 95% interval | n |", "|---|---|---|---|---|"]
    lines += [
        f"| {row['set']} | {row['metric']} | {row['value']:.4g} | {row['low']:.4g} to {row['high']:.4g} | {row['n']} |"
        for row in rows
    ]
    table = "\n".join(lines) + "\n\n"
    if TRAINING_NUMBERS in card:
        return card.replace(TRAINING_NUMBERS, table + TRAINING_NUMBERS, 1)
    return f"{card.rstrip()}\n\n{table}"
