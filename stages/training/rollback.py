"""Going back: an alarm takes a stage to its last good checkpoint, and the batches that led to it are left out.

This is what health.on_alarm=rollback does. Batches of a stage are numbered from 0; step s trains on the s-th of those
that are not left out. `skipped.jsonl` says which are, so that a stage is still a function of its inputs and that file.
What comes after the checkpoint is removed before the line is written: killed at any instant, the next attempt either
comes to the same alarm or finds the line.
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
    """The numbers of the batches that a stage trains on, step by step, as skipped.jsonl says."""

    def __init__(self, directory: Path, per_rollout: int = 1):
        """Reads skipped.jsonl.

        Args:
            directory: of the stage.
            per_rollout: how many batches are sampled at once; such a rollout has the number of its first batch.
        """
        self.path, self.per_rollout = directory / FILE, per_rollout
        self.rows = files.read_jsonl(self.path)
        self.skipped = {number for row in self.rows for number in row["batches"]}

    def number(self, step: int) -> int:
        """The batch that is trained on after `step` optimizer steps.

        With 1 and 2 left out, steps 0, 1, 2 train on 0, 3, 4.
        """
        number = step
        for skipped in sorted(self.skipped):
            number += skipped <= number
        return number

    def rollout(self, step: int) -> int:
        """The number of the rollout that is trained on after `step` optimizer steps."""
        return self._rollout_of(self.number(step))

    def begins(self, step: int) -> bool:
        """Whether the step after `step` steps is the first on its rollout, which is sampled with its weights."""
        return step == 0 or self.rollout(step - 1) != self.rollout(step)

    def before(self, rollout: int) -> int | None:
        """The last rollout before this one that has a batch which is trained on; None where there is none."""
        number = next((earlier for earlier in range(rollout - 1, -1, -1) if earlier not in self.skipped), None)
        return None if number is None else self._rollout_of(number)

    def _rollout_of(self, number: int) -> int:
        return number - number % self.per_rollout


def save_start(saver: Saver, step: int, extra: dict | None = None) -> None:
    """Saves a stage that begins, where it may be rolled back: its first steps can then be gone back from too.

    Args:
        saver: of the stage.
        step: optimizer steps done; a checkpoint is written for 0 alone.
        extra: what the loop must know besides the step.
    """
    if saver.config.health.on_alarm == "rollback" and step == 0:
        saver.save(0, extra)


def roll_back(
    saver: Saver,
    cause: RollBack,
    batches: Batches,
    describe: Callable[[list[int]], dict] = lambda numbers: {},
    forget: Callable[[int], None] = lambda number: None,
) -> Batches:
    """Removes the checkpoints that are not good, and records the batches to leave out. Collective.

    The caller then resumes.

    Args:
        saver: of the stage.
        cause: the alarms.
        batches: as they are before.
        describe: gives more for the record of the batches with these numbers.
        forget: drops what was made after the batch with this number.

    Returns:
        The batches as they are after.

    Raises:
        Unhealthy: there is no checkpoint to go back to, or the stage was rolled back too often.
    """
    worker, step = saver.worker, cause.step
    saver.wait()
    barrier()
    _check_count(cause, batches, saver.config.health.max_rollbacks)
    checkpoints = {int(path.name.split("_")[1]): path for path in saver.root.glob("step_*")}
    target = _last_good(cause, list(checkpoints))
    numbers = [batches.number(number) for number in range(step - 1 if cause.is_of_batch else target, step)]
    message = f"{cause}; rolled back to step {target}, without batch {', '.join(map(str, numbers))}"
    worker.say(f"ROLLBACK: {message}")
    barrier()
    if worker.is_main:
        _remove_after(target, checkpoints, saver.root)
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
        lines = [json.dumps(line, ensure_ascii=False) + "\n" for line in (*batches.rows, row)]
        files.write_atomic(batches.path, "".join(lines).encode())
    barrier()
    return Batches(worker.dir, batches.per_rollout)


def _remove_after(target: int, checkpoints: dict[int, Path], root: Path) -> None:
    """Removes the checkpoints, by step, of steps after `target`."""
    for step, path in checkpoints.items():
        if step > target:
            shutil.rmtree(path)
    files.fsync_directory(root)


def _check_count(cause: RollBack, batches: Batches, max_rollbacks: int) -> None:
    """Raises Unhealthy where the stage was rolled back as often as it may be."""
    if len(batches.rows) >= max_rollbacks:
        raise Unhealthy(
            f"{cause}; the stage was rolled back {len(batches.rows)} time(s) before, see {batches.path}",
            f"{cause.advice}; or allow more with health.max_rollbacks",
        )


def _last_good(cause: RollBack, checkpoints: list[int]) -> int:
    """The step of the last checkpoint that the alarms say nothing against. Raises Unhealthy where there is none.

    A batch that is broken in itself leaves the weights before its step good. What is measured in a step before its
    update is of the weights that the step before made: those are not good either.
    """
    last_good = cause.step - 1 if cause.is_of_batch else cause.step - 2
    target = max((step for step in checkpoints if step <= last_good), default=None)
    if target is None:
        raise Unhealthy(
            f"{cause}; no checkpoint of step {last_good} or before is kept to roll back to",
            f"{cause.advice}; or save more often and keep more: save_every, keep_checkpoints",
        )
    return target
