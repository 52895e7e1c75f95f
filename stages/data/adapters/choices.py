"""Multiple-choice sets: the options are written below the question, and the reference is a letter.

Where a set always has the right option in the same place, a hash of the question orders the options.
"""

import hashlib
import json
import random

from stages.data.malformed import LeftOut

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def mmlu_pro(raw: dict) -> dict:
    """Adapts MMLU-Pro, which has `options` in their order and the `answer` as a letter."""
    letter = raw["answer"].strip()
    named = [option for option in zip(LETTERS, raw["options"]) if option[1] != "N/A" or option[0] == letter]
    letters = [of_option for of_option, _ in named]
    if letter not in letters:
        raise LeftOut("no right option")
    return asked(raw, raw["question"], [text for _, text in named], letters.index(letter))


def sciq(raw: dict) -> dict:
    """Adapts SciQ, which has the right answer and three distractors in columns of their own."""
    return shuffled(raw, raw["question"], raw["correct_answer"], [raw[f"distractor{number}"] for number in (1, 2, 3)])


def gpqa(raw: dict) -> dict:
    """Adapts GPQA, which has the right answer and three wrong ones in columns of their own."""
    return shuffled(
        raw, raw["Question"], raw["Correct Answer"], [raw[f"Incorrect Answer {number}"] for number in (1, 2, 3)]
    )


def shuffled(raw: dict, question: str, right: str, wrong: list[str]) -> dict:
    """Returns the row with its options in an order that a hash of the question decides."""
    options = [right.strip(), *(option.strip() for option in wrong)]
    if options.count(right.strip()) > 1:
        raise LeftOut("a wrong option is the same as the right one")
    random.Random(hashlib.sha256(question.encode()).hexdigest()).shuffle(options)
    return asked(raw, question, options, options.index(right.strip()))


def asked(raw: dict, question: str, options: list[str], right: int) -> dict:
    """Returns the row with its prompt, the letter of the right option, and the options for the verifier."""
    checks = json.dumps({"options": [option.strip() for option in options]}, ensure_ascii=False)
    return {**raw, "prompt": ask(question, options), "answer": LETTERS[right], "checks": checks}


def ask(question: str, options: list[str]) -> str:
    """Writes a question with its lettered options and what to answer.

    >>> ask("Which is even?", ["1", "2"])
    'Which is even?\\n\\nA. 1\\nB. 2\\n\\nAnswer with the letter of the right option.'
    """
    lines = "\n".join(f"{letter}. {option.strip()}" for letter, option in zip(LETTERS, options))
    return f"{question.strip()}\n\n{lines}\n\nAnswer with the letter of the right option."
