"""TensorBoard: event files under runs/<run>/tensorboard/<stage>/<short fingerprint>."""

import json
import time
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import summary_v2 as hparams
from tensorboard.plugins.text import metadata as text_metadata
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util.tensor_util import make_tensor_proto

from pipeline.execution.tracking.sink import TrackedStage, table

MAX_CELL = 2000  # characters of a completion in a table


class TensorBoardSink:
    """Writes event files. TensorBoard drops what follows the step at which a file of a later attempt begins."""

    can_cut_back = True

    def begin(self, stage: TrackedStage, first_step: int) -> int | None:
        """Opens a new event file; a stage that begins has no older ones."""
        target = Path(stage.run_dir) / "tensorboard" / stage.stage / stage.fingerprint[:8]
        if first_step == 1:
            for old in target.glob("events.*"):
                old.unlink()
        self.where = f"tensorboard --logdir {Path(stage.run_dir) / 'tensorboard'}"
        self.stage = stage
        self.writer = EventFileWriter(str(target))
        if first_step == 1:
            self._write_parameters()
        else:
            self.cut_back(first_step - 1)
        return None

    def _write_parameters(self) -> None:
        parameters = {**self.stage.labels, **self.stage.parameters}
        plain = {name: _simple(value) for name, value in parameters.items() if value is not None}
        self.writer.add_event(Event(wall_time=time.time(), summary=hparams.hparams_pb(plain)))
        rows = "".join(f"| {name} | {_cell(value)} |\n" for name, value in parameters.items())
        self._add(0, time.time(), [_text("configuration", f"| key | value |\n|---|---|\n{rows}")])

    def cut_back(self, last_step: int) -> None:
        """Takes back what was written of the steps after `last_step`."""
        start = SessionLog(status=SessionLog.START)
        self.writer.add_event(Event(wall_time=time.time(), step=last_step + 1, session_log=start))
        self.writer.flush()

    def step(self, step: int, metrics: dict[str, float], completions: list[dict], seconds: float) -> None:
        """Writes scalars, and completions as a table of text."""
        values = [Summary.Value(tag=name, simple_value=value) for name, value in metrics.items()]
        if completions:
            values.append(_text("completions", _markdown(completions)))
        self._add(step, seconds, values)

    def alarm(self, row: dict) -> None:
        """Writes a text."""
        text = f"**{row['name']}**: {row['message']}\n\nadvice: {row.get('advice', '')}"
        self._add(row["step"], time.time(), [_text("alarms", text)])

    def end(self, outcome: str, metrics: dict[str, float], completions: list[dict], files: list[Path]) -> None:
        """Writes the numbers of the result as a text; TensorBoard keeps no files, so it names them."""
        values = [_text("completions", _markdown(completions))] if completions else []
        if metrics:
            rows = "".join(f"| {name} | {value:g} |\n" for name, value in metrics.items())
            values.append(_text("result", f"| metric | value |\n|---|---|\n{rows}"))
        if files:
            values.append(_text("files", "\n".join(f"* `{path}`" for path in files)))
        if values:
            self._add(0, time.time(), values)
        self.writer.close()

    def _add(self, step: int, seconds: float, values: list[Any]) -> None:
        self.writer.add_event(Event(wall_time=seconds, step=step, summary=Summary(value=values)))
        self.writer.flush()


def _text(tag: str, text: str) -> Any:
    metadata = text_metadata.create_summary_metadata(tag, "")
    return Summary.Value(tag=tag, metadata=metadata, tensor=make_tensor_proto([text]))


def _markdown(rows: list[dict]) -> str:
    columns, cells = table(rows)
    head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
    return head + "".join(f"| {' | '.join(_cell(value) for value in row)} |\n" for row in cells)


def _cell(value: Any) -> str:
    """A text that stays in its cell of a Markdown table, whatever a model wrote."""
    text = str(value)[:MAX_CELL].replace("&", "&amp;").replace("<", "&lt;").replace("|", "&#124;")
    return text.replace("\r", "").replace("\n", "<br>")


def _simple(value: Any) -> str | int | float | bool:
    return value if isinstance(value, (str, int, float, bool)) else json.dumps(value, default=str)


def make() -> TensorBoardSink:
    """The sink."""
    return TensorBoardSink()
