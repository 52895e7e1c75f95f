"""Answers to MMLU-Pro as models write them: ten options, some with letters of their own, and solutions around them."""

import json
import random

import pytest

from stages.prompting.prompt import Prompt
from stages.rewards.grading import vote

OPTIONS = [
    "$-\\frac{1}{3}$",
    "0.25 m/s",
    "both I and II",
    "John F. Kennedy",
    "$x = 3$",
    "I only",
    "None of the above",
    "It increases, then decreases",
    "A and C",
    "$5\\sqrt{2}$",
]
PROMPT = Prompt("p", "q", "f", "reasoning", "en", "I", "choice", json.dumps({"options": OPTIONS}))
ANSWERS = [
    ("I", "Let's think step by step. Option A is -1/3 which is wrong. We know that A and C hold. The answer is (I)."),
    ("I", "Therefore, the answer is (I)."),
    ("I", "Therefore, the correct answer is **I**."),
    ("I", "Therefore, the correct answer is:\n\n**I) A and C**"),
    ("I", "The correct answer is: I) A and C"),
    ("I", "**Answer: I. A and C**"),
    ("I", "ANSWER: I"),
    ("I", "So, the answer is $\\boxed{I}$."),
    ("I", "$\\boxed{\\text{I}}$"),
    ("I", "The final answer is: $\\boxed{I}$"),
    ("I", "\\[\n\\boxed{\\text{(I) A and C}}\n\\]"),
    ("J", "Hence the magnitude is $5\\sqrt{2}$.\n\nThe answer is (J)."),
    ("J", "\\boxed{5\\sqrt{2}}"),
    ("J", "The answer is $5\\sqrt{2}$, which is option (J)."),
    ("J", "The answer is $\\boxed{5\\sqrt{2}}$, option J."),
    ("D", "The president was John F. Kennedy. The answer is (D)."),
    ("D", "The answer is John F. Kennedy."),
    ("D", "Answer: John F. Kennedy"),
    ("D", "Answer: D) John F. Kennedy"),
    ("F", "The answer is F: I only."),
    ("F", "The answer is I only."),
    ("F", "Answer: F (I only)"),
    ("C", "The answer is both I and II, i.e. (C)."),
    ("C", "Only statements I and II hold. The answer is (C)."),
    ("A", "The answer is A."),
    ("A", "The answer is (A) because a ratio of -1/3 fits."),
    ("H", "Thus it first increases. The answer is (H) It increases, then decreases."),
    ("E", "Solving gives x = 3. Therefore the answer is E."),
    ("E", "**Final Answer**\n\nE"),
    ("E", "### Answer\n**E) x = 3**"),
    ("E", "The answer is (E) $x = 3$. Note that A is for the other case."),
    ("E", "The best answer is E."),
    ("E", "The answer is (E).\n\nExplanation: options (A) and (B) fail because the mass is not given."),
    ("E", "Based on the analysis, the answer is E.  \n\nANSWER: E"),
    ("G", "None of the options fit, so the answer is (G) None of the above."),
    ("G", "The answer is None of the above (G)."),
    ("G", "Answer: None of the above"),
    ("G", "My final answer is G"),
    ("G", "The answer would be G."),
    ("G", "the answer should be (G)"),
    ("G", "The answer is therefore G."),
    ("G", "The correct option is (G)."),
    ("G", "Correct answer: G"),
    ("G", "The answer is: (G)"),
    ("G", "The answer is:\n(G)"),
    ("G", "The answer is option G."),
    ("G", "The answer is choice (G)"),
    ("G", "the answer is probably (G)"),
    ("G", "The answer is not (A) but (G)."),
    ("G", "The answer isn't A. The answer is G."),
    ("G", "The answer must be G"),
    ("G", "The answer to this question is G"),
    ("G", "answer is G"),
    ("G", "**The answer is (G).**"),
    ("G", "> The answer is (G)"),
    ("G", "答案是G，因为其他选项都不对。"),
    ("G", "综上，本题答案为G。"),
    ("G", "正确选项为G"),
    ("G", "所以选G。"),
    ("G", "<answer>G</answer>"),
    ("G", "<think>maybe A</think><answer>\n\nThe reasoning shows none fit.\n\n**G**\n</answer>"),
    ("G", "<think>maybe A</think><answer>G. None of the above</answer>"),
    ("G", "<think>maybe A</think><answer>None fit. Therefore (G).</answer>"),
]


@pytest.mark.parametrize("letter, text", ANSWERS)
def test_answers_of_models(letter, text):
    forms = [text] if "<answer>" in text else [f"<answer>{text}</answer>"]
    if "nswer" in text and "<answer>" not in text:  # a line that says its answer needs no tags
        forms += [text, f"<think>It may be A.</think>\n{text}"]
    assert {vote(form, PROMPT) for form in forms} == {letter}


FOUR = ["three", "four", "five", "none of these"]
MORE_FORMS = [
    "Ｃ。",
    "C．",
    "【C】",
    "【答案】C",
    "『C』",
    "应选C项",
    "选择C",
    "本题选C",
    "答案选C",
    "我选择(C)",
    "故答案为：C",
    "故答案选C.",
    "option (c)",
    "the answer is c.",
    "answer: (c) five",
    "(c) five",
    "c) five",
    "C\n",
    "#C",
    "Choose C",
    "letter C",
    "\\textcircled{C}",
    "\\mathbf C",
    "{\\bf C}",
    "\\text C",
    "\\textbf{C. five}",
    "$\\textbf{(C) }five$",
    "$\\textbf{(C)}\\ \\text{five}$",
    "\\boxed{\\textbf{(C)}\\ five}",
    "\\boxed{C. five}",
    "C) **five**",
    "<C>",
    "'C'",
    "C…",
    "C,",
    "- C",
    "• C",
    "(C",
    "C]",
    "The letter is C",
    "C option",
    "Option: C",
    "Choice: (C)",
    "Option-C",
    "ans: C",
    "Ans. C",
    "Respuesta correcta: C",
    "La réponse est la C",
    "Die Antwort C ist richtig",
    "Jawaban: C",
    "Đáp án: C",
    "Đáp án C",
    "الإجابة: C",
    "الإجابة الصحيحة هي C",
    "उत्तर: C",
    "Cevap: C",
    "答案應為C",
    "正確答案是 (C)",
    "정답은 (C)",
    "답: C",
    "It is C",
    "I'd say C",
    "I would choose option C.",
    "My final answer: C",
    "final answer: c",
    "The answer is\nC",
    "Answer is: C",
    "<answer>C",
    "so C",
    "Hence (C).",
    "C is correct because 5 is odd",
    "C, since five is odd and four is even",
    "five, option C",
    "five, so C",
    "five — C",
    "five => C",
    "The correct answer is C) five.",
    "The correct answer is option C: five",
    "The answer is indeed C",
    "Answer: C (five)",
    "Answer: C\\. five",
    "Answer: C - five",
    "answer=C",
    '{"answer": "C"}',
    "```\nC\n```",
    "answer: `C`",
    "Answer:C",
    "ANSWER:  **(C)**",
    "C\\)",
    "\\( C \\)",
    "\\[C\\]",
    "<answer>C",
]


@pytest.mark.parametrize("answer", MORE_FORMS)
def test_it_is_c_in_other_ways(answer):
    prompt = Prompt("p", "q", "f", "reasoning", "en", "C", "choice", json.dumps({"options": FOUR}))
    assert vote(f"<think>A?</think><answer>{answer}</answer>", prompt) == "C"


JOINS = (
    " or | or maybe |, or | / |. Or |, perhaps |, otherwise | vs |, but also | as well as |或| ou |, though it may be "
)


def test_no_hedge_between_texts_is_an_answer():
    """Options offered by their texts, beside letters and boxes: none of many such texts names one of them."""
    draw = random.Random(1)
    prompt = Prompt("p", "q", "f", "reasoning", "en", "B", "choice", json.dumps({"options": FOUR}))
    firsts = ("{1}", "\\text{{{1}}}", "{0}) {1}", "({0})", "\\boxed{{{1}}}", "option {0}")
    seconds = ("{1}", '"{1}"', "{1} ({0})", "\\boxed{{{1}}}")
    for _ in range(1500):
        texts = []
        for forms, place in zip((firsts, seconds), draw.sample(range(4), 2)):
            texts.append(draw.choice(forms).format("ABCD"[place], FOUR[place]))
        start, join = (
            draw.choice(["", "The answer is ", "Answer: ", "Either ", "\u7b54\u6848\u662f"]),
            draw.choice(JOINS.split("|")),
        )
        assert len(vote(f"<answer>{start}{texts[0]}{join}{texts[1]}.</answer>", prompt) or "") != 1, (
            texts,
            join,
            start,
        )
