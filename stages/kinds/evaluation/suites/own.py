"""The held-out prompts of the run's own data, which no stage trains on.

They come from the tiny world, from generated tasks, or from each source of the user's files.
"""

from stages.config import EvaluateConfig, SuiteConfig
from stages.data.prompt_sources import evaluation_sets
from stages.kinds.evaluation.problems import Problem, ProblemSet, repeated
from stages.kinds.evaluation.suites import tiny


def problem_sets(name: str, suite: SuiteConfig, config: EvaluateConfig, seed: int) -> list[ProblemSet]:
    """The suite as sets of problems."""
    if config.data.name == "tiny_world":
        return tiny.problem_sets(name, suite, config, seed)
    sets = evaluation_sets(config.data, config.num_reasoning, 0, 0)
    return [
        ProblemSet(set_name, [Problem(prompt.id, repeated(prompt, suite)) for prompt in prompts], suite)
        for set_name, prompts in sets.items()
    ]
