"""Which language a text is in, and the share of its words in a target language: Num(words in the target language) /
Num(words) [N eq. 7].

words       runs of letters; characters in scripts without spaces; single letters are variables, formulas, code, tags
            and links no words
by script   a word of a script that the target is not written in is not in the target; nor is one that mixes Latin with
            Cyrillic or Greek
by py3langid, for scripts that languages share: a passage of 6 words or more that is another language beyond doubt is
not in the target;
            shorter or doubtful ones are taken to be: names, terms and notation would be counted against every language
            otherwise
"""

import re
import threading
import unicodedata
from collections import Counter
from functools import cache, lru_cache
from typing import NamedTuple

from stages.config.languages import ALPHABETS_MIXED_UP, CODES, RELATIVES, SCRIPTS, WITHOUT_SPACES, scripts_of

# What is no language: tags, code, LaTeX (formulas, then commands), links.
_NO_WORDS = re.compile(
    r"```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$|\\\[(?:(?!\\\[).)*?\\\]|\\\((?:(?!\\\().)*?\\\)|</?[A-Za-z_]+>|\\[A-Za-z]+|https?://\S+",
    re.DOTALL,
)
_PASSAGE_END = re.compile(r"[=+*^<>.!?;:\n\u3002\uff01\uff1f\uff1b\u0964\u061f]+")
# no superscripts, fractions, Roman numerals
_LETTER = r"[^\W\d_\u00b2\u00b3\u00b9\u00bc-\u00be\u02b0-\u02ff\u2070-\u209f\u2150-\u218b]"
# what \w leaves out of a word
_MARK = r"[\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0dff\u0e00-\u0eff\u200c]"
_LETTERS = re.compile(rf"{_LETTER}(?:{_LETTER}|{_MARK})*(?:['\u2019]{_LETTER}+)*")
_ONE_LETTER_WORDS = ("a", "A", "I")  # other single letters are variables
_MIXED = "MIXED"
_loading = threading.Lock()

MIN_PASSAGE_WORDS, MIN_PASSAGE_CHARACTERS = 6, 8  # of scripts with and without spaces; less tells py3langid too little
_SURE, _RULED_OUT = 0.8, 0.02  # py3langid's probability of another language, and of the target, beyond doubt
_PROBABLE = 0.3  # and of the language of a text that has one
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
    text: str
    script: str


def language_consistency(text: str, target: str) -> float | None:
    """Share of the words of a chain of thought in `target`, an ISO 639-1 code; None where there are no words."""
    scripts = scripts_of(target)
    total = in_target = 0
    for passage in passages(text):
        fitting = [word for word in passage if word.script in scripts]
        total += len(passage)
        if fitting and not is_foreign(fitting, target):
            in_target += len(fitting)
    return in_target / total if total else None


def count_words(text: str) -> dict[str, int]:
    """Words by script: {"LATIN": 2, "CJK": 3}."""
    return dict(Counter(word.script for passage in passages(text) for word in passage))


def identify(text: str) -> str:
    """The language of a text, an ISO 639-1 code: by the script of most of it (a character of a script without spaces
    says as much as two letters) where that is enough, else by py3langid; the script's most written language where that
    does not know, and en where there are no words.
    """
    letters: Counter[str] = Counter()
    for word in (word for passage in passages(text) for word in passage):
        letters[word.script] += 2 if word.script in WITHOUT_SPACES else len(word.text)
    if not letters:
        return "en"
    script = letters.most_common(1)[0][0]
    if script in WITHOUT_SPACES and script in _MAIN_LANGUAGES:
        return _MAIN_LANGUAGES[script]
    candidates = {code for code in CODES if script in scripts_of(code)}
    if len(candidates) > 1:
        best, probability = next(
            (ranked for ranked in _identifier().rank(_NO_WORDS.sub(" ", text)) if ranked[0] in candidates), ("", 0.0)
        )
        if probability > _PROBABLE:
            return best
    return _MAIN_LANGUAGES.get(script) or min(candidates, default="en")


def is_foreign(words: list[Word], target: str) -> bool:
    """Whether the words of a passage, all of a script of the target, are another language beyond doubt."""
    if target == "zh":
        return False  # kana have told Japanese from it
    spaced = words[0].script not in WITHOUT_SPACES
    if len(words) < (MIN_PASSAGE_WORDS if spaced else MIN_PASSAGE_CHARACTERS) or not _is_shared(words[0].script):
        return False
    passage = (" " if spaced else "").join(word.text for word in words)
    best, _ = _identifier().classify(passage)
    if best in (target, *RELATIVES.get(target, ())):
        return False
    probabilities = dict(_identifier().rank(passage))
    ours, theirs = (
        sum(probabilities.get(code, 0.0) for code in (language, *RELATIVES.get(language, ())))
        for language in (target, best)
    )
    return target in probabilities and ours < _RULED_OUT and theirs > _SURE


def passages(text: str) -> list[list[Word]]:
    """The words of each sentence, line or side of an equation that has any. Han characters of a passage with kana are
    Japanese: their script is called HIRAGANA.
    """
    found = []
    for piece in _PASSAGE_END.split(_NO_WORDS.sub(" ", text)):
        words = [word for run in _LETTERS.findall(piece) for word in _words(run)]
        if any(word.script in ("HIRAGANA", "KATAKANA") for word in words):
            words = [word._replace(script="HIRAGANA") if word.script == "CJK" else word for word in words]
        if words:
            found.append(words)
    return found


@lru_cache(maxsize=65536)
def _words(run: str) -> tuple[Word, ...]:
    """A run of letters cut where its script changes; Latin with Cyrillic or Greek in one run stays one word, of no
    script.
    """
    pieces: list[list] = []
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
    """The script of a letter; empty for what belongs to the letter before it (marks, apostrophes)."""
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
    return script == "LATIN" or sum(script in scripts for scripts in SCRIPTS.values()) > 1


def load() -> None:
    """Reads py3langid's model now, half a second of a processor, rather than with the first passage that asks for it."""
    _identifier()


def _identifier():
    """Loaded when first asked, once, whichever of the grading threads asks first; deterministic, and reads nothing but
    its own model.
    """
    with _loading:
        return _load_identifier()


@cache
def _load_identifier():
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
