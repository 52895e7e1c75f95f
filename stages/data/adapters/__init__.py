"""Adapters of published sets: for what the name of a column cannot say. Each is a function of a raw row to a raw row,
or to several.

An adapter returns columns by the names that its preset in conf/data/ maps; it raises `LeftOut(reason)` for rows that
are of no use (proofs, ties). A new one is a function in the file of its family, a row here, a preset and a file of a
few rows in tests/fixtures/data_schemas/.
"""

import importlib
from collections.abc import Callable

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


def adapter_of(name: str) -> Callable[[dict], dict | list[dict]] | None:
    """The function of an adapter's name; None for `none`."""
    if not ADAPTERS[name]:
        return None
    module, function = ADAPTERS[name].split(".")
    return getattr(importlib.import_module(f"stages.data.adapters.{module}"), function)
