"""The live view in a terminal: the recipe's progress, the running stage's bar, and how its numbers go."""

import time
from collections.abc import Mapping

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.view.sparkline import BARS, PLAIN_BARS, sparkline
from pipeline.view.step_numbers import StepNumbers
from pipeline.view.words import amount, duration
from stages.contract.progress import StageProgress

WIDEST_BAR, NARROWEST_BAR = 30, 6
REDRAWN = 4  # times a second
READ_S = 1.0  # between looks at metrics.jsonl


class Screen:
    """A few lines at the foot of the terminal, drawn again several times a second; what is printed goes above them.

    Args:
        console: a terminal.
        title: what is run.
        estimates: stage -> seconds that it will take, 0 where it is done, None where that is not known.
    """

    def __init__(self, console: Console, title: str, estimates: Mapping[str, float | None]):
        self.console, self.title, self.estimates = console, title, dict(estimates)
        self.finished = {stage for stage, seconds in estimates.items() if seconds == 0}
        self.began = time.monotonic()
        self.stage, self.starts, self.last_line = "", "", ""
        self.stage_began = self.began
        self.state = StageProgress()
        self.numbers: StepNumbers | None = None
        self.values: dict[str, list[float]] = {}
        self._read = 0.0
        self._live = Live(
            get_renderable=self.render, console=console, refresh_per_second=REDRAWN, transient=True, screen=False
        )

    def start(self) -> None:
        """Begins to draw."""
        self._live.start()

    def stop(self) -> None:
        """Takes the lines away."""
        self._live.stop()

    def begin(self, stage: str, starts: str, numbers: StepNumbers | None) -> None:
        """A stage begins: `starts` says what is being started, `numbers` reads its metrics."""
        self.stage, self.starts, self.last_line = stage, starts, ""
        self.stage_began = time.monotonic()
        self.state, self.numbers, self.values = StageProgress(), numbers, {}
        self._read = 0.0

    def end(self, stage: str) -> None:
        """A stage is done."""
        self.finished.add(stage)
        self.stage = self.starts = ""

    def render(self) -> RenderableType:
        """What is drawn now."""
        lines: list[RenderableType] = [self._recipe_line()]
        if self.stage:
            lines += [self._stage_line(), *self._number_lines()]
            lines += [Text(f"  {self.last_line}", style="dim", no_wrap=True, overflow="ellipsis")]
        elif self.starts:
            lines.append(Text(self.starts))
        return Group(*lines)

    def _recipe_line(self) -> RenderableType:
        share, left = self._share_done()
        about = f"{duration(time.monotonic() - self.began)} so far"
        if left:
            about += f", {duration(left)} left"
        count = f"{len(self.finished)}/{len(self.estimates)} stages"
        return self._bar_line(Text(self.title, style="bold"), share, f"{count}, {about}")

    def _share_done(self) -> tuple[float, float]:
        """(share of the recipe that is done, seconds that are left), by the estimates and the stage's own ETA."""
        left = sum(self.estimates[stage] or 0.0 for stage in self.estimates if stage not in self.finished)
        if self.stage:
            estimate = self.estimates.get(self.stage) or 0.0
            spent = time.monotonic() - self.stage_began
            own = self.state.eta_s if self.state.eta_s is not None else max(0.0, estimate - spent)
            left += own - estimate
        spent = time.monotonic() - self.began
        return (spent / (spent + left) if left > 0 else len(self.finished) / max(1, len(self.estimates))), left

    def _stage_line(self) -> RenderableType:
        state = self.state
        if not state.num_steps and state.phase in ("", "start"):
            waited = duration(time.monotonic() - self.stage_began)
            return Text.assemble((f"{self.stage} ", "cyan"), f"{self.starts} ({waited})", overflow="fold")
        left = f", {duration(state.eta_s)} left" if state.eta_s is not None else ""
        name = Text.assemble((self.stage, "cyan"), f" {state.phase}")
        if not state.num_steps:
            return Text.assemble(name, f": {state.message}")
        return self._bar_line(name, state.step / state.num_steps, f"{state.step:,}/{state.num_steps:,}{left}")

    def _number_lines(self) -> list[RenderableType]:
        if self.numbers is not None and time.monotonic() - self._read > READ_S:
            self._read, self.values = time.monotonic(), self.numbers.read()
        shown = {name: values for name, values in self.values.items() if values}
        if not shown:
            return []
        bars = PLAIN_BARS if self.console.options.ascii_only else BARS
        width = max(10, min(60, self.console.width - 24))
        table = Table.grid(padding=(0, 2))
        for name, values in shown.items():
            table.add_row(f"  {name}", Text(amount(values[-1]), justify="right"), sparkline(values, width, bars))
        return [table]

    def _bar_line(self, name: Text, share: float, words: str) -> RenderableType:
        room = self.console.width - name.cell_len - len(words) - 3
        bar = ProgressBar(total=1.0, completed=min(1.0, share), width=max(NARROWEST_BAR, min(WIDEST_BAR, room)))
        table = Table.grid(padding=(0, 1))
        table.add_row(name, bar, Text(words, no_wrap=True))
        return table
