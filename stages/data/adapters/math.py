"""Mathematics sets: the final answer is taken out of a solution, and instructions around the problem are removed."""

import re

from stages.data.cells import text_of
from stages.data.chats import chat_in, exchange
from stages.data.malformed import LeftOut, RowError

# The instructions that DAPO-Math-17k puts around each problem. They are removed: our template says how to answer.
_DAPO_BEFORE = re.compile(
    r"^Solve the following math problem step by step\. The last line of your response should be of the form Answer: "
    r"\$?\\?\$?Answer.*?"
    r"(?:answer to the problem\.)\s*",
    re.DOTALL,
)
_DAPO_AFTER = re.compile(r"\s*Remember to put your answer on its own line after \"Answer:\"\.?\s*$")


def after_hashes(raw: dict) -> dict:
    """Adapts GSM8K, whose answer column is a worked solution that ends in `#### 1,234`."""
    solution, found, answer = raw["answer"].rpartition("####")
    if not found or not answer.strip():
        raise RowError("no answer after ####", "the answer column does not end in '#### ANSWER'")
    return {**raw, "answer": answer.strip().replace(",", ""), "solution": re.sub(r"<<.*?>>", "", solution).strip()}


def boxed_solution(raw: dict) -> dict:
    """Adapts MATH and NuminaMath-CoT, whose answer is in the last \\boxed of the solution."""
    answer = last_boxed(raw["solution"])
    if answer is None:
        raise LeftOut("no boxed answer in the solution")
    return {**raw, "answer": answer}


def numina_math_15(raw: dict) -> dict:
    """Adapts NuminaMath-1.5; proofs and rows without an answer are left out, because no verifier can use them."""
    answer = text_of(raw["answer"], "answer")
    if answer.lower() in ("", "proof", "notfound", "not found"):
        raise LeftOut("a proof, or no answer")
    if raw.get("problem_is_valid", "Yes") != "Yes" or raw.get("question_type") == "proof":
        raise LeftOut("marked as not valid or a proof")
    return {**raw, "answer": answer}


def dapo(raw: dict) -> dict:
    """Adapts DAPO-Math-17k.

    Its prompt is a chat whose only message wraps the problem in instructions; the answer is in `reward_model`.
    """
    chat = chat_in(raw["prompt"], "prompt")
    text = raw["prompt"] if chat is None else exchange(chat)[0]
    return {
        **raw,
        "prompt": _DAPO_AFTER.sub("", _DAPO_BEFORE.sub("", text)).strip(),
        "answer": raw["reward_model"]["ground_truth"],
    }


def last_boxed(text: str) -> str | None:
    """Returns the content of the last \\boxed{...} or \\fbox{...}, or None where there is none or it is not closed.

    >>> last_boxed(r"so \\boxed{1} or rather \\boxed{\\frac{1}{2}}.")
    '\\\\frac{1}{2}'
    """
    start = max(text.rfind("\\boxed"), text.rfind("\\fbox"))
    if start < 0:
        return None
    bare = re.match(r"\\boxed\s+([^\s{}$]+)", text[start:])
    if bare:
        return bare[1]
    opening = text.find("{", start)
    depth = 0
    for place in range(opening, len(text) if opening >= 0 else opening):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[opening + 1 : place].strip() or None
    return None
