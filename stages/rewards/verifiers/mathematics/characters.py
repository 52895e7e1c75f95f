r"""Makes one spelling of many: Unicode signs, Chinese words and wrappers become LaTeX, English and nothing.

>>> in_one_spelling("½x²≤√3")
'\\frac{1}{2}x^{2}\\le \\sqrt{3}'
"""

import re
import unicodedata

_SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱˣʸ", "0123456789+-()nixy"))
_SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋ₙₖᵢⱼₘₓ", "0123456789+-nkijmx"))
_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ζ": "zeta", "η": "eta", "θ": "theta",
    "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi", "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau", "φ": "phi",
    "ϕ": "phi", "χ": "chi", "ψ": "psi", "ω": "omega", "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta", "Λ": "Lambda",
    "Σ": "Sigma", "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega", "Π": "Pi",
}  # fmt: skip
_SIGNS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "➖": "-", "×": "\\times ", "✕": "\\times ", "⋅": "\\cdot ",
    "·": "\\cdot ", "∙": "\\cdot ", "∗": "*", "÷": "\\div ", "∕": "/", "⁄": "/", "±": "\\pm ", "∓": "\\mp ",
    "≤": "\\le ", "≦": "\\le ", "⩽": "\\le ", "≥": "\\ge ", "≧": "\\ge ", "⩾": "\\ge ", "≠": "\\ne ",
    "≈": "\\approx ", "≃": "\\approx ", "≅": "\\approx ", "≒": "\\approx ", "≡": "\\equiv ", "∞": "\\infty ",
    "∈": "\\in ", "∉": "\\notin ", "∪": "\\cup ", "∩": "\\cap ", "∅": "\\emptyset ", "∖": "\\setminus ",
    "⊂": "\\subset ", "⊆": "\\subseteq ", "ℝ": "\\mathbb{R}", "ℤ": "\\mathbb{Z}", "ℕ": "\\mathbb{N}",
    "ℚ": "\\mathbb{Q}", "ℂ": "\\mathbb{C}", "°": "^{\\circ}", "º": "^{\\circ}", "˚": "^{\\circ}", "′": "'",
    "″": "''", "‘": "'", "’": "'", "“": '"', "”": '"', "→": "\\to ", "⇒": "\\Rightarrow ", "∴": "\\therefore ",
    "…": "\\ldots ", "⋯": "\\ldots ", "⌊": "\\lfloor ", "⌋": "\\rfloor ", "⌈": "\\lceil ", "⌉": "\\rceil ",
    "⟨": "\\langle ", "⟩": "\\rangle ", "∑": "\\sum ", "∏": "\\prod ", "∫": "\\int ", "∠": "\\angle ",
    "△": "\\triangle ", "∂": "\\partial ", "ℓ": "\\ell ", "∣": "|", "✓": "", "✔": "", "✅": "",
    "、": ",", "。": ".", "【": "[", "】": "]", "「": '"', "」": '"', "《": '"', "》": '"', "￥": "¥",
}  # fmt: skip
_FRACTIONS = dict(
    zip(
        "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞⅐⅑⅒",
        ["12", "13", "23", "14", "34", "15", "25", "35", "45", "16", "56", "18", "38", "58", "78", "17", "19"],
    )
)
_INVISIBLE = re.compile("[\u200b-\u200f\u2060\ufeff\u00ad\u202a-\u202e]")
_TABLE = str.maketrans(
    _SIGNS
    | {letter: f"\\{name} " for letter, name in _GREEK.items()}
    | {sign: f"\\frac{{{pair[0]}}}{{{pair[1:]}}}" for sign, pair in _FRACTIONS.items()}
    | {"⅒": "\\frac{1}{10}", "µ": "\\mu "}
)
# Longest first. What follows a number becomes a unit or a scale; what precedes it, a lead-in or a sign.
_CHINESE = sorted(
    {
        "不是": " not ", "不等于": " not ", "最终答案": " the answer ", "答案": " the answer ", "结果": " the answer ",
        "答": " the answer ", "解": " the answer ", "等于": " = ", "大约": " about ",
        "约为": " about ", "约": " about ",
        "大于": " > ", "小于": " < ", "至少": " at least ", "至多": " at most ",
        "负": " negative ", "或者": " or ", "或": " or ", "和": " and ", "与": " and ", "以及": " and ", "及": " and ",
        "是": " is ", "为": " is ", "所以": " so ", "因此": " so ", "故": " so ", "即": " so ", "共": " so ",
        "一半": " half ", "千克": " kg ", "公斤": " kg ", "毫克": " mg ", "克": " grams ", "吨": " tonnes ",
        "千米": " km ", "公里": " km ", "厘米": " cm ", "毫米": " mm ", "分米": " dm ", "米": " meters ",
        "平方": " square ", "立方": " cubic ", "毫升": " ml ", "升": " liters ", "小时": " hours ", "时": " hours ",
        "分钟": " minutes ", "秒": " seconds ", "天": " days ", "周": " weeks ", "个月": " months ", "月": " months ",
        "年": " years ", "岁": " years ", "人民币": " yuan ", "元": " yuan ", "美元": " dollars ", "角": " jiao ",
        "度": " degrees ", "万": " wan ", "亿": " yi ", "个": " items ", "只": " items ", "人": " people ",
        "名": " people ", "本": " items ", "种": " ways ", "次": " occurrences ", "件": " items ", "条": " items ",
        "辆": " items ", "张": " items ", "棵": " items ", "支": " items ", "倍": " multiples ",
        "无解": " no solution ", "百分之": " percent_of ", "无穷大": " infinity ",
    }.items(),
    key=lambda pair: -len(pair[0]),
)  # fmt: skip
_CHINESE_WORD = re.compile("|".join(re.escape(word) for word, _ in _CHINESE))
_CHINESE_TO = dict(_CHINESE)
_CHINESE_DIGITS = dict(zip("零一二三四五六七八九两", (*range(10), 2)))
_CHINESE_NUMBER = re.compile(f"(?<![\\d.])(?:[{''.join(_CHINESE_DIGITS)}十百](?!分之\\s*\\d)|千(?![克米]))+(?!半)")
_HAN = re.compile("[\u3400-\u9fff]")
# The subject of a Chinese sentence: anything without a negation or a number, up to its last 是, 为 or colon.
_CHINESE_SUBJECT = re.compile(
    r"^(?!\D*[不没非未负倍半除或错误$\\])\D*?[\u3400-\u9fff]\D*?(?:是|为|：|:)(?=[^是为：:]*$)"
)

_WRAPPERS = re.compile(
    r"</?(?:b|i|u|em|strong|span|p|br|code|sub|sup|div|center|answer)\s*/?>|\*\*|__|`+|^\s*#{1,6}\s+"
    r"|<\|[a-z_]+\|>(?:user|assistant)?"
)
_DROPPED = re.compile(
    r"\\(?:displaystyle|textstyle|limits|nolimits|middle|Bigg?[lr]?|bigg?[lr]?|left|right|mleft|mright|boldsymbol|bm"
    r"|checkmark|blacksquare|qed|therefore|hfill|centering|tiny|small|large|Large|LARGE|huge|Huge|normalsize|bf|rm|it"
    r"|mathstrut|hline|ensuremath)"
    r"(?![A-Za-z])\.?|\\!|\\(?:hspace|vspace|label|tag)\*?\{[^{}]*\}|\\hphantom\{[^{}]*\}|\\phantom\{[^{}]*\}"
)
_UNWRAPPED = re.compile(
    r"\\(?:boxed|fbox|framebox|underline|underbrace|overbrace|colorbox\{\w+\}|mathbf|mathbin|mathop"
    r"|textcolor\{\w+\}|color\{\w+\})(?=\s*[{\w\\])"
)
_COLOR = re.compile(r"\\(?:text)?color\{\w+\}")
_DOUBLED = re.compile(
    r"\\\\(?=(?:[dtc]?frac|sqrt|left|right|text|mathrm|le|ge|leq|geq|ne|neq|cdot|times|pi|infty|pm|in|cup|cap|sin|cos"
    r"|tan|log|ln|begin|end|boxed|circ|alpha|beta|theta|binom|overline|quad|approx)(?![a-z]))"
)
_NARROW = re.compile(r"(?<!\\)\\[,;:> ]|\\(?:thinspace|medspace|thickspace|enspace|space|negthinspace)(?![A-Za-z])|~")
_THOUSANDS = [
    re.compile(r"(?<![\d.,])(\d{1,3}(?:" + separator + r"\d{3})+)(?!\d)")
    for separator in (r"\s*\{\s*,\s*\}\s*", r"\s*,\s*\\!\s*", r"(?<!\\)\\,", r"(?<!\\)\\ ", r"~", " ")
]
_REPEATING = re.compile(r"(?<![\d.])(\d*)\.(\d*)\\(?:overline|bar|dot)\s*\{?(\d+)\}?")
_GOES_ON = re.compile(r"(?<![\d.])(\d*)\.(\d*?)(\d{1,6}?)\3{2,}(?:\\(?:l|c)?dots|\.{3})(?!\w)")
_E_NOTATION = re.compile(r"(?<![\w\\.])(\d+(?:\.\d+)?)[eE]([-+]?\d+)(?!\w)")


def in_one_spelling(text: str) -> str:
    """Returns the text with one spelling for each sign, without wrappers around the whole and its parts."""
    text = _INVISIBLE.sub("", text)
    text = _runs(_runs(text, _SUPERSCRIPTS, "^"), _SUBSCRIPTS, "_")
    text = re.sub("[√∛](\\s*)(\\d+(?:\\.\\d+)?|[A-Za-zπ]|\\([^()]*\\)|(?=\\{))", _root, text)
    text = re.sub("[\uff01-\uff5e\u3000\u00a0\u2000-\u200a\u202f]", lambda m: unicodedata.normalize("NFKC", m[0]), text)
    text = text.translate(_TABLE)
    if "matrix" not in text and "array" not in text:
        text = _DOUBLED.sub(r"\\", text)
    text = re.sub(r"\\(q?quad)(?=[A-Za-z])", r"\\\1 ", text)
    text = re.sub(r"(?<=[\w)}])\*\*(?=[\w({-])", "^", text)  # a power in a program, where it is no bold print
    text = _WRAPPERS.sub(" ", text)
    text = re.sub(r"\{([^{}]*)\\over(?![a-z])([^{}]*)\}", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\b([aApP])\.\s?[mM]\b\.?", r"\1m", text)
    if _HAN.search(text):
        text = _without_chinese(text)
    for pattern in _THOUSANDS:
        text = pattern.sub(lambda match: re.sub(r"\D", "", match[1]), text)
    text = _COLOR.sub("", _UNWRAPPED.sub("", _DROPPED.sub("", text)))
    text = _repeating_decimals(text)
    text = _NARROW.sub(" ", text)
    text = _E_NOTATION.sub(r"\1\\cdot 10^{\2}", text)
    text = text.replace("\\lbrace", "\\{").replace("\\rbrace", "\\}").strip().strip('"').strip()
    return text[1:-1] if len(text) > 2 and text[0] == text[-1] == "'" else text


def _runs(text: str, letters: dict[str, str], sign: str) -> str:
    """Writes runs of raised or lowered characters as one exponent or index."""
    pattern = f"[{re.escape(''.join(letters))}]+"
    return re.sub(pattern, lambda match: f"{sign}{{{''.join(letters[c] for c in match[0])}}}", text)


def _root(match: re.Match[str]) -> str:
    index = "[3]" if match[0][0] == "∛" else ""
    inner = match[2]
    if inner.startswith("("):
        inner = inner[1:-1]
    return f"\\sqrt{index}{{{inner}}}" if inner else f"\\sqrt{index}"


def _repeating_decimals(text: str) -> str:
    """Writes 0.1\\overline{6} and 0.1666... as the fractions that they are."""

    def fraction(match: re.Match[str]) -> str:
        whole, fixed, period = match[1] or "0", match[2], match[3]
        denominator = (10 ** len(period) - 1) * 10 ** len(fixed)
        numerator = int(whole + fixed + period) - int(whole + fixed)
        return f"(\\frac{{{numerator}}}{{{denominator}}})"

    return _GOES_ON.sub(fraction, _REPEATING.sub(fraction, text))


def _without_chinese(text: str) -> str:
    """Writes the Chinese words that are known in English."""
    text = _CHINESE_SUBJECT.sub("the answer is ", text)
    text = re.sub(r"(\d)\s*百", r"\1 hundred ", re.sub(r"(\d)\s*千(?![克米])", r"\1 thousand ", text))
    text = _CHINESE_NUMBER.sub(lambda match: f" {_chinese_number(match[0])} ", text)
    text = re.sub(r"百分之\s*(\d+(?:\.\d+)?)", r"\1%", text)
    text = re.sub(r"(\d+)\s*分之\s*(\d+)", r"\\frac{\2}{\1}", text)
    text = re.sub(r"(\d\s*[个只本件条辆张棵支])[\u4e00-\u9fff]{1,3}(?=[。.\s]*$)", r"\1", text)
    return _CHINESE_WORD.sub(lambda match: _CHINESE_TO[match[0]], text)


def _chinese_number(text: str) -> int:
    """Returns the value of Chinese numerals below 10,000, such as 二十三."""
    total = digit = 0
    for character in text:
        if character in _CHINESE_DIGITS:
            digit = digit * 10 + _CHINESE_DIGITS[character]
        else:
            total += (digit or 1) * {"十": 10, "百": 100, "千": 1000}[character]
            digit = 0
    return total + digit
