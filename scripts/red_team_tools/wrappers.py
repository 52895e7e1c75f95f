"""What can stand around an answer without making it right: boxes, formulas, fences, sentences, tags."""

from random import Random

ANSWER_WRAPPERS = (
    "{}",
    "{}",
    "{}",
    "${}$",
    "$${}$$",
    "\\({}\\)",
    "\\[{}\\]",
    "\\boxed{{{}}}",
    "$\\boxed{{{}}}$",
    "\\fbox{{{}}}",
    "\\boxed{{${}$}}",
    "\\boxed{{\\text{{{}}}}}",
    "\\text{{{}}}",
    "\\mathrm{{{}}}",
    "\\mathbf{{{}}}",
    "**{}**",
    "*{}*",
    "`{}`",
    "```\n{}\n```",
    "```text\n{}\n```",
    "The answer is {}.",
    "Answer: {}",
    "Final answer: ${}$",
    "{}.",
    " {} \n",
    "\n\n{}\n",
    "The final answer is $\\boxed{{{}}}$.",
    "\\displaystyle {}",
    "\\left({}\\right)",
    "{{{}}}",
    "<b>{}</b>",
    "\u7b54\u6848\u662f{}",
    "\u7b54\u6848\uff1a{}",
    "Die Antwort ist {}",
    "La r\u00e9ponse est {}",
    "\u041e\u0442\u0432\u0435\u0442: {}",
    "\u200b{}\u200b",
    "\ufeff{}",
    "\u00a0{}\u00a0",
    "\u2062{}",
    "\\,{}\\;",
    "So it is {}",
    "I am sure that it is {}",
    "Therefore, {}",
    "\u201c{}\u201d",
    "'{}'",
)
# v is a text with the right answer, a the wrong one: only the last answer counts.
COMPLETIONS = (
    "<think></think><answer>{a}</answer>",
    "<think></think><answer>{a}</answer>",
    "<think>hm</think>\n<answer>{a}</answer>",
    "<think>It is {v}.</think><answer>{a}</answer>",
    "<think>so \\boxed{{{v}}}</think><answer>{a}</answer>",
    "<think><answer>{v}</answer></think><answer>{a}</answer>",
    "<think></think><answer>{v}</answer><answer>{a}</answer>",
    "<think></think><answer>{v}</answer> No. <answer>{a}</answer>",
    "<think></think><answer>{a}</answer> or {v}",
    "<think></think><answer>{a}</answer>\n\\boxed{{{v}}}",
    "<answer>{a}</answer>",
    "The answer is {v}. <answer>{a}</answer>",
    "<think></think>\\boxed{{{v}}} <answer>{a}</answer>",
)
INVISIBLE = "\u200b\u200c\u200d\u2060\u2062\ufeff\u00ad\u200e\ufe0f"


def wrapped(answer: str, draw: Random) -> str:
    """Returns the answer in up to two wrappers."""
    for _ in range(draw.choice((0, 1, 1, 1, 2))):
        answer = draw.choice(ANSWER_WRAPPERS).format(answer)
    return answer


def with_invisible(answer: str, draw: Random) -> str:
    """Returns the answer with a character between its characters that nobody sees, in one of ten answers."""
    if draw.random() < 0.9 or not answer:
        return answer
    place = draw.randrange(len(answer) + 1)
    return answer[:place] + draw.choice(INVISIBLE) + answer[place:]


def completion(answer: str, right: str, draw: Random) -> str:
    """Returns a completion whose last answer is the given one."""
    return draw.choice(COMPLETIONS).format(a=answer, v=right)
