"""The live view of a run: a moving line with the time left on a terminal, plain lines elsewhere."""

import shlex
import time
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from pipeline.view.words import duration, numbers
from stages.contract.manifest import Manifest
from stages.contract.progress import StageProgress


class LiveView:
    """Shows the stages of one run while they are carried out, one after another. Use it as a context manager.

    Args:
        console: where everything is printed.
        num_stages: how many stages the run has, skipped ones included.
    """

    def __init__(self, console: Console, num_stages: int):
        self.console = console
        self.num_stages = num_stages
        self.num_finished = 0
        self.stage = ""
        self.started_at = time.monotonic()
        self.bar: Progress | None = None
        self.task: TaskID | None = None

    def __enter__(self) -> "LiveView":
        if self.console.is_terminal:
            self.bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[eta]}"),
                TimeElapsedColumn(),
                console=self.console,
                transient=True,
            )
            self.bar.start()
            self.task = self.bar.add_task("starting", total=None, eta="")
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def started(self, stage: str, action: str, log: Path | None) -> None:
        """A stage begins or resumes; `log` is the file that can be followed, if there is one."""
        self.stage = stage
        self.started_at = time.monotonic()
        verb = "resumes" if action == "resume" else "runs"
        self.console.print(f"[bold]{stage}[/bold] {verb} ({self.num_finished + 1}/{self.num_stages})", highlight=False)
        if log is not None:
            self.console.print(f"  [dim]tail -F {escape(shlex.quote(str(log)))}[/dim]", highlight=False, soft_wrap=True)
        if self.bar is not None and self.task is not None:
            self.bar.reset(self.task, description=stage, total=None, eta="starting")

    def line(self, text: str) -> None:
        """Rank 0 of the running stage has logged a line."""
        self.console.print(f"  {escape(text)}", highlight=False, soft_wrap=True)

    def progress(self, state: StageProgress) -> None:
        """The running stage has written how far it is."""
        if self.bar is None or self.task is None:
            return
        self.bar.update(
            self.task,
            description=f"{self.stage} {state.phase}",
            total=state.num_steps or None,
            completed=state.step,
            eta=f"{duration(state.eta_s)} left" if state.eta_s is not None else "",
        )

    def skipped(self, stage: str, reason: str) -> None:
        """A stage needs no work."""
        self.num_finished += 1
        self.console.print(f"[bold]{stage}[/bold] [green]skipped[/green] ({escape(reason)})", highlight=False)

    def done(self, stage: str, manifest: Manifest) -> None:
        """A stage has ended well and written this manifest."""
        self.num_finished += 1
        self.console.print(
            f"[bold]{stage}[/bold] [green]done[/green] in {duration(time.monotonic() - self.started_at)}  "
            f"{escape(numbers(manifest.metrics))}",
            highlight=False,
            soft_wrap=True,
        )
