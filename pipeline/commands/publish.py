"""The command `publish`: a stage's model to the Hugging Face hub.

What is uploaded is what the manifest lists under model/, each file checked against its checksum, with the evaluation's
numbers added to the model card. One commit holds all files: a reader of the repository sees the old version or the
whole new one.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from rich import box
from rich.console import Console
from rich.table import Table

from pipeline.commands.chat import model_stage
from pipeline.commands.declaration import Overrides, declare, exit_codes, flag, option
from pipeline.commands.run_directory import find_run
from pipeline.errors import InvalidConfig, MissingInput, StageFailed
from pipeline.view.console import standard_console
from pipeline.view.words import size
from stages.contract.files import find_json
from stages.contract.inputs import find_inputs
from stages.contract.manifest import verify

CARD = "README.md"
REPOSITORY_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]{0,95}")
TRAINING_NUMBERS = "## Numbers at the end of training"  # a heading of the card that a stage writes
UNSAFE_SUFFIXES = (".bin", ".pt", ".pth", ".pkl", ".py")

app = declare(
    "publish",
    "[--stage NAME] [--to OWNER/NAME] [--yes] [--public] [run=NAME] [runs_dir=DIRECTORY]",
    {
        "r1 publish --stage distill --to me/student": "files, sizes and the model card; uploads nothing",
        "r1 publish --stage distill --to me/student --yes": "uploads it, private",
    },
    exit_codes(0, 2, 3) | {4: "the hub refused the upload or cannot be reached"},
)


@dataclass(frozen=True)
class Parcel:
    """What goes to the hub: the files by their names there, and the text of the model card."""

    stage: str
    files: dict[str, Path]
    card: str

    @property
    def num_bytes(self) -> int:
        """The size of everything, the card included."""
        return sum(path.stat().st_size for path in self.files.values()) + len(self.card.encode())


@app.default
def publish(
    *overrides: Overrides,
    stage: Annotated[str | None, option("--stage", value="NAME")] = None,
    target: Annotated[str | None, option("--to", value="OWNER/NAME")] = None,
    is_confirmed: Annotated[bool, flag("--yes")] = False,
    is_public: Annotated[bool, flag("--public")] = False,
) -> int:
    """Show what of a model would go to the Hugging Face hub, and upload it with --yes.

    Every file is checked against the stage's manifest first; the model card gets the numbers of the run's evaluation.
    The repository is private unless `--public` says otherwise.

    Args:
        overrides: `run=NAME` and `runs_dir=DIRECTORY`; by default the run that was worked on last.
        stage: The stage whose model it is; by default the one furthest along the recipe.
        target: The repository on the hub. It is made if it is not there yet.
        is_confirmed: Upload what is shown; needs `--to`.
        is_public: Let everybody read the repository.
    """
    if target is not None and not REPOSITORY_NAME.fullmatch(target):
        raise InvalidConfig(
            [f"--to {target}: not a repository name; give OWNER/NAME, of letters, digits, '.', '_' and '-'"]
        )
    if is_confirmed and target is None:
        raise InvalidConfig(["--to is missing: name the repository, as --to OWNER/NAME"])
    console = standard_console()
    run_dir = find_run(overrides, "publish")
    parcel = pack(run_dir, model_stage(run_dir, stage))
    _show(parcel, target, is_public, console)
    if not is_confirmed or target is None:
        command = (
            f"python -m pipeline publish run={run_dir.name} runs_dir={run_dir.parent} --stage {parcel.stage} "
            f"--to {target or 'OWNER/NAME'}{' --public' if is_public else ''} --yes"
        )
        console.print(f"nothing was uploaded; to do so: {command}", highlight=False, soft_wrap=True)
        return 0
    console.print(f"published: {upload(parcel, target, is_public)}", highlight=False, soft_wrap=True)
    return 0


def pack(run_dir: Path, directory: Path) -> Parcel:
    """The files of a finished stage's model and its card with the evaluation's results.

    Args:
        run_dir: the run's directory.
        directory: the stage directory in it.

    Raises:
        MissingInput: the stage is not finished, a file is damaged, or a file could run code when it is read.
    """
    verdict = verify(directory)
    if verdict.manifest is None or verdict.problems:
        raise MissingInput(
            f"{directory} is not a finished, undamaged stage: {'; '.join(verdict.problems) or 'it has no manifest'}",
            f"python -m pipeline run +stage={directory.parent.name} run={run_dir.name} force=true",
        )
    names = [name for name in verdict.manifest.files if name.startswith("model/")]
    unsafe = [name for name in names if name.endswith(UNSAFE_SUFFIXES)]
    if unsafe:
        raise MissingInput(
            f"{directory} holds files that can run code when they are read: {', '.join(unsafe)}",
            "export it again as safetensors",
        )
    card = directory / "model" / CARD
    text = card.read_text(encoding="utf-8") if card.is_file() else f"# {directory.parent.name}\n"
    files = {name.removeprefix("model/"): directory / name for name in sorted(names)}
    files.pop(CARD, None)
    return Parcel(directory.parent.name, files, with_results(text, evaluation(run_dir, directory)))


def evaluation(run_dir: Path, directory: Path) -> list[dict[str, Any]]:
    """The rows of results.json on this very model; none where the latest evaluation was of another version of it."""
    latest = run_dir / "evaluate" / "latest"
    stage = directory.parent.name
    source = (find_inputs(latest) or {}).get(stage)
    if source is None or source.fingerprint[:8] != directory.name:
        return []
    return [row for row in find_json(latest / "results.json", []) or [] if row.get("model") == stage and row.get("n")]


def with_results(card: str, rows: list[dict[str, Any]]) -> str:
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


def upload(parcel: Parcel, target: str, is_public: bool) -> str:
    """Makes the repository if it is not there and uploads everything in one commit.

    Returns:
        The repository's address.

    Raises:
        MissingInput: there is no token, or the hub may not be reached offline.
        InvalidConfig: the repository is public, and `is_public` is not set.
        StageFailed: the hub refused, or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if not get_token():
        raise MissingInput(
            "no Hugging Face token: the hub does not know who uploads",
            "hf auth login, or set HF_TOKEN to a token with write access",
        )
    api = HfApi()
    try:
        api.create_repo(target, private=not is_public, exist_ok=True)
        if not is_public and not api.repo_info(target).private:  # it existed before, and everybody can read it
            raise InvalidConfig(
                [
                    f"--to {target} exists and is public: add --public if everybody may read the model, "
                    "or name another repository"
                ]
            )
        operations = [CommitOperationAdd(name, str(path)) for name, path in parcel.files.items()]
        operations.append(CommitOperationAdd(CARD, parcel.card.encode()))
        short_fingerprint = next(iter(parcel.files.values())).parents[1].name
        commit = api.create_commit(target, operations, commit_message=f"{parcel.stage} {short_fingerprint}")
        return str(commit.repo_url)
    except OfflineModeIsEnabled as error:
        raise MissingInput(f"the hub cannot be reached: {error}", "unset HF_HUB_OFFLINE") from None
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        fix = (
            "check that the token may write to this owner: hf auth whoami"
            if status in (401, 403)
            else "try again; what was uploaded is not sent twice"
        )
        raise StageFailed(f"the hub refused {target} ({status}): {str(error).splitlines()[0]}", fix) from None
    except OSError as error:  # no route, no name, connection refused
        raise StageFailed(f"the hub cannot be reached: {error}", "check the network and HF_ENDPOINT") from None


def _show(parcel: Parcel, target: str | None, is_public: bool, console: Console) -> None:
    console.print(
        f"{parcel.stage} -> {target or '(no --to yet)'}, {'PUBLIC: everybody can read it' if is_public else 'private'}",
        highlight=False,
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("file", overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    for name, path in parcel.files.items():
        table.add_row(name, size(path.stat().st_size))
    table.add_row(CARD, size(len(parcel.card.encode())))
    console.print(table)
    console.print(f"{len(parcel.files) + 1} files, {size(parcel.num_bytes)}; {CARD}:\n", highlight=False)
    console.print(parcel.card, highlight=False, markup=False, soft_wrap=True)
