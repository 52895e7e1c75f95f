"""The English world's judge behind the interface of all judges."""

from stages.judges.rules import RuleJudge
from stages.prompting.prompt import Prompt
from stages.worlds.english import judge as english


class EnglishJudge(RuleJudge):
    """See `stages.judges.interface.Judge`."""

    name = "english"
    world = english

    def prompt_problem(self, prompt: Prompt) -> str | None:
        """The rules know no other prompts than those of data.general=english."""
        return (
            None
            if english.knows(prompt)
            else "judge.backend=english knows only the prompts of data.general=english: set judge=openai or judge=vllm"
        )
