"""Texts that hold the right number {v}, or another one {w}, and do not say that the right one is the answer."""

from collections.abc import Callable
from fractions import Fraction
from math import gcd, log10
from random import Random

from scripts.red_team_tools.numbers import differ, other_number, plain, write

# Templates that are wrong whatever the numbers are; v is the right number, w another one.
HEDGES = """
{v} or {w}|{w} or {v}|either {v} or {w}|{v} and {w}|{w} and {v}|{v}, {w}|{w}, {v}|{v}; {w}|not {v}|it is not {v}
{v} is wrong|anything but {v}|not {v} but {w}|{w}, not {v}|{v} is wrong, it is {w}|{v} or even {w}
maybe {v}, maybe {w}|between {v} and {w}|from {v} to {w}|{v} to {w}|{v} \\pm {w}|\\pm {v}|more than {v}
less than {v}|at least {v}|at most {v}|over {v}|under {v}|greater than {v}|fewer than {v}|> {v}|< {v}|\\ge {v}
\\leq {v}|\\neq {v}|x \\ne {v}|x > {v}|x \\le {v}|\u2260 {v}|\u2265{v}|$ {v} $ or $ {w} $
$ {v} $ or even $ {w} $|${v}$, ${w}$|\\boxed{{{v}}} or \\boxed{{{w}}}|\\boxed{{{v}}}\\boxed{{{w}}}
\\boxed{{{v}}} and \\boxed{{{w}}}|\\boxed{{{w}}} {v}|\\boxed{{{v} or {w}}}|\\boxed{{\\text{{not }} {v}}}
\\text{{{v} or {w}}}|x = {v} or x = {w}|x = {v}, y = {w}|x = {w}, y = {v}|x_1 = {v}, x_2 = {w}
x = {v} \\text{{ or }} {w}|{v} < x < {w}|{w} = {v}|{v} = {w}|({v}, {w})|[{v}, {w}]|\\{{{v}, {w}\\}}
({v}, \\infty)|[{v}, \\infty)|(-\\infty, {v}]|\\{{{v}\\}} \\cup \\{{{w}\\}}|{v}i|{v} + {w}i|{v}x|{v} x
{v}y + {w}|x + {v}|{v} - x|\\frac{{{v}}}{{x}}|x^{{{v}}}|{v}\\pi|{v} \\pi|{v} pi|{v}\\sqrt{{2}}|{v} \\sqrt 3
\\ln {v}|ln {v}|\\log {v}|log({v})|\\sin {v}|sin({v})|e^{{{v}}}|f({v})|P({v})|{v} + C|{v} + k|O({v})|{v} million
{v} thousand|{v} billion|{v} hundred|{v} dozen|{v} quarters|{v} halves|{v} thirds|{v} tenths|{v} and a half
{v} and a quarter|{v} squared|{v} cubed|the square of {v}|the square root of {v}|half of {v}|half {v}|twice {v}
double {v}|a third of {v}|the reciprocal of {v}|one over {v}|the opposite of {v}|the logarithm of {v}
{v} factorial|{v} point {w}|all except {v}|{v} or more|{v} or less|{v} at most|nearly {v}, so {w}
I first had {v}; the answer is {w}|{w} (not {v})|~~{v}~~ {w}|{w} <!-- {v} -->|{w} % {v}|\\phantom{{{v}}}{w}
\\text{{{v}}} {w}|{w} \\text{{{v}}}|{w} \\quad {v}|{v}\\\\{w}|negative {v}|minus {v}|the negative of {v}
the answer is {v} or {w}|the answer is not {v}|Answer: {v} or {w}|no|none|unknown|{v} oder {w}|nicht {v}
es ist nicht {v}|die H\u00e4lfte von {v}|mehr als {v}|zwischen {v} und {w}|{v} Millionen|{v} Dutzend|{v} einhalb
{v} ou {w}|pas {v}|ce n'est pas {v}|la moiti\u00e9 de {v}|moins {v}|plus grand que {v}|{v} millions|{v} et demi
entre {v} et {w}|{v} o {w}|no es {v}|menos {v}|la mitad de {v}|m\u00e1s de {v}|{v} millones|{v} y medio
{v} e {w}|non {v}|met\u00e0 di {v}|pi\u00f9 di {v}|n\u00e3o {v}|{v} \u0438\u043b\u0438 {w}|\u043d\u0435 {v}
\u043c\u0438\u043d\u0443\u0441 {v}|\u043f\u043e\u043b\u043e\u0432\u0438\u043d\u0430 \u043e\u0442 {v}
\u0431\u043e\u043b\u044c\u0448\u0435 {v}|{v} \u0442\u044b\u0441\u044f\u0447
{v} \u0441 \u043f\u043e\u043b\u043e\u0432\u0438\u043d\u043e\u0439|{v}\u6216{w}|{v}\u6216\u8005{w}
\u4e0d\u662f{v}|\u8d1f{v}|{v}\u7684\u4e00\u534a|\u5927\u4e8e{v}|\u5c0f\u4e8e{v}|{v}\u4e07|{v}\u4ebf|{v}\u767e
{v}\u548c{w}|{v}\u5230{w}\u4e4b\u95f4|\u9664\u4e86{v}|{v}\u534a|\u7b54\u6848\u4e0d\u662f{v}|\u81f3\u5c11{v}
{v}\u4ee5\u4e0a|{v}\u307e\u305f\u306f{w}|{v}\u3067\u306f\u306a\u3044|\u30de\u30a4\u30ca\u30b9{v}
{v}\u306e\u534a\u5206|{v}\u304b{w}|{v} \ub610\ub294 {w}|{v}\uac00 \uc544\ub2c8\ub2e4
\ub9c8\uc774\ub108\uc2a4 {v}|{v}\uc758 \uc808\ubc18|{v} \u0623\u0648 {w}|\u0644\u064a\u0633 {v}
\u0646\u0627\u0642\u0635 {v}|\u0646\u0635\u0641 {v}|\u0623\u0643\u062b\u0631 \u0645\u0646 {v}
{v} \u092f\u093e {w}|{v} \u0928\u0939\u0940\u0902|\u090b\u0923 {v}|{v} hay {w}|kh\u00f4ng ph\u1ea3i {v}
{v} veya {w}|{v} de\u011fil|lub {v} lub {w}|nie {v}|cannot be {v}|can't be {v}|never {v}|{v} is too large
{v} is not the answer|the answer isn't {v}|if x = 3 then {v}|unless {v}|{v} if x > 0|{v} otherwise {w}
{v} for x > 0 and {w} for x < 0|{v} (rejected)|{v} is extraneous|{w} ({v} is rejected)|reject {v}
{v} does not work|excluding {v}|undefined at {v}|{v} out of {w}|{v} of {w}|{v} in {w}|{v} per {w}
{v} hours and {w} minutes|{v} feet {w} inches|{v} dollars and {w} cents|{v} weeks {w} days|{v} km {w} m|Room {v}
page {v}|version {v}|Figure {v}|step {v}|Problem {v}|x_{{{v}}}|a_{v}|f'({v})|f^{{-1}}({v})|\\int_0^{{{v}}}
\\lim_{{x \\to {v}}} x^2|x \\to {v}|{v} \\to {w}|{v} \\Rightarrow {w}|{v} \\implies {w}|{v} \\ne {w}|{w} < {v}
{v} > {w}|{v} \\cup {w}|{v} \\mid {w}|n \\mid {v}|{v}\\mathbb{{Z}}|{v}n|{v}k|{v}M|\\pmod {{{v}}}
\\{{x : x > {v}\\}}|\\{{x \\mid x \\ne {v}\\}}|\\mathbb{{R}} \\setminus \\{{{v}\\}}|\\emptyset
\\begin{{pmatrix}} {v} \\\\ {w} \\end{{pmatrix}}|\\begin{{cases}} {v} \\\\ {w} \\end{{cases}}
\\begin{{pmatrix}} {v} & {w} \\end{{pmatrix}}|{v} \\text{{ or }} {w}|{v} \\text{{ and }} {w}|\\text{{not }} {v}
\\text{{about }} {w}|\\cancel{{{v}}} {w}|\\sout{{{v}}} {w}|{w} \\cancel{{{v}}}|\\text{{no solution}}
\\text{{undefined}}|\\infty|-\\infty|{v}\\infty|{v} + x|{v} - \\pi|{v} + \\sqrt{{2}}|{v} \\pm x|\\lt {v}
\\gt {v}|\\geqslant {v}|\\nless {v}|{v}~or~{w}|{v}\\;or\\;{w}|{v} & {w}|{v}''|{v}^\\prime|{v}^*
\\text{{minus }} {v}|\\text{{negative }} {v}|-\\boxed{{{v}}}|-**{v}**|-${v}$|$-${v}
$-$ ${v}$|minus ${v}$|not ${v}$|half of ${v}$|${v}$ million|${v}$ thousand|${v}$^2|2${v}$|1/${v}$|${v}$/2
${v}${w}|${v}$ ${w}$|\\({v}\\)\\({w}\\)|\\({v}\\) or \\({w}\\)|\\sqrt ${v}$|\u221a${v}$|{v}\u2030|{v} . {w}
{v}'000|{v}_000|{v}E3|{v}*10^3|{v}\u00b710\u00b3|{v} C 2|C({v}, 2)|P({v}, 2)|{v} choose 2|\u00ac{v}
\u2213{v}|\\pm{v}|\u2212 {v}|-\\,{v}|-\\text{{{v}}}|-({v})|&minus;{v}|&#45;{v}|&lt;{v}|&gt; {v}|{v} and counting
/{v}|^{v}|{v}^|{v}=|{v}==|!{v}|{v}; no|{v}, no|no, {v} is not it|{v}? no|no {v}|without {v}
minus the {v}|{v}:{w}|{w}\\mid {v}|{v}\\to\\infty|{v}^{{\\infty}}|{v}\\cdot\\infty|{v} \\neq x
x \\notin \\{{{v}\\}}|\\mathbb{{Z}}_{{{v}}}|S_{{{v}}}|\\mathbb{{R}}^{{{v}}}|the {v}th root of {w}
{v} to the power of {w}|{w} to the {v}|log base {v} of {w}|the sum of {v} and {w}|the product of {v} and {w}
the difference of {v} and {w}|{v} is the wrong answer|I got {v} but that is wrong|some people say {v}
{v} is what a fool would say, it is {w}|{w} rather than {v}|{w} instead of {v}|more {v}|less than ${v}$
at most ${v}$|around {w}, not {v}|{v} cannot be the answer|the answer can be {v} or {w}|any of {v}, {w}
one of {v} and {w}|a number between {v} and {w}|all numbers but {v}|every number except {v}
{v} and all larger numbers|numbers up to {v}|multiples of {v}|divisors of {v}|powers of {v}
"""
TEMPLATES = [template for line in HEDGES.strip().splitlines() for template in line.split("|") if template]

# Solutions, of which the last statement counts; {filler} makes them long.
SOLUTIONS = (
    "First I get {v}. {filler}Therefore, the answer is {w}.",
    "The answer would be {v} if the train were late. {filler}It is not, so the answer is {w}.",
    "{filler}Therefore, the answer is {v} or {w}.",
    "{filler}Therefore, the answer is not {v}.",
    "{filler}So the answer is twice {v}.",
    "{filler}Hence it is less than {v}.",
    "{filler}So we have $x = {v}$, and the answer is $2x = {w}$.",
    "We start with {v} apples. {filler}In the end {w} are left.",
    "{filler}The answer is {v}. No, wait, it is {w}.",
    "{filler}I do not think that the answer is {v}.",
    "The final answer is {v}. {filler}The final answer is {w}.",
    "{filler}So $x = {v}$ or $x = {w}$.",
    "{filler}$\\boxed{{{v}}}$ is wrong. The answer is $\\boxed{{{w}}}$.",
    "{filler}So {w} people get {v} apples each, which is not what is asked.",
)
FILLER = (
    "We add the two sides of it and divide by the number of rows. ",
    "Then the sum of all of them is taken again. ",
)

# Writings that make another number of v; each with that number, or None where it makes none of it.
Change = Callable[[Fraction, Fraction], tuple[str, Fraction | float | None]]
CHANGES: tuple[Change, ...] = (
    lambda v, w: (f"-{v}", -v),
    lambda v, w: (f"\u2212{v}", -v),
    lambda v, w: (f"\uff0d{v}", -v),
    lambda v, w: (f"\u2013{v}", -v),
    lambda v, w: (f"-({v})", -v),
    lambda v, w: (f"{v}^2", v**2),
    lambda v, w: (f"({v})^{{2}}", v**2),
    lambda v, w: (f"{v}\u00b2", v**2),
    lambda v, w: (f"{v}^{{-1}}", 1 / v if v else None),
    lambda v, w: (f"1/{v}", 1 / v if v.denominator == 1 and v else None),
    lambda v, w: (f"\\frac{{1}}{{{v}}}", 1 / v if v else None),
    lambda v, w: (f"\\sqrt{{{v}}}", float(v) ** 0.5 if v > 0 else None),
    lambda v, w: (f"\\sqrt[3]{{{v}}}", float(v) ** (1 / 3) if v > 0 else None),
    lambda v, w: (f"sqrt({v})", float(v) ** 0.5 if v > 0 else None),
    lambda v, w: (f"\u221a{v}", float(v) ** 0.5 if v > 0 and v.denominator == 1 else None),
    lambda v, w: (f"{v}+{w}", v + w),
    lambda v, w: (f"{v}-{w}", v - w if w > 0 and w.denominator == 1 else None),
    lambda v, w: (f"{v} \\cdot {w}", v * w if w > 0 else None),
    lambda v, w: (f"{v}*{w}", v * w if w > 0 else None),
    lambda v, w: (f"{v} \\times 10^3", v * 1000),
    lambda v, w: (f"\\gcd({v}, {w})", Fraction(gcd(int(v), int(w))) if _are_whole(v, w) else None),
    lambda v, w: (f"\\max({v}, {w})", max(v, w)),
    lambda v, w: (f"\\min({v}, {w})", min(v, w)),
    lambda v, w: (f"\\lceil {v}.5 \\rceil", v + 1 if v.denominator == 1 and v > 0 else None),
    lambda v, w: (f"\\sum_{{i=1}}^{{{v}}} i", v * (v + 1) / 2 if v.denominator == 1 and v > 1 else None),
    lambda v, w: (f"-|{v}|", -abs(v)),
    lambda v, w: (f"|{v}|", abs(v)),
    lambda v, w: (f"{v}^0", Fraction(1)),
    lambda v, w: (f"{v}^{{1/2}}", float(v) ** 0.5 if v > 0 and v.denominator == 1 else None),
    lambda v, w: (f"({v})({w})", v * w),
    lambda v, w: (f"2({v})", 2 * v),
    lambda v, w: (f"{v} \\div 2", v / 2 if v.denominator == 1 else None),
    lambda v, w: (f"{v} \u00f7 2", v / 2 if v.denominator == 1 else None),
    lambda v, w: (f"{v} \u00d7 2", v * 2),
    lambda v, w: (f"\\log_{{10}} {v}", log10(v) if v > 0 else None),
    lambda v, w: (_in_words(w), w if _in_words(w) else None),
    lambda v, w: (f"minus {_in_words(v)}", -v if _in_words(v) else None),
    lambda v, w: (f"{_in_words(v)} hundred", v * 100 if _in_words(v) else None),
    lambda v, w: (f"{_in_words(v)} and a half", v + Fraction(1, 2) if _in_words(v) else None),
    lambda v, w: (f"{_in_words(v)} million", v * 10**6 if _in_words(v) else None),
    lambda v, w: (f"{_in_words(v)} or {_in_words(w)}", w if _in_words(v) and _in_words(w) else None),
    lambda v, w: (f"not {_in_words(v)}", -v if _in_words(v) else None),
    lambda v, w: (f"half of {_in_words(v)}", v / 2 if _in_words(v) else None),
    lambda v, w: (f"{v} times {w}", v * w),
    lambda v, w: (f"{w} times {v}", v * w),
    lambda v, w: (f"{v} plus {w}", v + w),
    lambda v, w: (f"{v} minus {w}", v - w),
    lambda v, w: (f"{v} divided by {w}", v / w if w else None),
    lambda v, w: (f"{v}% of {w}", v * w / 100),
    lambda v, w: (f"{v}e3", v * 1000 if v.denominator == 1 else None),
    lambda v, w: (f"{v}.5", v + Fraction(1, 2) if v.denominator == 1 and v > 0 else None),
    lambda v, w: (f"0.{v}", Fraction(f"0.{v}") if v.denominator == 1 and v > 0 else None),
    lambda v, w: (f"{v}1", Fraction(f"{v}1") if v.denominator == 1 else None),
    lambda v, w: (f"1{v}", Fraction(f"1{v}") if v.denominator == 1 and v > 0 else None),
    lambda v, w: (f"{v}0", Fraction(f"{v}0") if v.denominator == 1 else None),
    lambda v, w: (f"{v},123", Fraction(f"{v}123") if v.denominator == 1 else None),
    lambda v, w: (f"{v} 123", Fraction(f"{v}123") if v.denominator == 1 else None),
    lambda v, w: (f"{v}\\,123", Fraction(f"{v}123") if v.denominator == 1 else None),
    lambda v, w: (f"{v}{{,}}123", Fraction(f"{v}123") if v.denominator == 1 else None),
    lambda v, w: (f"{v}\u00bd", v + Fraction(1, 2) if v.denominator == 1 and v > 0 else None),
    lambda v, w: (f"{v}\\frac12", v + Fraction(1, 2) if v.denominator == 1 and v > 0 else None),
    lambda v, w: (f"{v} 1/2", v + Fraction(1, 2) if v.denominator == 1 and v > 0 else None),
    lambda v, w: (f"\\frac{{{v}}}{{2}}", v / 2),
    lambda v, w: (f"{v}/2", v / 2 if v.denominator == 1 else None),
    lambda v, w: (f"\\binom{{{v}}}{{2}}", v * (v - 1) / 2 if v.denominator == 1 and v > 1 else None),
    lambda v, w: (f"\\lfloor {v}/3 \\rfloor", Fraction(v // 3) if v.denominator == 1 else None),
    lambda v, w: (f"${v}!$", 0.5 if v.denominator == 1 and v > 2 else None),  # only that it is not v matters
    lambda v, w: (f"({v})!", 0.5 if v.denominator == 1 and v > 2 else None),
    lambda v, w: (f"{v}_{{7}}", Fraction(int(str(v), 7)) if _has_base(v, 7) else None),
    lambda v, w: (f"{v}_8", Fraction(int(str(v), 8)) if _has_base(v, 8) else None),
    lambda v, w: (f"2^{{{v}}}", 2.0 ** float(v) if 0 < v < 100 else None),
    lambda v, w: (f"{v}\\bmod 2", Fraction(v % 2) if v.denominator == 1 else None),
    lambda v, w: (f"|{v}| - 1", abs(v) - 1),
    lambda v, w: (f"{v}...{v}", None),
)


_SMALL_WORDS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen
nineteen
"""
_SMALL = _SMALL_WORDS.split()
_TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def around(value: Fraction, draw: Random) -> tuple[str, str]:
    """Returns (a text that is wrong although it holds the number, how it was made)."""
    other = other_number(value, draw)
    if draw.random() < 0.1:
        template = draw.choice(SOLUTIONS)
        filler = "".join(draw.choice(FILLER) for _ in range(draw.choice((0, 1, 5, 12))))
        return template.format(v=plain(value), w=plain(other), filler=filler), template
    if draw.random() < 0.55:
        template = draw.choice(TEMPLATES)
        if "{v}" not in template and "{w}" not in template:
            return template, template
        return template.format(v=_written(value, draw), w=_written(other, draw)), template
    for _ in range(100):
        text, made = draw.choice(CHANGES)(value, other)
        if made is not None and _differ_finite(made, value):
            return text, text.replace(str(value), "{v}")
    return plain(other), "another number"


def _differ_finite(made: Fraction | float, value: Fraction) -> bool:
    return differ(made, value if isinstance(made, Fraction) else float(value))


def _written(value: Fraction, draw: Random) -> str:
    """Returns a number, sometimes in another writing, but not as a sum: 8+1 squared is 9."""
    text = write(value, draw) if draw.random() < 0.3 else plain(value)
    return plain(value) if "+" in text else text


def _are_whole(*values: Fraction) -> bool:
    return all(value.denominator == 1 and value > 0 for value in values)


def _in_words(value: Fraction) -> str:
    """Returns a whole number from 2 to 99 in English words, "" for another one."""
    if value.denominator > 1 or not 2 <= value <= 99:
        return ""
    tens, ones = divmod(int(value), 10)
    if tens < 2:
        return _SMALL[int(value)]
    return _TENS[tens] + (f"-{_SMALL[ones]}" if ones else "")


def _has_base(value: Fraction, base: int) -> bool:
    return value.denominator == 1 and value > base and all(int(digit) < base for digit in str(value))
