"""Going back: with health.on_alarm=rollback an alarm takes a stage to its last good checkpoint, and the batches that
led to it are left out.

Batches of a stage are numbered from 0; step s trains on the s-th of those that are not left out. `skipped.jsonl` says
which are, so that a stage is still a function of its inputs and that file. What comes after the checkpoint is removed
before the line is written: killed at any instant, the next attempt either comes to the same alarm or finds the line.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from stages.contract import files
from stages.engines.saver import Saver
from stages.runtime.distributed import barrier
from stages.training.health import RollBack, Unhealthy

FILE = "skipped.jsonl"


class Batches:
    """The numbers of a stage's batches, step by step. `per_rollout`: how many of them are sampled at once; such a
    rollout has the number of its first batch.
    """

    def __init__(self, directory: Path, per_rollout: int = 1):
        self.path, self.per_rollout = directory / FILE, per_rollout
        self.rows = files.read_jsonl(self.path)
        self.skipped = {number for row in self.rows for number in row["batches"]}

    def number(self, step: int) -> int:
        """Which batch is trained on after `step` optimizer steps. With 1 and 2 left out, steps 0, 1, 2 train on 0, 3,
        4.
        """
        number = step
        for skipped in sorted(self.skipped):
            number += skipped <= number
        return number

    def rollout(self, step: int) -> int:
        """The rollout that this step trains on."""
        return self._rollout_of(self.number(step))

    def begins(self, step: int) -> bool:
        """Whether this step is the first to train on its rollout, which is sampled with its weights."""
        return step == 0 or self.rollout(step - 1) != self.rollout(step)

    def before(self, rollout: int) -> int | None:
        """The rollout before this one of which not all is left out."""
        number = next((earlier for earlier in range(rollout - 1, -1, -1) if earlier not in self.skipped), None)
        return None if number is None else self._rollout_of(number)

    def _rollout_of(self, number: int) -> int:
        return number - number % self.per_rollout


def save_start(saver: Saver, step: int, extra: dict | None = None) -> None:
    """A checkpoint of a stage that begins, so that its first steps can be gone back from too."""
    if saver.config.health.on_alarm == "rollback" and step == 0:
        saver.save(0, extra)


def roll_back(
    saver: Saver,
    cause: RollBack,
    batches: Batches,
    describe: Callable[[list[int]], dict] = lambda numbers: {},
    forget: Callable[[int], None] = lambda number: None,
) -> Batches:
    """Removes the checkpoints that are not good and records the batches to leave out; the caller then resumes.
    Collective. Raises Unhealthy where there is nothing to go back to, or it was done too often. `describe`: more for
    the record of these batches; `forget`: drops what was made after this batch.
    """
    worker, config, root, step = saver.worker, saver.config.health, saver.root, cause.step
    saver.wait()
    barrier()
    if len(batches.rows) >= config.max_rollbacks:
        raise Unhealthy(
            f"{cause}; the stage was rolled back {len(batches.rows)} time(s) before, see {batches.path}",
            f"{cause.advice}; or allow more with health.max_rollbacks",
        )
    last_good = (
        step - 1 if cause.is_of_batch else step - 2
    )  # what is measured in a step, before its update, is of the weights of the step before
    checkpoints = {int(path.name.split("_")[1]): path for path in root.glob("step_*")}
    target = max((number for number in checkpoints if number <= last_good), default=None)
    if target is None:
        raise Unhealthy(
            f"{cause}; no checkpoint of step {last_good} or before is kept to roll back to",
            f"{cause.advice}; or save more often and keep more: save_every, keep_checkpoints",
        )
    numbers = [batches.number(number) for number in range(step - 1 if cause.is_of_batch else target, step)]
    message = f"{cause}; rolled back to step {target}, without batch {', '.join(map(str, numbers))}"
    worker.say(f"ROLLBACK: {message}")
    barrier()
    if worker.is_main:
        for number, path in checkpoints.items():
            if number > target:
                shutil.rmtree(path)
        files.fsync_directory(root)
        details = describe(numbers)
        forget(numbers[0])
        row = {
            "step": step,
            "name": "rollback",
            "message": message,
            "advice": cause.advice,
            "batches": numbers,
            "checkpoint": target,
            **details,
        }
        files.write_atomic(
            batches.path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in (*batches.rows, row)).encode()
        )
    barrier()
    return Batches(worker.dir, batches.per_rollout)
