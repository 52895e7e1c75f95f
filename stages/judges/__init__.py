"""Judges: who decides where no rule can. One interface (`interface.py`), three backends: the tiny world's rules, an
OpenAI-compatible endpoint, a local vLLM model. docs/judges.md says how to use them.
"""

import threading
from pathlib import Path

from stages.config import JudgeConfig
from stages.contract import files
from stages.judges.calls import JudgeUnavailable
from stages.judges.interface import Comparison, Judge, Judged
from stages.judges.ledger import Ledger, metrics, total
from stages.prompting.prompt import Prompt
from stages.runtime.distributed import barrier
from stages.runtime.errors import InputError

__all__ = [
    "Comparison",
    "Judge",
    "JudgeUnavailable",
    "Judged",
    "current_judge",
    "is_served",
    "make_judge",
    "record_cost",
    "require_judge",
    "rest",
    "serve",
]


def make_judge(config: JudgeConfig, cache_dir: Path, ledger_path: Path | None = None) -> Judge:
    """The judge of a configuration; starts nothing. Raises InputError for a missing key."""
    ledger = Ledger(config.model or config.backend, config.price_prompt, config.price_completion, ledger_path)
    if config.backend == "tiny_world":
        from stages.judges.tiny_world import TinyWorldJudge

        return TinyWorldJudge(ledger)
    from stages.judges.cache import ReplyCache
    from stages.judges.llm import LlmJudge

    if config.backend == "openai":
        from stages.judges.endpoint import Endpoint as Model
    else:
        from stages.judges.local_model import LocalModel as Model
    return LlmJudge(
        config, Model(config), ReplyCache(Path(config.cache_dir) if config.cache_dir else cache_dir), ledger
    )


_STAGE: dict = {"worker": None, "judge": None}
_LOCK = threading.Lock()  # groups are graded in several threads: they have one judge


def serve(worker) -> None:
    """From now on this process works for that stage: `current_judge` is the judge of its configuration. Raises
    InputError if a source of the stage's data names the verifier `judge` and the judge cannot be asked.
    """
    _STAGE.update(worker=worker, judge=None)
    data = getattr(worker.config, "data", None)
    if data is not None and any(source.verifier == "judge" for source in data.all_sources.values()):
        current_judge()


def is_served() -> bool:
    return _STAGE["worker"] is not None


def current_judge() -> Judge:
    """The judge of this process's stage; checked when it is first asked for, so that a missing one is found before
    engines start.
    """
    worker = _STAGE["worker"]
    if worker is None:
        raise ValueError("no stage was opened in this process, so there is no judge: call judges.serve(worker) first")
    if worker.config.judge.backend == "vllm" and worker.kind in ("grpo", "evaluate"):
        raise InputError(
            "judge.backend=vllm cannot grade while a model is sampled in the same process: "
            "serve the judge and choose judge=openai"
        )
    with _LOCK:
        if _STAGE["judge"] is None:
            path = worker.dir / "logs" / f"attempt_{worker.attempt}" / f"judge_rank{worker.rank}.json"
            judge = make_judge(worker.config.judge, worker.dir.parents[1] / "judge_cache", path)
            judge.check()
            _STAGE["judge"] = judge
        return _STAGE["judge"]


def require_judge(prompt: Prompt) -> Judge:
    """The stage's judge, for prompts like this one. Raises InputError where it cannot be asked, or not about these."""
    judge = current_judge()
    if why := judge.problem(prompt):
        raise InputError(why)
    return judge


def rest() -> None:
    """Gives back the memory of a local model; it is loaded again when it is asked again."""
    if _STAGE["judge"] is not None:
        _STAGE["judge"].close()


def record_cost(worker) -> None:
    """Writes judge_ledger.json, the sum over all attempts and ranks, and its numbers to the stage's metrics.
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
