"""Verifier `judge`: a judge compares the final answer with the reference [V2 B.3.3, Listing 4], for prompts that no
rule can check.

A verdict that cannot be read is no right answer, with that reason, and never guessed; so is a call that fails while the
judge is there. A judge that is away stops the stage before anything is made of it, and the same command goes on from
there.
"""

from stages.judges import Judged, JudgeUnavailable, current_judge, is_served
from stages.prompting.prompt import Prompt
from stages.rewards.grading import Grade, GraderAway, Pair
from stages.runtime.errors import InputError
from stages.runtime.seeds import seed_for
from stages.text.answers import extract_answer
from stages.text.completion import summary_of


def grade(completion: str, prompt: Prompt) -> float:
    return grade_many([(completion, prompt)])[0].value


def grade_many(pairs: list[Pair]) -> list[Grade]:
    """All at once, as many calls at a time as judge.concurrency."""
    reasons: dict[int, str] = {}
    try:
        verdicts = current_judge().correct([judged(*pair) for pair in pairs], reasons)
    except (JudgeUnavailable, InputError) as error:
        raise GraderAway(
            f"{error}. Bring it back and give the same command again: it goes on with what is on the disk"
        ) from error
    return [
        Grade(0.0, f"judge: {reasons[i]}") if verdict is None else Grade(float(verdict))
        for i, verdict in enumerate(verdicts)
    ]


def judged(completion: str, prompt: Prompt) -> Judged:
    """What the judge is asked; where its temperature is above 0, each completion has draws of its own."""
    return Judged(prompt, completion, seed_for("judge", prompt.id, completion))


def vote(completion: str, prompt: Prompt) -> str | None:
    """The answer's text: answers in other words are other votes."""
    answer = extract_answer(completion)
    return " ".join((answer if answer is not None else summary_of(completion)).split()).casefold() or None


def problem(prompt: Prompt) -> str | None:
    return problem_many([prompt])[0]


def problem_many(prompts: list[Prompt]) -> list[str | None]:
    """Within a stage the judge is asked too whether it is there and knows such prompts: once for all of them, before
    any engine starts.
    """
    judge = current_judge() if is_served() else None
    return [
        "the answer is empty" if not prompt.answer.strip() else judge and judge.problem(prompt) for prompt in prompts
    ]
