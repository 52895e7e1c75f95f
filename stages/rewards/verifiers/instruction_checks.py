"""The 25 instructions of IFEval that a program can check (Zhou et al. 2023, arXiv 2311.07911, Table 1).

CHECKS has a function of (text, arguments) for each; ids and arguments are IFEval's. The verdicts are those of IFEval's
own code, odd ones too (a bullet is counted by two expressions, paragraphs are numbered with the empty ones between
them), so that accuracies can be compared. docs/verifiers.md lists where they differ on purpose.
"""

import json
import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from stages.config.languages import CODES, RELATIVES
from stages.text.language import count_words, identify

if TYPE_CHECKING:
    from punkt import PunktSentenceTokenizer

RELATIONS = ("at least", "less than")
_WITHOUT_SPACES = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uf900-\ufaff]")
_COMMAS = (",", "\uff0c", "\u3001", "\u060c")  # of English, of Chinese and Japanese, of Arabic
# What IFEval's tokenizer (NLTK's) cuts off a word, and where it cuts words in two: AT&T, X:Y, DON'T, CANNOT.
_SEPARATE = re.compile(r"[\u00ab\u00bb\u2018-\u201e`\"\[\](){}<>;@#$%&?!*\u2012-\u2015]|''|--|\.{2,}|[:,](?=\D|\Z)")
_CONTRACTED = re.compile(r"(?<=[^'\s])(?='[sSmMdD](?!\S)|'(?:LL|RE|VE|ll|re|ve)(?!\S)|(?:N'T|n't)(?!\S))")
_TWO_WORDS = re.compile(
    r"\b(?:(can)(not)|(gim)(me)|(gon)(na)|(got)(ta)|(lem)(me)|(wan)(na)|(more)('n)|(d)('ye))\b", re.I
)


def _compare(count: int, relation: str, limit: int) -> bool:
    if relation not in RELATIONS:
        raise ValueError(f"relation {relation!r} is neither 'at least' nor 'less than'")
    return count >= int(limit) if relation == "at least" else count < int(limit)


def _said(given: dict, name: str) -> str:
    """Returns an argument that is text; an empty one would be followed by every answer."""
    if not isinstance(given[name], str) or not given[name].strip():
        raise ValueError(f"{name} must be a text that is not empty, got {given[name]!r}")
    return given[name]


def _list(given: dict, name: str) -> list[str]:
    """Returns an argument that is a list of texts."""
    if (
        not isinstance(given[name], list)
        or not given[name]
        or not all(isinstance(one, str) and one for one in given[name])
    ):
        raise ValueError(f"{name} must be a list of texts, got {given[name]!r}")
    return given[name]


def _has_word(text: str, word: str) -> bool:
    """Returns whether a text has a word for itself; in scripts without spaces, at all."""
    first, last = (r"(?<!\w)", r"(?!\w)")
    start = first if re.match(r"\w", word) and not _WITHOUT_SPACES.match(word) else ""
    end = last if re.match(r"\w", word[-1]) and not _WITHOUT_SPACES.match(word[-1]) else ""
    return re.search(f"{start}{re.escape(word)}{end}", text, re.IGNORECASE) is not None


def _number_paragraphs(text: str, given: dict) -> bool:
    """Returns whether `***` makes so many paragraphs; only the first and the last part may be empty."""
    parts = [part.strip() for part in re.split(r"\s?\*\*\*\s?", text)]
    inner = parts[1:-1]
    return all(inner) and sum(map(bool, parts)) == int(given["num_paragraphs"])


def _nth_paragraph(text: str, given: dict) -> bool:
    """Returns whether there are `num_paragraphs`, split by blank lines, and the named one starts with `first_word`."""
    paragraphs = [part.strip() for part in text.split("\n\n")]
    number, wanted = int(given["nth_paragraph"]), _said(given, "first_word").lower()
    num_filled = sum(map(bool, paragraphs))
    if num_filled != int(given["num_paragraphs"]) or not 0 < number <= num_filled or not paragraphs[number - 1]:
        return False
    word = paragraphs[number - 1].split()[0].lstrip("'").lstrip('"')
    return re.split("[.,?!'\"]", word)[0].lower() == wanted


def _bullets(text: str, given: dict) -> bool:
    found = [re.findall(pattern, text, re.MULTILINE) for pattern in (r"^\s*\*[^*].*$", r"^\s*-.*$")]
    return sum(map(len, found)) == int(given["num_bullets"])


def _highlights(text: str, given: dict) -> bool:
    single = [part for part in re.findall(r"\*[^\n*]*\*", text) if part.strip("*").strip()]
    double = [part for part in re.findall(r"\*\*[^\n*]*\*\*", text) if part[2:-2].strip()]
    return len(single) + len(double) >= int(given["num_highlights"])


def _sections(text: str, given: dict) -> bool:
    marks = re.findall(rf"{re.escape(_said(given, 'section_spliter'))}\s?\d+", text)
    return len(marks) >= int(given["num_sections"])


def _postscript(text: str, given: dict) -> bool:
    marker = _said(given, "postscript_marker").strip().lower()
    pattern = {"p.p.s": r"p\.\s?p\.\s?s", "p.s.": r"p\.\s?s\."}.get(marker, re.escape(marker))
    return re.search(pattern, text.lower()) is not None


def _is_json(text: str, given: dict) -> bool:
    text = text.strip()
    for opening in ("```json", "```Json", "```JSON", "```"):
        text = text.removeprefix(opening)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def _two_responses(text: str, given: dict) -> bool:
    """Returns whether `******` parts two different answers; only before the first and after the last may be nothing."""
    parts = [part.strip() for part in text.split("******")]
    filled = [part for part in parts if part]
    return all(parts[1:-1]) and len(filled) == 2 and filled[0] != filled[1]


def num_capital_words(text: str) -> int:
    """Counts the words in capitals as NLTK's tokenizer cuts them.

    >>> num_capital_words("The U.S.A. and WELL-KNOWN NATO, but AT&T is two: 4")
    5
    """
    words = _CONTRACTED.sub(" ", _SEPARATE.sub(r" \g<0> ", text))
    words = _TWO_WORDS.sub(lambda match: " ".join(part for part in match.groups() if part), words)
    return sum(word.isupper() for word in words.split())


@cache
def _sentence_splitter() -> "PunktSentenceTokenizer":
    import punkt

    return punkt.tokenizer_for("english")


def num_sentences(text: str) -> int:
    """Counts the sentences of a text as Punkt's model of English splits them (Kiss and Strunk 2006)."""
    return len(list(_sentence_splitter().tokenize(text)))


def _is_in_language(text: str, code: str) -> bool:
    """Returns whether a text is in a language; one without words is in none."""
    code = code.lower().split("-")[0]
    if code not in CODES:
        raise ValueError(f"language {code!r} is no ISO 639-1 code")
    if not count_words(text):
        return False
    found = identify(text.lower())  # capitals are rare in what the identifier has learned from
    return found == code or found in RELATIVES.get(code, ())


CHECKS: dict[str, Callable[[str, dict], bool]] = {
    "keywords:existence": lambda text, given: all(
        re.search(re.escape(word), text, re.IGNORECASE) for word in _list(given, "keywords")
    ),
    "keywords:forbidden_words": lambda text, given: (
        not any(_has_word(text, word) for word in _list(given, "forbidden_words"))
    ),
    "keywords:frequency": lambda text, given: _compare(
        len(re.findall(re.escape(_said(given, "keyword")), text, re.IGNORECASE)), given["relation"], given["frequency"]
    ),
    "keywords:letter_frequency": lambda text, given: _compare(
        text.lower().count(_said(given, "letter").lower()), given["let_relation"], given["let_frequency"]
    ),
    "language:response_language": lambda text, given: _is_in_language(text, _said(given, "language")),
    "length_constraints:number_sentences": lambda text, given: _compare(
        num_sentences(text), given["relation"], given["num_sentences"]
    ),
    "length_constraints:number_words": lambda text, given: _compare(
        len(re.findall(r"\w+", text)), given["relation"], given["num_words"]
    ),
    "length_constraints:number_paragraphs": _number_paragraphs,
    "length_constraints:nth_paragraph_first_word": _nth_paragraph,
    "detectable_content:number_placeholders": lambda text, given: (
        len(re.findall(r"\[.*?\]", text)) >= int(given["num_placeholders"])
    ),
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:constrained_response": lambda text, given: any(
        f"My answer is {word}." in text for word in ("yes", "no", "maybe")
    ),
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _is_json,
    "detectable_format:title": lambda text, given: any(
        title.lstrip("<").rstrip(">").strip() for title in re.findall(r"<<[^\n]+>>", text)
    ),
    "combination:two_responses": _two_responses,
    "combination:repeat_prompt": lambda text, given: text.lower().startswith(
        _said(given, "prompt_to_repeat").strip().lower()
    ),
    "startend:end_checker": lambda text, given: (
        text.strip().strip('"').lower().endswith(_said(given, "end_phrase").strip().lower())
    ),
    "startend:quotation": lambda text, given: len(text) > 1 and text[0] == text[-1] == '"',
    "change_case:capital_word_frequency": lambda text, given: _compare(
        num_capital_words(text), given["capital_relation"], given["capital_frequency"]
    ),
    "change_case:english_capital": lambda text, given: text.isupper() and _is_in_language(text, "en"),
    "change_case:english_lowercase": lambda text, given: text.islower() and _is_in_language(text, "en"),
    "punctuation:no_comma": lambda text, given: not any(comma in text for comma in _COMMAS),
}
