"""The command `publish`: shows what of a model would go to the Hugging Face hub, and uploads it when told to."""

import re
from typing import Annotated

from rich.console import Console
from rich.markup import escape

from pipeline.commands.chosen_models import model_stage
from pipeline.commands.declaration import Overrides, declare, exit_codes, flag, option
from pipeline.commands.hub import upload
from pipeline.commands.parcel import CARD, Parcel, pack, require_whole, with_base
from pipeline.commands.run_directory import find_run
from pipeline.errors import InvalidConfig
from pipeline.view.console import standard_console
from pipeline.view.tables import Column, print_table
from pipeline.view.words import size
from stages.config.quoting import override

REPOSITORY_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]{0,95}")

app = declare(
    "publish",
    "[--stage NAME] [--adapter [--base OWNER/NAME]] [--to OWNER/NAME] [--yes] [--public] [--anyway] [run=NAME] "
    "[runs_dir=DIRECTORY]",
    {
        "r1 publish --stage distill --to me/student": "files, sizes and the model card; uploads nothing",
        "r1 publish --stage distill --to me/student --yes": "uploads it, private",
        "r1 publish --stage r1_zero --adapter --to me/adapter": "the adapters alone, of a stage with LoRA",
    },
    exit_codes(0, 2, 3) | {4: "the hub refused the upload or cannot be reached"},
)


@app.default
def publish(
    *overrides: Overrides,
    stage: Annotated[str | None, option("--stage", value="NAME")] = None,
    target: Annotated[str | None, option("--to", value="OWNER/NAME")] = None,
    is_confirmed: Annotated[bool, flag("--yes")] = False,
    is_public: Annotated[bool, flag("--public")] = False,
    is_adapter: Annotated[bool, flag("--adapter")] = False,
    base: Annotated[str | None, option("--base", value="OWNER/NAME")] = None,
    is_anyway: Annotated[bool, flag("--anyway")] = False,
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
        is_adapter: Send the adapters alone, of a stage that was trained with LoRA, and not the merged model.
        base: With `--adapter`: where the hub has their base, if it is a model of this run.
        is_anyway: Go on although the run's stages are not of one piece; without it that is refused, with the command
            that mends it.
    """
    run_dir = find_run(overrides, "publish", is_said=False)
    if target is not None and not REPOSITORY_NAME.fullmatch(target):
        raise InvalidConfig(
            [f"--to {target}: not a repository name; give OWNER/NAME, of letters, digits, '.', '_' and '-'"]
        )
    if base is not None and not (is_adapter and REPOSITORY_NAME.fullmatch(base)):
        raise InvalidConfig([f"--base {base}: it takes OWNER/NAME, the base on the hub, and needs --adapter"])
    if is_confirmed and target is None:
        raise InvalidConfig(["--to is missing: name the repository, as --to OWNER/NAME"])
    console = standard_console()
    directory = model_stage(run_dir, stage)
    if not is_anyway:
        require_whole(run_dir, directory.parent.name)
    parcel = pack(run_dir, directory, "adapter" if is_adapter else "model")
    if is_adapter:
        parcel = with_base(parcel, base)
    console.print(f"run {run_dir.name} in {run_dir.parent}", highlight=False, markup=False, soft_wrap=True)
    _show(parcel, target, is_public, console)
    if not is_confirmed or target is None:
        command = (
            f"python -m pipeline publish {override('run', run_dir.name)} {override('runs_dir', str(run_dir.parent))} "
            f"--stage {parcel.stage} {'--adapter ' if is_adapter else ''}{f'--base {base} ' if base else ''}"
            f"--to {target or 'OWNER/NAME'}{' --public' if is_public else ''}"
            f"{' --anyway' if is_anyway else ''} --yes"
        )
        console.print(f"nothing was uploaded; to do so: {command}", highlight=False, soft_wrap=True)
        return 0
    console.print(f"published: {upload(parcel, target, is_public)}", highlight=False, soft_wrap=True)
    return 0


def _show(parcel: Parcel, target: str | None, is_public: bool, console: Console) -> None:
    console.print(
        f"{parcel.stage} -> {target or '(no --to yet)'}, {'PUBLIC: everybody can read it' if is_public else 'private'}",
        highlight=False,
    )
    rows = [(escape(name), size(parcel.size_of(name))) for name in parcel.files]
    rows.append((CARD, size(len(parcel.card.encode()))))
    print_table(console, "", [Column("file"), Column("size", is_number=True)], rows)
    console.print(f"{len(parcel.files) + 1} files, {size(parcel.num_bytes)}; {CARD}:\n", highlight=False)
    console.print(parcel.card, highlight=False, markup=False, soft_wrap=True)
