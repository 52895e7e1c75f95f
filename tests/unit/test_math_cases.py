"""The math verifier on the classes of answers that open graders test. Cases are our own; docs/verifiers.md says where
each class is from and where we differ, with the reason. All are graded in one batch by the worker processes.
"""

from functools import cache

import pytest

from stages.prompting.prompt import Prompt
from stages.rewards.grading import grade_many, reference_problem_many, vote_many

# class -> (reference, answer, is right)
CASES = {
    "numbers": [
        ("-17", "-17", 1),
        ("3620000", "3,620,000", 1),
        ("3000", "3 000", 1),
        ("4000", "4000.0", 1),
        ("2500.75", "2,500.75", 1),
        ("0.7", ".7", 1),
        ("1200.5", "\\$1,200.50", 1),
        ("1200.5", "1,200.50€", 1),
        ("8", "XYZ8B", 0),
        ("12", "21", 0),
        ("50", "0.5", 0),
        ("50", "5000", 0),
        ("2.3333", "2.3334", 0),
        ("10!", "3628800", 1),
        ("2^{10}", "1024", 1),
    ],
    "fractions": [
        ("7/9", "\\frac{7}{9}", 1),
        ("-7/9", "-\\frac{7}{9}", 1),
        ("\\frac37", "\\frac{3}{7}", 1),
        ("5/6", "\\dfrac{5}{6}", 1),
        ("5/6", "\\tfrac56", 1),
        ("5/6", "\\cfrac{5}{6}", 1),
        ("\\frac{7}{4}", "1\\frac34", 1),
        ("3/8", "0.375", 1),
        ("\\frac{1}{12}", "0.0833333333", 1),
        ("2/7", "2/9", 0),
        ("\\frac14+\\frac1{36}", "\\frac{1}{4}+\\frac{1}{36}", 1),
        ("\\frac14+\\frac1{36}", "\\frac14+2/3", 0),
        ("\\frac56i", "\\frac{5}{6}i", 1),
    ],
    "roots and constants": [
        ("\\sqrt{5}", "\\sqrt5", 1),
        ("5\\sqrt{7}+\\sqrt9", "5\\sqrt7+3", 1),
        ("\\sqrt{50}", "5\\sqrt2", 1),
        ("\\frac{7}{4}\\pi", "\\frac{7\\pi}{4}", 1),
        ("\\sqrt{3}+\\sqrt{7}", "\\sqrt7+\\sqrt3", 1),
        ("\\sqrt{3}", "1.7", 0),
        ("\\pi", "3.14", 0),
        ("3\\sqrt{17}", "3", 0),
        ("1-\\frac{1}{\\mathrm{e}}", "1+\\frac{1}{\\mathrm{e}}", 0),
        ("1-\\frac{1}{\\mathrm{e}}", "1-e^{-1}", 1),
        ("\\infty", "\\infty", 1),
    ],
    "algebra": [
        ("5-3p", "-3p+5", 1),
        ("(x-4)(x+4)", "x^2-16", 1),
        ("\\frac{x+3}{5}", "\\frac{x}{5}+\\frac35", 1),
        ("\\cot^2(y)+1", "\\csc^2(y)", 1),
        ("2\\sin b\\cos a", "2\\cos a\\sin b", 1),
        ("(a+6)(b+1)", "(+6)(b+1)", 0),
        ("x+3n+1", "x+1", 0),
        ("\\sin^2x+\\cos^2x", "1", 1),
    ],
    "delimiters": [
        ("13", "$13$", 1),
        ("13", "$$\n13\n$$", 1),
        ("13", "\\(13\\)", 1),
        ("13", "\\[13\\]", 1),
        ("13", "\\boxed{13}", 1),
        ("13", "$\\boxed{\\left(9+4\\right)}$", 1),
        ("5/9", "so it is $\\frac{5}{9}$.", 1),
        ("13", "The final answer is $13$. I hope it is correct.", 1),
        ("29", "The answer is 29.", 1),
        ("29", "Final Answer: the largest $n$ is 29.", 1),
        ("\\frac{11}{3}", "**$\\frac{11}{3}$**", 1),
        ("$13$", "13", 1),
    ],
    "units and percent": [
        ("14\\mbox{ cm}^2", "14", 1),
        ("14", "14\\text{ cm}^2", 1),
        ("20\\text{ units}", "20", 1),
        ("20\\text{ units}", "200", 0),
        ("80^\\circ", "80", 1),
        ("140$ miles", "140\\textnormal{ miles}", 1),
        ("9", "9 m", 1),
        ("7 cm", "7", 1),
        ("12 apples", "12", 1),
        ("36\\%", "36", 1),
        ("36\\%", "36 percent", 1),
        ("36\\%", "0.36", 1),
        ("36\\%", "63\\%", 0),
        ("36\\%", "$36$ pct", 1),
        ("\\pi r^2h", "\\pi r^2", 0),
        ("3ab", "3", 0),
        ("3ab", "3ba", 1),
    ],
    "sets, tuples, intervals": [
        ("-3,4", "4,-3", 1),
        ("\\{2\\pm\\sqrt7,-5\\}", "-5, 2+\\sqrt7, 2-\\sqrt7", 1),
        ("(5,32,-4)", "(5,32,-4)", 1),
        ("(5,32,-4)", "(32,5,-4)", 0),
        ("[0,3)", "[0,3)", 1),
        ("(0,3)", "[0,3)", 0),
        ("[0,3)", "0\\le x<3", 1),
        ("x\\in[0,3)", "[0,3)", 1),
        ("(1,\\frac72)", "(1,3.5)", 1),
        ("\\{-2\\}\\cup[0,5)", "[0,5)\\cup\\{-2\\}", 1),
        ("-3,4", "-3", 0),
        ("8,15 \\text{ or } 23", "8,15,23", 1),
        ("\\emptyset", "\\varnothing", 1),
        ("(p,q)=(7,2)", "(7,2)", 1),
        ("3:8", "6:16", 1),
    ],
    "relations": [
        ("x>=4", "x\\geq4", 1),
        ("x<7", "$x\\lt7$", 1),
        ("x\\le3", "3\\ge x", 1),
        ("x>6", "x<6", 0),
        ("x<2", "-x>-2", 1),
        ("x=9", "9", 1),
        ("9", "k=9", 1),
        ("x=9", "x=4+5=9", 1),
        ("9=7a+c", "7a+c", 0),
        ("27x+33y-11z+50=0", "-27x-33y+11z-50=0", 1),
        ("6x-5y+9z+3=0", "x+y-z+1=0", 0),
        ("3x+6y-5=0", "y=-\\frac12x+\\frac56", 1),
        ("5", "x\\approx5", 1),
    ],
    "matrices": [
        ("\\begin{pmatrix}2&0\\\\0&2\\end{pmatrix}", "\\begin{bmatrix}2&0\\\\0&2\\end{bmatrix}", 1),
        (
            "\\begin{pmatrix}5&7\\\\9&11\\end{pmatrix}",
            "\\begin{pmatrix}1&3\\\\5&7\\end{pmatrix}+\\begin{pmatrix}4&4\\\\4&4\\end{pmatrix}",
            1,
        ),
        ("\\begin{pmatrix}\\frac12&1\\\\3&4\\end{pmatrix}", "\\begin{pmatrix}0.5&1\\\\3&4\\end{pmatrix}", 1),
        ("\\begin{pmatrix}5&6\\\\7&8\\end{pmatrix}", "\\begin{pmatrix}5&6\\\\7&9\\end{pmatrix}", 0),
    ],
    "words": [
        ("\\text{Miriam}", "Miriam", 1),
        ("\\text{Miriam}", "Robert", 0),
        ("\\text{even}", "\\text{odd}", 0),
        ("\\text{even}", "$even$", 1),
    ],
    "letters": [
        ("C", "(C)", 1),
        ("C", "\\text{C}", 1),
        ("(C)", "C. 12", 1),
        ("C", "the answer is C", 1),
        ("C", "D", 0),
        ("C", "B or C", 0),
    ],
    "tiny and huge": [
        ("1.6\\times10^{-19}", "3.2\\times10^{-19}", 0),
        ("1.6\\times10^{-19}", "1.6e-19", 1),
        ("6.02\\times10^{23}", "6.02e23", 1),
        ("6.02\\times10^{23}", "6.03\\times10^{23}", 0),
        ("10^{-9}", "0", 0),
    ],
    "hedges": [
        ("46", "46 or 47", 0),
        ("47", "46 or 47", 0),
        ("46", "\\boxed{46} or \\boxed{47}", 0),
        ("47", "\\boxed{46}, \\boxed{47}", 0),
        ("46", "40, 41, 42, 46", 0),
        ("46", "not 12 but 46", 0),
        ("7", "$\\foo{7$", 0),
        ("1", "$1-\\frac{1}{}$", 0),
        ("5", "", 0),
        ("5", "x" * 600, 0),
    ],
}


def a_prompt(reference: str, checks: str = "") -> Prompt:
    return Prompt("p", "what?", "file", "reasoning", "en", reference, "math", checks)


@cache
def verdicts() -> dict[tuple[str, str], float]:
    cases = [case for group in CASES.values() for case in group]
    grades = grade_many(
        [(f"<think>hm</think><answer>{answer}</answer>", a_prompt(reference)) for reference, answer, _ in cases]
    )
    assert not [grade.error for grade in grades if grade.error]
    return {(reference, answer): grade.value for (reference, answer, _), grade in zip(cases, grades)}


@pytest.mark.parametrize(
    "reference, answer, is_right",
    [pytest.param(*case, id=f"{name}-{i}") for name, group in CASES.items() for i, case in enumerate(group)],
)
def test_verdict(reference, answer, is_right):
    assert verdicts()[reference, answer] == is_right


def test_tolerance():
    """1% of 9.81 is 0.0981; a percentage of nothing is nothing."""
    checked = {"9.8": 1, "9.72": 1, "9.7": 0, "9.9": 1, "-9.81": 0, "x": 0, "9.81 m": 1}
    grades = grade_many([(f"\\boxed{{{answer}}}", a_prompt("9.81", '{"tolerance": 0.01}')) for answer in checked])
    assert [grade.value for grade in grades] == list(checked.values())


def test_votes_and_problems():
    votes = vote_many(
        [
            (f"<answer>{answer}</answer>", a_prompt("1"))
            for answer in ("1/2", "0.5", "\\frac12", "\\sqrt8", "2\\sqrt2", "x+1", "1+x", "hm?")
        ]
    )
    assert votes[0] == votes[1] == votes[2] and votes[3] == votes[4] and votes[5] == votes[6]
    assert reference_problem_many([a_prompt("5"), a_prompt("\\frac12"), a_prompt("x" * 501)])[:2] == [None, None]
    assert (
        "are not" in reference_problem_many([a_prompt("5", "{")])[0]
        and "are not" in reference_problem_many([a_prompt("5", '{"tolerance": "x"}')])[0]
    )
    assert (
        "501 characters" in reference_problem_many([a_prompt("x" * 501)])[0]
        and "not mathematics" in reference_problem_many([a_prompt("???")])[0]
    )


def test_what_cannot_be_computed_is_an_explained_zero_and_is_asked_once():
    """A tower of powers hangs sympy in C; the other answers of the batch are graded meanwhile."""
    pairs = [("<answer>$9^{9^{9^{9}}}$</answer>", a_prompt("8")), ("<answer>8.0</answer>", a_prompt("8"))]
    tower, right = grade_many(pairs)
    assert right.value == 1 and tower.value == 0 and tower.error.startswith("killed after")
    assert grade_many(pairs)[0] == tower  # the same words: remembered
