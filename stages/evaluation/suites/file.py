"""The held-out rows of your own file (data.path, data.eval_fraction), never trained on."""
from stages.config import EvaluateConfig, SuiteConfig
from stages.evaluation.problems import Problem, ProblemSet, repeated
from stages.prompts import evaluation_sets


def problem_sets(name: str, suite: SuiteConfig, config: EvaluateConfig, seed: int) -> list[ProblemSet]:
    if config.data.name != "file" and not config.data.path:
        raise ValueError("eval=file evaluates on the held-out rows of your data: name it with data.path=FILE")
    prompts = evaluation_sets(config.data, config.num_reasoning, 0, 0)["file"]
    return [ProblemSet("file", [Problem(prompt.id, repeated(prompt, suite)) for prompt in prompts], suite)]
