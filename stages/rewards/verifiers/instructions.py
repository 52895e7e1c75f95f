"""Verifier `instructions`: the completion must follow every instruction that a program can check.

The instructions are those of IFEval (Zhou et al. 2023, arXiv 2311.07911, Table 1). `checks` is a list of
{"id": "keywords:existence", "keywords": [...]}, with ids and arguments as IFEval names them. They are checked strictly,
on the completion as it is. Two of IFEval's 25 instructions are not checked, because they need data of their own: a
sentence splitter and a language detector.
"""

import json
import re
from collections.abc import Callable

from stages.prompting.prompt import Prompt
from stages.text.completion import summary_of

UNCHECKED = ("length_constraints:number_sentences", "language:response_language")


def grade(completion: str, prompt: Prompt) -> float:
    """Returns 1 where the completion follows all instructions, else 0."""
    text = _without_tags(completion)
    return float(bool(text) and all(follows(text, check) for check in json.loads(prompt.checks)))


def vote(completion: str, prompt: Prompt) -> str | None:
    """Returns None: free texts are not counted against each other."""
    return None


def reference_problem(prompt: Prompt) -> str | None:
    """Returns why the instructions cannot be checked: unknown ones, wrong arguments, or none at all."""
    try:
        checks = json.loads(prompt.checks)
        unknown = [check["id"] for check in checks if check["id"] not in CHECKS]
        if unknown:
            return f"instruction {unknown[0]!r} is not known here"
        for check in checks:
            follows("a text", check)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return f"its checks are not a list of IFEval's instructions with their arguments: {error!r}"
    return None if checks else "it has no instructions to check"


def follows(text: str, check: dict) -> bool:
    """Returns whether a text follows one instruction; raises KeyError or ValueError for wrong arguments."""
    return CHECKS[check["id"]](text, {key: value for key, value in check.items() if key != "id"})


def _without_tags(completion: str) -> str:
    return re.sub(r"</?answer>", "", summary_of(completion)).strip()


def _compare(count: int, relation: str, limit: int) -> bool:
    if relation not in ("at least", "less than"):
        raise ValueError(f"relation {relation!r} is neither 'at least' nor 'less than'")
    return count >= int(limit) if relation == "at least" else count < int(limit)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text)


def _count(text: str, keyword: str) -> int:
    return len(re.findall(rf"\b{re.escape(keyword)}\b", text, re.IGNORECASE))


def _paragraphs(text: str) -> list[str]:
    """Splits a text at every "***"."""
    return [part for part in re.split(r"\s?\*\*\*\s?", text) if part.strip()]


def _nth_paragraph(text: str, given: dict) -> bool:
    """Returns whether there are `num_paragraphs`, split by blank lines, and the named one starts with `first_word`."""
    paragraphs = [part for part in text.split("\n\n") if part.strip()]
    number = int(given["nth_paragraph"])
    if len(paragraphs) != int(given["num_paragraphs"]) or number > len(paragraphs):
        return False
    words = _words(paragraphs[number - 1])
    return bool(words) and words[0].lower() == given["first_word"].lower()


def _is_json(text: str, given: dict) -> bool:
    try:
        json.loads(re.sub(r"^```(?:json)?|```$", "", text.strip(), flags=re.IGNORECASE).strip())
    except ValueError:
        return False
    return True


def _sections(text: str, given: dict) -> bool:
    return len(re.findall(rf"{re.escape(given['section_spliter'])}\s*\d+", text)) >= int(given["num_sections"])


def _two_responses(text: str, given: dict) -> bool:
    parts = [part.strip() for part in text.split("******") if part.strip()]
    return len(parts) == 2 and parts[0] != parts[1]


def _highlights(text: str, given: dict) -> bool:
    found = [part for part in re.findall(r"\*\*[^\n*]+\*\*|\*[^\n*]+\*", text) if part.strip("*").strip()]
    return len(found) >= int(given["num_highlights"])


def _postscript(text: str, given: dict) -> bool:
    marker = re.escape(given["postscript_marker"].strip()).replace(r"\.", r"\.\s?")
    return re.search(rf"^\s*{marker}.*$", text, re.IGNORECASE | re.MULTILINE) is not None


CHECKS: dict[str, Callable[[str, dict], bool]] = {
    "keywords:existence": lambda text, given: all(
        re.search(re.escape(word), text, re.IGNORECASE) for word in given["keywords"]
    ),
    "keywords:forbidden_words": lambda text, given: not any(_count(text, word) for word in given["forbidden_words"]),
    "keywords:frequency": lambda text, given: _compare(
        len(re.findall(re.escape(given["keyword"]), text, re.IGNORECASE)), given["relation"], given["frequency"]
    ),
    "keywords:letter_frequency": lambda text, given: _compare(
        text.lower().count(given["letter"].lower()), given["let_relation"], given["let_frequency"]
    ),
    "length_constraints:number_words": lambda text, given: _compare(
        len(_words(text)), given["relation"], given["num_words"]
    ),
    "length_constraints:number_paragraphs": lambda text, given: len(_paragraphs(text)) == int(given["num_paragraphs"]),
    "length_constraints:nth_paragraph_first_word": _nth_paragraph,
    "detectable_content:number_placeholders": lambda text, given: (
        len(re.findall(r"\[.*?\]", text)) >= int(given["num_placeholders"])
    ),
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": lambda text, given: (
        len(re.findall(r"^\s*(?:\*[^*]|-).*$", text, re.MULTILINE)) == int(given["num_bullets"])
    ),
    "detectable_format:constrained_response": lambda text, given: any(
        f"My answer is {word}." in text for word in ("yes", "no", "maybe")
    ),
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _is_json,
    "detectable_format:title": lambda text, given: any(
        title.strip("<> \n") for title in re.findall(r"<<[^\n]+>>", text)
    ),
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": lambda text, given: text.lower().startswith(given["prompt_to_repeat"].strip().lower()),
    "startend:end_checker": lambda text, given: (
        text.strip('" \n').lower().endswith(given["end_phrase"].strip().lower())
    ),
    "startend:quotation": lambda text, given: len(text) > 1 and text[0] == text[-1] == '"',
    "change_case:capital_word_frequency": lambda text, given: _compare(
        sum(word.isupper() for word in _words(text)), given["capital_relation"], given["capital_frequency"]
    ),
    "change_case:english_capital": lambda text, given: text.isupper(),
    "change_case:english_lowercase": lambda text, given: text.islower(),
    "punctuation:no_comma": lambda text, given: "," not in text,
}
