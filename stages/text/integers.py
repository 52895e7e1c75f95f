r"""Reads the one integer that a text or a final answer names.

A text names an integer where it is one, perhaps dressed (\boxed{25}, **25**, 25.0, 1{,}000, "x = 25", "25 apples"), or
where it names it again and again. Everything that stands there has to be understood: a word or a sign that is not known
to leave the number as it is ("not", "half of", "25x", "25 millones") makes the text name none. So does a formula that
has yet to be computed (5+5, \sqrt{25}, 5!).
"""

import re
from functools import lru_cache

from stages.text.answers import extract_answer
from stages.text.normal_form import normal_form, visible

_PLAIN = re.compile(r"-?\d{1,18}")
_FENCE = re.compile(r"\s*```\w*\n?(.*?)\n?```\s*", re.DOTALL)
_EMPHASIS = re.compile(r"(?<!\w)(\*{1,3}|`|\"|')(?=[^\s*])(.+?)(?<=[^\s*])\1(?!\w)", re.DOTALL)
_SPELLINGS = [
    (re.compile(pattern), to)
    for pattern, to in (
        (r"(?<=\d)\s*(?:\{\s*,\s*\}|\\[,! ]|,\\!|~| )(?=\d{3}(?!\d))", ","),  # groups of three digits
        (r"\\(?:boxed|fbox|text|textbf|textrm|mbox|mathrm|mathbf|bf|displaystyle|left|right)(?![a-z])", ""),
        (r"\\\$|[\u20ac\u00a3\u00a5]|^\s*#+", " "),
        (r"\\[()\[\]]|\\[,;:! ]|~|\\q?quad(?![a-z])|\$\$?|</?b>|</?strong>", " "),
        (r"(?<=\d)\s*(?:\^\s*\{?\s*\\circ\s*\}?|\u00b0|\\?%)", " "),
        (r"[{}]", " "),
        (r"(?<=\d) out of (?=\d)", "\u3001"),
        (r"^\s*(?:[a-z](?:_\w)?)?\s*=(?!=)", " "),  # "x = 25"
        (r"(?<![\w)\]])\s*([-+])\s+(?=\d)", r" \1"),
    )
]
_NUMBER = r"(?<![\w)\]][-+])(?<![.\d])(?:(?<![\d)\]])[-+])?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.0+)?(?![\d]|[.]\d)"
_HAN = "\u3040-\u30ff\u3400-\u9fff"
_TOKEN = re.compile(rf"({_NUMBER})|([{_HAN}]+|[^\W\d_{_HAN}]+(?:'[a-z]+)?)|([\s.,;:!()\u3001\u3002]+)|(.)", re.DOTALL)
# A time, a factorial, a function or a variable, several numbers in a list. 46,46 or 46:46 is a number said twice.
_LETTER = "[a-z\u00aa-\u1fff]"
_SEVERAL = re.compile(
    r"!\s*[-+(]*\d|(?<!total )(?<!sum )(?<!number )(?<!value )\bof\s+[-+(]*\d|"
    rf"(?<!\d)(?:[01]?\d|2[0-4])\s*:\s*\d|\d\s*:\s*[-+ ]|[\d)]\s*!|\d\s*[,;]?\s+[-+(]?\d|\)\s*\(|\d\s*\(|\)\s*\d"
    rf"|(?<![^\W\d_]){_LETTER}(?:\d|\s*\()|[\d)]\s*{_LETTER}(?![^\W\d_])"
)
# Words that leave a number as it is, wherever they stand.
_NEUTRAL_WORDS = """
a an the answer answers answer's final finally result results total sum value number amount is are was be equals
equal to so thus therefore hence then it it's that that's this there we i he she they you get gets got have has
had find found of in all altogether correct right our my only just exactly simply conclusion hope helps left
together first check checks checked wait ok okay obviously whatever please tell me compute what hello sure easy
nice to hi go away good morning meet you sorry harmless
die antwort ist lautet das ergebnis also la le réponse est donc résultat respuesta es el resultado entonces
risposta è il risultato a resposta é o portanto het antwoord dus svaret är odpowiedź to wynik cevap sonuç
jawabannya adalah jawaban ответ равен итак відповідь الجواب هو الإجابة الناتج उत्तर है 정답은 답은 답 입니다 이다
"""
_NEUTRAL = frozenset(_NEUTRAL_WORDS.split())
# The tiny world writes words together: "sothe answer is46".
_NEUTRAL_RUN_OF_WORDS = re.compile(
    f"(?:{'|'.join(sorted(word for word in _NEUTRAL if word.isascii() and len(word) > 1))})+"
)
# Chinese and Japanese, where words stand together: a run of these is as neutral.
_NEUTRAL_RUN = re.compile(
    "(?:答案|最终|最終|结果|結果|所以|因此|故|则|是|为|為|等于|等於|一共|总共|共|得|到|有|就"
    "|那么|等等|检查|对|首先|然后|希望有帮助|显然|随便|无害|好的|你好|您好|早上好|很高兴认识你|抱歉|简单|走开|告诉我|请|求|答|え|は|です|だ"
    "|个|個|元|円|米|千克|公斤|克|天|周|月|年|小时|分钟|秒|人|本|只|条|张|支|岁|度|厘米|公里|次)+"
)
# Units behind a number, besides the plurals of any noun.
_UNIT_WORDS = """
cm mm km dm kg mg lb oz ft yd mph feet inch foot mile meter metre litre liter gram kilogram kilometer people
persons person children men women teeth mice fish hour minute day week month year second dollar cent euro pound
rupee usd percent degree unit square cubic per left page apple th st nd rd
"""
_UNITS = frozenset(_UNIT_WORDS.split())
# Plurals that make another number of a number, and words that end like plurals.
_NO_UNIT = re.compile(
    r"(?:halves|halfs|thirds|quarters|fourths|fifths|sixths|sevenths|eighths|ninths|tenths|\w*dredths|\w*sandths|\w*ionths"
    r"|hundreds|thousands|millions|billions|trillions|millones|milliards|miliards|dozens|scores|pairs|couples|tens|times"
    r"|minus|plus|less|bits|menos|moins|m\u00e1s|mas|pas|plus|roots|powers|squares|cubes|factorials|multiples|reciprocals"
    r"|inverses|opposites|negatives|radians|pis|unless|as|vs|versus|was|does|always|perhaps|sometimes|others|excludes|misses"
    r"|previous|various|numerous|us|its|his|ours|cos|less|cross|class|across|mods|modulus|mil|entonces)"
)


@lru_cache(maxsize=4096)
def read_integer(text: str) -> int | None:
    r"""Returns the only integer that a text names, or None where it names none, several different ones, or a formula.

    >>> read_integer("the answer is 1,234. So 1234")
    1234
    >>> read_integer(r"x = 1{,}000.0")
    1000
    >>> [read_integer(text) for text in ("46 or 47", "5+5", "half of 46", "-(46)")]
    [None, None, None, None]
    """
    if _PLAIN.fullmatch(text):
        return int(text)
    text = _undressed(text)
    if _SEVERAL.search(text):
        return None
    found = set()
    is_behind_number = False
    for number, word, _, sign in _TOKEN.findall(text):
        if number:
            found.add(int(number.replace(",", "").split(".")[0]))
            is_behind_number = True
        elif sign or (word and not _is_neutral(word, is_behind_number)):
            return None
    return found.pop() if len(found) == 1 else None


def final_integer(completion: str) -> int | None:
    """Returns the integer that a completion's final answer names, or None where no answer names exactly one."""
    given = extract_answer(visible(completion))
    return None if given is None else read_integer(given)


def _undressed(text: str) -> str:
    """Returns a text in its normal form, without what only formats a number."""
    if fenced := _FENCE.fullmatch(text):
        text = fenced[1]
    text = normal_form(text)
    before = None
    while before != text:  # emphasis may be nested
        before = text
        text = _EMPHASIS.sub(r" \2 ", text)
    for pattern, to in _SPELLINGS:
        text = pattern.sub(to, text)
    return text


def _is_neutral(word: str, is_behind_number: bool) -> bool:
    """Returns whether a word leaves the number beside it as it is."""
    if word in _NEUTRAL or _NEUTRAL_RUN_OF_WORDS.fullmatch(word) or _NEUTRAL_RUN.fullmatch(word):
        return True
    if word in _UNITS:
        return is_behind_number
    is_plural = len(word) > 3 and word.isascii() and word.endswith("s") and not word.endswith(("ss", "us", "is"))
    return is_plural and not _NO_UNIT.fullmatch(word)
