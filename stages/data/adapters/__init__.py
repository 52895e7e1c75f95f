"""Adapters of published sets whose rows need more than the names of their columns.

An adapter is a function of a raw row that returns a raw row, or several, with the columns that its preset in conf/data/
names. It raises `LeftOut(reason)` for a row that is of no use (a proof, a tie). To add one, write the function in the
file of its family, its row in ADAPTERS, a preset and a file of a few rows in tests/fixtures/data_schemas/.
"""

import importlib
from collections.abc import Callable
from typing import Any

ADAPTERS: dict[str, str] = {
    "none": "",
    "gsm8k": "math.after_hashes",
    "boxed_solution": "math.boxed_solution",
    "numina_math_15": "math.numina_math_15",
    "dapo": "math.dapo",
    "apps": "code.apps",
    "code_contests": "code.code_contests",
    "codeforces": "code.codeforces",
    "mmlu_pro": "choices.mmlu_pro",
    "sciq": "choices.sciq",
    "gpqa": "choices.gpqa",
    "thoughts": "thoughts.thoughts",
    "open_thoughts": "thoughts.open_thoughts",
    "ultrafeedback": "preferences.ultrafeedback",
    "helpsteer2": "preferences.helpsteer2",
    "helpsteer3": "preferences.helpsteer3",
    "pku_preferences": "preferences.pku_preferences",
    "pku_labels": "preferences.pku_labels",
}


Adapter = Callable[[dict[str, Any]], dict[str, Any] | list[dict[str, Any]]]


def adapter_of(name: str) -> Adapter | None:
    """Returns the function of an adapter's name, or None for the name "none"."""
    if not ADAPTERS[name]:
        return None
    module, function = ADAPTERS[name].split(".")
    return getattr(importlib.import_module(f"stages.data.adapters.{module}"), function)
