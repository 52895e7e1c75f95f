"""Grading in a thread of its own, in batches, while the engine samples; what is graded is recorded, and both logs reach the disk every second."""
import queue
import threading
import time

from stages.evaluation.measure import Sample, measure_many
from stages.evaluation.records import RecordLog

MOST_AT_ONCE = 256
SYNC_S = 1.0
GATHER_S = 0.1  # a thread that wakes for every sample takes more from the engine than the grading itself


class Grader:
    """`put` samples as they finish, `finish` when there are no more."""

    def __init__(self, grades: RecordLog, samples: RecordLog, needs_format: bool):
        self.grades, self.samples, self.needs_format = grades, samples, needs_format
        self.queue: queue.SimpleQueue[Sample | None] = queue.SimpleQueue()
        self.error: BaseException | None = None
        self.cpu_s = 0.0   # processor time of this thread: what grading takes from sampling
        self.thread = threading.Thread(target=self._run, name="grading", daemon=True)
        self.thread.start()

    def put(self, sample: Sample) -> None:
        self.queue.put(sample)

    def finish(self) -> None:
        """Waits until all that was put is graded and on the disk. Raises what grading raised."""
        self.queue.put(None)
        self.thread.join()
        self.grades.close()
        self.samples.close()
        if self.error:
            raise self.error

    def _run(self) -> None:
        try:
            is_open, synced = True, time.monotonic()
            while is_open:
                batch = self._next_batch()
                is_open = None not in batch
                for record in measure_many([sample for sample in batch if sample is not None], self.needs_format):
                    self.grades.append(record)
                if time.monotonic() - synced > SYNC_S:
                    self.samples.sync()
                    self.grades.sync()
                    synced = time.monotonic()
        except BaseException as error:  # handed to the thread that waits
            self.error = error
        self.cpu_s = time.thread_time()

    def _next_batch(self) -> list[Sample | None]:
        """All that waits or comes within a moment, at least one; None ends it."""
        batch = [self.queue.get()]
        if batch[0] is not None:
            time.sleep(GATHER_S)
        while batch[-1] is not None and len(batch) < MOST_AT_ONCE and not self.queue.empty():
            batch.append(self.queue.get())
        return batch
