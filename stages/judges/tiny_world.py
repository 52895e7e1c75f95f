"""The tiny world's judge and refiner behind the interface of all judges."""

from stages.judges.interface import Judged
from stages.judges.rules import RuleJudge
from stages.prompting.prompt import Prompt
from stages.worlds.tiny_world import judge as tiny_world
from stages.worlds.tiny_world.problems import GENERAL_KINDS
from stages.worlds.tiny_world.refine import refine

KINDS = (*GENERAL_KINDS, "math", "harm", "benign")


class TinyWorldJudge(RuleJudge):
    """See `stages.judges.interface.Judge`."""

    name = "tiny_world"
    world = tiny_world

    def prompt_problem(self, prompt: Prompt) -> str | None:
        """The rules know no other prompts than the tiny world's."""
        return (
            None
            if prompt.kind in KINDS and not prompt.checks
            else "judge.backend=tiny_world knows only the tiny world's prompts: set judge=openai or judge=vllm, or "
            "judge=english for data.general=english"
        )

    def refine(self, items: list[Judged]) -> list[str | None]:
        """See `Judge.refine`."""
        return self._counted("refine", [refine(item.prompt, item.completion) for item in items])
