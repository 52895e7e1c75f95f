r"""Makes sympy expressions of formulas, with the parser of Math-Verify (latex2sympy2_extended).

What is handed to the parser is unambiguous: every symbol is written as \variable{v..}, which keeps letter case, indices
and primes; decimals are written as fractions, so that nothing is rounded; arguments have their braces.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from latex2sympy2_extended.latex2sympy2 import latex2sympy
from sympy import I, Integer, Pow, Rational, Symbol

from stages.engines import patches
from stages.rewards.verifiers.mathematics.brackets import outside, partners, split
from stages.rewards.verifiers.mathematics.names import ACCENTS, plain, symbol_end
from stages.rewards.verifiers.mathematics.tokens import Token, Unreadable
from stages.text.statements import words_of

patches.parse_latex_in_two_stages()

_OPERATORS = frozenset({"+", "-", "*", "/", "(", ")", "[", "]", "{", "}", "!", "|", "^", "_", ",", "%"})
_COMMANDS = words_of(
    """
    \\frac \\sqrt \\binom \\cdot \\times \\div \\pi \\infty \\sin \\cos \\tan \\cot \\sec \\csc \\arcsin
    \\arccos \\arctan \\arccot \\arcsec \\arccsc \\sinh \\cosh \\tanh \\ln \\log \\exp \\max \\min \\gcd \\lcm
    \\det \\lim \\int \\sum \\prod \\lfloor \\rfloor \\lceil \\rceil \\langle \\rangle \\to \\| \\choose \\bmod
    """
)
_TAKES = {"\\frac": 2, "\\binom": 2, "\\sqrt": 1}
_AROUND = {"\\cbrt": ("\\sqrt[3]{", "}"), "\\abs": ("|", "|"), "\\floor": ("\\lfloor ", "\\rfloor "),
           "\\ceil": ("\\lceil ", "\\rceil ")}  # fmt: skip
_INDEXED = frozenset({"\\log", "\\sum", "\\prod", "\\int", "\\lim"})
_MATRIX = re.compile(r"\\(?:begin|end)\{(?:[pbvBV]?matrix|smallmatrix|array)\}(?:\{[clr|@{}]*\})?")
_FUNCTION_LETTERS = frozenset("fghFGHPEWp")
_RAW = frozenset({"\\int", "\\lim"})  # they bind a letter, which the parser wants bare


def expression(tokens: Sequence[Token]) -> Any:
    """Returns the sympy expression of a formula.

    Raises:
        Unreadable: there is something in it that is no formula, or the parser cannot read it.
    """
    while tokens[0].text == "{" and partners(tokens).get(0) == len(tokens) - 1 and len(tokens) > 2:
        tokens = tokens[1:-1]  # the parser would take it for a set
    if places := outside(tokens, lambda token: token.text == "\\choose"):
        upper, lower = split(tokens, places[:1])
        return _parsed(f"\\binom{{{_Writer(upper).written()}}}{{{_Writer(lower).written()}}}")
    return _parsed(_Writer(tokens).written())


@lru_cache(maxsize=8192)
def _parsed(latex: str) -> Any:
    try:
        parsed = latex2sympy(latex, is_real=True, normalization_config=None)
    except Exception as error:
        raise Unreadable(f"no formula: {latex[:60]}") from error
    if isinstance(parsed, (list, tuple, dict)) or not hasattr(parsed, "free_symbols"):
        raise Unreadable("no single value")
    bare = {
        symbol: Symbol(_coded(symbol.name), real=True)
        for symbol in parsed.free_symbols
        if not symbol.name.startswith("v") or len(symbol.name) == 1
    }
    parsed = parsed.xreplace(bare) if bare else parsed
    roots = {} if parsed.has(I) else {power: _real_root(power) for power in parsed.atoms(Pow) if _is_odd_root(power)}
    return parsed.xreplace(roots) if roots else parsed


def _is_odd_root(power: Any) -> bool:
    base, exponent = power.args
    is_root = exponent.is_Rational and exponent.q % 2 == 1 and exponent.q > 1
    return bool(is_root and base.is_Rational and base < 0)


def _real_root(power: Any) -> Any:
    """Returns the real value of the cube root of a negative number, and the like."""
    base, exponent = power.args
    return (-1) ** exponent.p * Pow(-base, exponent)


def _coded(name: str) -> str:
    """Returns a name of letters and digits, which the parser takes as it is."""
    return "v" + name.encode().hex()


def name_of_symbol(symbol: Symbol) -> str:
    """Returns the name that `_coded` has coded."""
    return bytes.fromhex(symbol.name[1:]).decode()


def symbol(name: str) -> Symbol:
    """Returns the symbol of a name, the same as in expressions."""
    return Symbol(_coded(name), real=True)


class _Writer:
    """Writes tokens as the LaTeX that the parser reads without a doubt."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = [token for token in tokens if token.text not in ("\\quad", "\\qquad")]
        self.ends = partners(self.tokens)
        texts = {token.text for token in self.tokens}
        derives = ["\\frac", "{", "d", "}", "{", "d"]
        self.is_raw = bool(texts & _RAW) or [token.text for token in self.tokens[:6]] == derives
        self.bound = self._bound_letters()

    def written(self) -> str:
        return self._range(0, len(self.tokens))

    def _bound_letters(self) -> set[str]:
        """Returns the letters that sums and products count with: there, i is no imaginary unit."""
        return {
            self.tokens[place + 3].text
            for place, token in enumerate(self.tokens[:-3])
            if token.text in ("\\sum", "\\prod") and self.tokens[place + 1].text == "_"
        }

    def _range(self, start: int, end: int) -> str:
        pieces: list[str] = []
        place, last = start, None
        while place < end:
            if last is not None and self._is_product(last, place):
                pieces.append("\\cdot ")
            piece, next_place = self._piece(place)
            pieces.append(piece)
            place, last = next_place, place
        return "".join(pieces)

    def _is_product(self, last: int, place: int) -> bool:
        """Whether a product is meant where the parser would read a mixed number: 3(1/2), (1/2)3, 3\\frac{x}{2}.

        Raises:
            Unreadable: two numbers stand side by side. A mixed number is written with \\frac before.
        """
        before, here = self.tokens[last], self.tokens[place]
        if before.kind == here.kind == "number":
            raise Unreadable("two numbers side by side")
        if here.text in ("(", "[") and (before.kind == "number" or (self.is_raw and before.kind == "letter")):
            return True
        if before.kind == "number" and here.text == "\\frac":
            return not _is_mixed(self.tokens, place)
        return before.text in (")", "]", "}") and here.kind == "number"

    def _piece(self, place: int) -> tuple[str, int]:
        """Returns what stands at a place, written, and the place after it."""
        token = self.tokens[place]
        if token.kind == "number":
            return _exact(token.text), place + 1
        if token.kind == "letter" or token.text in ACCENTS:
            return self._letter(place)
        if token.kind == "word":
            raise Unreadable(f"the word {token.text!r}")
        if token.text == "_" and not self._may_have_index(place):
            raise Unreadable("an index at nothing")
        if token.text in ("^", "_"):
            argument, end = self._argument(place + 1)
            return f"{token.text}{{{argument}}}", end
        if token.text in _TAKES:
            return self._with_arguments(place)
        if token.text in ("\\gcd", "\\lcm") and place + 1 in self.ends:
            closing = self.ends[place + 1]
            if any(
                inner.kind == "letter" for inner in self.tokens[place + 1 : closing]
            ):  # sympy takes them for coprime
                return f"\\variable{{{_coded(plain(self.tokens[place : closing + 1]))}}}", closing + 1
        if token.text in _AROUND:
            argument, end = self._argument(place + 1)
            left, right = _AROUND[token.text]
            return f"{left}{argument}{right}", end
        return self._sign(place), place + 1

    def _may_have_index(self, place: int) -> bool:
        """Whether an index may stand at a place: behind a logarithm, a sum or the like, or the power of one."""
        before = self.tokens[place - 1] if place else None
        if before is not None and before.text == "}":
            opening = next(start for start, end in self.ends.items() if end == place - 1)
            return opening > 1 and self.tokens[opening - 1].text == "^" and self.tokens[opening - 2].text in _INDEXED
        is_power = place > 2 and self.tokens[place - 2].text == "^" and self.tokens[place - 3].text in _INDEXED
        return before is not None and (before.text in _INDEXED or is_power)

    def _sign(self, place: int) -> str:
        """Writes an operator, a function or a part of a matrix."""
        token = self.tokens[place]
        if _MATRIX.fullmatch(token.text):
            kind = "vmatrix" if "{vmatrix" in token.text else "matrix"
            return f"{token.text.split('{')[0]}{{{kind}}}"
        if token.text in _OPERATORS or token.text in ("&", "\\\\", "="):
            return "\\%" if token.text == "%" else token.text
        if token.text == "\\pi":
            return "(\\pi )"  # without brackets, the parser takes pi (x + 1) for a function
        if token.text in _COMMANDS:
            return {"\\times": "\\cdot ", "\\bmod": "\\mod "}.get(token.text, token.text + " ")
        raise Unreadable(f"the sign {token.text!r}")

    def _letter(self, place: int) -> tuple[str, int]:
        """Writes a symbol with its index and primes; f(x) is a symbol too."""
        token = self.tokens[place]
        end = symbol_end(self.tokens, place, self.ends)
        name = plain(self.tokens[place:end])
        if self._is_numbered(place, end):  # x1 is x_1
            return f"\\variable{{{_coded(f'{name}_{self.tokens[end].text}')}}}", end + 1
        is_applied = end in self.ends and self.tokens[end].text == "(" and not self.tokens[end].is_spaced
        if is_applied and (token.text in _FUNCTION_LETTERS or name.endswith("'")):
            closing = self.ends[end]
            if all(inner.text != token.text for inner in self.tokens[end:closing]) or token.text in "fgh":
                name, end = plain(self.tokens[place : closing + 1]), closing + 1
        if name == "e":
            return "e", end
        if name in ("i", "\\imath") and "i" not in self.bound:
            return "(I)", end
        if name == "\\pi":
            return "{\\pi }", end
        if self.is_raw and len(name) == 1:
            return name, end
        return f"\\variable{{{_coded(name)}}}", end

    def _is_numbered(self, place: int, end: int) -> bool:
        """Whether a whole number stands right behind a letter, as its index."""
        letter, following = self.tokens[place], self.tokens[end] if end < len(self.tokens) else None
        is_bare = end == place + 1 and len(letter.text) == 1 and letter.text not in "ei" and not self.is_raw
        return bool(is_bare and following and following.text.isdigit() and not following.is_spaced)

    def _with_arguments(self, place: int) -> tuple[str, int]:
        """Writes a fraction, a binomial or a root with its arguments in braces: \\frac12 is one half."""
        name, place = self.tokens[place].text, place + 1
        index = ""
        if name == "\\sqrt" and place in self.ends and self.tokens[place].text == "[":
            index = f"[{self._range(place + 1, self.ends[place])}]"
            place = self.ends[place] + 1
        if _TAKES[name] == 2 and place < len(self.tokens) and self.tokens[place].kind == "number":
            digits = self.tokens[place].text
            if len(digits) > 1 and digits.isdigit():  # \frac53
                rest = digits[2:]
                following = Token("number", rest) if rest else None
                if following:
                    raise Unreadable("a fraction whose parts are not told apart")
                return f"{name}{{{digits[0]}}}{{{digits[1]}}}", place + 1
        written = []
        for _ in range(_TAKES[name]):
            argument, place = self._argument(place)
            written.append(argument)
        return name + index + "".join(f"{{{argument}}}" for argument in written), place

    def _argument(self, place: int) -> tuple[str, int]:
        """Writes one argument: a group, a sign with what follows it, or a single thing."""
        if place >= len(self.tokens):
            raise Unreadable("an argument is missing")
        token = self.tokens[place]
        if token.text in ("{", "(") and place in self.ends:
            inner = self._range(place + 1, self.ends[place])
            if not inner:
                raise Unreadable("an empty argument")
            return inner, self.ends[place] + 1
        if token.text in ("-", "+"):
            inner, end = self._argument(place + 1)
            return token.text + inner, end
        if token.kind in ("number", "letter") or token.text in _TAKES or token.text in ACCENTS:
            return self._piece(place)
        if token.text in ("\\infty", "\\pi"):
            return self._piece(place)
        raise Unreadable(f"no argument: {token.text!r}")


def _is_mixed(tokens: Sequence[Token], place: int) -> bool:
    """Returns whether a number and the fraction of numbers after it, at a place, are a mixed number."""
    following = [token for token in tokens[place + 1 : place + 7] if token.text not in ("{", "}")]
    return tokens[place - 1].text.isdigit() and bool(following) and following[0].kind == "number"


def _exact(number: str) -> str:
    """Writes a number as it is, a decimal fraction as a fraction."""
    if "." not in number:
        return number.lstrip("0") or "0"
    whole, decimals = number.split(".")
    if not decimals.strip("0"):
        return whole.lstrip("0") or "0"
    return f"(\\frac{{{int((whole or '0') + decimals)}}}{{{10 ** len(decimals)}}})"


_PLAIN = re.compile(r"([-+]?)(\d+)(?:\.(\d+))?")


def plain_number(tokens: Sequence[Token]) -> Any:
    """Returns the number that tokens plainly are, or None: no parser is needed for those."""
    if len(tokens) > 2 or tokens[-1].kind != "number":
        return None
    match = _PLAIN.fullmatch("".join(token.text for token in tokens))
    if match is None:
        return None
    sign = -1 if match[1] == "-" else 1
    if match[3] is None:
        return Integer(sign * int(match[2]))
    return Rational(sign * int(match[2] + match[3]), 10 ** len(match[3]))
