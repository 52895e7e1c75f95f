"""The live view of a run: one screen in a terminal, plain lines elsewhere."""

import re
import shlex
import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from pipeline.view.screen import Screen
from pipeline.view.step_numbers import StepNumbers
from pipeline.view.words import duration, numbers
from stages.contract.manifest import Manifest
from stages.contract.progress import StageProgress

# lines of a worker that people must see even where its steps are not printed
IMPORTANT = re.compile(r"^(ALARM|WARNING|note)\b|damaged|could not be|rolled back")
QUIET_S = 300.0  # without a terminal, where the steps of several stages are not printed: how often one is, all the same
SHORT_S = 60.0  # a stage that takes less is not announced there: its end comes soon


class LiveView:
    """Shows the stages of one run while they are carried out, one after another. Use it as a context manager.

    In a terminal that is a screen which is drawn again and again. Elsewhere each stage has a line at its end, and a
    line for each step where `has_steps` is set.

    Args:
        console: where everything is printed.
        title: what is run, in a few words.
        estimates: stage -> seconds that it will take, 0 where it is done, None where that is not known.
        has_steps: whether plain output has a line for each step.
    """

    def __init__(self, console: Console, title: str, estimates: Mapping[str, float | None], has_steps: bool):
        self.console, self.estimates = console, estimates
        self.num_stages, self.num_finished = len(estimates), 0
        self.has_steps = has_steps
        self.stage = ""
        self.started_at = self.said_at = time.monotonic()
        self.screen = Screen(console, title, estimates) if console.is_terminal else None

    def __enter__(self) -> "LiveView":
        if self.screen is not None:
            self.screen.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.screen is not None:
            self.screen.stop()

    def prepares(self, what: str) -> None:
        """Something is being started before the first stage; nothing is printed without a terminal."""
        if self.screen is not None:
            self.screen.starts = what

    def started(self, stage: str, action: str, starts: str, directory: Path) -> None:
        """A stage begins or resumes.

        Args:
            stage: its name.
            action: run or resume.
            starts: what is being started before its first step, in words; empty for a stage without workers.
            directory: the stage's own.
        """
        self.stage, self.started_at, self.said_at = stage, time.monotonic(), time.monotonic()
        if self.screen is not None:
            self.screen.begin(stage, starts, StepNumbers(directory / "metrics.jsonl"))
            return
        estimate = self.estimates.get(stage)
        if not (self.has_steps or estimate is None or estimate > SHORT_S):
            return
        verb = "resumes" if action == "resume" else "runs"
        time_left = f", about {duration(estimate)}" if estimate else ""
        self._say(f"[bold]{stage}[/bold] {verb} ({self.num_finished + 1}/{self.num_stages}{time_left}): {starts}")
        if self.has_steps and starts:
            log = directory / "logs" / "latest" / "rank0.log"
            self._say(f"  [dim]tail -F {escape(shlex.quote(str(log)))}[/dim]")

    def says(self, text: str) -> None:
        """Something that people may want to know, on a line of its own."""
        self._say(escape(text))

    def line(self, text: str) -> None:
        """Rank 0 of the running stage has logged a line."""
        if self.screen is not None:
            self.screen.last_line = text
        is_due = self.screen is None and time.monotonic() - self.said_at > QUIET_S
        if (self.has_steps and self.screen is None) or is_due or IMPORTANT.search(text):
            self.said_at = time.monotonic()
            self._say(f"  {escape(text)}" if self.has_steps else f"  {self.stage}: {escape(text)}")

    def progress(self, state: StageProgress) -> None:
        """The running stage has written how far it is."""
        if self.screen is not None:
            self.screen.state = state

    def skipped(self, stage: str, reason: str) -> None:
        """A stage needs no work; in a terminal the plan has said so where there are several."""
        self.num_finished += 1
        if self.screen is None or self.num_stages == 1:
            self._say(f"[bold]{stage}[/bold] [green]skipped[/green] ({escape(reason)})")

    def done(self, stage: str, manifest: Manifest) -> None:
        """A stage has ended well and written this manifest."""
        self.num_finished += 1
        if self.screen is not None:
            self.screen.end(stage)
        took = duration(time.monotonic() - self.started_at)
        self._say(f"[bold]{stage}[/bold] [green]done[/green] in {took}  {escape(numbers(manifest.metrics))}".rstrip())

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)
