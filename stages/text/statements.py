r"""Finds the statement of the final answer in a text around it: in a solution, its last sentence.

>>> final_statement("The identity is $x$. " * 20 + "Therefore, the chance that she wins is 2/3. I hope it is correct.")
'2/3'
"""

import re


def words_of(text: str) -> frozenset[str]:
    """Returns the words of a text that lists them."""
    return frozenset(text.split())


# Before an answer, they say that it is none, or one of several, or doubt it.
STOPS = words_of(
    """
    not no never wrong false incorrect if otherwise else when unless either or doubt maybe perhaps isn't aren't
    wasn't don't doesn't cannot can't couldn't won't neither nor nobody nothing hardly unlikely impossible
    except opposite contrary assuming suppose case wait actually but however although hypothetical mistaken
    """
)
# Before an answer, they say that something else than the answer is computed from it or has its value.
CHANGING = words_of(
    """
    half halves third quarter twice double triple times negative minus plus square squared cube cubed root
    logarithm log reciprocal inverse opposite less more than least most below above under over between percent
    multiplied divided increased decreased reduced mod modulo factorial power loss debt
    """
)
LONG = 200  # characters; a longer text is a solution
_ENDING = re.compile(
    r"<\|[a-z_]+\|>(?:user|assistant)?\s*$|(?:i hope (?:it|this) is correct|hope (?:this|it) helps)[.!]?\s*", re.I
)
_MARK = re.compile(r"final\s+answer\s*(?:is)?\s*[:=]?\s*", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<!Dr|Mr|Ms)[.!?](?:\$\$?|\\\]|\\\))?\s+(?=[A-Z<\[\\$*])|\n\s*\n")
_FORMULA = r"(\$[^$]+\$|\\\(.+?\\\)|\\\[.+?\\\])"
_BEFORE_FORMULA = re.compile(rf"([A-Za-z ,'-]*?)(?:\s*:|\b(?:is|are|equals))\s*{_FORMULA}[\s.]*", re.DOTALL)
_BEFORE_VALUE = re.compile(r"(.*\b(?:is|are|equals|be|=)|.*:)\s+(\S.*?)[\s.]*", re.DOTALL)
_NUMBER = re.compile(r"(?<![\w.])[-+]?\$?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?\s*\\?%?")
_CLAUSE = re.compile(r"\b(?:So|Thus|Therefore|Hence)\b")
_HOW = re.compile(r"\b(?:when|by|after)\s+(?=\w+ing\b)", re.IGNORECASE)  # "when simplifying" is no condition
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?", re.IGNORECASE)


def final_statement(text: str) -> str:
    """Returns what a text says last as its answer; a short text is its own statement.

    Of a solution, that is what stands behind the last "final answer", or the last sentence, without the words before
    its value. Of a sentence that ends with its only formula, it is the formula.
    """
    text = text.strip()
    if match := _BEFORE_FORMULA.fullmatch(text):
        return match[2] if is_neutral(match[1]) else text
    if len(text) <= LONG:
        return text
    sentence = _last_sentence(text)
    if (match := _BEFORE_VALUE.fullmatch(sentence)) and is_neutral(match[1]) and _is_value(match[2]):
        return match[2]
    numbers = {number.strip() for number in _NUMBER.findall(sentence)}
    has_formula = re.search(r"[$\\^_=<>]", re.sub(r"\\?[$%]", "", sentence))
    is_plain = len(numbers) == 1 and not has_formula and not STOPS & _words(sentence)
    return numbers.pop() if is_plain else sentence


def is_neutral(text: str) -> bool:
    """Returns whether words before an answer, in its own clause, neither deny nor change it."""
    text = _CLAUSE.split(_HOW.sub("", text))[-1]
    return not (STOPS | CHANGING) & _words(text)


def _words(text: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(text)}


def _is_value(text: str) -> bool:
    """Returns whether what stands behind "is" is an answer rather than the rest of a sentence."""
    return len(_WORD.findall(re.sub(_FORMULA, "", text))) <= 3


def _last_sentence(text: str) -> str:
    while (shorter := _ENDING.sub("", text).strip()) != text:
        text = shorter
    marks = list(_MARK.finditer(text))
    if marks:
        text = text[marks[-1].end() :]
        return re.sub(r'\\?"', "", _SENTENCE_END.split(text)[0]).strip()
    return _SENTENCE_END.split(text)[-1].strip()
