"""Cheap checks before anything is launched: data files and disk space. What needs a tokenizer is checked by the worker."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

from pipeline.configuration.data_sources import all_nodes, check_source
from pipeline.configuration.schema import RunConfig
from pipeline.errors import MissingInput
from pipeline.paths import REPOSITORY
from pipeline.planning import estimate

SANDBOX_TIMEOUT_S = 180

Error = tuple[str, str]


def check_data(config: RunConfig, steps) -> list[Error]:
    """Errors in the data of the stages that are going to run, each source once."""
    sources: dict[str, tuple] = {}
    for step in steps:
        for field, data in (all_nodes(step.config) if not step.is_done else {}).items():
            for name, source in data.all_sources.items():
                key = f"{field}.sources.{name}" if data.sources else field
                sources.setdefault(repr((source, data.malformed)), (source, data.malformed, key))
    return [error for source, malformed, key in sources.values() for error in check_source(source, malformed, key)]


def check_suites(steps) -> list[Error]:
    """Evaluation suites whose files are not there, or that name no data at all."""
    suites = {
        name: suite
        for step in steps
        if not step.is_done
        for name, suite in getattr(step.config, "settings", {}).items()
    }
    errors = []
    for name, suite in suites.items():
        if suite.loader not in ("tiny", "own") and not (suite.path or suite.hub):
            errors.append(
                (
                    f"the suite {name} has neither a file nor a data set of the hub",
                    f"eval.{name}.path=FILE or eval.{name}.hub=OWNER/NAME",
                )
            )
        if suite.path and not Path(suite.path).is_file():
            errors.append(
                (
                    f"eval.{name}.path={suite.path}: no such file",
                    f"give the data set's file, in the schema of conf/eval/{name}.yaml",
                )
            )
        if suite.standings and not Path(suite.standings).is_dir():
            errors.append(
                (
                    f"eval.{name}.standings={suite.standings}: no such directory",
                    "give the directory with CONTEST.standings.json and CONTEST.ratings.json",
                )
            )
    return errors


def check_tracker(config: RunConfig) -> list[Error]:
    """tracker=tensorboard without the package, before hours of work rather than after."""
    if config.tracker.name != "tensorboard" or importlib.util.find_spec("tensorboard"):
        return []
    return [("tracker=tensorboard needs the tensorboard package", "pip install tensorboard, or tracker=none")]


def check_sandbox(config: RunConfig, steps) -> list[Error]:
    """No sandbox where a stage that is going to run grades programs. Asked in a process of its own: the driver imports
    nothing of the stages.
    """
    nodes = {
        (step.config.sandbox.backend, step.config.sandbox.url, step.config.sandbox.python or "")
        for step in steps
        if not step.is_done and hasattr(step.config, "sandbox") and _grades_programs(step.config)
    }
    problems = [sandbox_problem(*node) for node in sorted(nodes)]
    return [
        (f"the verifier code cannot run programs here: {problem}", "see docs/sandbox.md; `doctor` looks again")
        for problem in problems
        if problem
    ]


def _grades_programs(stage_config) -> bool:
    """Whether a source of the stage's data names the verifier code for its rows, or a suite is of programs. Rows that
    name it themselves are found by the worker.
    """
    if any(suite.loader in ("livecodebench", "codeforces") for suite in getattr(stage_config, "settings", {}).values()):
        return True
    return any(
        source.verifier == "code" for data in all_nodes(stage_config).values() for source in data.all_sources.values()
    )


def sandbox_problem(backend: str = "bubblewrap", url: str = "", python: str = "") -> str | None:
    """Why no program can be run, in one line, or None."""
    done = subprocess.run(
        [sys.executable, "-m", "stages.sandbox", backend, url, python],
        capture_output=True,
        text=True,
        timeout=SANDBOX_TIMEOUT_S,
        cwd=REPOSITORY,
    )
    return None if done.returncode == 0 else (done.stdout + done.stderr).strip().splitlines()[-1]


def check_disk(config: RunConfig, steps) -> list[Error]:
    """Too little free space on the disk of the runs for any stage. What a trained stage needs is checked when it is its
    turn.
    """
    if all(step.is_done for step in steps):
        return []
    return _too_little(config.run_dir, config.launcher.min_free_gib, "a stage")


def require_disk(step, config: RunConfig) -> None:
    """Raises MissingInput where the disk has no room for the checkpoints and the model of a stage, less what it has
    written before.
    """
    written = sum(path.stat().st_size for path in (step.dir / "state").rglob("*") if path.is_file())
    needed_gib = max(config.launcher.min_free_gib, estimate.disk_gib(step.stage, step.config, config) - written / 2**30)
    for message, fix in _too_little(config.run_dir, needed_gib, step.stage):
        raise MissingInput(message, fix)


def _too_little(place: Path, needed_gib: float, who: str) -> list[Error]:
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
