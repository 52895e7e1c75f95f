"""Identifies the language of a text, and measures which share of its words is in a target language.

The language-consistency reward is Num(words in the target language) / Num(words) [N eq. 7]. A word counts like this:

1. What a word is. A run of letters is one word; in a script without spaces, such as Chinese, each character is one.
   Single letters (variables), formulas, code, tags and links are not words and do not count.
2. The script decides first. A word in a script that the target language is not written in is not in the target
   language, nor is a word that mixes Latin with Cyrillic or Greek letters.
3. py3langid decides between languages that share a script. A passage of at least 6 words is not in the target language
   where py3langid is sure that it is in another one. A shorter or doubtful passage counts as the target language:
   otherwise names, technical terms and notation would count against every language.
"""

import re
import threading
import unicodedata
from collections import Counter
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple

from stages.config.languages import ALPHABETS_MIXED_UP, CODES, RELATIVES, SCRIPTS, WITHOUT_SPACES, scripts_of

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

# Text that is not written in any human language: code, LaTeX formulas, tags, LaTeX commands, links.
_NOT_WORDS = re.compile(
    r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$|\\\[(?:(?!\\\[).)*?\\\]|\\\((?:(?!\\\().)*?\\\)"
    r"|</?[A-Za-z_]+>|\\[A-Za-z]+|https?://\S+",
    re.DOTALL,
)
_PASSAGE_END = re.compile(r"[=+*^<>.!?;:\n\u3002\uff01\uff1f\uff1b\u0964\u061f]+")
# A letter, without superscripts, fractions and Roman numerals.
_LETTER = r"[^\W\d_\u00b2\u00b3\u00b9\u00bc-\u00be\u02b0-\u02ff\u2070-\u209f\u2150-\u218b]"
# Combining marks and vowel signs, which belong to a word although \w does not match them.
_MARK = r"[\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0dff\u0e00-\u0eff\u200c]"
_LETTERS = re.compile(rf"{_LETTER}(?:{_LETTER}|{_MARK})*(?:['\u2019]{_LETTER}+)*")
_ONE_LETTER_WORDS = ("a", "A", "I")  # other single letters are variables
_MIXED = "MIXED"  # the script of a word that mixes look-alike alphabets
_loading = threading.Lock()

# The shortest passages that py3langid is asked about, in scripts with and without spaces; shorter ones tell too little.
MIN_PASSAGE_WORDS, MIN_PASSAGE_CHARACTERS = 6, 8
# A passage is foreign where py3langid gives another language more than the first and the target less than the second.
_SURE, _RULED_OUT = 0.8, 0.02
_PROBABLE = 0.3  # least probability at which py3langid's language of a whole text is taken
# The most written language of each script, where nothing else decides.
_MAIN_LANGUAGES = {
    "LATIN": "en",
    "CYRILLIC": "ru",
    "ARABIC": "ar",
    "DEVANAGARI": "hi",
    "CJK": "zh",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
}


class Word(NamedTuple):
    """A word of a text and the name of its script, as Unicode's character names begin ("LATIN", "CJK")."""

    text: str
    script: str


def language_consistency(text: str, target: str) -> float | None:
    """Measures how much of a text is in the target language [N eq. 7].

    Args:
        text: a chain of thought.
        target: the ISO 639-1 code of the language it should be in.

    Returns:
        The share of its words that are in the target language, 0..1; None for a text without words.
    """
    scripts = scripts_of(target)
    total = in_target = 0
    for passage in passages(text):
        fitting = [word for word in passage if word.script in scripts]
        total += len(passage)
        if fitting and not is_foreign(fitting, target):
            in_target += len(fitting)
    return in_target / total if total else None


def count_words(text: str) -> dict[str, int]:
    """Counts the words of a text by script, as {"LATIN": 2, "CJK": 3}."""
    return dict(Counter(word.script for passage in passages(text) for word in passage))


def identify(text: str) -> str:
    """Identifies the language of a text and returns its ISO 639-1 code.

    The script of most of the text decides where only one language is written in it; a character of a script without
    spaces weighs as much as two letters. Between languages that share the script py3langid decides, and where it is not
    sure, the most written language of the script is returned. A text without words is "en".
    """
    letters: Counter[str] = Counter()
    for passage in passages(text):
        for word in passage:
            letters[word.script] += 2 if word.script in WITHOUT_SPACES else len(word.text)
    if not letters:
        return "en"
    script = letters.most_common(1)[0][0]
    if script in WITHOUT_SPACES and script in _MAIN_LANGUAGES:
        return _MAIN_LANGUAGES[script]
    candidates = {code for code in CODES if script in scripts_of(code)}
    if len(candidates) > 1:
        ranking = _identifier().rank(_NOT_WORDS.sub(" ", text))
        best, probability = next((ranked for ranked in ranking if ranked[0] in candidates), ("", 0.0))
        if probability > _PROBABLE:
            return best
    return _MAIN_LANGUAGES.get(script) or min(candidates, default="en")


def is_foreign(words: list[Word], target: str) -> bool:
    """Returns whether py3langid is sure that a passage is in another language than the target.

    Args:
        words: the words of the passage; all of them are in a script that the target language is written in.
        target: the ISO 639-1 code of the target language.
    """
    if target == "zh":
        return False  # Japanese is recognised by its kana; no other language uses Han characters
    has_spaces = words[0].script not in WITHOUT_SPACES
    least = MIN_PASSAGE_WORDS if has_spaces else MIN_PASSAGE_CHARACTERS
    if len(words) < least or not _is_shared(words[0].script):
        return False
    passage = (" " if has_spaces else "").join(word.text for word in words)
    best, _ = _identifier().classify(passage)
    if best in (target, *RELATIVES.get(target, ())):
        return False
    probabilities = dict(_identifier().rank(passage))
    if target not in probabilities:
        return False
    of_target, of_best = (_with_relatives(probabilities, language) for language in (target, best))
    return of_target < _RULED_OUT and of_best > _SURE


def _with_relatives(probabilities: dict[str, float], language: str) -> float:
    """Adds up the probabilities of a language and of the languages that py3langid confuses with it."""
    return sum(probabilities.get(code, 0.0) for code in (language, *RELATIVES.get(language, ())))


def passages(text: str) -> list[list[Word]]:
    """Splits a text into passages, each a list of words: the sentences, lines and sides of equations that have words.

    Han characters in a passage with kana are Japanese; their script is then called HIRAGANA.
    """
    found = []
    for piece in _PASSAGE_END.split(_NOT_WORDS.sub(" ", text)):
        words = [word for run in _LETTERS.findall(piece) for word in _words(run)]
        if any(word.script in ("HIRAGANA", "KATAKANA") for word in words):
            words = [word._replace(script="HIRAGANA") if word.script == "CJK" else word for word in words]
        if words:
            found.append(words)
    return found


@lru_cache(maxsize=65536)
def _words(run: str) -> tuple[Word, ...]:
    """Cuts a run of letters where its script changes.

    A run that mixes Latin with Cyrillic or Greek letters stays one word, and its script is MIXED.
    """
    pieces: list[list[str]] = []
    for character in run:
        script = _script(character) or (pieces[-1][1] if pieces else "")
        if pieces and pieces[-1][1] == script and script not in WITHOUT_SPACES:
            pieces[-1][0] += character
        elif not pieces or _script(character):
            pieces.append([character, script])
        else:
            pieces[-1][0] += character  # a mark on a character that is a word of its own
    scripts = {script for _, script in pieces}
    if len(run) > 2 and len(scripts) > 1 and scripts <= ALPHABETS_MIXED_UP:
        return (Word(run, _MIXED),)
    return tuple(
        Word(text, script)
        for text, script in pieces
        if len(text) > 1 or script in WITHOUT_SPACES or script == "HANGUL" or text in _ONE_LETTER_WORDS
    )


@cache
def _script(character: str) -> str:
    """Returns the script of a letter, or "" for a mark or apostrophe, which belongs to the letter before it."""
    if unicodedata.category(character)[0] != "L":
        return ""
    first = unicodedata.name(character, "OTHER").split("-")[0].split()[0]
    return {
        "HALFWIDTH": "KATAKANA",
        "FULLWIDTH": "LATIN",
        "IDEOGRAPHIC": "CJK",
        "KATAKANA-HIRAGANA": "KATAKANA",
        "MODIFIER": "",
    }.get(first, first)


@cache
def _is_shared(script: str) -> bool:
    """Returns whether several languages are written in a script."""
    return script == "LATIN" or sum(script in scripts for scripts in SCRIPTS.values()) > 1


def load() -> None:
    """Loads py3langid's model now (half a second of processor time) instead of with the first passage that needs it."""
    _identifier()


def _identifier() -> "LanguageIdentifier":
    """Returns py3langid's identifier, loaded once even where several grading threads ask for it at the same time.

    It is deterministic and reads no file but its own model.
    """
    with _loading:
        return _load_identifier()


@cache
def _load_identifier() -> "LanguageIdentifier":
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
