r"""Finds the final answer in a completion."""

import re

_BRACE = re.compile(r"\\(?:boxed|fbox|framebox)\s*\{|\\[{}]|\\\\(?!fbox|boxed)|\{|\}")
_BARE_BOX = re.compile(r"\\(?:boxed|fbox)\s*(-?\d+(?:\.\d+)?|\\[A-Za-z]+(?:\{[^{}]*\})*|[A-Za-z](?![A-Za-z]))")
_BETWEEN = re.compile(
    r"(?:[\s$.,;&]|\\[()\[\],;]|\band\b|\bor\b|\\q?quad\b|\\(?:text|mbox)\{\s*(?:and|or)?\s*\})*|[^.\n]{1,9}"
)
_MINUS = re.compile(r"(?<![\w)\]}])[-\u2212\u2013]\Z")  # "- " begins an item of a list
# Boxes further apart in a line belong together where words say so.
_JOINED = re.compile(r"[^.!?\n]{0,60}\b(?:and|or)\b[^.!?\n]{0,40}|[^.!?\n]{0,40},[^.!?\n]{0,20}")
_ANSWER = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL)
# A solution that boxes its steps and says its final answer after the last box.
_SAID_LATER = re.compile(r"\\boxed(?!.*\\(?:boxed|fbox)).{20,}final answer (?:is|:)", re.DOTALL | re.IGNORECASE)
_HEDGE = re.compile(r"\s*[$,.(]*\s*(?:\\\)|\\\])?\s*(?:or\b|或者?)\s*(?:maybe|perhaps|even|else)?\s*[$\\(\d-]")


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
    """Returns the final answer like `extract_answer`, but reads boxes that belong together as one list.

    "\\boxed{1} or \\boxed{2}" gives "1, 2": a set with two solutions has to be given whole, so naming two values is not
    a choice between them. So does "\\boxed{1} or 2": what stands beside a box as another answer counts.
    """
    region, is_tagged = _search_region(completion)
    if is_tagged and _SAID_LATER.search(region):
        return region.strip()
    return boxed_answers(region) or (region.strip() if is_tagged else None)


def boxed_answers(text: str) -> str | None:
    """Returns the content of the last box of a text, with that of the boxes that belong to it; None without a box."""
    every = _boxes(text)
    boxes = [box for box in every if not any(other[1] < box[1] and box[2] <= other[2] for other in every)]
    if not boxes:
        return None
    together = [boxes[-1]]
    for box in reversed(boxes[:-1]):
        between = text[box[2] : together[0][1]]
        if not (_BETWEEN.fullmatch(between) or _JOINED.fullmatch(between)):
            break
        together.insert(0, box)
    contents = ", ".join(dict.fromkeys(content.strip() for content, _, _ in together))
    after = text[together[-1][2] :]
    return f"{contents} {after.strip()[:100]}" if _HEDGE.match(after) else contents


def _search_region(completion: str) -> tuple[str, bool]:
    """Returns the text to search for an answer, and whether it is the content of the last <answer> tags."""
    tagged = _ANSWER.findall(completion)
    return (tagged[-1], True) if tagged else (completion, False)


def _boxes(text: str) -> list[tuple[str, int, int]]:
    """Returns (content, start, end) of each \\boxed{...}, ordered by start; none where the last box is not closed.

    Escaped braces, as of a set, neither open nor close one.
    """
    if "\\boxed" not in text and "\\fbox" not in text:
        return []
    boxes: list[tuple[str, int, int]] = []
    open_braces: list[re.Match[str]] = []
    for match in _BRACE.finditer(text):
        if match[0] in ("\\{", "\\}", "\\\\"):
            continue
        if match[0] != "}":
            open_braces.append(match)
        elif open_braces and (opened := open_braces.pop())[0] != "{":
            boxes.append((text[opened.end() : match.start()], opened.start(), match.end()))
    boxes += [(match[1], match.start(), match.end()) for match in _BARE_BOX.finditer(text)]
    last_unclosed = max((opened.start() for opened in open_braces if opened[0] != "{"), default=-1)
    if boxes and max(box[1] for box in boxes) <= last_unclosed:
        return []
    return sorted(
        ((_signed(content, text[:start]), start, end) for content, start, end in boxes), key=lambda box: box[1]
    )


def _signed(content: str, before: str) -> str:
    """Returns what a box says with the sign before it, as in -\\boxed{5}."""
    if not _MINUS.search(before):
        return content
    return f"-{content}" if content.strip().isdigit() else f"-({content})"
