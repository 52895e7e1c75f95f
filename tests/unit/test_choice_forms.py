"""How final answers to multiple choice are written, in many forms and languages, and what they must not be read as."""

import json
import random
import re
import time

import pytest

from stages.prompting.prompt import Prompt
from stages.rewards.grading import explain, grade, vote

OPTIONS = ["three", "four", "five", "none of these"]


def a_prompt(answer: str = "C", options: list[str] | None = OPTIONS, text: str = "Which is it?", **others) -> Prompt:
    checks = json.dumps({"options": options}) if options else ""
    return Prompt("p", text, "file", "reasoning", "en", answer, "choice", others.get("checks", checks))


def read(answer: str, prompt: Prompt | None = None) -> str | None:
    return vote(f"<think>A?</think><answer>{answer}</answer>", prompt or a_prompt())


OPTION_C = [
    "C",
    "c",
    "(C)",
    "(c)",
    "C.",
    "C)",
    "[C]",
    "{C}",
    "Ｃ",
    "（Ｃ）",
    "Ⓒ",
    "ⓒ",
    "𝐂",
    "\\text{C}",
    "\\boxed{\\textbf{(C)}}",
    "\\boxed{C}",
    "\\boxed{\\text{C}}",
    "\\mathrm{(C)}",
    "$C$",
    "**C**",
    "`C`",
    '"C"',
    "“C”",
    "选C",
    "选 C",
    "选C。",
    "故选C",
    "故选：C",
    "因此选择C。",
    "答案：C",
    "答案是C",
    "答案为（C）",
    "正确答案是C。",
    "正确答案：C、five",
    "C选项",
    "选项C正确",
    "C项正确",
    "正解はCです",
    "答え：C",
    "정답은 C입니다",
    "정답: C",
    "Ответ: C",
    "Правильный ответ: C",
    "Antwort: C",
    "Die richtige Antwort ist C",
    "Réponse : C",
    "La bonne réponse est C",
    "Respuesta: C",
    "La respuesta correcta es C",
    "Option C",
    "option c",
    "Choice C",
    "Answer: C",
    "answer: c",
    "ANSWER: C",
    "ANSWER: $C",
    "ANSWER: (C)",
    "Answer - C",
    "**Answer:** C",
    "**Answer: C**",
    "The answer is C",
    "The answer is (C).",
    "The correct answer is C.",
    "the answer is: C",
    "The answer is C because four is not five",
    "So the answer is C.",
    "I choose C",
    "I would go with C.",
    "My answer is C",
    "Therefore, C.",
    "It's C",
    "C is correct",
    "C is the right answer.",
    "(C) is correct",
    "Option C is the best answer",
    "C) five",
    "C. five",
    "C: five",
    "(C) five",
    "C - five",
    "C five",
    "C (five)",
    "five (C)",
    "five",
    "Five.",
    "FIVE",
    '"five"',
    "The answer is five.",
    "Answer: five",
    "C, because 5 is odd",
    "It must be (C), because the rest is even",
    "Not A; the answer is C",
    "The answer is C, not D",
    "C, not D",
    "A is wrong. B is wrong. The answer is C",
    "Option A is wrong. Option C is right",
    "the correct option is: C",
    "Correct option: C",
    "Final answer: C",
    "## Answer\nC",
    "Answer\n\nC",
    "Answer:\nC",
    "The final answer is $\\boxed{C}$",
    "\\boxed{A}\nAnswer: C",
    "I first thought \\boxed{A}.\nAnswer: C",
    "\\boxed{D}. Therefore, the answer is (C).",
    "The answer is A. Wait, no.\nThe answer is C",
    "Answer: B\n\nAnswer: C",
    "<b>C</b>",
    "C!",
    "C;",
    "Clearly C",
    "Obviously, (C)",
    "\\boxed C",
    "\\fbox{C}",
    "\\(C\\)",
    "\\[ \\boxed{C} \\]",
    "Answer: \\text{C}",
    "Answer: C) five",
    "Answer: C.",
    "答案：（C）five",
    "→ C",
    "=> C",
    "The answer to the question is C",
    "The best choice is C",
    'C: "five"',
    "Answer is C",
    "Answer C",
    "(C)five",
    "{C} five",
]
NOTHING = [
    "C or D",
    "(C) or (D)",
    "C/D",
    "either C or D",
    "C, maybe D",
    "C or maybe D",
    "C? D?",
    "not C",
    "The answer is not C",
    "It is not (C)",
    "anything but C",
    "all except C",
    "neither C nor D",
    "The answer is C or D",
    "The answer is either C or D",
    "Answer: C or D",
    "Answer: C / D",
    "C or (D)",
    "(C) or D",
    "答案是C或D",
    "选C或者D",
    "C或D",
    "C还是D",
    "不选C",
    "不是C",
    "答案不是C",
    "CまたはD",
    "C또는D",
    "C. four",
    "C) four",
    "Answer: C) four",
    "four (C)",
    "C (four)",
    "C: none of these",
    "The answer is C. The answer is D",
    "The answer is C, but D is also correct",
    "C, but D is also possible",
    "C. Or D",
    "\\boxed{C} or \\boxed{D}",
    "\\boxed{C or D}",
    "C oder D",
    "C ou D",
    "Ответ: C или D",
    "four or five",
    "three, four",
    "Because",
    "Both",
    "",
    "hm",
    "vitamin C deficiency",
    "The answer is a good one",
    "C is wrong",
    "Option C is incorrect",
    "C and maybe D",
    "Either (C) or (D), I think (C) or (D)",
    "the answer is C but could be D",
    "C (or D)",
    "C, otherwise D",
    "C otherwise D",
]
C_AND_D = [
    "C and D",
    "C, D",
    "CD",
    "C & D",
    "C和D",
    "C、D",
    "C；D",
    "(C) and (D)",
    "(C)(D)",
    "C D",
    "Answer: C and D",
    "The answers are C and D",
    "答案：CD",
    "选C和D",
    "c and d",
    "Options C and D",
    "C, and D",
    "C und D",
    "\\boxed{C} and \\boxed{D}",
    "\\boxed{C, D}",
    "\\boxed{CD}",
    "D and C",
    "C+D",
]


@pytest.mark.parametrize("answer", OPTION_C)
def test_it_is_c(answer):
    assert read(answer) == "C"


@pytest.mark.parametrize("answer", NOTHING)
def test_hedges_denials_and_contradictions_name_nothing(answer):
    assert read(answer) is None


@pytest.mark.parametrize("answer", C_AND_D)
def test_two_options_together(answer):
    assert read(answer) == "CD" and grade(f"<answer>{answer}</answer>", a_prompt("CD")) == 1


@pytest.mark.parametrize(
    "completion, letters",
    [
        ("Answer: C", "C"),
        ("thus \\boxed{A}. The answer is (C)", "C"),
        ("<think>Answer: A</think>\nANSWER: C", "C"),
        ("<think>Answer: A, so \\boxed{A}</think>\nANSWER: C", "C"),
        ("... \\boxed{A}\n\nANSWER: C", "C"),
        ("Answer: A\n\nNo, \\boxed{C}", "C"),  # the box stands after the line
        ("Answer: C \\boxed{A}", None),
        ("Answer: C\nThis answer is explained above.", "C"),
        ("Let me answer.\n\n**Answer: (C)**\n", "C"),
        ("Answer: C\nor D", None),
        ("Answer: \\boxed{C or D}", None),
        ("ANSWER: $LETTER\n\nANSWER: C", "C"),
        ("The correct option is C.", "C"),
        ("so \\boxed{C}", "C"),
        ("<think>Answer: C", None),  # still thinking
        ("C", None),  # no answer tags, box or line
        ("The answer is unclear.", None),
        ("Option A is wrong: " + "x " * 300 + "Option B is right? No. " + "\nAnswer: C", "C"),
        ("<answer>" + "A is 3 and B is 4. " * 30 + "So \\boxed{C}.</answer>", "C"),
    ],
)
def test_the_line_that_says_the_answer(completion, letters):
    assert vote(completion, a_prompt()) == letters


@pytest.mark.parametrize(
    "options, answer, letters",
    [
        (["Vitamin A", "Vitamin B", "Vitamin C", "Vitamin D"], "Vitamin C", "C"),
        (["Vitamin A", "Vitamin B", "Vitamin C", "Vitamin D"], "The answer is Vitamin D.", "D"),
        (["Vitamin A", "Vitamin B", "Vitamin C", "Vitamin D"], "D. Vitamin C", None),
        (["A and B", "C", "All of the above", "None of the above"], "A and B", "A"),
        (["A and B", "C", "All of the above", "None of the above"], "A. A and B", "A"),
        (["A and B", "C", "All of the above", "None of the above"], "C", "C"),
        (["A and B", "C", "All of the above", "None of the above"], "All of the above", "C"),
        (["A and B", "C", "All of the above", "None of the above"], "The answer is none of the above.", "D"),
        (["B", "A", "D", "C"], "A", "A"),  # letters come before texts
        (["1", "10", "100", "1000"], "C. 100", "C"),
        (["1", "10", "100", "1000"], "C. 10", None),
        (["1", "10", "100", "1000"], "100", "C"),
        (["$x^2$", "$x_2$", "x2", "2x"], "x_2", "B"),
        (["\\frac{1}{2}", "0.5", "1/3", "2"], "\\frac{1}{2}", "A"),
        (["same", "Same.", "other", "x"], "same", "A"),  # to the letter first
        (["same", "same", "other", "x"], "same", None),
        (["True", "False"], "true", "A"),
        (["True", "False"], "C", None),  # no such option
        (["\u56db", "\u4e94"], "\u7b54\u6848\uff1a\u4e94", "B"),
        (list("abcdefghijklmnopqrstuvwxyz"), "(Z)", "Z"),
        ([str(n) for n in range(10)], "I think J", "J"),
        ([str(n) for n in range(10)], "The answer I choose is (J)", "J"),
    ],
)
def test_options_with_letters_and_alike(options, answer, letters):
    assert read(answer, a_prompt("A", options)) == letters


JOINS = (
    " or | or maybe |, or |/| / | \\| |. Or |; or |? Or | or else |, maybe |, perhaps |, alternatively "
    "| - or - |, otherwise "
    "|, else | vs |, but also | as well as |, also |\\nor\\n|, or rather |, though it could be "
    "|. It could also be | OR | and/or "
    "| but maybe | oder | ou | \u0438\u043b\u0438 |\u6216|\u6216\u8005|\u8fd8\u662f|\u307e\u305f\u306f"
    "|\ub610\ub294"
)
FORMS = (
    "{0}|({0})|{0}.|{0})|[{0}]|**{0}**|\\boxed{{{0}}}|\\text{{{0}}}|option {0}|answer {0}|{0}) {1}|{0}. {1}|{0} ({1})"
)
STARTS = (
    "|The answer is |Answer: |I think |It's |Either "
    "|\u7b54\u6848\u662f|\u9009|The correct option is |Probably |**Answer:** "
)


def test_no_hedge_is_an_answer():
    """4,000 ways to name two options without deciding; a few are read as both, none as one of them."""
    draw = random.Random(0)
    joins = [join.replace("\\n", "\n").replace("\\|", "|") for join in re.split(r"(?<!\\)\|", JOINS)]
    forms, starts = FORMS.split("|"), STARTS.split("|")
    for _ in range(4000):
        two = draw.sample("ABCD", 2)
        first, second = (draw.choice(forms).format(one, OPTIONS["ABCD".index(one)]) for one in two)
        text = draw.choice(starts) + first + draw.choice(joins) + second + draw.choice(["", ".", " I guess"])
        given = read(text)
        assert given is None or set(given) == set(two), text


def test_what_is_explained():
    prompt = a_prompt("C")
    assert explain("<answer>C</answer>", prompt) == ("C", "C", "Both name the same option.")
    assert explain("<answer>four</answer>", prompt) == ("C", "B", "The answer names B, not C.")
    assert explain("<answer>C or D</answer>", prompt)[1:] == (
        None,
        "The answer 'C or D' names no option, or several without deciding.",
    )
    assert explain("hm", prompt)[1:] == (None, "The completion has no final answer.")
    assert "names none of the options" in explain("<answer>C</answer>", a_prompt("E")).why


@pytest.mark.parametrize(
    "completion",
    [
        "answer: " * 20000,
        "Answer: x\n" * 20000,
        "\u9009" * 20000,
        "<answer>" + "A , " * 240 + "x</answer>",
        "<answer>" + "so the answer is " * 58 + "</answer>",
        "<answer>" + "\\text{" * 150 + "C</answer>",
        "\\boxed{" * 20000,
    ],
)
def test_degenerate_completions_cost_little(completion):
    start = time.process_time()
    vote(completion, a_prompt())
    assert time.process_time() - start < 2
