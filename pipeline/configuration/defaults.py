"""The defaults of all keys as plain data for Hydra.

The sections that stages share (`data`, `judge`, `rollout`, `deepspeed`, `lora`, `health`, `sandbox`, `model`,
`student`) reach them by interpolation, key by key, so that any key can be overridden for one stage.
"""

from functools import cache
from typing import Any

import yaml

from pipeline.configuration.graph import STAGES
from pipeline.configuration.schema import RunConfig
from pipeline.paths import CONF_DIR
from stages.config import SuiteConfig, to_dict

SUITES_DIR = CONF_DIR / "eval"

# Top-level nodes that every stage that has a node of this name follows.
SHARED_NODES = ("data", "sandbox", "judge", "rollout", "deepspeed", "lora", "health")


@cache
def suite_files() -> dict[str, dict[str, Any]]:
    """The files of conf/eval/: the name of each suite, and the keys that it sets."""
    return {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(SUITES_DIR.glob("*.yaml"))}


def default_tree() -> dict[str, Any]:
    """The defaults of RunConfig; what stages share is an interpolation of the shared node."""
    tree = to_dict(RunConfig())
    tree["selected"] = dict.fromkeys(STAGES, False)
    tree["eval"] = {name: to_dict(SuiteConfig()) | choices for name, choices in suite_files().items()}
    for sampling in ("cold_start_data", "rejection_data", "evaluate"):
        tree["stages"][sampling]["precision"] = "${deepspeed.precision}"
    tree["prepare"]["precision"] = "${deepspeed.precision}"
    for name, stage in tree["stages"].items():
        for shared in SHARED_NODES:
            if shared in stage:
                stage[shared] = _references(shared, stage[shared])
        if "model" in stage:
            stage["model"] = _references("student" if name == "student_base" else "model", stage["model"])
        for key in ("template", "system", "examples"):
            if key in stage:
                stage[key] = f"${{data.{key}}}"
    return tree


def _references(node: str, keys: dict[str, Any]) -> dict[str, str]:
    """Each key as an interpolation of the same key of `node`."""
    return {key: f"${{{node}.{key}}}" for key in keys}
