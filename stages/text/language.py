"""Identifies the language of a text, and measures which share of its words is in a target language.

The language-consistency reward is Num(words in the target language) / Num(words) [N eq. 7]. A word counts like this:

1. What a word is: see `words.py`. Notation in Latin letters (sin, km, the triangle ABC) is no word of a text in another
   script.
2. The script decides first. A word in a script that the target language is not written in is not in the target
   language, nor is a word that mixes Latin with Cyrillic or Greek letters.
3. py3langid decides between languages that share a script. It says for each passage how probable each language is, and
   the most probable sequence of languages is taken, in which every change of language costs. So a short passage is
   judged together with its neighbours: names, terms and notation do not count against a language, and a text of short
   German sentences is German.
4. Han characters without kana are Japanese where their neighbours are, and Chinese otherwise.
"""

import math
import threading
from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from stages.config.languages import CODES, COMMON, KANA, RELATIVES, SCRIPTS, WITHOUT_SPACES, scripts_of
from stages.text.words import Word, is_letter, is_notation, passages, without_notation

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

_loading = threading.Lock()

# What a change of language costs, in nats. A passage that stands alone between others has to be this sure twice.
_CHANGE = 3.0
# Least probability of a language in a passage, of fewer and of more than this many words: a short one is never sure.
_SHORT_WORDS, _LEAST_SHORT, _LEAST = 6, 0.02, 0.001
_CLEAR = 0.5  # probability of the target from which the other languages of a passage need not be looked at
_LEAST_CANDIDATE = 0.2  # languages that are less probable in every passage are not considered
_HAN_EVIDENCE, _MOST_HAN_EVIDENCE = 0.35, 7.0  # nats for Chinese of each Han character in a passage without kana
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
# Passages of nothing but these are English without asking, which saves most of the time.
_COMMON_ENGLISH_WORDS = """
a about add added after again all also an and answer any are as at be because both but by can check compute correct
do does each equal equals first fix for from get gets gives have hence hmm how i if in into is it its just let let's
me minus more multiply must need next no not now number numbers of ok okay on one only or other out over plus result
right second so step subtract sum take than that that's the their them then there therefore these they this three
thus times to total two up us use value wait was we what when where which while will with wrong yes you zero
"""
_COMMON_ENGLISH = frozenset(_COMMON_ENGLISH_WORDS.split())
_EAST_ASIAN = frozenset({"CJK", *KANA})

Evidence = dict[str, float]  # the logarithm of each language's probability; others have the one of the key ""


def language_consistency(text: str, target: str) -> float | None:
    """Measures how much of a text is in the target language [N eq. 7].

    Args:
        text: a chain of thought.
        target: the ISO 639-1 code of the language it should be in.

    Returns:
        The share of its words that are in the target language, 0..1; None for a text without words.
    """
    scripts = scripts_of(target)
    found = passages(text)
    total = sum(map(len, found))
    fitting = [[word for word in passage if word.script in scripts] for passage in found]
    num_fitting = sum(map(len, fitting))
    if num_fitting < total:
        found = _without_notation_words(found, scripts)
        total = sum(map(len, found))
        fitting = [[word for word in passage if word.script in scripts] for passage in found]
        num_fitting = sum(map(len, fitting))
    if not total:
        return None
    return (num_fitting - (_num_foreign(found, fitting, target) if num_fitting else 0)) / total


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
        ranking = _identifier().rank(without_notation(text))
        best, probability = next((ranked for ranked in ranking if ranked[0] in candidates), ("", 0.0))
        if probability > _PROBABLE:
            return best
    return _MAIN_LANGUAGES.get(script) or min(candidates, default="en")


def _num_foreign(found: list[list[Word]], fitting: list[list[Word]], target: str) -> int:
    """Counts the words that are in another language than the target, although they are in a script of it.

    Args:
        found: the passages of the text.
        fitting: of each passage the words in a script that the target language is written in.
        target: the ISO 639-1 code of the target language.
    """
    if target in ("zh", "ja"):
        if target == "zh" and not any(word.script in KANA for passage in found for word in passage):
            return 0
        places = [place for place, passage in enumerate(found) if any(word.script in _EAST_ASIAN for word in passage)]
        evidence = [_of_han(found[place]) for place in places]
    else:
        if target == "en" and all(word.text.lower() in _COMMON_ENGLISH for passage in fitting for word in passage):
            return 0
        shared = [passage for passage in fitting if passage and _is_shared(passage[0].script)]
        together = _together(shared)
        evidence = [_of_words(words, target) for words in together]
        languages = _most_probable(evidence, target)
        return sum(len(words) for words, language in zip(together, languages) if language != target)
    languages = _most_probable(evidence, target)
    return sum(len(fitting[place]) for place, language in zip(places, languages) if language != target)


def _together(found: list[list[Word]]) -> list[tuple[str, ...]]:
    """Returns the words of passages; short ones that follow each other are one."""
    together: list[tuple[str, ...]] = []
    for passage in found:
        words = tuple(word.text for word in passage)
        if together and len(words) < _SHORT_WORDS and len(together[-1]) < _SHORT_WORDS:
            together[-1] += words
        else:
            together.append(words)
    return together


def _without_notation_words(found: list[list[Word]], scripts: Sequence[str]) -> list[list[Word]]:
    """Returns the passages without notation in Latin letters, where most other words of the text are not Latin."""
    written = [[word for word in passage if not is_notation(word)] for passage in found]
    if "LATIN" in scripts:
        words = [word for passage in written for word in passage]
        if 2 * sum(word.script == "LATIN" for word in words) >= len(words):
            return found
    return [_without_variables(passage) for passage in written]


def _without_variables(passage: list[Word]) -> list[Word]:
    """Returns a passage without single Latin letters, except beside a Latin word, as in "read a guide"."""
    padded = [None, *passage, None]
    return [
        word
        for before, word, after in zip(padded, passage, padded[2:])
        if not is_letter(word)
        or any(near and near.script == "LATIN" and not is_letter(near) for near in (before, after))
    ]


def _most_probable(evidence: list[Evidence], target: str) -> list[str]:
    """Returns the most probable language of each passage, where every change of language costs (Viterbi 1967).

    The text is expected to begin and to end in its main language, which is the target unless all passages together say
    otherwise. So a last passage of a few words, where a text was cut, has to be as sure as one between others.
    """
    least = math.log(_LEAST_CANDIDATE)
    candidates = {language for one in evidence for language, value in one.items() if language and value > least}
    languages = [target, *sorted(candidates - {target})]
    if len(languages) == 1:
        return [target] * len(evidence)
    totals = {language: sum(one.get(language, one[""]) for one in evidence) for language in languages}
    totals[target] += _CHANGE
    main = max(languages, key=lambda language: totals[language])
    scores = {language: 0.0 if language == main else -_CHANGE for language in languages}
    came_from: list[dict[str, str]] = []
    for one in evidence:
        best = max(languages, key=lambda language: scores[language])
        changed = scores[best] - _CHANGE
        came_from.append({language: language if scores[language] >= changed else best for language in languages})
        scores = {language: max(scores[language], changed) + one.get(language, one[""]) for language in languages}
    found = [max(languages, key=lambda language: scores[language] - (0.0 if language == main else _CHANGE))]
    for back in reversed(came_from[1:]):
        found.append(back[found[-1]])
    return found[::-1]


def _of_han(passage: list[Word]) -> Evidence:
    """Returns the evidence of a passage in East Asian scripts: kana are Japanese, many Han without any are Chinese."""
    num_han = sum(word.script == "CJK" for word in passage)
    if any(word.script in KANA for word in passage):
        return {"ja": 0.0, "": -_MOST_HAN_EVIDENCE}
    return {"zh": 0.0, "": -min(_HAN_EVIDENCE * num_han, _MOST_HAN_EVIDENCE)}


@lru_cache(maxsize=65536)
def _of_words(passage: tuple[str, ...], target: str) -> Evidence:
    """Returns the evidence of a passage for the target language and for those that py3langid takes it for."""
    least = _LEAST_SHORT if len(passage) < _SHORT_WORDS else _LEAST
    if target == "en" and all(word.lower() in _COMMON_ENGLISH for word in passage):
        return {"en": 0.0, "": math.log(least)}
    text, kin = " ".join(passage), (target, *RELATIVES.get(target, ()))
    best, probability = _identifier().classify(text)
    if best in kin and probability > _CLEAR:
        return {target: math.log(probability), "": math.log(least)}
    ranking = [(language, p) for language, p in _identifier().rank(text) if language in COMMON or language in kin]
    evidence = {language: math.log(p) for language, p in ranking if p > least and language not in kin}
    of_target = sum(p for language, p in ranking if language in kin)
    return {**evidence, target: math.log(max(of_target, least)), "": math.log(least)}


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
