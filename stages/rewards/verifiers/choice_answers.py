"""Reads which options a final answer names.

People and models write the same choice in many ways: "B", "(b)", "B. four", "four", "the answer is B", "选B". A text is
read whole where it can be; in a sentence only what it asserts counts. What names no option, or hedges ("B or C"), or
contradicts itself ("B. three" where B is four), names nothing.
"""

import re
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from stages.rewards.verifiers.choice_options import LETTERS, normalised, plain_text
from stages.rewards.verifiers.choice_words import (
    AND,
    ANSWER_LINE,
    CJK_AFTER,
    CJK_BEFORE,
    CLAIM_AFTER,
    CLAIM_BEFORE,
    DENIAL_AFTER,
    DENIAL_BEFORE,
    DOUBT,
    FILLERS,
    REASON,
    SEEDS,
)

MAX_CHARACTERS = 1000  # of a text that is read as a whole; a longer one is a solution and names no option
MAX_BETWEEN = 60  # characters between two options that one word of doubt joins
MAX_LINES = 20  # of those that say "answer", from the end, how many are looked at

_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]*)?")
_LEADING_SIGNS = " \t\n,:=.;-\u2013\u2014>\u3002\uff0c\u3001\u2192\u21d2#\u2022\u25cf\u25aa"
_TRAILING_SIGNS = " \t\n,.;!:\u3002\u3001?\u2026"
_LETTER = r"(?:[(\[]\s?)?([A-Z])(?:\s?[)\]])?"
_SINGLE = re.compile(r"[(\[{<]?\s*([A-Za-z])\s*[)\]}>]?\s*[.:,;)!\u3002\u2026]*")
_SEVERAL = re.compile(rf"{_LETTER}(?:(?:{AND}|\s?){_LETTER})+\.?")
_SEVERAL_SMALL = re.compile(rf"{_LETTER}(?:{AND}{_LETTER})+\.?".replace("A-Z", "a-z"))
_COLONS = {0xFF1A: ":", 0xFF1D: "="}
# A letter at the start, and a text after it: "B) four", "B: four", "B (four)", "B - four", "B four".
_WITH_TEXT = re.compile(
    r"[(\[]?\s?([A-Za-z])(?:\s?[)\]]\s?[.:,;]?|\s?[.:;,\u3001]|\s?[=\u2013\u2014-]|(?=\s))\s*(\S.*)", re.DOTALL
)
_TEXT_WITH_LETTER = re.compile(
    r"(.*\S)(?:\s*[(\[,:]|\s+[=\u2013\u2014>-]+)\s*(?:(?:option|choice|answer|选项)\s*)?([A-Z])\s*[)\]]?\.?", re.DOTALL
)
# A capital letter that stands alone. "A" and "I" before a small word are an article and a pronoun.
_MENTION = re.compile(
    r"(?<![A-Za-z0-9\\^_=+'\u2019-])(?P<open>[(\[]\s?)?(?<![A-Za-z0-9])(?P<letter>[A-Za-z])(?P<close>\s?[)\]])?"
    r"(?![A-Za-z0-9^_=+'\u2019(-])(?!\.[A-Za-z])"
)


def letters_in(text: str, options: dict[str, str]) -> str | None:
    """Returns the letters of the options that a text names.

    Args:
        text: a final answer or a reference.
        options: letter -> text, empty where they are not known.

    Returns:
        "B" for one option; "AC" for several that the text names together, sorted; None where the text names no option,
        or different ones without deciding.
    """
    if len(text) > MAX_CHARACTERS:
        return None
    plain = plain_text(text)
    named = _option_of(text, options)
    candidates = _stripped(plain)
    for candidate in candidates:
        match = _SINGLE.fullmatch(candidate)
        letters = match[1].upper() if match else None
        letters = letters or named or _option_of(candidate, options) or _named_in_full(candidate, options)
        letters = letters or _several(candidate)
        if letters:
            return letters if set(letters) <= set(options or LETTERS) else None
    if _is_undecided(plain, options) or any(_contradicts_itself(candidate, options) for candidate in candidates):
        return None
    if _contradicts_itself_within(plain, options):
        return None
    return _asserted(plain, options)


def answer_line(text: str, options: dict[str, str]) -> tuple[str, int] | None:
    """Finds the last line that says its answer, as "ANSWER: C" or "The answer is (C)".

    Args:
        text: what follows the thought.
        options: letter -> text, empty where they are not known.

    Returns:
        The text from "answer" to the end of its line, and where it begins in `text`; None where no line names a letter
        or an option. A heading "Answer" has its answer in the line below.
    """
    lowered = text.lower()
    seeds = [seed for seed in SEEDS if seed in lowered]
    if not seeds:
        return None
    num_seen, end, below = 0, len(text), ""
    while end >= 0 and num_seen < MAX_LINES:
        start = text.rfind("\n", 0, end) + 1
        line, end = text[start:end], start - 1
        if any(seed in line.lower() for seed in seeds) and (match := ANSWER_LINE.search(line.translate(_COLONS))):
            num_seen += 1
            said = line[match.start() :]
            said += below if not line[match.end() :].strip(" \t:*=") else ""
            if len(said) <= MAX_CHARACTERS and (mentions_letter(said, options) or letters_in(said, options)):
                return said, start + match.start()
        below = "\n" + line + below if not line.strip() or not below.strip() else "\n" + line
    return None


def mentions_letter(text: str, options: dict[str, str]) -> bool:
    """Returns whether a text mentions the letter of an option and does not deny it."""
    return bool(_mentions(plain_text(text), options))


def mentions_option(text: str, options: dict[str, str]) -> bool:
    """Returns whether a text mentions an option, by its letter or by its text."""
    return mentions_letter(text, options) or bool(_texts_in(plain_text(text), options))


def begins_with_doubt(text: str) -> bool:
    """Returns whether a text goes on from an answer with "or", "maybe" and the like."""
    return DOUBT.match(text.lstrip(" \t\r\n.,;:(*-")) is not None


def _stripped(text: str) -> list[str]:
    """Returns the text, and what is left of it after each word before or after the answer that says nothing itself."""
    forms = [text]
    while True:
        shorter = _without_first_filler(forms[-1]) or _without_last_filler(forms[-1])
        if not shorter or shorter == forms[-1]:
            return forms
        forms.append(shorter)


def _without_first_filler(text: str) -> str:
    before, text = text, text.lstrip(_LEADING_SIGNS)
    if match := CJK_BEFORE.match(text):
        return text[match.end() :]
    if (match := _WORD.match(text)) and match[0].casefold().strip("'\u2019") in FILLERS:
        rest = text[match.end() :].lstrip(_LEADING_SIGNS)
        is_pronoun = _WORD.match(rest) is not None and len(_WORD.match(rest)[0]) > 1  # type: ignore[index]
        if rest and (len(match[0]) > 1 or is_pronoun):
            return rest
    return text if text != before else ""


def _without_last_filler(text: str) -> str:
    text = text.rstrip(_TRAILING_SIGNS)
    if (match := CJK_AFTER.search(text)) and match.start():
        return text[: match.start()]
    words = list(_WORD.finditer(text))
    if len(words) > 1 and words[-1].end() == len(text) and len(words[-1][0]) > 1 and words[-1][0].casefold() in FILLERS:
        return text[: words[-1].start()].rstrip(_TRAILING_SIGNS)
    return ""


def _option_of(text: str, options: dict[str, str]) -> str | None:
    """Returns the letter of the one option whose text this is, to the letter or, else, apart from its form."""
    exact = " ".join(text.split())
    found = [letter for letter, option in options.items() if " ".join(option.split()) == exact]
    if not found:
        form = normalised(text)
        found = [letter for letter, option in options.items() if form and normalised(option) == form]
    return found[0] if len(found) == 1 else None


def _named_in_full(text: str, options: dict[str, str]) -> str | None:
    """Returns the letter of a text that is a letter and nothing but the text of its option: "B. four", "four (B)"."""
    for given, words in _letters_with_text(text):
        if given in options and normalised(words.strip("()[] ")) == normalised(options[given]):
            return given
    return None


def _contradicts_itself(text: str, options: dict[str, str]) -> bool:
    """Returns whether a letter stands with the text of another option: "B. three" where B is four."""
    return any(_option_at_start(words, options) not in (None, given) for given, words in _letters_with_text(text))


def _contradicts_itself_within(text: str, options: dict[str, str]) -> bool:
    """Returns whether a letter within a sentence stands with the text of another option: "I am sure it is C) four"."""
    for match in _MENTION.finditer(text):
        if match["close"] or text[match.end() :][:1] in (".", ":"):
            other = _option_at_start(text[match.end() :], options)
            if match["letter"].isupper() and other not in (None, match["letter"]):
                return True
    return False


def _letters_with_text(text: str) -> list[tuple[str, str]]:
    """Returns (letter, text beside it) where a text begins or ends with a letter."""
    found = []
    for pattern, letter, words in ((_WITH_TEXT, 1, 2), (_TEXT_WITH_LETTER, 2, 1)):
        if match := pattern.fullmatch(text):
            found.append((match[letter].upper(), match[words]))
    return found


def _several(text: str) -> str | None:
    """Returns the letters of a text that is nothing but several of them, named together."""
    if _SEVERAL.fullmatch(text) or _SEVERAL_SMALL.fullmatch(text):
        letters = re.findall("[A-Z]", re.sub(AND, " ", text).upper())
        return "".join(sorted(letters)) if len(set(letters)) == len(letters) else None  # "G + G" is a formula
    return None


def _option_at_start(text: str, options: dict[str, str]) -> str | None:
    """Returns the letter of the option whose text a text begins with, the longest of them."""
    forms = {letter: normalised(option) for letter, option in options.items()}
    longest = 2 * max((len(option) for option in options.values()), default=0) + 20
    text = normalised(text[:longest].lstrip(" ,:;.=-\u2013\u2014([").rstrip(")]"))
    found = [
        letter
        for letter, form in forms.items()
        if form and text.startswith(form) and not _is_one_word(form[-1], text[len(form) :][:1])
    ]
    return max(found, key=lambda letter: len(forms[letter]), default=None)


# A small word after "A" or "I", which are an article and a pronoun there, unless it is one that joins letters.
_BEFORE_A_WORD = re.compile(rf"\s+(?!{AND}|{DOUBT.pattern}|(?:is|are|was|were|has|have)\b)[a-z]", re.IGNORECASE)


def _is_one_word(last: str, following: str) -> bool:
    return last.isalnum() and following.isalnum() and last.isascii() == following.isascii()


def _is_undecided(text: str, options: dict[str, str]) -> bool:
    """Returns whether a word of doubt stands between two options, named by letters or texts, that are no reasons."""
    letters = [(match.start(), match.end(), match["letter"]) for match in _MENTION.finditer(text)]
    named = [item for item in letters if item[2] in (options or LETTERS)] + _texts_in(text, options)
    reason = REASON.search(text)
    end = reason.start() if reason else len(text)
    items = sorted(
        item for item in named if item[0] <= end and not DENIAL_BEFORE.search(text[max(0, item[0] - 60) : item[0]])
    )
    return any(
        first[2] != second[2] and second[0] - first[1] <= MAX_BETWEEN and DOUBT.search(text[first[1] : second[0]])
        for first, second in pairwise(items)
    )


def _texts_in(text: str, options: dict[str, str]) -> list[tuple[int, int, str]]:
    """Returns (start, end, letter) of each text of an option in a text; a longer one hides what is in it."""
    forms = {normalised(option): letter for letter, option in reversed(options.items()) if len(normalised(option)) > 1}
    if not forms:
        return []
    found = []
    for match in _expression_of(tuple(sorted(forms, key=len, reverse=True))).finditer(text):
        if letter := forms.get(" ".join(match[0].split()).casefold()):
            found.append((match.start(), match.end(), letter))
    return found


@lru_cache(maxsize=1024)
def _expression_of(texts: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(_whole_words, texts)), re.IGNORECASE)


def _whole_words(text: str) -> str:
    """Returns an expression of a text that no letter goes on from; Chinese may stand beside Latin letters."""
    before, after = (r"(?<![A-Za-z0-9_])" if end.isascii() else "" for end in (text[0], text[-1]))
    return before + re.escape(text).replace(r"\ ", r"\s+") + after.replace("<", "")


def _without_texts(text: str, options: dict[str, str]) -> str:
    """Takes the texts of options out that have letters of their own, as "both I and II" or "A and C"."""
    for option in options.values():
        plain = " ".join(plain_text(option).split())
        if len(plain) > 2 and plain in text and _MENTION.search(plain):
            text = text.replace(plain, "\u2026")
    return text


class _Mention(NamedTuple):
    """A letter of an option in a text."""

    letter: str
    is_claimed: bool  # "the answer is C", "C is correct", "C) five" at the start
    is_bracketed: bool
    is_reason: bool  # it stands in a reason, "because C is odd", or a later sentence talks about it, "Note that A is"


def _mentions(text: str, options: dict[str, str]) -> list[_Mention]:
    """Returns the letters of options that a text mentions and does not deny."""
    found = []
    text = _without_texts(text, options)
    reason = REASON.search(text)
    for match in _MENTION.finditer(text):
        letter, before, after = match["letter"].upper(), text[: match.start()], text[match.end() :]
        is_bracketed = bool(match["open"] and match["close"])
        if letter not in (options or LETTERS) or (match["letter"].islower() and not is_bracketed):
            continue
        near = before[-60:]
        is_first = not before.strip(_LEADING_SIGNS) and bool(
            match["close"] or re.match(r"\s?[).:;,\u3001=\u2013-]", after)
        )
        is_named_in_full = _option_at_start(after, options) == letter
        is_claimed = is_first or is_named_in_full or bool(CLAIM_BEFORE.search(near) or CLAIM_AFTER.match(after))
        is_word = letter in "AI" and not (match["open"] or match["close"] or is_claimed) and _BEFORE_A_WORD.match(after)
        is_in_reason = reason is not None and reason.start() < match.start()
        is_talked_about = bool(re.search(r"[.!?;\n]\s", before)) and not (is_claimed or is_bracketed)
        is_reason = is_in_reason or (is_talked_about and re.match(r"\s+[a-z]{2,}", after) is not None)
        if not is_word and not DENIAL_BEFORE.search(near) and not DENIAL_AFTER.match(after):
            found.append(_Mention(letter, is_claimed, is_bracketed, is_reason))
    return found


def _asserted(text: str, options: dict[str, str]) -> str | None:
    """Returns the one option that a sentence claims or, where it mentions no other, puts in brackets.

    Another letter may stand in the reason for the answer, where nothing in the text is in doubt.
    """
    mentions = _mentions(text, options)
    letters = {mention.letter for mention in mentions}
    claimed = {mention.letter for mention in mentions if mention.is_claimed and not mention.is_reason}
    claimed = claimed or {mention.letter for mention in mentions if mention.is_claimed}
    if len(letters) == 1 and (claimed or any(mention.is_bracketed for mention in mentions)):
        return letters.pop()
    if len(claimed) != 1 or DOUBT.search(text):
        return None
    (letter,) = claimed
    return letter if all(mention.is_reason or mention.letter == letter for mention in mentions) else None
