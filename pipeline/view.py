"""What people see while stages run: a live line with ETA on a terminal, plain lines elsewhere; and the tables of plan
and status.
"""

import time
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from stages.contract.manifest import Manifest
from stages.contract.progress import StageProgress

SHOWN_METRICS = (
    "reward/mean",
    "reward/accuracy",
    "completion/mean_tokens",
    "completion/language",
    "train/loss",
    "data/kept",
    "helpful/holdout_accuracy",
    "safety/holdout_accuracy",
    "data/samples",
)
COLOURS = {
    "skip": "green",
    "done": "green",
    "resume": "yellow",
    "run": "cyan",
    "failed": "red",
    "interrupted": "yellow",
    "running": "cyan",
}


class LiveView:
    """Context manager for the stages of one run. `line` takes the log lines of rank 0, `progress` the content of
    progress.json.
    """

    def __init__(self, console: Console, num_stages: int):
        self.console, self.num_stages, self.finished = console, num_stages, 0
        self.bar = None

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

    def __exit__(self, *_) -> None:
        if self.bar is not None:
            self.bar.stop()

    def started(self, stage: str, action: str, log: Path | None) -> None:
        self.stage, self.started_at = stage, time.monotonic()
        verb = "resumes" if action == "resume" else "runs"
        self.console.print(f"[bold]{stage}[/bold] {verb} ({self.finished + 1}/{self.num_stages})", highlight=False)
        if log is not None:
            self.console.print(f"  [dim]tail -F {log}[/dim]", highlight=False, soft_wrap=True)
        if self.bar is not None:
            self.bar.reset(self.task, description=stage, total=None, eta="starting")

    def line(self, text: str) -> None:
        self.console.print(f"  {escape(text)}", highlight=False, soft_wrap=True)

    def progress(self, state: StageProgress) -> None:
        if self.bar is None:
            return
        self.bar.update(
            self.task,
            description=f"{self.stage} {state.phase}",
            total=state.num_steps or None,
            completed=state.step,
            eta=f"{duration(state.eta_s)} left" if state.eta_s is not None else "",
        )

    def skipped(self, stage: str, reason: str) -> None:
        self.finished += 1
        self.console.print(f"[bold]{stage}[/bold] [green]skipped[/green] ({escape(reason)})", highlight=False)

    def done(self, stage: str, manifest: Manifest) -> None:
        self.finished += 1
        self.console.print(
            f"[bold]{stage}[/bold] [green]done[/green] in {duration(time.monotonic() - self.started_at)}  "
            f"{escape(numbers(manifest.metrics))}",
            highlight=False,
            soft_wrap=True,
        )


def numbers(metrics: dict) -> str:
    """The most telling numbers of a manifest, four at most; of an evaluation, pass@1 of the models furthest along on
    reasoning.
    """
    scores = [name for name in metrics if name.endswith("/pass@1") and not name.endswith("tiny_general/pass@1")]
    chosen = scores[-4:] or [name for name in SHOWN_METRICS if name in metrics][:4] or list(metrics)[:4]
    return "  ".join(f"{name} {metrics[name]:.3g}" for name in chosen)


def duration(seconds: float | None) -> str:
    """ "7 s", "3 min 20 s", "2 h 05 min", "3.1 days"."""
    if seconds is None:
        return ""
    seconds = max(0, round(seconds))
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min" + (f" {seconds % 60:02d} s" if seconds < 600 else "")
    if seconds < 48 * 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
    return f"{seconds / 86400:,.1f} days"


def size(count: float) -> str:
    """ "512 B", "3.4 MiB", "1.2 GiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def plan_table(plan) -> Table:
    table = Table(
        title=f"run {plan.config.run} (recipe {plan.config.recipe}, seed {plan.config.seed})",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for name, keeps_width in (("stage", True), ("action", True), ("reason", False), ("inputs", False), ("fp8", True)):
        table.add_column(name, no_wrap=keeps_width)
    for name in ("ranks", "GiB", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    for step in plan.steps:
        sources = [source.stage or "outside" for source in step.inputs.values()]
        inputs = ", ".join(sources) if len(sources) <= 3 else f"{len(sources)} stages"
        table.add_row(
            step.stage,
            f"[{COLOURS[step.action]}]{step.action}[/]",
            escape(step.reason),
            inputs,
            step.fingerprint[:8],
            str(step.num_processes),
            f"{step.memory_gib:.1f}",
            "" if step.is_done else f"~{duration(step.seconds)}",
        )
    for stage, why in plan.left_out.items():
        table.add_row(stage, "[dim]left out[/]", escape(why), "", "", "", "", "")
    return table


def print_plan(console: Console, plan) -> None:
    console.print(plan_table(plan))
    for line in plan.notes:
        console.print(f"note: {line}", highlight=False, soft_wrap=True)
    total = sum(step.seconds for step in plan.steps)
    if plan.steps and not plan.errors:
        console.print("everything is done" if plan.is_done else f"about {duration(total)} of work", highlight=False)


def print_error(console: Console, error) -> None:
    """A PipelineError: what, and what to do."""
    for line in getattr(error, "errors", [str(error)]):
        console.print(f"[bold red]error[/] {escape(line)}", highlight=False, soft_wrap=True)
    for line in (error.fix or "").splitlines():
        console.print(f"  fix: {escape(line)}", highlight=False, soft_wrap=True)


def plan_json(plan) -> dict:
    return {
        "run": plan.config.run,
        "run_dir": str(plan.config.run_dir),
        "recipe": plan.config.recipe,
        "seed": plan.config.seed,
        "stages": [
            {
                "stage": step.stage,
                "kind": step.kind,
                "action": step.action,
                "reason": step.reason,
                "fingerprint": step.fingerprint,
                "dir": str(step.dir),
                "inputs": {role: source.fingerprint for role, source in step.inputs.items()},
                "num_processes": step.num_processes,
                "memory_gib": step.memory_gib,
                "seconds": round(step.seconds, 1),
            }
            for step in plan.steps
        ],
        "left_out": plan.left_out,
        "notes": plan.notes,
        "errors": [{"message": message, "fix": fix} for message, fix in plan.errors],
    }
