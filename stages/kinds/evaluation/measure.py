"""Measures one finished sample: is it right, what did it answer, how long was it, in which language did it think."""

from collections.abc import Sequence
from dataclasses import dataclass

from stages.prompting.prompt import Prompt
from stages.rewards.grading import grade_many, vote_many
from stages.text.completion import is_well_formed, summary_of, thought_of
from stages.text.language import language_consistency
from stages.text.reflection import count_reflections

JUDGED = ("is_correct", "is_rude", "is_polite", "refuses", "is_safe", "helpfulness")


@dataclass(frozen=True)
class FinishedSample:
    """Sample number `number` of a problem."""

    problem: str  # its id
    number: int
    prompt: Prompt
    completion: str  # with the opening <think> that a template wrote for it
    tokens: int
    thinking_tokens: int | None  # up to </think>; None where the completion has no thought
    is_truncated: bool


def measure_many(samples: Sequence[FinishedSample], needs_format: bool) -> list[dict]:
    """Makes a record for each sample; slow verifiers work on all of them at once.

    Args:
        samples: Finished samples.
        needs_format: An answer counts, and votes, only in a well-formed completion.
    """
    texts = {i: final_text(sample, needs_format) for i, sample in enumerate(samples) if sample.prompt.verifier}
    pairs = {i: (text, samples[i].prompt) for i, text in texts.items() if text is not None}
    asked = list(pairs.values())
    graded = dict(zip(pairs, zip(grade_many(asked), vote_many(asked))))
    records = []
    for i, sample in enumerate(samples):
        grade, vote = graded.get(i, (None, None))
        record = {
            "problem": sample.problem,
            "sample": sample.number,
            "answered": vote is not None or is_answered(sample.prompt, texts.get(i)),
            "correct": bool(grade and grade.value == 1),
            "score": grade.value if grade else 0.0,
            "vote": vote,
            "error": grade.error if grade else "",
        } | _text_measures(sample)
        if not sample.prompt.verifier:
            record |= judged(sample)
        records.append(record)
    return records


def final_text(sample: FinishedSample, needs_format: bool) -> str | None:
    """The text that is graded, None where no answer was given.

    It is the whole completion where its form is required, else what follows the thought.
    """
    if needs_format:
        return sample.completion if is_well_formed(sample.completion) else None
    if "<think>" in sample.completion and "</think>" not in sample.completion:
        return None  # still thinking
    return summary_of(sample.completion)


def is_answered(prompt: Prompt, text: str | None) -> bool:
    """Whether a text without a vote is an answer all the same: a program is one, and text that follows instructions."""
    return bool(text) and (prompt.verifier == "instructions" or (prompt.verifier == "code" and "```" in (text or "")))


def _text_measures(sample: FinishedSample) -> dict:
    """What every record says of the text, whatever its verifier."""
    return {
        "well_formed": is_well_formed(sample.completion),
        "tokens": sample.tokens,
        "thinking_tokens": sample.thinking_tokens,
        "truncated": sample.is_truncated,
        "reflects": count_reflections(sample.completion) > 0,
        "language": language_consistency(thought_of(sample.completion), sample.prompt.language),
    }


def judged(sample: FinishedSample) -> dict:
    """What the rules of a general or safety prompt's world say of the answer."""
    from stages.worlds.english import judge as english
    from stages.worlds.tiny_world import judge as tiny_world

    world = english if english.knows(sample.prompt) else tiny_world
    judgment = world.judge(sample.prompt, sample.completion)
    return {"correct": judgment.is_correct, "score": float(judgment.is_correct)} | {
        name: float(getattr(judgment, name)) for name in JUDGED
    }
