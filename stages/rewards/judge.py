"""Verifier `judge`: a judge compares the final answer with the reference [V2 B.3.3, Listing 4], for prompts that no rule can check.

A verdict that cannot be read is no right answer, with that reason, and never guessed; a judge that cannot be reached is a grader's error.
"""
from stages.judges import Judged, current_judge, is_served
from stages.prompt import Prompt
from stages.rewards.answers import extract_answer
from stages.rewards.format import summary_of
from stages.rewards.verifiers import Grade, Pair

UNREAD = Grade(0.0, "judge: its verdict could not be read")


def grade(completion: str, prompt: Prompt) -> float:
    return grade_many([(completion, prompt)])[0].value


def grade_many(pairs: list[Pair]) -> list[Grade]:
    """All at once, as many calls at a time as judge.concurrency."""
    verdicts = current_judge().correct([Judged(prompt, completion) for completion, prompt in pairs])
    return [UNREAD if verdict is None else Grade(float(verdict)) for verdict in verdicts]


def vote(completion: str, prompt: Prompt) -> str | None:
    """The answer's text: answers in other words are other votes."""
    answer = extract_answer(completion)
    return " ".join((answer if answer is not None else summary_of(completion)).split()).casefold() or None


def problem(prompt: Prompt) -> str | None:
    return problem_many([prompt])[0]


def problem_many(prompts: list[Prompt]) -> list[str | None]:
    """Within a stage the judge is asked too whether it is there and knows such prompts: once for all of them, before any engine starts."""
    judge = current_judge() if is_served() else None
    return ["the answer is empty" if not prompt.answer.strip() else judge and judge.problem(prompt) for prompt in prompts]
