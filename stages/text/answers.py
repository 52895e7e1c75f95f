"""Finds the final answer in a completion."""

import re

_BRACE = re.compile(r"\\boxed\{|\{|\}")
_BETWEEN = re.compile(r"(?:[\s$.,;&]|\band\b|\bor\b|\\q?quad\b|\\(?:text|mbox)\{\s*(?:and|or)?\s*\})+")
_ANSWER = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL)


def extract_answer(completion: str) -> str | None:
    """Returns the final answer of a completion, or None where it has none.

    The answer is the content of the last <answer>...</answer>, or of the last \\boxed{...} inside it. Without answer
    tags, the last \\boxed{...} of the whole completion counts.

    >>> extract_answer("<think>31-3=28</think><answer>28</answer>")
    '28'
    """
    region, is_tagged = _search_region(completion)
    boxes = _boxes(region)
    if boxes:
        return boxes[-1][0].strip()
    return region.strip() if is_tagged else None


def extract_answers(completion: str) -> str | None:
    """Returns the final answer like `extract_answer`, but reads adjacent boxes as one list.

    "\\boxed{1} or \\boxed{2}" gives "1, 2": a set with two solutions has to be given whole, so naming two values is not
    a choice between them.
    """
    region, is_tagged = _search_region(completion)
    boxes = _boxes(region)
    if not boxes:
        return region.strip() if is_tagged else None
    together = [boxes[-1]]
    for box in reversed(boxes[:-1]):
        if not _BETWEEN.fullmatch(region[box[2] : together[0][1]]):
            break
        together.insert(0, box)
    return ", ".join(dict.fromkeys(text.strip() for text, _, _ in together))


def _search_region(completion: str) -> tuple[str, bool]:
    """Returns the text to search for an answer, and whether it is the content of the last <answer> tags."""
    tagged = _ANSWER.findall(completion)
    return (tagged[-1], True) if tagged else (completion, False)


def _boxes(text: str) -> list[tuple[str, int, int]]:
    """Returns (content, start, end) of each \\boxed{...}, ordered by start; none where the last box is not closed."""
    boxes: list[tuple[str, int, int]] = []
    open_braces: list[re.Match[str]] = []
    for match in _BRACE.finditer(text):
        if match[0] != "}":
            open_braces.append(match)
        elif open_braces and (opened := open_braces.pop())[0] != "{":
            boxes.append((text[opened.end() : match.start()], opened.start(), match.end()))
    last_unclosed = max((opened.start() for opened in open_braces if opened[0] != "{"), default=-1)
    if boxes and max(box[1] for box in boxes) <= last_unclosed:
        return []
    return sorted(boxes, key=lambda box: box[1])
