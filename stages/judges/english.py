"""The English world's judge behind the interface of all judges."""

from stages.judges.rules import RuleJudge
from stages.worlds.english import judge as english


class EnglishJudge(RuleJudge):
    """See `stages.judges.interface.Judge`."""

    name = "english"
    world = english
    its_own = "the prompts of data.general=english: set judge=openai or judge=vllm"
