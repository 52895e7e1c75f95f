"""Cheap checks before anything is launched: suites, tracker, sandbox, the run's directory, disk space."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.configuration.data_sources import all_nodes
from pipeline.configuration.schema import RunConfig
from pipeline.configuration.tracker_libraries import INSTALLS, MODULES
from pipeline.errors import MessageAndFix, MissingInput
from pipeline.paths import REPOSITORY
from pipeline.planning import estimate
from stages.config import SuiteConfig
from stages.config.quoting import printable

if TYPE_CHECKING:
    from pipeline.planning.plan import Step

MAX_NAME_BYTES = 255  # of every file system that we know
SANDBOX_TIMEOUT_S = 180
OF_PROGRAMS = ("livecodebench", "codeforces")  # loaders of suites whose answers are programs


def check_suites(steps: Iterable["Step"]) -> list[MessageAndFix]:
    """Evaluation suites that name no data, or files that are not there."""
    suites: dict[str, SuiteConfig] = {}
    for step in steps:
        if not step.is_made:
            suites |= getattr(step.config, "settings", {})
    return [error for name, suite in suites.items() for error in _missing_files(name, suite)]


def _missing_files(name: str, suite: SuiteConfig) -> list[MessageAndFix]:
    """What a suite has not got of the files that it needs."""
    errors = []
    if suite.loader not in ("tiny", "own") and not (suite.path or suite.hub):
        message = f"the suite {name} has neither a file nor a data set of the hub"
        errors.append((message, f"eval.{name}.path=FILE or eval.{name}.hub=OWNER/NAME"))
    if suite.path and not Path(suite.path).is_file():
        message = f"eval.{name}.path={suite.path}: no such file"
        errors.append((message, f"give the data set's file, in the schema of conf/eval/{name}.yaml"))
    if suite.standings and not Path(suite.standings).is_dir():
        message = f"eval.{name}.standings={suite.standings}: no such directory"
        errors.append((message, "give the directory with CONTEST.standings.json and CONTEST.ratings.json"))
    return errors


def check_trackers(config: RunConfig) -> list[MessageAndFix]:
    """Trackers without their library: said before hours of work, not after."""
    return [
        (f"tracker={name} needs the library {module}", f"{INSTALLS[name]}, or leave out tracker={name}")
        for name in config.tracker.names
        if not importlib.util.find_spec(module := MODULES[name])
    ]


def check_notify(config: RunConfig) -> list[MessageAndFix]:
    """A desktop that has no program for notifications."""
    if not config.notify.desktop or sys.platform == "darwin" or shutil.which("notify-send"):
        return []
    fix = "install it (Debian, Ubuntu: sudo apt-get install libnotify-bin), or use notify.command or notify.webhook"
    return [("notify.desktop=true needs the program notify-send", fix)]


def check_sandbox(config: RunConfig, steps: Iterable["Step"]) -> list[MessageAndFix]:
    """A stage that is going to run grades programs, and none can be run here.

    The question is asked in a process of its own: the driver imports no sandbox.
    """
    settings = {
        (step.config.sandbox.backend, step.config.sandbox.url, step.config.sandbox.python or "")
        for step in steps
        if not step.is_made and hasattr(step.config, "sandbox") and _grades_programs(step.config)
    }
    problems = [sandbox_problem(*setting) for setting in sorted(settings)]
    return [
        (f"the verifier code cannot run programs here: {problem}", "see docs/sandbox.md; `doctor` looks again")
        for problem in problems
        if problem
    ]


def _grades_programs(stage_config: Any) -> bool:
    """Whether the stage's data names the verifier `code`, or a suite is of programs.

    Single rows that name it themselves are found by the worker.
    """
    if any(suite.loader in OF_PROGRAMS for suite in getattr(stage_config, "settings", {}).values()):
        return True
    return any(
        source.verifier == "code" for data in all_nodes(stage_config).values() for source in data.all_sources.values()
    )


def sandbox_problem(backend: str = "bubblewrap", url: str = "", python: str = "") -> str | None:
    """Why no program can be run here, in one line; None where programs can be run.

    Args:
        backend: `sandbox.backend` of the configuration; `url` and `python` likewise.
        url: Address of a Piston server; "" for none.
        python: The interpreter in the sandbox; "" for this one.
    """
    done = subprocess.run(
        [sys.executable, "-m", "stages.sandbox", backend, url, python],
        capture_output=True,
        text=True,
        timeout=SANDBOX_TIMEOUT_S,
        cwd=REPOSITORY,
    )
    return None if done.returncode == 0 else (done.stdout + done.stderr).strip().splitlines()[-1]


def check_run_dir(config: RunConfig) -> list[MessageAndFix]:
    """A directory of the run that cannot be made: a file in the way, no permission, too long a name."""
    place, fix = config.run_dir, "choose a directory that you may write to, as runs_dir=DIRECTORY"
    if printable(str(place)) != str(place):
        fix = f"set LC_ALL=C.UTF-8, or {fix}"
        return [(f"the name of the run's directory {_shortened(place)} is not UTF-8 text", fix)]
    try:
        while not place.exists():
            if place.is_symlink():
                return [(f"{place} is a link to {place.readlink()}, which is not there", f"remove it, or {fix}")]
            place = place.parent
    except OSError as error:  # too long a name, a loop of links, a directory that may not be looked into
        return [(f"the run's directory {_shortened(config.run_dir)} cannot be made: {error.strerror}", fix)]
    if any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in config.run_dir.parts):
        return [(f"the run's directory {_shortened(config.run_dir)} cannot be made: File name too long", fix)]
    if not place.is_dir():
        return [(f"the run's directory {config.run_dir} cannot be made: {place} is a file", f"move it, or {fix}")]
    if not os.access(place, os.W_OK | os.X_OK):
        is_read_only = os.statvfs(place).f_flag & os.ST_RDONLY
        why = "is on a disk that is read-only" if is_read_only else "may not be written by you"
        return [(f"the run's directory {config.run_dir} cannot be made: {place} {why}", fix)]
    return []


def require_run_dir(config: RunConfig) -> None:
    """Makes the directory of the run; raises MissingInput where that is not possible."""
    for message, fix in check_run_dir(config):
        raise MissingInput(message, fix)
    try:
        config.run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MissingInput(
            f"the run's directory {_shortened(config.run_dir)} cannot be made: {error.strerror}",
            "choose a directory that you may write to, as runs_dir=DIRECTORY",
        ) from None


def _shortened(path: Path) -> str:
    text = printable(str(path))
    return text if len(text) <= 200 else f"{text[:100]}...{text[-60:]}"


def check_disk(config: RunConfig, steps: Sequence["Step"]) -> list[MessageAndFix]:
    """Too little free space on the disk of the runs for any stage.

    What a trained stage needs for its checkpoints is checked when its turn comes (`require_disk`).
    """
    if all(step.is_made for step in steps):
        return []
    return _too_little_space(config.run_dir, config.launcher.min_free_gib, "a stage")


def require_disk(step: "Step", config: RunConfig) -> None:
    """Raises MissingInput where the disk has no room for a stage's checkpoints and its model.

    What an earlier attempt has written already is not needed again.
    """
    written = sum(path.stat().st_size for path in (step.dir / "state").rglob("*") if path.is_file())
    needed_gib = max(config.launcher.min_free_gib, estimate.disk_gib(step.stage, step.config, config) - written / 2**30)
    for message, fix in _too_little_space(config.run_dir, needed_gib, step.stage):
        raise MissingInput(message, fix)


def _too_little_space(place: Path, needed_gib: float, who: str) -> list[MessageAndFix]:
    """An error where the disk that holds `place`, which may not be there yet, has less free space than needed."""
    while not place.exists():
        place = place.parent
    free_gib = shutil.disk_usage(place).free / 2**30
    if free_gib >= needed_gib:
        return []
    return [
        (
            f"{place} has {free_gib:.2f} GiB free; {who} needs {needed_gib:.2f} GiB for checkpoints and its model",
            "free some space, put the runs elsewhere (runs_dir=DIRECTORY), "
            "or lower launcher.min_free_gib or keep_checkpoints",
        )
    ]
