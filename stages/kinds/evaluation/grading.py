"""Grades samples in batches in a thread of its own while the engine samples.

Every grade is recorded, and the logs of samples and grades reach the disk every second.
"""

import threading
import time
from collections import deque

from stages.contract.records import RecordLog
from stages.kinds.evaluation.measure import FinishedSample, measure_many

MOST_AT_ONCE = 256
# Seconds between batches: a thread that wakes up for every sample takes more from the engine than grading itself.
GATHER_S = 1.0


class Grader:
    """Grades in the background: `put` samples as they finish, and `finish` when there are no more."""

    def __init__(self, grades: RecordLog, samples: RecordLog, needs_format: bool):
        self.grades, self.samples, self.needs_format = grades, samples, needs_format
        self.waiting: deque[FinishedSample] = deque()
        self.wake = threading.Event()
        self.is_ended = False
        self.error: BaseException | None = None
        self.cpu_s = 0.0  # processor time of this thread: what grading takes from sampling
        self.thread = threading.Thread(target=self._run, name="grading", daemon=True)
        self.thread.start()

    def put(self, sample: FinishedSample) -> None:
        """Hands a finished sample over."""
        self.waiting.append(sample)
        if len(self.waiting) >= MOST_AT_ONCE:
            self.wake.set()

    def finish(self) -> None:
        """Waits until all samples are graded and on the disk; raises what grading raised."""
        self.is_ended = True
        self.wake.set()
        self.thread.join()
        self.grades.close()
        self.samples.close()
        if self.error:
            raise self.error

    def _run(self) -> None:
        try:
            is_last, synced = False, time.monotonic()
            while not is_last:
                self.wake.wait(GATHER_S)
                self.wake.clear()
                is_last = self.is_ended  # nothing is put after that
                while self.waiting:
                    batch = [self.waiting.popleft() for _ in range(min(len(self.waiting), MOST_AT_ONCE))]
                    self.grades.extend(measure_many(batch, self.needs_format))
                if time.monotonic() - synced >= GATHER_S:
                    self.samples.sync()
                    self.grades.sync()
                    synced = time.monotonic()
        except BaseException as error:  # handed to the thread that waits
            self.error = error
        self.cpu_s = time.thread_time()
