"""Finds prompts whose reference their verifier cannot use, before any engine starts."""

from collections.abc import Sequence

from stages import judges
from stages.prompting.prompt import Prompt
from stages.rewards.grading import reference_problem_many


def unusable_references(prompts: Sequence[Prompt]) -> dict[int, str]:
    """Returns place -> why, for the reasoning prompts among `prompts` whose reference cannot be used.

    Other prompts are not graded against a reference.
    """
    places = [place for place, prompt in enumerate(prompts) if prompt.domain == "reasoning"]
    problems = reference_problem_many([prompts[place] for place in places])
    return {place: problem for place, problem in zip(places, problems) if problem}


def require_judge_of(prompts: Sequence[Prompt]) -> None:
    """Checks the stage's judge where rows name the verifier `judge` themselves.

    Outside of a stage no judge is set up, and nothing is checked.

    Raises:
        InputError: the judge cannot be reached, or does not take such prompts; the rows are not at fault.
    """
    judged = next((prompt for prompt in prompts if prompt.domain == "reasoning" and prompt.verifier == "judge"), None)
    if judged and judges.has_stage():
        judges.require_judge(judged)
