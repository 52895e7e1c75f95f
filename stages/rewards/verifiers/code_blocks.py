"""Finds the program in a completion: the last fenced block of its answer that is closed and in the right language."""

import re
from collections.abc import Iterator

from stages.sandbox.languages import LANGUAGES

_ANSWER = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL)
_NEW_LINE = re.compile(r"\r\n|\r|\n")
# A line that opens or closes a block, as in CommonMark: three or more of ` or ~, and what is said of the block.
_FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})[ \t]*(.*?)[ \t]*")
_AFTER_TEXT = re.compile(r"()\s*[^`\s][^`]*(`{3,})[ \t]*([\w+#.-]*)[ \t]*")  # a block may also begin after words
# The language in what is said of a block: python, {python}, {.python .numbers}, python title="main.py", python:main.py.
_TAG = re.compile(r"\{?[ \t]*\.?([A-Za-z][\w+#.-]*)?")
_KNOWN = {tag: name for name, rules in LANGUAGES.items() for tag in rules.tags}
_OTHERS = {
    "text",
    "txt",
    "plaintext",
    "output",
    "input",
    "bash",
    "sh",
    "shell",
    "console",
    "json",
    "java",
    "c",
    "go",
    "rust",
}


def find_program(completion: str, language: str | None) -> tuple[str, str | None]:
    """Finds the program in a completion.

    Args:
        completion: the text; the answer is the content of its last <answer>, or else the text after </think>.
        language: the language that the tests ask for. Where it is None, the last tag that names a known language
            decides, and python where there is none.

    Returns:
        (language, source): the last closed block of the answer whose tag names the language, or else the last one
        without a tag; source is None where there is no such block.
    """
    tagged = _ANSWER.findall(completion)
    answer = tagged[-1] if tagged else completion.rsplit("</think>", 1)[-1]
    blocks = list(_blocks(answer))
    if language is None:
        language = next((named for tag, _ in reversed(blocks) if (named := language_of(tag))), "python")
    in_language = [text for tag, text in blocks if language_of(tag) == language]
    untagged = [text for tag, text in blocks if not tag]
    chosen = in_language or untagged
    return language, chosen[-1] if chosen else None


def language_of(tag: str) -> str | None:
    """Returns the language that a tag names, with or without its version: python, py3, python3.11, c++17."""
    return _KNOWN.get(tag) or _KNOWN.get(tag.rstrip("0123456789."))


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """Yields (tag, content) of each closed block. A block that another one begins in was not closed."""
    lines: list[str] = []
    indent = fence = tag = ""
    for line in _NEW_LINE.split(text):
        match = _FENCE.fullmatch(line)
        if fence:
            is_fence = match is not None and match[2][0] == fence[0] and len(match[2]) >= len(fence)
            if not is_fence or match is None:
                lines.append(line.removeprefix(indent))
                continue
            named = _tag_of(match[3])
            if not (language_of(named) or named in _OTHERS):
                yield tag, "".join(f"{one}\n" for one in lines)
                fence = ""
                continue
        match = match or _AFTER_TEXT.fullmatch(line)
        if match and not (match[2][0] == "`" and "`" in match[3]):  # ```code``` within a line opens nothing
            indent, fence, tag, lines = match[1], match[2], _tag_of(match[3]), []


def _tag_of(said: str) -> str:
    match = _TAG.match(said)
    return (match[1] or "").casefold() if match else ""
