"""From a configuration to its judge."""

from pathlib import Path

from stages.config import JudgeConfig
from stages.judges.interface import Judge
from stages.judges.ledger import Ledger


def make_judge(config: JudgeConfig, cache_dir: Path, ledger_path: Path | None = None) -> Judge:
    """Makes the judge of a configuration; starts nothing.

    Args:
        config: Which judge, and its limits and prices.
        cache_dir: Where replies are kept, unless the configuration says another place.
        ledger_path: Where the cost is written, or None.

    Raises:
        InputError: The environment has no key for the endpoint.
    """
    ledger = Ledger(config.model or config.backend, config.price_prompt, config.price_completion, ledger_path)
    if config.backend == "tiny_world":
        from stages.judges.tiny_world import TinyWorldJudge

        return TinyWorldJudge(ledger)
    if config.backend == "english":
        from stages.judges.english import EnglishJudge

        return EnglishJudge(ledger)
    from stages.judges.cache import ReplyCache
    from stages.judges.calls import ChatModel
    from stages.judges.llm import LlmJudge

    model: ChatModel
    if config.backend == "openai":
        from stages.judges.endpoint import Endpoint

        model = Endpoint(config)
    else:
        from stages.judges.local_model import LocalModel

        model = LocalModel(config)
    return LlmJudge(config, model, ReplyCache(Path(config.cache_dir) if config.cache_dir else cache_dir), ledger)
