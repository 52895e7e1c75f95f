"""The problem families of the reasoning-gym library (Stojanovski et al. 2025, arXiv 2505.24760): which there are, their
settings, their entries.

An entry is a question, a reference answer and metadata, drawn by the family's own generator from a seed; the family's
own grader scores answers. Generators are called here only, with Python's and NumPy's global generators put aside: some
draw from them, and no other stream may notice. The library is imported at the first use: only configurations that name
it pay for it.
"""

import contextlib
import dataclasses
import difflib
import json
import random
import threading
from functools import cache
from typing import Any

LIBRARY = "reasoning-gym 0.1"
EXCLUDED = {
    "composite": "a mixture of the others: name them in data.tasks, with data.task_weights",
    "game_of_life_halting": "its grader compares bool(answer) with bool('False'), so that any text is right",
}
NO_REFERENCE = (
    "graph_color",
    "rubiks_cube",
    "boxnet",
    "rush_hour",
    "propositional_logic",
)  # their graders check the rules; no answer is given
DRAWN_WHEN_MADE = (
    "acre",
    "gsm_symbolic",
    "list_functions",
    "survo",
)  # their generators draw, or fix their seed, when they are made
RESERVED_KEYS = ("seed", "size")

_LOCK = threading.RLock()


def problems(tasks: list[str], weights: list[float], configs: dict[str, dict[str, Any]]) -> list[str]:
    """What is wrong with the `tasks`, `task_weights` and `task_configs` of a data config, each a sentence that starts
    with the key.
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
    errors += [
        f"tasks names {task} twice: use task_weights"
        for task in sorted({task for task in tasks if tasks.count(task) > 1})
    ]
    if weights and (len(weights) != len(tasks) or min(weights) < 0 or sum(weights) <= 0):
        errors.append(
            f"task_weights must be one number of at least 0 for each of the {len(tasks)} tasks, not all 0, "
            f"got {list(weights)}"
        )
    for task, config in configs.items():
        errors += _config_problems(task, config) if task in known else [f"task_configs: {_unknown(task, known)}"]
    return errors


def _unknown(task: str, known: tuple[str, ...]) -> str:
    if task in EXCLUDED:
        return f"{task} cannot be used: {EXCLUDED[task]}"
    close = difflib.get_close_matches(task, known, n=1)
    return f"reasoning-gym has no family {task!r}" + (
        f"; did you mean {close[0]}?" if close else f"; it has {', '.join(known)}"
    )


def _config_problems(task: str, config: Any) -> list[str]:
    where, known = f"task_configs.{task}", defaults_of(task)
    if not isinstance(config, dict):
        return [f"{where}: expected a mapping of {', '.join(known)}, got {config!r}"]
    errors = []
    for key in config:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            errors.append(
                f"{where}.{key}: unknown key"
                + (f"; did you mean {close[0]}?" if close else f"; {task} has {', '.join(known)}")
            )
    if errors:
        return errors
    try:
        dataset(task, config)
    except (AssertionError, ValueError, TypeError) as error:
        return [f"{where}: {' '.join(str(error).split()) or 'refused by the family'} (its defaults: {known})"]
    return []


@cache
def usable() -> tuple[str, ...]:
    """The names of all families that can be used, sorted."""
    return tuple(sorted(set(_registry()) - set(EXCLUDED)))


@cache
def _registry() -> dict[str, tuple[type, type]]:
    with isolated_random(0):
        import reasoning_gym  # noqa: F401  (registers the families)
        from reasoning_gym.factory import DATASETS
    return DATASETS


def defaults_of(task: str) -> dict[str, Any]:
    """The settings of a family that a configuration may name, with their defaults."""
    config = _registry()[task][1]()
    return {
        spec.name: getattr(config, spec.name) for spec in dataclasses.fields(config) if spec.name not in RESERVED_KEYS
    }


@contextlib.contextmanager
def isolated_random(seed: int):
    """Python's global generator starts from `seed` inside, NumPy's from a fixed state, and both are afterwards what
    they were before.
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
def _numpy_start() -> tuple:
    import numpy

    return numpy.random.RandomState(0).get_state()  # seeding takes ten times as long as setting a state


def dataset(task: str, config: dict[str, Any]) -> Any:
    """The family's generator and grader with these settings. Raises what the family raises for settings that it
    refuses.
    """
    return _dataset(task, json.dumps(config, sort_keys=True))


@cache
def _dataset(task: str, config: str) -> Any:
    return _make(task, json.loads(config), 0)


def _make(task: str, config: dict[str, Any], seed: int) -> Any:
    known = defaults_of(task)
    settings = {
        key: tuple(value) if isinstance(value, list) and isinstance(known[key], tuple) else value
        for key, value in config.items()
    }
    with isolated_random(seed):
        from reasoning_gym import create_dataset

        return create_dataset(task, seed=seed, size=1, **settings)


def draw(task: str, config: dict[str, Any], seed: int) -> dict[str, Any]:
    """The entry of a family for a seed in 0..2**31-1: a pure function of its arguments.

    A generator is made once and given another seed for each entry: making some of them reads large files.
    """
    if task in DRAWN_WHEN_MADE:
        return _make(task, config, seed)[0]
    maker = dataset(task, config)
    with isolated_random(seed):
        maker.seed = seed
        return maker[0]


def identity(task: str, entry: dict[str, Any]) -> str:
    """What makes two entries the same problem: the question, and for symmetric families what is asked about in any
    order.
    """
    if task in ("gcd", "lcm"):
        return f"{task}/{sorted(entry['metadata']['numbers'])}"
    return f"{task}/{' '.join(entry['question'].split())}"
