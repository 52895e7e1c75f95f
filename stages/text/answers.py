"""Where the final answer of a completion stands."""

import re

_BRACE = re.compile(r"\\boxed\{|\{|\}")
_BETWEEN = re.compile(r"(?:[\s$.,;&]|\band\b|\bor\b|\\q?quad\b|\\(?:text|mbox)\{\s*(?:and|or)?\s*\})+")
_ANSWER = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL)


def extract_answer(completion: str) -> str | None:
    """The final answer: the last <answer>...</answer>, else the last \\boxed{...} of the completion; None where there
    is neither.
    """
    region, is_tagged = _region(completion)
    boxes = _boxes(region)
    return boxes[-1][0].strip() if boxes else region.strip() if is_tagged else None


def extract_answers(completion: str) -> str | None:
    """The same, with boxes that stand together taken together: "\\boxed{1} or \\boxed{2}" is "1, 2", not a choice of
    two.
    """
    region, is_tagged = _region(completion)
    boxes = _boxes(region)
    if not boxes:
        return region.strip() if is_tagged else None
    together = [boxes[-1]]
    for box in reversed(boxes[:-1]):
        if not _BETWEEN.fullmatch(region[box[2] : together[0][1]]):
            break
        together.insert(0, box)
    return ", ".join(dict.fromkeys(text.strip() for text, _, _ in together))


def _region(completion: str) -> tuple[str, bool]:
    """What is searched, and whether it is the inside of the last <answer> tags."""
    tagged = _ANSWER.findall(completion)
    return (tagged[-1], True) if tagged else (completion, False)


def _boxes(text: str) -> list[tuple[str, int, int]]:
    """The inside of each \\boxed{...} with where it begins and ends, in order of their beginnings. None at all where
    the last is never closed.
    """
    boxes, open_braces = [], []
    for match in _BRACE.finditer(text):
        if match[0] != "}":
            open_braces.append(match)
        elif open_braces and (opened := open_braces.pop())[0] != "{":
            boxes.append((text[opened.end() : match.start()], opened.start(), match.end()))
    last_unclosed = max((opened.start() for opened in open_braces if opened[0] != "{"), default=-1)
    return sorted(boxes, key=lambda box: box[1]) if not boxes or max(box[1] for box in boxes) > last_unclosed else []
