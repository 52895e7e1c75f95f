"""The words that an answer may contain, by what they do. A word that is not here, nor a unit, makes it unreadable."""

from stages.text.statements import words_of

_SMALL = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
_SMALL += " seventeen eighteen nineteen"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
NUMBERS = {word: value for value, word in enumerate(_SMALL.split())} | {
    word: 10 * (place + 2) for place, word in enumerate(_TENS.split())
}
# What a number before them is multiplied with.
SCALES = {
    "hundred": 10**2, "hundreds": 10**2, "thousand": 10**3, "thousands": 10**3, "million": 10**6, "millions": 10**6,
    "billion": 10**9, "billions": 10**9, "trillion": 10**12, "trillions": 10**12, "dozen": 12, "dozens": 12,
    "lakh": 10**5, "crore": 10**7, "wan": 10**4, "yi": 10**8,
}  # fmt: skip
# Parts of one: "3 quarters", "two thirds", "half".
PARTS = {
    "half": 2, "halves": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fourth": 4, "fourths": 4,
    "fifth": 5, "fifths": 5, "sixth": 6, "sixths": 6, "seventh": 7, "sevenths": 7, "eighth": 8, "eighths": 8,
    "ninth": 9, "ninths": 9, "tenth": 10, "tenths": 10, "hundredth": 100, "hundredths": 100, "thousandth": 1000,
    "thousandths": 1000,
}  # fmt: skip
# Words that are signs. Those of several words are joined by spaces; the longest that fits is taken.
SIGNS = {
    "plus": "+", "minus": "-", "negative": "-", "positive": "+", "times": "\\cdot ", "multiplied by": "\\cdot ",
    "over": "/", "divided by": "/", "squared": "^{2}", "cubed": "^{3}", "to the power of": "^", "to the power": "^",
    "raised to": "^", "raised to the power of": "^", "square root of": "\\sqrt ", "the square root of": "\\sqrt ",
    "root": "\\sqrt ", "root of": "\\sqrt ", "cube root of": "\\sqrt [3]", "the cube root of": "\\sqrt [3]",
    "half of": "\\frac{1}{2}\\cdot ", "one half of": "\\frac{1}{2}\\cdot ", "a half of": "\\frac{1}{2}\\cdot ",
    "twice": "2\\cdot ", "double": "2\\cdot ", "triple": "3\\cdot ", "factorial": "!", "percent": "%",
    "per cent": "%", "percentage": "%", "pct": "%", "degrees": "^{\\circ}", "degree": "^{\\circ}", "deg": "^{\\circ}",
    "equals": "=",
    "must be": "=", "has to be": "=", "will be": "=", "would be": "=", "be": "=",
    "equal to": "=", "is equal to": "=", "are equal to": "=", "is": "=", "are": "=",
    "less than": "<", "is less than": "<", "greater than": ">", "is greater than": ">", "more than": ">",
    "at least": "\\ge ", "is at least": "\\ge ", "at most": "\\le ", "is at most": "\\le ",
    "out of": "/", "of": "\\cdot ", "in": "/", "to": ":", "choose": "\\choose ", "union": "\\cup ", "mod": "\\bmod ",
    "modulo": "\\bmod ", "infinity": "\\infty ", "inf": "\\infty ", "oo": "\\infty ",
}  # fmt: skip
SEPARATORS = {"and", "or", "&"}
# What may stand before an answer and says nothing of its value. "is", "are" and the like may come between.
LEADS = words_of(
    """
    a an the this that there it its it's so thus hence therefore then we i you get gets got have has had obtain
    find found guess think believe conclude see know can be answer answers final result results solution
    solutions value values of for to my our your total sum area volume perimeter number length width height
    radius diameter circumference distance speed time price cost profit probability average mean median mode
    range ratio slope intercept coefficient angle measure triangle circle rectangle parallelogram trapezoid
    pyramid cone cylinder sphere prism cube equation equations function expression maximum minimum largest
    smallest greatest least possible values only required desired given problem question option choice equals
    equal real integer positive exact simplified form about approximately around roughly nearly exactly just
    simply clearly finally correct following remainder difference product quotient domain vertex center point
    points coordinates pair ordered matrix vector interval set roots zeros root as follows which here are is was
    were will would be must ans sol q.e.d. qed ways way gives give yields yield implies lead leads results
    """
)
# They turn the meaning of what follows into something else, so they are no lead-ins.
NOT_LEADS = frozenset({"root", "cube", "least", "problem", "question"})
# Sentences and remarks after an answer that say nothing of its value.
REMARKS = frozenset(
    """old|simplified|in simplest form|in simplified form|in lowest terms|exactly|approximately|approx|or so|in total|
    total|altogether|i hope it is correct|hope this helps|hope it helps|as required|as desired|q.e.d|qed|done|
    inclusive|in all|each|respectively|is the answer|is our answer|is the solution|is the final answer|are the answers|
    are the solutions|is correct""".replace("\n    ", "").split("|")
)
FUNCTIONS = {
    "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "ln", "log",
    "exp", "sqrt", "max", "min", "gcd", "lcm", "det", "lim",
}  # fmt: skip
FUNCTION_NAMES = {
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "tg": "tan", "ctg": "cot", "cosec": "csc", "lg": "log",
    "cbrt": "cbrt", "abs": "abs", "floor": "floor", "ceil": "ceil", "binom": "binom", "pi": "pi",
}  # fmt: skip
GREEK = {
    "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "vartheta", "iota", "kappa",
    "lambda", "mu", "nu", "xi", "rho", "varrho", "sigma", "varsigma", "tau", "upsilon", "phi", "varphi", "chi", "psi",
    "omega", "Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Phi", "Psi", "Omega", "Upsilon", "ell",
    "hbar", "nabla", "imath", "jmath", "varpi",
}  # fmt: skip
