"""Trackio: local by default, a Hugging Face Space with TRACKIO_SPACE_ID, an own server with TRACKIO_SERVER_URL."""

import math
import os
import warnings
from pathlib import Path

import trackio

from pipeline.execution.tracking.sink import TrackedStage, table


class TrackioSink:
    """One run of Trackio for each stage, in the group of the recipe."""

    def begin(self, stage: TrackedStage, first_step: int) -> int | None:
        """Opens the run, or goes on with it."""
        self.stage, self.last_step = stage, first_step - 1
        self.notes: list[str] = []
        warnings.showwarning = self._take_warning
        project, name = stage.tracker["project"], f"{stage.stage} {stage.id}"
        self.run = trackio.init(
            project=project,
            name=name,
            group=stage.group,
            config={**stage.labels, **stage.parameters},
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        self.where = f"trackio show --project {project}"
        if os.environ.get("TRACKIO_SPACE_ID") or os.environ.get("TRACKIO_SERVER_URL"):
            return None
        return trackio.SQLiteStorage.get_max_step_for_run(project, name) or 0

    def _take_warning(self, message: Warning | str, category: type, filename: str, *_: object, **__: object) -> None:
        """Trackio raises nothing: what it cannot do it only warns of."""
        if "trackio" in filename and not issubclass(category, DeprecationWarning | FutureWarning):
            self.notes.append(str(message))

    def step(self, step: int, metrics: dict[str, float], completions: list[dict], seconds: float) -> None:
        """Logs the numbers and a table at this step."""
        values: dict = {name: value for name, value in metrics.items() if math.isfinite(value)}
        if completions:
            values["completions"] = _table(completions)
        self.run.log(values, step=step)
        self.last_step = step

    def alarm(self, row: dict) -> None:
        """Sends an alert."""
        text = f"{row['message']}\nadvice: {row.get('advice', '')}"
        self.run.alert(title=row["name"], text=text, step=row["step"])

    def end(self, outcome: str, metrics: dict[str, float], completions: list[dict], files: list[Path]) -> None:
        """Logs the result and its files, and ends the run."""
        values: dict = {f"final/{name}": value for name, value in metrics.items() if math.isfinite(value)}
        if completions:
            values["completions"] = _table(completions)
        if values:
            self.run.log(
                values, step=self.last_step + 1
            )  # it has no summary: a step of its own, so that none is double
        for path in files:
            self.run.log_artifact(path, name=f"{self.stage.stage}-{self.stage.run}-{path.name}", type=self.stage.stage)
        self.run.finish()


def _table(rows: list[dict]) -> trackio.Table:
    columns, cells = table(rows)
    return trackio.Table(columns=columns, data=cells)


def make() -> TrackioSink:
    """The sink."""
    return TrackioSink()
