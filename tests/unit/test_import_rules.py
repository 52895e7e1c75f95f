"""The two halves meet only in a directory: `pipeline` never imports the engines, `stages` never imports the driver."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import REPOSITORY

ENGINES = {"torch", "transformers", "vllm", "deepspeed"}
DRIVER = {"hydra", "omegaconf", "prefect", "pipeline"}


def imported_modules(path: Path, root: Path = REPOSITORY) -> set[str]:
    """Dotted names that a file imports anywhere in it, relative ones resolved, import_module("...") included."""
    package = path.relative_to(root).with_suffix("").parts[:-1]
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *([node.module] if node.module else [])))
            names.update(f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ("import_module", "__import__"):
                names.add(str(node.args[0].value))
    return names


def top(name: str) -> str:
    return name.split(".")[0]


LIGHT = (
    "stages.config",
    "stages.contract",
    "stages.data.file_selection",
    "stages.data.readers",
    "stages.data.rows",
    "stages.data.hub",
    "stages.kinds.evaluation.statistics",
    "stages.worlds.reasoning_gym.examples",
    "stages.worlds.reasoning_gym.families",
)  # pure: the driver reads the first rows of a file as a worker will


def is_light(name: str) -> bool:
    """A module of the stages that the driver may use, or a name from it."""
    return any(name == module or name.startswith(f"{module}.") for module in LIGHT)


def python_files(half: str) -> list[Path]:
    return sorted((REPOSITORY / half).rglob("*.py"))


def test_both_halves_are_there():
    assert python_files("pipeline") and python_files("stages")


@pytest.mark.parametrize("path", python_files("pipeline"), ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_driver_imports_no_engine_and_only_light_modules_of_the_stages(path):
    names = imported_modules(path)
    assert not {name for name in names if top(name) in ENGINES}
    assert not {name for name in names if top(name) == "stages" and not is_light(name)}


@pytest.mark.parametrize("path", python_files("stages"), ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_stages_import_nothing_of_the_driver(path):
    assert not {name for name in imported_modules(path) if top(name) in DRIVER}


def test_prefect_is_imported_in_its_room_only():
    users = {
        path for path in python_files("pipeline") if any(top(name) == "prefect" for name in imported_modules(path))
    }
    room = REPOSITORY / "pipeline" / "execution" / "prefect"
    assert users and {path.parent for path in users} == {room}, users


def loaded_by(code: str, cwd: Path = REPOSITORY) -> set[str]:
    """Top-level names of the modules loaded by a fresh interpreter that runs `code`."""
    report = (
        "\nimport json, sys; print('\\n' + json.dumps(sorted({name.split('.')[0] for name, "
        "module in sys.modules.items() if module})))"
    )
    done = subprocess.run([sys.executable, "-c", code + report], cwd=cwd, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_driver_loads_no_engine_and_no_prefect():
    assert not loaded_by("import pipeline, pipeline.__main__") & (ENGINES | {"prefect"})


def test_the_config_schema_is_light():
    assert not loaded_by("import stages.config") & (ENGINES | DRIVER | {"numpy", "datasets"})


def test_plan_loads_no_engine(tmp_path):
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['pipeline', 'plan', '+stage=all', 'runs_dir={tmp_path}']\n"
        "try: runpy.run_module('pipeline', run_name='__main__')\n"
        "except SystemExit as stop: assert not stop.code, stop.code"
    )
    assert not loaded_by(code) & (ENGINES | {"prefect"})


def test_the_rules_see_every_way_to_import(tmp_path):
    package = tmp_path / "stages" / "rewards"
    package.mkdir(parents=True)
    path = package / "sly.py"
    path.write_text(
        "import torch.nn as nn\nfrom .. import config\nfrom ..files import write\nfrom hydra import main\n"
        "def late():\n    import_module('prefect.flows')\n    from pipeline.plan import plan\n"
    )
    assert imported_modules(path, tmp_path) == {
        "torch.nn",
        "stages.config",
        "stages.files.write",
        "hydra.main",
        "prefect.flows",
        "pipeline.plan.plan",
    }
