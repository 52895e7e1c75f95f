"""Multiple choice: the options go below the question, the reference is a letter. Where a set has the right one first, a
hash of the question orders them.
"""

import hashlib
import random

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def mmlu_pro(raw: dict) -> dict:
    """MMLU-Pro: `options` in their order and `answer` as a letter."""
    return {
        **raw,
        "prompt": ask(raw["question"], [option for option in raw["options"] if option != "N/A"]),
        "answer": raw["answer"].strip(),
    }


def sciq(raw: dict) -> dict:
    return shuffled(raw, raw["question"], raw["correct_answer"], [raw[f"distractor{number}"] for number in (1, 2, 3)])


def gpqa(raw: dict) -> dict:
    return shuffled(
        raw, raw["Question"], raw["Correct Answer"], [raw[f"Incorrect Answer {number}"] for number in (1, 2, 3)]
    )


def shuffled(raw: dict, question: str, right: str, wrong: list[str]) -> dict:
    options = [right.strip(), *(option.strip() for option in wrong)]
    random.Random(hashlib.sha256(question.encode()).hexdigest()).shuffle(options)
    return {**raw, "prompt": ask(question, options), "answer": LETTERS[options.index(right.strip())]}


def ask(question: str, options: list[str]) -> str:
    """
    >>> ask("Which is even?", ["1", "2"])
    'Which is even?\\n\\nA. 1\\nB. 2\\n\\nAnswer with the letter of the right option.'
    """
    lines = "\n".join(f"{letter}. {option.strip()}" for letter, option in zip(LETTERS, options))
    return f"{question.strip()}\n\n{lines}\n\nAnswer with the letter of the right option."
