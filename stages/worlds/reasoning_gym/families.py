"""The problem families of the reasoning-gym library (Stojanovski et al. 2025, arXiv 2505.24760).

An entry is a question, a reference answer and metadata, which the family's own generator draws from a seed; the
family's own grader scores answers. Some generators draw from Python's and NumPy's global random generators. They are
called only here, inside `isolated_random`, so that no other stream of random numbers changes. The library is imported
at its first use, so that only configurations that name it wait for that.
"""

import contextlib
import dataclasses
import difflib
import json
import random
import threading
from collections.abc import Iterator
from functools import cache
from typing import Any

LIBRARY = "reasoning-gym 0.1"
EXCLUDED = {
    "composite": "a mixture of the others: name them in data.tasks, with data.task_weights",
    "game_of_life_halting": "its grader compares bool(answer) with bool('False'), so that any text is right",
}
# Families without a reference answer: their graders check an answer by the rules of the problem.
NO_REFERENCE = ("graph_color", "rubiks_cube", "boxnet", "rush_hour", "propositional_logic")
# Families whose generators draw, or fix their seed, when they are constructed.
DRAWN_WHEN_MADE = ("acre", "gsm_symbolic", "list_functions", "survo")
RESERVED_KEYS = ("seed", "size")

_LOCK = threading.RLock()


def config_mistakes(tasks: list[str], weights: list[float], configs: dict[str, dict[str, Any]]) -> list[str]:
    """Checks the families that a data configuration names, and their settings.

    Args:
        tasks: `data.tasks`, names of families.
        weights: `data.task_weights`, one number for each task, or none.
        configs: `data.task_configs`, settings by family.

    Returns:
        Every mistake, as a sentence that begins with its key.
    """
    try:
        known = usable()
    except ImportError as error:
        return [
            f"name=reasoning_gym needs the package reasoning-gym, which cannot be imported ({error}): "
            "pip install 'r1-recipe[gym]'"
        ]
    if not tasks:
        return ["tasks is empty: name families of reasoning-gym, as data.tasks=[countdown,chain_sum]"]
    errors = [f"tasks: {_unknown(task, known)}" for task in tasks if task not in known]
    repeated = sorted({task for task in tasks if tasks.count(task) > 1})
    errors += [f"tasks names {task} twice: use task_weights" for task in repeated]
    if weights and (len(weights) != len(tasks) or min(weights) < 0 or sum(weights) <= 0):
        errors.append(
            f"task_weights must be one number of at least 0 for each of the {len(tasks)} tasks, not all 0, "
            f"got {list(weights)}"
        )
    for task, config in configs.items():
        errors += _settings_mistakes(task, config) if task in known else [f"task_configs: {_unknown(task, known)}"]
    return errors


def _unknown(task: str, known: tuple[str, ...]) -> str:
    """Says why a family cannot be used, and which one may be meant."""
    if task in EXCLUDED:
        return f"{task} cannot be used: {EXCLUDED[task]}"
    close = difflib.get_close_matches(task, known, n=1)
    advice = f"did you mean {close[0]}?" if close else f"it has {', '.join(known)}"
    return f"reasoning-gym has no family {task!r}; {advice}"


def _settings_mistakes(task: str, config: Any) -> list[str]:
    """Returns what is wrong with the settings of one family."""
    where, known = f"task_configs.{task}", defaults_of(task)
    if not isinstance(config, dict):
        return [f"{where}: expected a mapping of {', '.join(known)}, got {config!r}"]
    errors = []
    for key in config:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            advice = f"did you mean {close[0]}?" if close else f"{task} has {', '.join(known)}"
            errors.append(f"{where}.{key}: unknown key; {advice}")
    if errors:
        return errors
    try:
        dataset(task, config)
    except (AssertionError, ValueError, TypeError) as error:
        return [f"{where}: {' '.join(str(error).split()) or 'refused by the family'} (its defaults: {known})"]
    return []


@cache
def usable() -> tuple[str, ...]:
    """Returns the names of all families that can be used, sorted."""
    return tuple(sorted(set(_registry()) - set(EXCLUDED)))


@cache
def _registry() -> dict[str, tuple[type, type]]:
    """Returns the library's families: name -> (class of the dataset, class of its settings)."""
    with isolated_random(0):
        import reasoning_gym  # noqa: F401  (registers the families)
        from reasoning_gym.factory import DATASETS
    return DATASETS


def defaults_of(task: str) -> dict[str, Any]:
    """Returns the settings of a family that a configuration may name, with their defaults."""
    config = _registry()[task][1]()
    return {
        spec.name: getattr(config, spec.name) for spec in dataclasses.fields(config) if spec.name not in RESERVED_KEYS
    }


@contextlib.contextmanager
def isolated_random(seed: int) -> Iterator[None]:
    """Seeds Python's global random generator inside the block and restores it, and NumPy's, afterwards.

    Inside, Python's generator starts from `seed` and NumPy's from a fixed state. One thread at a time can be inside.
    """
    import numpy

    with _LOCK:
        before, numpy_before = random.getstate(), numpy.random.get_state()
        random.seed(seed)
        numpy.random.set_state(_numpy_start())
        try:
            yield
        finally:
            random.setstate(before)
            numpy.random.set_state(numpy_before)


@cache
def _numpy_start() -> Any:
    """Returns NumPy's state for seed 0; setting a state is ten times as fast as seeding."""
    import numpy

    return numpy.random.RandomState(0).get_state()


def dataset(task: str, config: dict[str, Any]) -> Any:
    """Returns a family's dataset with these settings, which is its generator and its grader; it is made once.

    Raises whatever the family raises for settings that it refuses (AssertionError, ValueError or TypeError).
    """
    return _dataset(task, json.dumps(config, sort_keys=True))


@cache
def _dataset(task: str, config: str) -> Any:
    return _make(task, json.loads(config), 0)


def _make(task: str, config: dict[str, Any], seed: int) -> Any:
    """Constructs a family's dataset of one entry; lists become tuples where the family's default is a tuple."""
    known = defaults_of(task)
    settings = {
        key: tuple(value) if isinstance(value, list) and isinstance(known[key], tuple) else value
        for key, value in config.items()
    }
    with isolated_random(seed):
        from reasoning_gym import create_dataset

        return create_dataset(task, seed=seed, size=1, **settings)


def draw(task: str, config: dict[str, Any], seed: int) -> dict[str, Any]:
    """Draws the entry of a family for a seed in 0..2**31-1, a pure function of its arguments.

    The generator is made once and gets another seed for each entry, because making some of them reads large files.
    """
    if task in DRAWN_WHEN_MADE:
        return _make(task, config, seed)[0]
    maker = dataset(task, config)
    with isolated_random(seed):
        maker.seed = seed
        return maker[0]


def identity(task: str, entry: dict[str, Any]) -> str:
    """Returns a key that is the same for entries that are the same problem.

    It is the question; for symmetric families (gcd, lcm) the numbers in any order.
    """
    if task in ("gcd", "lcm"):
        return f"{task}/{sorted(entry['metadata']['numbers'])}"
    return f"{task}/{' '.join(entry['question'].split())}"
