"""Verifier `judge`: a judge compares the final answer with the reference [V2 B.3.3, Listing 4].

It is for prompts that no rule can check. A verdict that cannot be read is a grade of 0 with that reason, never a guess;
so is a call that fails while the judge can be reached. Where the judge cannot be reached, the stage stops before
anything is learned from the missing grades, and the same command continues it.
"""

from stages.judges import Judged, JudgeUnavailable, current_judge, has_stage
from stages.prompting.prompt import Prompt
from stages.rewards.grading import Explanation, Grade, GraderAway, Pair
from stages.runtime.errors import InputError
from stages.runtime.seeds import seed_for
from stages.text.answers import extract_answer
from stages.text.completion import summary_of


def grade(completion: str, prompt: Prompt) -> float:
    """Returns 1 where the judge finds the final answer right, else 0."""
    return grade_many([(completion, prompt)])[0].value


def grade_many(pairs: list[Pair]) -> list[Grade]:
    """Grades a batch, judge.concurrency calls at a time; raises GraderAway where the judge cannot be reached."""
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
    """Returns what the judge is asked; with a temperature above 0 its seed gives each completion draws of its own."""
    return Judged(prompt, completion, seed_for("judge", prompt.id, completion))


def vote(completion: str, prompt: Prompt) -> str | None:
    """Returns the answer's text in lower case; the same answer in other words is another vote."""
    return " ".join(_answer_of(completion).split()).casefold() or None


def reference_problem(prompt: Prompt) -> str | None:
    """Returns why the reference cannot be used, as `reference_problem_many` does for several."""
    return reference_problem_many([prompt])[0]


def reference_problem_many(prompts: list[Prompt]) -> list[str | None]:
    """Returns for each prompt why it cannot be judged: no reference, or the stage's judge does not take such prompts.

    Outside of a stage, where no judge is set up, only the reference is looked at.
    """
    judge = current_judge() if has_stage() else None
    problems: list[str | None] = []
    for prompt in prompts:
        if not prompt.answer.strip():
            problems.append("the answer is empty")
        else:
            problems.append(judge.prompt_problem(prompt) if judge else None)
    return problems


def explain(completion: str, prompt: Prompt) -> Explanation:
    """Says what the judge was shown, and what it found."""
    reference, answer = prompt.answer.strip() or None, _answer_of(completion).strip() or None
    if reference is None:
        return Explanation(None, answer, "The reference is empty.")
    if answer is None:
        return Explanation(reference, None, "The completion has no final answer.")
    (given,) = grade_many([(completion, prompt)])
    if given.error:
        return Explanation(reference, answer, f"The judge gave no verdict: {given.error}.")
    verdict = "agrees" if given.value == 1 else "does not agree"
    return Explanation(reference, answer, f"The judge finds that the answer {verdict} with the reference.")


def _answer_of(completion: str) -> str:
    """Returns the final answer, or what follows the thought where none is marked."""
    answer = extract_answer(completion)
    return answer if answer is not None else summary_of(completion)
