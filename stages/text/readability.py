"""What makes a chain of thought hard to read: long paragraphs and blocks of code, which the rejection data leaves out
[V2 B.3.3].
"""

import re

_UNIT = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+")
_FENCE = re.compile(r"^[ \t]*(```|~~~)", re.MULTILINE)


def longest_paragraph(text: str) -> int:
    """Words, numbers and CJK characters of the longest paragraph; a blank line ends one.

    >>> longest_paragraph("so 31-3 is 28\\n\\n所以28")
    5
    """
    return max(len(_UNIT.findall(paragraph)) for paragraph in re.split(r"\n[ \t]*\n", text))


def has_code_block(text: str) -> bool:
    """Whether a fenced block of code begins somewhere."""
    return bool(_FENCE.search(text))
