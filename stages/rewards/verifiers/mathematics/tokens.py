r"""Cuts a text into tokens: numbers, letters, commands, words and signs.

Formulas stand between dollar signs or the like, and words in \text{}. A text without either is both: which of its
letters are words is decided by the vocabulary and by length.
"""

import re
from typing import NamedTuple

from stages.rewards.verifiers.mathematics import units, words

FORMULA, PROSE, MIXED = "formula", "prose", "mixed"


class Token(NamedTuple):
    """A token, and whether white space stands before it."""

    kind: str  # number, letter, command, word, sign, or edge: where a formula between dollar signs begins or ends
    text: str
    is_spaced: bool = False


class Unreadable(ValueError):
    """Raised where a text cannot be read as a whole; the message says what is in the way."""


_DELIMITED = re.compile(
    r"\$\$(?P<a>.+?)\$\$|(?<!\\)\$(?P<b>(?:\\\$|[^$])+?)(?<!\\)\$|\\\((?P<c>.+?)\\\)|\\\[(?P<d>.+?)\\\]", re.DOTALL
)
_TEXT_COMMAND = re.compile(
    r"\\(text|mbox|hbox|textnormal|textrm|textbf|textit|textsf|textup|texttt|emph|mathrm|mathsf|mathit|mathtt"
    r"|operatorname\*?|mathcal|mathfrak|mathscr)\s*(?=\{)"
)
_FORMULA_TEXT = frozenset({"mathcal", "mathfrak", "mathscr"})
_SET_NAME = re.compile(
    r"\\(?:mathbb|Bbb)\s*\{?\s*([NZQRCP])\s*\}?|"
    r"\\(?:mathbf|mathrm)\s*\{\s*([NZQRC])\s*\}(?=\s*(?:$|[,;^\\$)}]|\+))"
)
_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<number>\d+(?:\.\d+)?|\.\d+)
    |(?P<environment>\\(?:begin|end)\s*\{[a-zA-Z]+\*?\}(?:\s*\{[clr|@{}\s]*\})?)
    |(?P<command>\\[a-zA-Z]+)
    |(?P<escaped>\\\\|\\[{}|%$&\#_])
    |(?P<word>[A-Za-z]+(?:['-][A-Za-z]{2,}|'[a-z](?![A-Za-z]))*)
    |(?P<han>[\u3400-\u9fff]+)
    |(?P<sign><=>|<=|>=|!=|==|:=|=>|->|.)""",
    re.VERBOSE | re.DOTALL,
)
_COMMANDS = {  # other names of commands
    "\\dfrac": "\\frac", "\\tfrac": "\\frac", "\\cfrac": "\\frac", "\\dbinom": "\\binom", "\\tbinom": "\\binom",
    "\\leq": "\\le", "\\leqslant": "\\le", "\\lt": "<", "\\geq": "\\ge", "\\geqslant": "\\ge", "\\gt": ">",
    "\\neq": "\\ne", "\\varnothing": "\\emptyset", "\\land": "and", "\\lor": "or", "\\vee": "or", "\\wedge": "and",
    "\\ast": "*", "\\lvert": "|", "\\rvert": "|", "\\vert": "|", "\\mid": "|", "\\colon": ":", "\\degree": "\\circ",
    "\\prime": "'", "\\dots": "\\ldots", "\\cdots": "\\ldots", "\\bmod": "\\bmod", "\\mod": "\\bmod",
    "\\arctg": "\\arctan", "\\tg": "\\tan", "\\ctg": "\\cot", "\\cosec": "\\csc", "\\lg": "\\log", "\\lbrack": "[",
    "\\rbrack": "]", "\\iff": "\\Leftrightarrow", "\\implies": "\\Rightarrow", "\\longrightarrow": "\\to",
    "\\rightarrow": "\\to", "\\smallsetminus": "\\setminus", "\\backslash": "\\setminus", "\\simeq": "\\approx",
    "\\cong": "\\approx", "\\subseteq": "\\subset", "\\infin": "\\infty", "\\N": "\\mathbb{N}", "\\Z": "\\mathbb{Z}",
    "\\R": "\\mathbb{R}", "\\Q": "\\mathbb{Q}", "\\euro": "€", "\\pounds": "£", "\\lbrace": "\\{", "\\rbrace": "\\}",
    "\\varphi": "\\phi", "\\cupdot": "\\cup", "\\bigcup": "\\cup", "\\bigcap": "\\cap", "\\doteq": "=",
}  # fmt: skip
_SIGNS = {"<=": "\\le", ">=": "\\ge", "!=": "\\ne", "==": "=", ":=": "=", "=>": "\\Rightarrow", "->": "\\to"}
_ESCAPED = {"\\%": "%", "\\$": "$", "\\&": "&", "\\#": "#", "\\_": "_", "\\|": "|"}
_SPLIT_SIGNS = {"<=>": "\\Leftrightarrow"}


def tokens_of(text: str) -> list[Token]:
    """Returns the tokens of a text in one spelling.

    Raises:
        Unreadable: a brace or a \\text is not closed.
    """
    found: list[Token] = []
    position, is_delimited = 0, False
    text = _with_formulas_apart(text)
    for match in _DELIMITED.finditer(text):
        content = next(group for group in match.groups() if group is not None)
        before = text[position : match.start()]
        found += _lexed(before, PROSE)
        found += [Token("edge", "("), *_lexed(content, FORMULA), Token("edge", ")")]
        position, is_delimited = match.end(), True
    return found + _lexed(text[position:], PROSE if is_delimited else MIXED)


def _with_formulas_apart(text: str) -> str:
    """Writes dollar signs that are money, not the edges of formulas, as \\$."""
    num_dollars = len(re.findall(r"(?<!\\)\$", text))
    if num_dollars % 2 == 0 and not re.search(r"\$\s*\d[\d.,]*\s*(?:and|or|to|per|,)\s+\$\s*\d", text):
        return text
    if num_dollars % 2 and num_dollars > 1:
        raise Unreadable("a dollar sign is not closed")
    text = re.sub(r"(?<!\\)\$(?=\s*-?[\d.])", r"\\$", text)
    return re.sub(r"(?<!\\)\$", " ", text)


def _lexed(text: str, mode: str) -> list[Token]:
    """Returns the tokens of a piece of a text that is a formula, prose, or may be either."""
    found: list[Token] = []
    position, is_spaced = 0, False
    while position < len(text):
        if text[position] == "\\" and (match := _SET_NAME.match(text, position)):
            found.append(Token("command", f"\\mathbb{{{match[1] or match[2]}}}", is_spaced))
            position, is_spaced = match.end(), False
            continue
        if text[position] == "\\" and (match := _TEXT_COMMAND.match(text, position)):
            end = closing_brace(text, match.end())
            found += _of_text(match[1], text[match.end() + 1 : end], is_spaced)
            position, is_spaced = end + 1, False
            continue
        match = _TOKEN.match(text, position)
        assert match is not None  # its last alternative fits any character
        position = match.end()
        if match.lastgroup == "space":
            is_spaced = True
            continue
        found += _of_match(match, mode, is_spaced, text)
        is_spaced = False
    return found


def closing_brace(text: str, opening: int) -> int:
    """Returns where the brace closes that opens at `opening`; escaped braces do not count."""
    depth = 0
    for match in re.compile(r"\\.|[{}]", re.DOTALL).finditer(text, opening):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        if depth == 0:
            return match.start()
    raise Unreadable("a brace is not closed")


def _of_text(command: str, content: str, is_spaced: bool) -> list[Token]:
    """Returns the tokens of \\text{..} and the like, whose content is words, or a letter in another type face."""
    plain = content.strip()
    if command in _FORMULA_TEXT:
        return [Token("letter", f"{command} {plain}", is_spaced)]
    if len(plain) == 1 and plain.isalpha() and command in ("mathrm", "mathit", "operatorname", "mathsf"):
        if plain in "eid" or command == "mathit":
            return [Token("letter", plain, is_spaced)]
        return [Token("word", plain, is_spaced)]
    is_unit = plain in ("min", "sec") and command in ("text", "mbox", "textrm", "textnormal")
    if not is_unit and (plain in words.FUNCTIONS or plain in words.FUNCTION_NAMES):
        name = words.FUNCTION_NAMES.get(plain, plain)
        return [Token("command", f"\\{name}", is_spaced)]
    tokens = _lexed(content, PROSE)
    if is_unit:
        return [Token("word", plain, True)]
    is_unit_letter = {
        place: token.kind == "letter" and token.text in units.LETTER_UNITS for place, token in enumerate(tokens)
    }
    tokens = [token._replace(kind="word") if is_unit_letter[place] else token for place, token in enumerate(tokens)]
    return [Token("edge", "text"), *tokens, Token("edge", "text")]


def _of_match(match: re.Match[str], mode: str, is_spaced: bool, text: str) -> list[Token]:
    """Returns the tokens of one match of the lexer."""
    kind, found = match.lastgroup, match[0]
    if kind == "number":
        return [Token("number", found, is_spaced)]
    if kind == "environment":
        name = re.sub(r"\s", "", found)
        return [Token("command", name, is_spaced)]
    if kind == "command":
        name = _COMMANDS.get(found, found)
        is_word = name in ("and", "or")
        is_letter = name[1:] in words.GREEK
        return [Token("word" if is_word else "letter" if is_letter else _kind_of(name), name, is_spaced)]
    if kind == "escaped":
        return [Token("sign", _ESCAPED.get(found, found), is_spaced)]
    if kind == "word":
        return _of_letters(found, mode, is_spaced, text, match.start(), match.end())
    if kind == "han":
        return [Token("word", found, is_spaced)]
    return [Token("sign", _SIGNS.get(found, _SPLIT_SIGNS.get(found, found)), is_spaced)]


def _kind_of(name: str) -> str:
    return "command" if name.startswith("\\") else "sign"


def _of_letters(found: str, mode: str, is_spaced: bool, text: str, start: int, end: int) -> list[Token]:
    """Returns the tokens of a run of letters: a function, a word, or variables side by side."""
    if found.startswith("sqrt") and len(found) > 4 and mode != PROSE:  # sqrtx
        return [Token("command", "\\sqrt", is_spaced), *_of_letters(found[4:], mode, False, text, start + 4, end)]
    is_after_number = start > 0 and text[start - 1].isdigit()
    if (named := _named(found, mode, is_spaced, text[end:])) is not None:
        return [named]
    if is_after_number and not is_spaced and mode != FORMULA and found in ("st", "nd", "rd", "th"):
        return []  # 12th
    is_primed = "'" in found and mode == FORMULA  # f'g
    if not is_primed and (mode == PROSE or _is_word(found, mode, is_after_number)):
        return [Token("word", found, is_spaced)]
    if mode == MIXED and is_spaced and found.isalpha() and _LONG_WORD.search(text) and text[end : end + 1] in " .,":
        return [Token("word", found, is_spaced)]  # among words, a short one is a word too: "3 red marbles"
    if found.isupper() and found.isalpha():
        return [Token("letter", found, is_spaced)]  # AB is a segment or a number of digits, not A times B
    return [
        Token("letter" if character.isalpha() else "sign", character, is_spaced and place == 0)
        for place, character in enumerate(found)
    ]


def _named(found: str, mode: str, is_spaced: bool, following: str) -> Token | None:
    """Returns the token of a function, a Greek letter or a single letter."""
    if found in words.FUNCTIONS or found in words.FUNCTION_NAMES:
        is_second = found == "sec" and not following.lstrip().startswith(("(", "\\", "{"))
        if not is_second:
            return Token("command", f"\\{words.FUNCTION_NAMES.get(found, found)}", is_spaced)
    if mode != PROSE and found in words.GREEK and len(found) > 2:
        return Token("letter", f"\\{found}", is_spaced)
    return Token("letter", found, is_spaced) if len(found) == 1 else None


_LONG_WORD = re.compile(r"(?<![\\A-Za-z])[a-z]{5,}(?![A-Za-z({])")


def _is_word(found: str, mode: str, is_after_number: bool) -> bool:
    """Returns whether letters outside \\text are a word or a unit, rather than variables side by side."""
    lower = found.lower()
    if found in units.ABBREVIATIONS:
        return True
    if mode == FORMULA:
        return lower in ("or", "and") or (len(found) >= 3 and (lower in _KNOWN or found in units.UNITS))
    if lower in _KNOWN or (found in units.UNITS and not is_after_number):
        return True
    pieces = re.split("[-']", found)
    return any(len(piece) > 3 for piece in pieces) or (len(pieces) > 1 and "'" in found)


_KNOWN = frozenset(
    word
    for phrase in (
        *words.NUMBERS, *words.SCALES, *words.PARTS, *words.SIGNS, *words.SEPARATORS, *words.LEADS, *words.REMARKS,
        "yes no not true false even odd none if else when otherwise both neither",
    )
    for word in phrase.split()
    if len(word) > 1
)  # fmt: skip
