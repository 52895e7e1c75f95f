"""The one judge of the stage that this process works for, and what it cost."""

import threading
from typing import TYPE_CHECKING

from stages.contract import files
from stages.judges.factory import make_judge
from stages.judges.interface import Judge
from stages.judges.ledger import metrics, total
from stages.prompting.prompt import Prompt
from stages.runtime.distributed import barrier
from stages.runtime.errors import InputError

if TYPE_CHECKING:
    from stages.runtime.worker import Worker

_worker: "Worker | None" = None
_judge: Judge | None = None
_lock = threading.Lock()  # groups are graded in several threads: they have one judge


def open_stage(worker: "Worker") -> None:
    """From now on this process works for that stage: `current_judge` is the judge of its configuration.

    Raises:
        InputError: A source of the stage's data names the verifier `judge`, and the judge cannot be asked.
    """
    global _worker, _judge
    _worker, _judge = worker, None
    data = getattr(worker.config, "data", None)
    if data is not None and any(source.verifier == "judge" for source in data.all_sources.values()):
        current_judge()


def close_stage() -> None:
    """From now on this process works for no stage."""
    global _worker, _judge
    unload()
    _worker = _judge = None


def has_stage() -> bool:
    """Whether this process works for a stage."""
    return _worker is not None


def current_judge() -> Judge:
    """The judge of this process's stage.

    It is checked when it is first asked for, so that a missing one is found before engines start.

    Raises:
        ValueError: No stage was opened.
        InputError: The judge cannot be asked.
    """
    global _judge
    worker = _worker
    if worker is None:
        raise ValueError(
            "no stage was opened in this process, so there is no judge: call judges.open_stage(worker) first"
        )
    if worker.config.judge.backend == "vllm" and worker.kind in ("grpo", "evaluate"):
        raise InputError(
            "judge.backend=vllm cannot grade while a model is sampled in the same process: "
            "serve the judge and choose judge=openai"
        )
    with _lock:
        if _judge is None:
            path = worker.dir / "logs" / f"attempt_{worker.attempt}" / f"judge_rank{worker.rank}.json"
            judge = make_judge(worker.config.judge, worker.dir.parents[1] / "judge_cache", path)
            judge.check()
            _judge = judge
        return _judge


def require_judge(prompt: Prompt) -> Judge:
    """The stage's judge, for prompts like this one.

    Raises:
        InputError: It cannot be asked, or not about such prompts.
    """
    judge = current_judge()
    if why := judge.prompt_problem(prompt):
        raise InputError(why)
    return judge


def unload() -> None:
    """Gives back the memory of a local model, which is loaded again when it is asked again."""
    if _judge is not None:
        _judge.close()


def record_cost(worker: "Worker") -> None:
    """Writes judge_ledger.json, the sum over all attempts and ranks, and adds its numbers to the stage's metrics.

    Collective.
    """
    barrier()
    table = total(worker.dir) if worker.is_main else None
    if table is None:
        return
    files.write_json(worker.dir / "judge_ledger.json", table)
    worker.metrics |= metrics(table)
    worker.say(
        f"judge {table['model']}: {worker.metrics['judge/calls']:.0f} calls, "
        f"{worker.metrics['judge/cached']:.0f} from the cache, "
        f"{worker.metrics['judge/unparsed']:.0f} not understood, money {table['money']:g}"
    )
