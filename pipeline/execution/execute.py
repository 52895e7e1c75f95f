"""Makes one stage of a plan: prepares its directory, runs its workers (or writes the report), checks its manifest."""

import datetime
import shutil
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from pipeline.errors import StageFailed, StageInterrupted
from pipeline.execution import current, launch
from pipeline.execution.directories import move_aside
from pipeline.execution.observers import DONE, FAILED, INTERRUPTED, NOBODY, Observers
from pipeline.execution.source import source_commit
from pipeline.execution.stage_lock import stage_lock
from pipeline.execution.stop import StopRequest
from pipeline.planning import preflight
from pipeline.planning.action import RUN
from pipeline.planning.command_line import own_command, resume_command
from pipeline.planning.plan import Plan, Step
from stages.config import VERSIONS, to_dict
from stages.contract.description import StageDescription
from stages.contract.earlier import write_earlier
from stages.contract.files import file_table, remove_temporaries
from stages.contract.inputs import write_inputs
from stages.contract.manifest import Manifest, Timing, verify
from stages.contract.progress import StageProgress


def execute(
    step: Step,
    plan: Plan,
    stop: StopRequest,
    on_line: Callable[[str], None],
    on_progress: Callable[[StageProgress], None],
    observers: Observers = NOBODY,
) -> Manifest:
    """Runs a step that is not done and returns its manifest.

    Args:
        step: The stage to make.
        plan: The plan that it is part of.
        stop: Asked while the stage runs; when it is requested, the workers write a checkpoint and end.
        on_line: Gets each new line of rank 0's log.
        on_progress: Gets the progress, several times a second.
        observers: Told when the stage begins and ends.

    Raises:
        PipelineError: What went wrong, and what to do about it.
    """
    if stop.is_requested:
        raise StageInterrupted(f"stopped before {step.stage}", f"continue with: {resume_command(plan.config, 'all')}")
    preflight.require_disk(step, plan.config)
    with stage_lock(step.dir, stop, observers.poll, on_line):
        made = _made_meanwhile(step, plan)
        if made is not None:
            on_line(f"{step.stage} was made by another job meanwhile")
            return made
        if _has_to_go(step):
            move_aside(step.dir)
        prepare(step, plan)
        return _make_observed(step, plan, stop, on_line, on_progress, observers)


def _made_meanwhile(step: Step, plan: Plan) -> Manifest | None:
    """The manifest of a stage that another job of a sweep has finished since this one was planned."""
    if plan.config.force and step.is_selected:
        return None
    verdict = verify(step.dir)
    return None if verdict.problems else verdict.manifest


def _has_to_go(step: Step) -> bool:
    """Whether what lies in the stage's directory is not gone on with.

    Where nothing was there when the stage was planned, another job has begun it since.
    """
    return step.action == RUN and step.was_there and step.dir.exists()


def _make_observed(
    step: Step,
    plan: Plan,
    stop: StopRequest,
    on_line: Callable[[str], None],
    on_progress: Callable[[StageProgress], None],
    observers: Observers,
) -> Manifest:
    """Makes a stage whose directory is prepared, and tells the observers."""

    def relay(state: StageProgress) -> None:
        observers.poll()
        on_progress(state)

    outcome = FAILED
    observers.begin(step, plan)
    try:
        manifest = _make(step, plan, stop, on_line, relay)
        outcome = DONE
    except (StageInterrupted, KeyboardInterrupt):
        outcome = INTERRUPTED
        raise
    finally:
        observers.end(step, outcome)
    return manifest


def _make(
    step: Step,
    plan: Plan,
    stop: StopRequest,
    on_line: Callable[[str], None],
    on_progress: Callable[[StageProgress], None],
) -> Manifest:
    """Makes a stage whose directory is prepared."""
    if step.kind == "report":
        _write_report(step, plan)
    else:
        launch.launch(
            step.stage,
            step.dir,
            plan.config.launcher,
            stop,
            on_line,
            on_progress,
            resume_command(plan.config, step.stage),
        )
    verdict = verify(step.dir)
    if verdict.problems:
        raise StageFailed(
            f"{step.stage}: {'; '.join(verdict.problems)}", "run it again with force=true; if it recurs, check the disk"
        )
    assert verdict.manifest is not None  # whoever wrote it has ended without an error
    return verdict.manifest


def prepare(step: Step, plan: Plan) -> None:
    """Writes config.json and inputs.json, all that a worker reads, and makes the directory the stage's current one."""
    remove_temporaries(step.dir, *([] if plan.is_aside else [step.dir.parent]))  # jobs may work beside each other
    plain = to_dict(step.config) if step.config is not None else {}
    StageDescription(
        stage=step.stage,
        kind=step.kind,
        version=VERSIONS[step.kind],
        fingerprint=step.fingerprint,
        seed=plan.config.seed,
        run=plan.config.run,
        config=plain,
        data_files=step.data_files,
        command=own_command(plan.config, step.stage),
        commit=source_commit(),
    ).write(step.dir)
    write_inputs(step.dir, step.inputs)
    if step.kind == "evaluate":
        write_earlier(step.dir, step.earlier)
    current.show(step, plan)


def _write_report(step: Step, plan: Plan) -> None:
    """Makes the one stage without workers: the HTML report, its manifest, and a copy where people look for it."""
    from pipeline.report import write_report

    started = time.time()
    path = write_report(
        plan.config.run_dir,
        step.dir / "report.html",
        {role: Path(source.path) for role, source in step.inputs.items()},
    )
    if not plan.is_aside:
        shutil.copyfile(path, plan.config.run_dir / "report.html")
    Manifest(
        stage=step.stage,
        kind=step.kind,
        version=VERSIONS[step.kind],
        fingerprint=step.fingerprint,
        inputs={role: source.fingerprint for role, source in step.inputs.items()},
        files=file_table(step.dir, ["report.html"]),
        timing=Timing(total_s=round(time.time() - started, 2)),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        versions={name: version(name) for name in ("hydra-core", "rich")},
    ).write(step.dir)
