"""Mathematics: where the final answer stands inside a solution or a reward model's settings, and what wraps the
problem.
"""

import re

from stages.data.mapping import Bad, LeftOut

# The words that DAPO-Math-17k puts around each problem; our template says how to answer.
_DAPO_BEFORE = re.compile(
    r"^Solve the following math problem step by step\. The last line of your response should be of the form Answer: "
    r"\$?\\?\$?Answer.*?"
    r"(?:answer to the problem\.)\s*",
    re.DOTALL,
)
_DAPO_AFTER = re.compile(r"\s*Remember to put your answer on its own line after \"Answer:\"\.?\s*$")


def after_hashes(raw: dict) -> dict:
    """GSM8K: the answer column is a worked solution that ends in `#### 1,234`."""
    solution, found, answer = raw["answer"].rpartition("####")
    if not found or not answer.strip():
        raise Bad("no answer after ####", "the answer column does not end in '#### ANSWER'")
    return {**raw, "answer": answer.strip().replace(",", ""), "solution": re.sub(r"<<.*?>>", "", solution).strip()}


def boxed_solution(raw: dict) -> dict:
    """MATH and NuminaMath-CoT: the answer is what the last \\boxed of the solution holds."""
    answer = last_boxed(raw["solution"])
    if answer is None:
        raise LeftOut("no boxed answer in the solution")
    return {**raw, "answer": answer}


def numina_math_15(raw: dict) -> dict:
    """NuminaMath-1.5: proofs and rows whose answer was not found are of no use to a verifier."""
    answer = str(raw["answer"] or "").strip()
    if answer.lower() in ("", "proof", "notfound", "not found"):
        raise LeftOut("a proof, or no answer")
    if raw.get("problem_is_valid", "Yes") != "Yes" or raw.get("question_type") == "proof":
        raise LeftOut("marked as not valid or a proof")
    return {**raw, "answer": answer}


def dapo(raw: dict) -> dict:
    """DAPO-Math-17k: the prompt is a chat whose one message wraps the problem in instructions; the answer is the reward
    model's.
    """
    text = raw["prompt"] if isinstance(raw["prompt"], str) else raw["prompt"][-1]["content"]
    return {
        **raw,
        "prompt": _DAPO_AFTER.sub("", _DAPO_BEFORE.sub("", text)).strip(),
        "answer": raw["reward_model"]["ground_truth"],
    }


def last_boxed(text: str) -> str | None:
    """What the last \\boxed{...} or \\fbox{...} holds, braces matched; None where there is none or it is not closed.

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
