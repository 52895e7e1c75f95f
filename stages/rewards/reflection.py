"""Words of reflection: the ten the paper counts [V2 C.2], and their Chinese counterparts."""
import re

ENGLISH = ("wait", "mistake", "however", "but", "retry", "error", "verify", "wrong", "evaluate", "check")
CHINESE = ("等等", "错误", "然而", "但是", "重试", "出错", "验证", "错了", "评估", "检查")
# A run of Latin letters counts if it is one of the words, or several written together ("waitcheck": the tiny world has no spaces).
_RUN = re.compile(rf"(?<![A-Za-z])(?:{'|'.join(ENGLISH)})+(?![A-Za-z])", re.IGNORECASE)
_WORD = re.compile("|".join(ENGLISH), re.IGNORECASE)
_CHINESE = re.compile("|".join(CHINESE))


def count_reflections(text: str) -> int:
    """How often a text says one of these words."""
    return sum(len(_WORD.findall(run)) for run in _RUN.findall(text)) + len(_CHINESE.findall(text))
