"""Where the final answer of a completion stands."""
import re

_ANSWER = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL)


def extract_answer(completion: str) -> str | None:
    """The final answer: the last <answer>...</answer>, else the last \\boxed{...} of the completion; None where there is neither."""
    tagged = _ANSWER.findall(completion)
    if tagged:
        boxed = _last_boxed(tagged[-1])
        return (boxed if boxed is not None else tagged[-1]).strip()
    return _last_boxed(completion)


def _last_boxed(text: str) -> str | None:
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth, begin = 0, start + len("\\boxed{")
    for position in range(begin - 1, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return text[begin:position]
    return None
