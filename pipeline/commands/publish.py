"""`publish`: a stage's model to the Hugging Face hub. Shows what would go where; uploads with --yes; private unless
told otherwise.

What is uploaded is what the manifest lists under model/, each file checked against its checksum, with the evaluation's
numbers added to the model card. One commit holds all files: a reader of the repository sees the old version or the
whole new one.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from pipeline.commands.chat import model_stage
from pipeline.errors import InvalidConfig, MissingInput, StageFailed
from pipeline.view import size
from stages.contract.files import find_json
from stages.contract.inputs import find_inputs
from stages.contract.manifest import verify

CARD = "README.md"
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]{0,95}")


@dataclass(frozen=True)
class Parcel:
    """What goes to the hub: files by their name there, and the card in its final words."""

    stage: str
    files: dict[str, Path]
    card: str

    @property
    def bytes(self) -> int:
        return sum(path.stat().st_size for path in self.files.values()) + len(self.card.encode())


def main(
    run_dir: Path, stage: str | None, target: str | None, is_confirmed: bool, is_public: bool, console: Console
) -> int:
    """Lists files, sizes, target and card; uploads if `is_confirmed`. Raises PipelineError."""
    if target is not None and not REPOSITORY.fullmatch(target):
        raise InvalidConfig(
            [f"--to {target}: not a repository name; give OWNER/NAME, of letters, digits, '.', '_' and '-'"]
        )
    if is_confirmed and target is None:
        raise InvalidConfig(["--to is missing: name the repository, as --to OWNER/NAME"])
    parcel = pack(run_dir, model_stage(run_dir, stage))
    _show(parcel, target, is_public, console)
    if not is_confirmed:
        words = [
            "python -m pipeline publish",
            f"run={run_dir.name} runs_dir={run_dir.parent}",
            f"--stage {parcel.stage}",
            f"--to {target or 'OWNER/NAME'}",
            *(["--public"] if is_public else []),
            "--yes",
        ]
        console.print(f"nothing was uploaded; to do so: {' '.join(words)}", highlight=False, soft_wrap=True)
        return 0
    console.print(f"published: {upload(parcel, target, is_public)}", highlight=False, soft_wrap=True)
    return 0


def pack(run_dir: Path, directory: Path) -> Parcel:
    """The files of a finished stage's model. Raises MissingInput where one is damaged or is no safe format."""
    verdict = verify(directory)
    if verdict.manifest is None or verdict.problems:
        raise MissingInput(
            f"{directory} is not a finished, undamaged stage: {'; '.join(verdict.problems) or 'it has no manifest'}",
            f"python -m pipeline run +stage={directory.parent.name} run={run_dir.name} force=true",
        )
    names = [name for name in verdict.manifest.files if name.startswith("model/")]
    unsafe = [name for name in names if name.endswith((".bin", ".pt", ".pth", ".pkl", ".py"))]
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


def evaluation(run_dir: Path, directory: Path) -> list[dict]:
    """The results of the run's latest evaluation for this very model: an evaluation of an earlier version says nothing
    about it.
    """
    latest = run_dir / "evaluate" / "latest"
    stage = directory.parent.name
    source = (find_inputs(latest) or {}).get(stage)
    if source is None or source.fingerprint[:8] != directory.name:
        return []
    return [row for row in find_json(latest / "results.json", []) or [] if row.get("model") == stage and row.get("n")]


def with_results(card: str, rows: list[dict]) -> str:
    """The card with a table of results before the numbers of training.

    >>> row = {"set": "s", "metric": "pass@1", "value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
    >>> print(with_results("## Numbers at the end of training", [row]))
    ## Evaluation
    <BLANKLINE>
    | set | metric | value | 95% interval | n |
    |---|---|---|---|---|
    | s | pass@1 | 0.5 | 0.4 to 0.6 | 9 |
    <BLANKLINE>
    ## Numbers at the end of training
    """
    if not rows:
        return card
    lines = ["## Evaluation", "", "| set | metric | value | 95% interval | n |", "|---|---|---|---|---|"]
    lines += [
        f"| {row['set']} | {row['metric']} | {row['value']:.4g} | {row['low']:.4g} to {row['high']:.4g} | {row['n']} |"
        for row in rows
    ]
    table, before = "\n".join(lines) + "\n\n", "## Numbers at the end of training"
    return card.replace(before, table + before, 1) if before in card else f"{card.rstrip()}\n\n{table}"


def upload(parcel: Parcel, target: str, is_public: bool) -> str:
    """Creates the repository if need be and uploads in one commit. Returns its address."""
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
        if not is_public and not api.repo_info(target).private:  # it was there, and is read by everybody
            raise InvalidConfig(
                [
                    f"--to {target} exists and is public: add --public if everybody may read the model, "
                    "or name another repository"
                ]
            )
        operations = [CommitOperationAdd(name, str(path)) for name, path in parcel.files.items()]
        operations.append(CommitOperationAdd(CARD, parcel.card.encode()))
        return str(
            api.create_commit(
                target, operations, commit_message=f"{parcel.stage} {next(iter(parcel.files.values())).parents[1].name}"
            ).repo_url
        )
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
    console.print(f"{len(parcel.files) + 1} files, {size(parcel.bytes)}; {CARD}:\n", highlight=False)
    console.print(parcel.card, highlight=False, markup=False, soft_wrap=True)
