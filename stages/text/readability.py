"""Finds what makes a chain of thought hard to read: long paragraphs and blocks of code.

Rejection sampling drops completions that have them [V2 B.3.3].
"""

import re

_UNIT = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+")
_FENCE = re.compile(r"^[ \t]*(```|~~~)", re.MULTILINE)


def longest_paragraph(text: str) -> int:
    """Returns the length of the longest paragraph, in words, numbers and CJK characters; blank lines end paragraphs.

    >>> longest_paragraph("so 31-3 is 28\\n\\n所以28")
    5
    """
    return max(len(_UNIT.findall(paragraph)) for paragraph in re.split(r"\n[ \t]*\n", text))


def has_code_block(text: str) -> bool:
    """Returns whether a fenced block of code begins anywhere in the text."""
    return bool(_FENCE.search(text))
