"""The command `logs`: what the workers of a stage say, while they say it too."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from pipeline.commands.chosen_models import no_such_stage
from pipeline.commands.declaration import ARGUMENTS, Overrides, declare, exit_codes, flag, option
from pipeline.commands.run_directory import find_run
from pipeline.commands.run_state import held_since
from pipeline.commands.stage_state import stage_state
from pipeline.configuration.graph import is_stage
from pipeline.configuration.schema import LauncherConfig
from pipeline.errors import InvalidConfig, MissingInput, StageFailed, StageInterrupted
from pipeline.execution.launch import LineRelay
from pipeline.planning.command_line import run_words
from pipeline.planning.whole import ancestors_of, command_again, current_directories, flaws
from pipeline.view.console import standard_console

POLL_S = 0.2
ANEW_POLL_S = 2.0  # between two comparisons of a run's configuration with its stages

app = declare(
    "logs",
    "[-f] [--rank N] [--attempt N] STAGE [run=NAME] [runs_dir=DIRECTORY]",
    {
        "r1 logs r1_zero": "the log of its newest attempt",
        "r1 logs -f r1_zero": "goes on until the stage ends, over all attempts",
        "r1 logs --rank 1 --attempt 2 base": "of another rank, of an earlier attempt",
    },
    exit_codes(0, 2, 3) | {4: "the stage that was followed failed", 75: "it was interrupted"},
)


@app.default
def logs(
    stage: Annotated[str, Parameter(name="STAGE", group=ARGUMENTS)],
    *overrides: Overrides,
    does_follow: Annotated[bool, flag("--follow", "-f")] = False,
    rank: Annotated[int, option("--rank", value="N")] = 0,
    attempt: Annotated[int | None, option("--attempt", value="N")] = None,
) -> int:
    """Show the log of a stage, and follow it with -f until the stage ends.

    Args:
        stage: The stage.
        overrides: `run=NAME` and `runs_dir=DIRECTORY`; by default the run that was worked on last.
        does_follow: Go on as the log grows, over all attempts, until the stage is done, has failed or was interrupted;
            a stage that has not begun, or that the driver is going to make anew, is waited for while it is at work.
        rank: Whose log; rank 0 reports the steps.
        attempt: Which attempt; by default the newest.
    """
    if not is_stage(stage) or stage == "report":
        raise InvalidConfig(["report: it has no workers and no log" if stage == "report" else no_such_stage(stage)])
    if does_follow and attempt is not None:
        raise InvalidConfig(["--follow goes over all attempts: leave out --attempt"])
    run_dir = find_run(overrides, "logs")
    if does_follow:
        try:
            return follow(run_dir, stage, rank, _say)
        except KeyboardInterrupt:
            return 0
    path = _log(run_dir, stage, rank, attempt)
    LineRelay(path, _say, keeps_noise=True).poll()
    return 0


def _say(line: str) -> None:
    standard_console().print(line, highlight=False, markup=False, soft_wrap=True)


def _log(run_dir: Path, stage: str, rank: int, attempt: int | None) -> Path:
    """The log file that is asked for."""
    directory = run_dir / stage / "latest" / "logs"
    path = directory / (f"attempt_{attempt}" if attempt is not None else "latest") / f"rank{rank}.log"
    if path.is_file():
        return path
    there = sorted(f"{log.parent.name} {log.stem}" for log in directory.glob("attempt_*/rank*.log"))
    raise MissingInput(
        f"the run {run_dir.name} has no such log of {stage}; there are: {', '.join(there) or 'none'}",
        f"python -m pipeline status {run_words(run_dir)}",
    )


def follow(run_dir: Path, stage: str, rank: int, on_line: Callable[[str], None]) -> int:
    """Hands over every line of a stage's log until the stage ends.

    Raises:
        StageFailed: It failed.
        StageInterrupted: It was interrupted.
        MissingInput: It has not begun, and nobody is going to begin it.
    """
    attempts = _Attempts(run_dir / stage, rank, on_line)
    told = ""
    while True:
        state = _state(run_dir, stage)
        attempts.poll()
        if state is None:
            raise MissingInput(
                f"{stage} of the run {run_dir.name} has not begun, and no driver is at work",
                command_again(run_dir, stage),
            )
        if state["state"] in ("done", "damaged"):
            if not _is_made_anew(run_dir, stage):
                return 0
            if told != state["fingerprint"]:
                told = state["fingerprint"]
                on_line(f"--- {stage}@{told} is {state['state']}; the driver has other settings: waiting")
            time.sleep(ANEW_POLL_S)
        if state["state"] == "failed":
            raise StageFailed(f"{stage} failed: {state['message']}", state["fix"])
        if state["state"] == "interrupted" and held_since(run_dir) is None:
            raise StageInterrupted(f"{stage} is interrupted; {state['message']}".rstrip("; "), state["fix"])
        time.sleep(POLL_S)


class _Attempts:
    """Hands over the lines of one attempt after the other, of whatever directory is the stage's current one."""

    def __init__(self, stage_dir: Path, rank: int, on_line: Callable[[str], None]):
        self.stage_dir, self.rank, self.on_line = stage_dir, rank, on_line
        self.relay: LineRelay | None = None

    def poll(self) -> None:
        """Hands over what is new."""
        latest = self.stage_dir / "latest" / "logs" / "latest"
        newest = latest.resolve() if latest.is_dir() else None
        if newest is not None and (self.relay is None or self.relay.path.parent != newest):
            if self.relay is not None:
                self.relay.poll()
                self.on_line(f"--- {newest.name.replace('_', ' ')}")
            self.relay = LineRelay(newest / f"rank{self.rank}.log", self.on_line, keeps_noise=True)
        if self.relay is not None:
            self.relay.poll()


def _state(run_dir: Path, stage: str) -> dict[str, Any] | None:
    """The state of a stage; None where it has not begun and nobody is at work who may begin it."""
    since = held_since(run_dir)
    if not (run_dir / stage / "latest").is_dir():
        return None if since is None else {"state": "not started", "message": "", "fix": ""}
    return stage_state(run_dir / stage, since, LauncherConfig().stall_after_s)


def _is_made_anew(run_dir: Path, stage: str) -> bool:
    """Whether a driver is at work whose settings a finished stage, or what it was made from, does not have."""
    if held_since(run_dir) is None:
        return False
    line = ancestors_of(stage, current_directories(run_dir))
    return any(flaw.stage in line for flaw in flaws(run_dir))
