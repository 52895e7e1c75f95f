"""What a cell of a row says: its text, or why it has none.

Files hold more than text: numbers of several kinds, missing values that tools write as NaN, bytes, dates, lists. Each
is read as what it is or refused by its name. None becomes an answer by being printed: NaN would be n·a·n.
"""

import datetime
import json
import math
import re
import unicodedata
from decimal import Decimal
from typing import Any

from stages.data.malformed import RowError

# Whole numbers that a float holds without rounding end here.
EXACT_FLOATS = 2**53
# Verifiers that read an answer as mathematics: what tools write for a missing value is never mathematics.
READ_MATHEMATICS = ("integer", "math")
# How pandas, R, Excel, SQL and JavaScript spell a missing value; "Na" and "na" may be formulas.
_TOOLS_MISSING = frozenset(
    (
        "nan",
        "NaN",
        "NAN",
        "-nan",
        "-NaN",
        "<NA>",
        "NaT",
        "#N/A",
        "#NA",
        "#VALUE!",
        "#REF!",
        "#DIV/0!",
        "#NAME?",
        "#NUM!",
    )
)
_WORDS_MISSING = frozenset(("None", "none", "NONE", "null", "Null", "NULL", "N/A", "n/a", "NA", "nil", "undefined"))
_INFINITE = frozenset(("inf", "-inf", "+inf", "Inf", "-Inf", "Infinity", "-Infinity"))
SPELLED_MISSING = _TOOLS_MISSING | _WORDS_MISSING
# How Python prints a value that is no text, where a program has written str(value) into a file.
_PYTHON_NOTATION = re.compile(r"""b(['"]).*\1|(?:np|numpy|torch)\.\w+\(.*\)|(?:Decimal|array|tensor|Timestamp)\(.*\)""")
# Characters that are letters or symbols to Unicode, and show nothing.
_BLANKS = frozenset("\u115f\u1160\u2800\u3164\uffa0")


class Unreadable:
    """Stands for a cell of an Arrow file whose value Python cannot represent."""

    def __init__(self, why: str):
        self.why = why


def text_of(value: Any, column: str = "the cell") -> str:
    """Returns the value of a cell as text: "" where it is missing, lists and mappings as JSON.

    Args:
        value: the cell.
        column: its column, for the message.

    Raises:
        RowError: the cell holds no text, number, list or mapping, or a text that cannot be written.
    """
    if isinstance(value, str):
        return plain_text(value, column)
    value = _plain(value)
    if value is None:
        return ""
    if isinstance(value, (dict, list)):
        return _json_of(value, column)
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, (int, float, Decimal)):
        return _number(value, column)
    raise RowError(f"{column} is {kind_of(value)}", f"{column} is {kind_of(value)}, not text: {_advice(value)}")


def name_of(value: Any, column: str) -> str:
    """Returns the text of a cell that may be empty, such as a language or an id: "" also for "nan" and its like."""
    text = text_of(value, column)
    return "" if text in _TOOLS_MISSING else text


def prompt_of(value: Any, column: str) -> str:
    """Returns the text of a prompt; raises RowError where the cell is empty, missing or no text."""
    if not isinstance(value, str):
        value = _plain(value)
        is_known = value is None or isinstance(value, (str, int, float))
        what = "not text" if is_known else f"not text but {kind_of(value)}"
        raise RowError(f"{column} is empty or not text", f"{column} is {'missing' if value is None else what}")
    text = plain_text(value, column)
    if not text:
        raise RowError(f"{column} is empty or not text", f"{column} is empty or not text")
    if text in SPELLED_MISSING:
        raise RowError(f"{column} is missing", f"{column} is missing: {text!r} stands in its place")
    return text


def completion_of(value: Any, column: str) -> str:
    """Returns the text of a completion; raises RowError where the cell is empty, missing or no text."""
    if isinstance(value, (bool, dict, list, tuple)):
        what = kind_of(value)
        raise RowError(f"{column} is {what}", f"{column} is {what}, not text")
    text = text_of(value, column)
    if not text:
        raise empty(column, value)
    if text in _TOOLS_MISSING or text in ("null", "undefined"):
        raise RowError(f"{column} is missing", f"{column} is missing: {text!r} stands in its place")
    return text


def answer_of(value: Any, column: str, verifier: str) -> str:
    """Returns the text of a reference answer; "" where it is missing.

    What a verifier of mathematics reads must be mathematics: the spellings of missing values are refused. To the other
    verifiers a text is a text, because "None" and "N/A" are answers too.

    Raises:
        RowError: the cell holds no answer that this verifier can compare.
    """
    if verifier in ("code", "instructions", "reasoning_gym"):  # they read `checks`
        return text_of(value, column)
    value = _plain(value)
    if isinstance(value, (dict, list)):
        what = kind_of(value)
        raise RowError(
            f"{column} is {what}",
            f"{column} is {what}, not one answer: write it as text, or name a part of a mapping as {column}.NAME",
        )
    text = text_of(value, column)
    if verifier not in READ_MATHEMATICS:
        return text
    if isinstance(value, bool):
        raise RowError(f"{column} is a truth value", f"{column} is {value}, which verifier={verifier} cannot read")
    if text in SPELLED_MISSING:
        raise RowError(
            f"{column} is missing",
            f"{column} is missing: {text!r} stands in its place (a formula of this name is written as ${text}$; "
            "verifier=exact takes it as text)",
        )
    if text in _INFINITE:
        raise RowError(f"{column} is not finite", rf"{column} is {text!r}: write infinity as \infty")
    if _PYTHON_NOTATION.fullmatch(text):
        raise RowError(
            f"{column} is Python's notation",
            f"{column} is {text[:60]!r}, Python's notation of a value: write the value",
        )
    return text


def empty(column: str, value: Any) -> RowError:
    """The error of a cell that says nothing, with what stands in it where that is not plainly nothing."""
    shown = "" if value is None or value == "" else f": {value!r} stands in its place"
    return RowError(f"{column} is empty", f"{column} is empty{shown}")


def checks_of(value: Any, column: str | None) -> str:
    """Returns what a verifier needs besides the answer, as JSON that can be written."""
    text = name_of(value, column or "checks")
    if "\\u" in text:  # an escape may stand for half a character
        try:
            json.dumps(json.loads(text), ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise RowError(f"{column} has half a character", f"{column} has {_HALF}") from None
        except ValueError:
            pass  # the verifier says what is wrong with it
    return text


def plain_text(text: str, column: str) -> str:
    """Returns a text without white space around it; "" where it shows nothing.

    Raises:
        RowError: it holds half a character or a NUL, which tokenizers, Arrow and JSON cannot take.
    """
    text = text.strip()
    if "\0" in text:
        where = text.index("\0") + 1
        raise RowError(f"{column} has a NUL character", f"{column} has a NUL character (U+0000), character {where}")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RowError(f"{column} has half a character", f"{column} has {_HALF}, character {error.start + 1}") from None
    return text if any(map(_is_visible, text)) else ""


_HALF = "half a character (a lone surrogate, \\ud800 to \\udfff)"


def kind_of(value: Any) -> str:
    """Returns what a value is, for people: "bytes", "a date", "a list"."""
    for types, name in (
        (bool, "a truth value"),
        (str, "text"),
        ((int, float, Decimal), "a number"),
        ((bytes, bytearray, memoryview), "bytes"),
        ((datetime.date, datetime.time, datetime.timedelta), "a date or time"),
        ((list, tuple), "a list"),
        (dict, "a mapping"),
        (Unreadable, "not readable"),
    ):
        if isinstance(value, types):
            return name
    return f"of type {type(value).__name__}"


def _plain(value: Any) -> Any:
    """Returns a value of numpy or pandas as Python's own, a tuple as a list, and a missing value as None."""
    module = type(value).__module__
    if module == "numpy":
        value = value.tolist()
    elif module.startswith("pandas.") and type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, tuple):
        return list(value)
    is_nan = (isinstance(value, float) and math.isnan(value)) or (isinstance(value, Decimal) and value.is_nan())
    return None if is_nan else value


def _number(value: int | float | Decimal, column: str) -> str:
    """Returns a number in digits, a whole one without a decimal point.

    >>> _number(2.0, "answer"), _number(1e-07, "answer"), _number(Decimal("2.50"), "answer")
    ('2', '0.0000001', '2.5')
    """
    if isinstance(value, int):
        return str(int(value))
    if not math.isfinite(value):
        raise RowError(f"{column} is not finite", f"{column} is {value}, not a finite number")
    if isinstance(value, float):
        if abs(value) >= EXACT_FLOATS:
            raise RowError(
                f"{column} may have lost digits",
                f"{column} is {value!r}, a float past 2^53, which may have lost digits: write it as text or an integer",
            )
        value = Decimal(repr(value))
    digits = f"{value:f}"
    digits = digits.rstrip("0").rstrip(".") if "." in digits else digits
    return "0" if digits == "-0" else digits


def _json_of(value: dict | list, column: str) -> str:
    def write(part: Any) -> Any:
        if isinstance(part, Decimal):
            return float(part)
        raise RowError(f"{column} holds {kind_of(part)}", f"{column} holds {kind_of(part)}, which JSON cannot write")

    try:
        return plain_text(json.dumps(value, ensure_ascii=False, allow_nan=False, default=write), column)
    except RowError:
        raise
    except (ValueError, TypeError, RecursionError) as error:
        raise RowError(f"{column} cannot be written", f"{column} cannot be written as JSON: {error}") from None


def _advice(value: Any) -> str:
    if isinstance(value, Unreadable):
        return value.why
    return "store the column as strings"


def _is_visible(character: str) -> bool:
    category = unicodedata.category(character)
    return (category[0] not in "ZC" or category in ("Co", "Cn")) and character not in _BLANKS
