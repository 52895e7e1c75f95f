"""The one normal form in which texts are compared: the held-out split, duplicates, decontamination.

Texts that look the same to a reader are the same in it, however they were typed or converted: composed or decomposed
accents, full-width or Arabic digits, ligatures, typographic quotes and dashes, any white space, and characters that
nobody sees. It is Unicode's NFKC_Casefold with white space collapsed, and three differences that keep problems apart or
together: exponents and indices stay exponents (10² is 10^2, not 102), mixed numbers stay mixed (3½ is 3 1/2, not 31/2),
and decimal digits of all scripts are the same digits.
"""

import re
import unicodedata

# What nobody sees: control characters, Unicode's default ignorables (zero-width and bidirectional signs, soft hyphens,
# fillers, variation selectors, tags), annotation signs, and the Arabic tatweel, which only stretches a word.
_INVISIBLE = (
    "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u0640\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
_UNSEEN = re.compile(f"[{_INVISIBLE}]")
_UNSEEN_ASCII = re.compile("[\x00-\x08\x0e-\x1b\x7f]")
_SAME = {
    '"': "\u00ab\u00bb\u201c\u201d\u201e\u201f\u2033\u2036\u275d\u275e\u300c\u300d\u300e\u300f\u301d\u301e\u301f\uff02",
    "'": "\u00b4\u1ffd\u02b9\u02bb\u02bc\u02c8\u2018\u2019\u201a\u201b\u2032\u2035\u2039\u203a\u275b\u275c\uff07",
    "-": (
        "\u02d7\u058a\u05be\u1400\u1806\u2010\u2011\u2012\u2013\u2014\u2015\u2043\u2212\u2796\u2e3a\u2e3b"
        "\ufe58\ufe63\uff0d"
    ),
    "~": "\u301c\uff5e",
    "/": "\u2044\u2215",
    " ": "\u2800",  # an empty Braille pattern
}
_PLAIN = {character: plain for plain, alike in _SAME.items() for character in alike}
_LOOK_ALIKE = re.compile(f"[{''.join(_PLAIN)}]")
_RAISED = re.compile("[\u00b2\u00b3\u00b9\u2070\u2071\u2074-\u207f]+")
_LOWERED = re.compile("[\u2080-\u208e]+")
_FRACTION = re.compile("(?<=\\d)[\u00bc-\u00be\u2150-\u215f\u2189]")
_FOREIGN_DIGIT = re.compile(r"[^\D0-9]")


def normal_form(text: str) -> str:
    """Returns the form of a text in which it is compared with others; that of a plain ASCII text is only folded.

    >>> normal_form("  What\\u00a0is \\uff13\\u200b\\u2212\\uff15? ") == normal_form("What is 3-5?")
    True
    >>> normal_form("10\\u00b2"), normal_form("102")
    ('10^2', '102')
    """
    if text.isascii():
        return " ".join(_UNSEEN_ASCII.sub("", text).split()).casefold()
    text = _RAISED.sub(lambda run: f"^{run[0]}", _plain(text))
    text = _LOWERED.sub(lambda run: f"_{run[0]}", _FRACTION.sub(lambda sign: f" {sign[0]}", text))
    # Folding takes some characters apart, and putting them together again can make others that fold.
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    text = unicodedata.normalize("NFKC", _FOREIGN_DIGIT.sub(_ascii_digit, _plain(text)).casefold())
    return " ".join(text.split())


def visible(text: str) -> str:
    """Returns a text without the characters that nobody sees."""
    return (_UNSEEN_ASCII if text.isascii() else _UNSEEN).sub("", text)


def encoded(text: str) -> bytes:
    """Returns the normal form of a text as bytes, to be hashed; half of a surrogate pair is no reason to fail."""
    return normal_form(text).encode("utf-8", "surrogatepass")


def _plain(text: str) -> str:
    """Removes what nobody sees, and writes quotes, dashes and their like in one way."""
    return _LOOK_ALIKE.sub(lambda found: _PLAIN[found[0]], _UNSEEN.sub("", text))


def _ascii_digit(found: re.Match[str]) -> str:
    return str(unicodedata.decimal(found[0], found[0]))
