"""The held-out prompts of the run's own data, which no stage trains on.

They come from the tiny world, from generated tasks, or from each source of the user's files. General prompts that are
added to the data (data.general) make two sets more.
"""

import dataclasses

from stages.config import EvaluateConfig, SuiteConfig
from stages.data.prompt_sources import evaluation_sets
from stages.kinds.evaluation.problems import Problem, ProblemSet, repeated
from stages.kinds.evaluation.suites import tiny

MEASURES = {"english_general": "general", "english_safety": "safety"}


def problem_sets(name: str, suite: SuiteConfig, config: EvaluateConfig, seed: int) -> list[ProblemSet]:
    """The suite as sets of problems."""
    if config.data.name == "tiny_world":
        return tiny.problem_sets(name, suite, config, seed)
    general = dataclasses.replace(suite, samples_per_prompt=config.general_samples_per_prompt)
    sets = []
    for set_name, prompts in evaluation_sets(
        config.data, config.num_reasoning, config.num_general, config.num_safety
    ).items():
        own = general if set_name in MEASURES else suite
        problems = [Problem(prompt.id, repeated(prompt, own)) for prompt in prompts]
        sets.append(ProblemSet(set_name, problems, own, MEASURES.get(set_name, "verifiable")))
    return sets
