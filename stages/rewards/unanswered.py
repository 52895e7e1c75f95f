"""Why completions have no answer that can be read: counts, and the one sentence and the key that follow from them."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from stages.prompting.prompt import Prompt
from stages.rewards.grading import vote_many
from stages.text.answers import extract_answer
from stages.text.completion import is_well_formed

WITHOUT_VOTE = ("code", "instructions", "judge")  # verifiers that read any text, and so never lack an answer

# What can be wrong with a completion whose answer nobody can read, in the order in which it is looked for.
WORDS = {
    "cut": "were cut at the length limit",
    "unformed": "give an answer, but not in the form <think>..</think><answer>..</answer>, which counts here",
    "unreadable": "give an answer that the verifier cannot read",
    "plain": "hold the right answer as plain text, in no <answer> tags and no \\boxed{}",
    "absent": "have neither <answer> tags nor \\boxed{}",
}


@dataclass(frozen=True)
class Answered:
    """A completion, its prompt, and whether an answer was read from it."""

    completion: str
    prompt: Prompt
    is_truncated: bool
    is_answered: bool


@dataclass(frozen=True)
class Keys:
    """The keys that a remedy names."""

    template: str  # as stages.r1_zero.data.template
    max_tokens: str
    verifier: str = "data.verifier"


@dataclass(frozen=True)
class Diagnosis:
    """What is said of completions without an answer."""

    num_unanswered: int
    total: int
    why: str  # the counts of what is wrong with them, and the likely reason
    advice: str  # what to do, with the key

    @property
    def message(self) -> str:
        """The whole as a sentence."""
        if not self.num_unanswered:
            return f"all {self.total} completions have a readable answer"
        return f"{self.num_unanswered} of {self.total} completions have no readable answer: {self.why}"

    @property
    def share(self) -> float:
        """The share of completions without a readable answer."""
        return self.num_unanswered / self.total if self.total else 0.0


def asks_for_form(prompt: str) -> bool:
    """Returns whether a prompt, as the model sees it, asks for <answer> tags or a box, or shows them."""
    return "<answer>" in prompt or "boxed" in prompt


def with_votes(completions: Sequence[tuple[str, Prompt, bool]], needs_format: bool) -> list[Answered]:
    """Finds out which completions have an answer: one that the verifier can read.

    Args:
        completions: each with its prompt, and whether it was cut.
        needs_format: whether an answer counts only in a well-formed completion.
    """
    votes = vote_many([(text, prompt) for text, prompt, _ in completions])
    found = []
    for (text, prompt, is_cut), vote in zip(completions, votes):
        is_read = vote is not None or prompt.verifier in WITHOUT_VOTE
        found.append(Answered(text, prompt, is_cut, is_read and (is_well_formed(text) or not needs_format)))
    return found


def diagnose(found: Sequence[Answered], asks: bool, template: str, needs_format: bool, keys: Keys) -> Diagnosis:
    """Says how many completions have no readable answer, and why that is likely so.

    Args:
        found: the completions.
        asks: whether the prompts as the model sees them ask for <answer> tags or a box.
        template: of the prompts, for the message.
        needs_format: whether an answer counts only in a well-formed completion.
        keys: that the advice names.
    """
    counts = Counter(_what_is_wrong(one, needs_format) for one in found if not one.is_answered)
    unanswered = counts.total()
    if not unanswered:
        return Diagnosis(0, len(found), "", "")
    listed = ", ".join(f"{counts[name]} {words}" for name, words in WORDS.items() if counts[name])
    reason, advice = _remedy(counts, asks, template, keys)
    return Diagnosis(unanswered, len(found), f"{listed}; {reason}", advice)


def _what_is_wrong(one: Answered, needs_format: bool) -> str:
    """The key of WORDS for a completion without a readable answer."""
    answer = extract_answer(one.completion)
    if one.is_truncated and answer is None:
        return "cut"
    if answer is not None:
        return "unformed" if needs_format and not is_well_formed(one.completion) else "unreadable"
    return "plain" if _holds(one.completion, one.prompt.answer) else "absent"


def _holds(text: str, answer: str) -> bool:
    """Whether a text holds an answer as a word or number of its own."""
    wanted = answer.strip()
    return bool(wanted) and re.search(rf"(?<![\w.]){re.escape(wanted)}(?![\w]|\.\d)", text) is not None


def _remedy(counts: Counter[str], asks: bool, template: str, keys: Keys) -> tuple[str, str]:
    """The likely reason in words, and what to do about it."""
    without_form = counts["unformed"] + counts["plain"] + counts["absent"]
    most = max((counts["cut"], "cut"), (counts["unreadable"], "unreadable"), (without_form, "form"))[1]
    if most == "cut":
        also, key = ("", "") if asks else _not_asked(template, keys)
        return f"likely the limit is too low, or the model repeats itself{also}", f"raise {keys.max_tokens}{key}"
    if most == "unreadable":
        return (
            "likely the verifier is for other answers than these",
            f"check {keys.verifier} (integer reads whole numbers, math reads formulas, exact compares text)",
        )
    if not asks:
        return (
            f"likely because nothing asks for the tags: the template {template} does not",
            f"set {keys.template}=r1_zero, or ask for <think>..</think><answer>..</answer> in the prompts or in the "
            "chat template",
        )
    return (
        f"the template {template} asks for the tags, but this model does not follow",
        "start from a model that was fine-tuned on the form (the stage cold_start, with your own traces in "
        "stages.cold_start.traces.path), or from a larger one",
    )


def _not_asked(template: str, keys: Keys) -> tuple[str, str]:
    """What to add where completions are cut, and nothing asks for the tags either."""
    return f"; the template {template} does not ask for the tags either", f", and set {keys.template}=r1_zero"
