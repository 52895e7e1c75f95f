"""Takes a stage over that another run has made: its files under further names, so that neither run needs the other.

Hard links cost no space, and a run that is moved, cleaned or deleted takes nothing from another one. Nothing of a
finished stage is written in place: whoever changes a file writes a new one and renames it. Where links are not
possible, because the other run lies on another disk, the files are copied.
"""

import contextlib
import dataclasses
import os
import shutil
from pathlib import Path

from pipeline.errors import MissingInput
from pipeline.execution.directories import move_aside
from pipeline.planning.action import RESUME, REUSE, RUN, SKIP
from pipeline.planning.command_line import resume_command
from pipeline.planning.plan import Plan, Step
from stages.contract.description import StageDescription
from stages.contract.inputs import write_inputs
from stages.contract.manifest import verify
from stages.contract.reused import Reused

GONE = "what another run had made has gone since the plan was made"
# what only an unfinished stage needs, and what is the other run's own: trackers have a run for each stage of each run
LEFT_OUT = shutil.ignore_patterns("state", "references", "cache", "trackers", ".*.tmp", ".reserve", Reused.FILE_NAME)


def with_reused(plan: Plan) -> Plan:
    """Takes over what other runs have made, inputs too; returns the plan in which that is done.

    What has gone since the plan was made is made here after all.

    Raises:
        MissingInput: An input that is not selected has gone.
    """
    upstream = [_taken(step) for step in plan.upstream]
    for step in upstream:
        if not step.is_done and step.source is not None:
            raise MissingInput(f"{step.stage}: {GONE}", resume_command(plan.config, "all"))
    return dataclasses.replace(plan, upstream=upstream, steps=[_taken(step) for step in plan.steps])


def _taken(step: Step) -> Step:
    if step.action != REUSE:
        return step
    if take_over(step):
        return dataclasses.replace(step, action=SKIP)
    action = RESUME if (step.dir / StageDescription.FILE_NAME).exists() else RUN
    return dataclasses.replace(step, action=action, reason=GONE)


def take_over(step: Step) -> bool:
    """Fills the directory of a step from the one that another run has made.

    The directory appears under its name only when it is whole.

    Returns:
        Whether that was possible; the other run may have been deleted, or be damaged, since the plan was made.
    """
    source = step.source
    assert source is not None
    _remove_half_taken(step.dir)
    half = step.dir.with_name(f".{step.dir.name}.{os.getpid()}.tmp")
    try:
        half.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, half, symlinks=True, ignore=LEFT_OUT, copy_function=_link)
        write_inputs(half, step.inputs)
        origin = Reused.find(source)
        Reused(run=origin.run if origin else source.parents[1].name, path=str(source)).write(half)
        if verify(half).manifest is None or verify(half).problems:
            return False
        if step.dir.exists():
            move_aside(step.dir)
        half.rename(step.dir)
    except (OSError, shutil.Error):
        return False
    finally:
        shutil.rmtree(half, ignore_errors=True)
    return True


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without hard links
        with contextlib.suppress(FileNotFoundError):
            os.unlink(target)
        shutil.copy2(source, target)


def _remove_half_taken(directory: Path) -> None:
    """Removes what a driver that was killed in the middle of this has left."""
    for path in directory.parent.glob(f".{directory.name}.*.tmp"):
        shutil.rmtree(path, ignore_errors=True)
