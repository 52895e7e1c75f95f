"""Tells where a stage is: rank 0 by progress.json, about once a second, and every rank by its heartbeat."""

import time
from pathlib import Path

from stages.contract.progress import StageProgress
from stages.runtime.heartbeat import HeartbeatWriter

EVERY_S = 1.0


class ProgressReporter:
    """Knows the last step, and how long the others will take."""

    def __init__(self, stage_dir: Path, heartbeat: HeartbeatWriter, started: float, is_main: bool):
        """Writes nothing yet.

        Args:
            stage_dir: Where progress.json goes.
            heartbeat: That of this rank.
            started: The Unix time at which the attempt began.
            is_main: Whether this is rank 0, which writes progress.json.
        """
        self.stage_dir = stage_dir
        self.heartbeat = heartbeat
        self.started = started
        self.is_main = is_main
        self.step = 0
        self.num_steps = 0
        self._first_work: tuple[float, int] | None = None  # when this attempt did its first step, and which
        self._written = 0.0

    def report(self, phase: str, step: int, num_steps: int, message: str = "", force: bool = False) -> None:
        """Notes where the stage is; writes it down if it is time to, or if `force` is set."""
        self.step, self.num_steps = step, num_steps
        self.heartbeat.moved(phase, step)
        now = time.time()
        if step > 0 and self._first_work is None:
            self._first_work = (now, step)
        if not self.is_main or (not force and now - self._written < EVERY_S):
            return
        self._written = now
        StageProgress(
            phase=phase,
            step=step,
            num_steps=num_steps,
            updated=now,
            started=self.started,
            eta_s=self._seconds_left(now),
            message=message,
        ).write(self.stage_dir, durable=False)

    def report_end(self, phase: str, message: str) -> None:
        """Notes, and writes down, how the stage ended at its last step."""
        self.report(phase, self.step, self.num_steps, message, force=True)

    def _seconds_left(self, now: float) -> float | None:
        """By the mean time of the steps of this attempt; None before there are any."""
        if self._first_work is None or self.step <= self._first_work[1]:
            return None
        began, first = self._first_work
        return (now - began) / (self.step - first) * (self.num_steps - self.step)
