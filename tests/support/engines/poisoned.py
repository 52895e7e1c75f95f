"""Run like `python -m stages STAGE_DIRECTORY`, with a batch whose gradients are not finite, as JSON in POISON says.

rows    the training rows with these numbers in the file weigh infinitely much (SFT)
index   the gradient of every batch with this prompt of the stream is NaN (GRPO)
thrown  the batches of these numbers are trained on at so many times the learning rate, which only the step after them
        shows (GRPO)
steps   the gradient of these optimizer steps, counted from 1, is infinite, and their loss is not
broken  a weight is NaN after these optimizer steps, counted from 1; no loss and no gradient shows it
kill    before or after: the process is killed as it writes skipped.jsonl
"""

import json
import math
import os
import signal
import sys

from stages import __main__ as worker_main
from tests.support.stage_dirs import end_process


def poison_rows(numbers: list[int]) -> None:
    from stages.kinds import sft

    to_row, seen = sft.to_row, []

    def poisoned(*arguments):
        row = to_row(*arguments)
        seen.append(row)
        if len(seen) - 1 in numbers:
            row.weights[-1] = math.inf
        return row

    sft.to_row = poisoned


def poison_prompt(index: int) -> None:
    from stages.engines.training import TrainEngine
    from stages.kinds.grpo.trainer import GrpoTrainer

    update, backward, factor = GrpoTrainer._update, TrainEngine.backward, [1.0]

    def poisoned(self, batch, informative):
        factor[0] = math.nan if any(rollout.index == index for rollout in batch) else 1.0
        update(self, batch, informative)

    GrpoTrainer._update = poisoned
    TrainEngine.backward = lambda self, loss: backward(self, loss * factor[0] if factor[0] != 1.0 else loss)


def throw_off(factors: dict[str, float]) -> None:
    from stages.engines import training as engine
    from stages.kinds.grpo.trainer import GrpoTrainer

    update, factor_at, factor = GrpoTrainer._update, engine.learning_rate_factor, [1.0]

    def poisoned(self, batch, informative):
        factor[0] = factors.get(str(self.history.batches.number(self.step)), 1.0)
        update(self, batch, informative)

    GrpoTrainer._update = poisoned
    engine.learning_rate_factor = lambda *arguments: factor[0] * factor_at(*arguments)


def poison_steps(numbers: list[int]) -> None:
    """An attempt that goes on after a rollback is not poisoned again."""
    from stages.engines.training import TrainEngine

    backward, step, done = TrainEngine.backward, TrainEngine.step, []

    def poisoned_backward(self, loss):
        is_due = len(done) + 1 in numbers
        backward(self, loss * math.inf if is_due else loss)

    def counted(self, number):
        done.append(number)
        return step(self, number)

    TrainEngine.backward, TrainEngine.step = poisoned_backward, counted


def break_weights(numbers: list[int]) -> None:
    import torch

    from stages.engines.training import TrainEngine

    step, done = TrainEngine.step, []

    @torch.no_grad()
    def breaking(self, number):
        result = step(self, number)
        done.append(number)
        if len(done) in numbers:
            parameter = next(self.module.parameters())
            getattr(parameter, "ds_tensor", parameter).view(-1)[0] = math.nan
        return result

    TrainEngine.step = breaking


def kill_at_the_record(when: str) -> None:
    from stages.contract import files

    write = files.write_atomic

    def killed(path, *arguments, **named):
        is_it = path.name == "skipped.jsonl"
        if not is_it or when == "after":
            write(path, *arguments, **named)
        if is_it:
            os.kill(os.getpid(), signal.SIGKILL)

    files.write_atomic = killed


if __name__ == "__main__":
    plan = json.loads(os.environ["POISON"])
    for name, apply in (
        ("rows", poison_rows),
        ("index", poison_prompt),
        ("thrown", throw_off),
        ("steps", poison_steps),
        ("broken", break_weights),
        ("kill", kill_at_the_record),
    ):
        if name in plan:
            apply(plan[name])
    end_process(worker_main.main(sys.argv[1:]))
