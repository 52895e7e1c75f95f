"""The command `clean`: shows what of a run nobody needs any more and how much it is, and deletes it when told to."""

from pathlib import Path
from typing import Annotated

from rich.console import Console
from rich.markup import escape

from pipeline.commands.declaration import Overrides, declare, exit_codes, flag
from pipeline.commands.run_directory import find_run
from pipeline.commands.unneeded import Findings, delete, find
from pipeline.execution.lock import RunLock
from pipeline.view.console import standard_console
from pipeline.view.tables import Column, print_table
from pipeline.view.words import size
from stages.config.quoting import override

app = declare(
    "clean",
    "[--yes] [--logs] [--unfinished] [run=NAME] [runs_dir=DIRECTORY]",
    {
        "r1 clean": "what could go of the run that was worked on last, and how much it is; deletes nothing",
        "r1 clean run=second --logs --yes": "deletes it, with the logs of earlier attempts",
    },
    exit_codes(0, 2, 3, 5),
)


@app.default
def clean(
    *overrides: Overrides,
    is_confirmed: Annotated[bool, flag("--yes")] = False,
    with_logs: Annotated[bool, flag("--logs")] = False,
    with_unfinished: Annotated[bool, flag("--unfinished")] = False,
) -> int:
    """Show what of a run nobody needs any more, and delete it with --yes.

    That is: directories of earlier configurations, what `force=true` kept aside, checkpoints of finished stages, and
    files that a killed process left half written. What a later stage or another run was made from stays.

    Args:
        overrides: `run=NAME` and `runs_dir=DIRECTORY`; by default the run that was worked on last.
        is_confirmed: Delete what is shown.
        with_logs: Also the logs of earlier attempts.
        with_unfinished: Also unfinished directories of earlier configurations, which could still be resumed.
    """
    clean_run(find_run(overrides, "clean"), standard_console(), is_confirmed, with_logs, with_unfinished)
    return 0


def clean_run(run_dir: Path, console: Console, is_confirmed: bool, with_logs: bool, with_unfinished: bool) -> None:
    """Shows what can go of a run and deletes it if that is confirmed.

    Raises:
        RunLocked: a driver works on the run.
    """
    with RunLock(run_dir):
        found = find(run_dir, with_logs, with_unfinished)
        _show(found, run_dir, console)
        if is_confirmed:
            for item in found.items:
                delete(item.path)
            console.print(f"deleted, {size(found.num_bytes)} freed", highlight=False)
        elif found.items:
            flags = (" --logs" if with_logs else "") + (" --unfinished" if with_unfinished else "")
            console.print(
                f"nothing was deleted; to do so: python -m pipeline clean {override('run', run_dir.name)} "
                f"{override('runs_dir', str(run_dir.parent))} --yes{flags}",
                highlight=False,
                soft_wrap=True,
            )


def _show(found: Findings, run_dir: Path, console: Console) -> None:
    columns = [Column("path"), Column("size", is_number=True), Column("why", is_sentence=True)]
    rows = [
        (escape(str(item.path.relative_to(run_dir))), size(item.num_bytes), escape(item.why)) for item in found.items
    ]
    if found.items:
        print_table(console, f"{run_dir}: what nobody needs any more", columns, rows)
        console.print(f"{len(found.items)} things, {size(found.num_bytes)}", highlight=False)
    else:
        console.print("nothing to delete", highlight=False)
    for note in found.notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
