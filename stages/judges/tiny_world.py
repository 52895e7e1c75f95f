"""The tiny world's judge and refiner behind the interface of all judges."""

from stages.judges.interface import Judged
from stages.judges.rules import RuleJudge
from stages.worlds.tiny_world import judge as tiny_world
from stages.worlds.tiny_world.refine import refine


class TinyWorldJudge(RuleJudge):
    """See `stages.judges.interface.Judge`."""

    name = "tiny_world"
    world = tiny_world
    its_own = "the tiny world's prompts: set judge=openai or judge=vllm, or judge=english for data.general=english"

    def refine(self, items: list[Judged]) -> list[str | None]:
        """See `Judge.refine`."""
        return self._counted("refine", [refine(item.prompt, item.completion) for item in items])
