"""Problems with a prompt for each of their k samples, and how a set of them is sampled and measured."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from stages.config import EvaluateConfig, SuiteConfig
from stages.data import cells
from stages.kinds.evaluation.ratings import Contest
from stages.kinds.evaluation.rows import read_rows
from stages.kinds.evaluation.suites import LOADERS
from stages.prompting.prompt import Prompt
from stages.rewards.grading import reference_problem_many

SHOWN = 5


@dataclass(frozen=True)
class Problem:
    """A problem with one prompt for each sample: the same k times, or with the choices in another order."""

    id: str
    prompts: tuple[Prompt, ...]
    level: str = ""  # difficulty, where the rows have one
    place: tuple[str, str] = ("", "")  # (contest, index) of a contest problem


@dataclass(frozen=True)
class ProblemSet:
    """A set of problems as results.json names it; `measure` decides its metrics (see results.py)."""

    name: str
    problems: list[Problem]
    suite: SuiteConfig
    measure: str = "verifiable"
    contests: dict[str, Contest] = field(default_factory=dict)
    suite_name: str = ""  # the suite that it belongs to

    @property
    def num_samples(self) -> int:
        """k, the samples of each problem."""
        return self.suite.samples_per_prompt


def load_sets(config: EvaluateConfig, seed: int) -> list[ProblemSet]:
    """Loads the sets of all suites of a configuration, in order.

    Raises:
        ValueError: Rows cannot be used; the message says where in the file they stand.
    """
    sets = []
    for name, suite in suites_of(config).items():
        module = importlib.import_module(LOADERS[suite.loader])
        found = module.problem_sets(name, suite, config, seed)
        sets += [replace(one, suite_name=name) for one in found if one.problems]
    return sets


def suites_of(config: EvaluateConfig) -> dict[str, SuiteConfig]:
    """The chosen suites.

    Where none is chosen: the held-out prompts of the run's own data, sampled as the stage's keys say.
    """
    if config.suites:
        return {name: config.settings[name] for name in config.suites}
    return {
        "own": SuiteConfig(
            loader="own",
            samples_per_prompt=config.samples_per_prompt,
            temperature=config.rollout.temperature,
            top_p=config.rollout.top_p,
            max_completion_tokens=config.max_completion_tokens,
            template="data",
            needs_format=True,
        )
    }


def problems_from(name: str, suite: SuiteConfig, make: Callable[[str, dict], Problem | None]) -> list[Problem]:
    """Makes the problems of a suite from its rows.

    Args:
        name: The suite.
        suite: Where its rows are and how many problems are wanted.
        make: Gives the problem of (id, row), or None for a row that is left out. It raises KeyError or ValueError for
            a row that is not of the published schema.

    Raises:
        ValueError: Rows cannot be used, or there is no problem; the message has the first mistakes with their places.
    """
    problems: list[Problem] = []
    places: list[str] = []
    mistakes: list[str] = []
    for number, (where, row) in enumerate(read_rows(name, suite)):
        try:
            problem = make(f"{name}-{number:05d}", row)
        except KeyError as error:
            mistakes.append(f"{where}: no column {error}; it has {', '.join(row) or 'none'}")
            continue
        except (ValueError, TypeError, IndexError, AttributeError) as error:
            mistakes.append(f"{where}: {error}")
            continue
        if problem is not None:
            problems.append(problem)
            places.append(where)
        if len(problems) == suite.num_problems:
            break
    unreadable = reference_problem_many([problem.prompts[0] for problem in problems])
    mistakes += [f"{where}: {why}" for where, why in zip(places, unreadable) if why]
    if mistakes:
        more = f" ... and {len(mistakes) - SHOWN} more" if len(mistakes) > SHOWN else ""
        raise ValueError(
            f"eval.{name}: {len(mistakes)} rows cannot be used: {'; '.join(mistakes[:SHOWN])}{more}. "
            f"The schema is in conf/eval/{name}.yaml; mend the file or name another with eval.{name}.path=FILE"
        )
    if not problems:
        raise ValueError(
            f"eval.{name}: there is no problem in it: name another file with eval.{name}.path=FILE, "
            f"or leave {name} out of the suites"
        )
    return problems


def text_of(row: dict, *columns: str) -> str:
    """The text of the first of these columns that the row has: published copies of a data set name them differently.

    Raises:
        KeyError: The row has none of the columns.
        ValueError: The column is empty, or holds no text or number.
    """
    column = next((name for name in columns if name in row), None)
    if column is None:
        raise KeyError(columns[0])
    text = "" if isinstance(row[column], (dict, list, bool)) else cells.text_of(row[column], f"column {column!r}")
    if not text:
        raise ValueError(f"column {column!r} is empty or not text")
    return text


def repeated(prompt: Prompt, suite: SuiteConfig) -> tuple[Prompt, ...]:
    """The same prompt for each sample."""
    return (prompt,) * suite.samples_per_prompt
