"""`data inspect|prepare|fetch`: the configuration is composed here, the rows are read in a child process; the driver
loads no engine.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from pipeline.configuration import compose, spelling
from pipeline.errors import InvalidConfig, MissingInput, StageFailed, StageInterrupted
from pipeline.paths import REPOSITORY
from pipeline.planning import models
from stages.config import to_dict

ACTIONS = ("inspect", "prepare", "fetch")
EXIT_BAD_INPUT = 64


def main(arguments: list[str]) -> int:
    """`data ACTION [key=value ...]`. Raises InvalidConfig, MissingInput, StageFailed or StageInterrupted."""
    action = arguments[0] if arguments else ""
    if action not in ACTIONS:
        raise InvalidConfig(
            [f"data {action}".strip() + f": choose one of {', '.join(ACTIONS)}, e.g. data inspect data.path=FILE"]
        )
    config = compose.compose_config(spelling.rewrite(arguments[1:]))
    model_dir = (
        str(models.locate(config.model.path, config.model.revision))
        if config.model.path and action != "fetch"
        else None
    )
    output = str(Path(config.prepare.output).expanduser().resolve())
    given = {
        "data": to_dict(config.data),
        "prepare": {**to_dict(config.prepare), "output": output},
        "rollout": to_dict(config.rollout),
        "sandbox": to_dict(config.sandbox),
        "seed": config.seed,
        "model_dir": model_dir,
    }
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "config.json"
        path.write_text(json.dumps(given, ensure_ascii=False), encoding="utf-8")
        return _run([sys.executable, "-m", "stages.data", action, str(path)])


def _run(command: list[str]) -> int:
    python_path = os.pathsep.join(part for part in (str(REPOSITORY), os.environ.get("PYTHONPATH", "")) if part)
    child = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": python_path}, stderr=subprocess.PIPE, text=True)
    try:
        last = ""
        for line in child.stderr:
            if line.startswith("error: "):
                last = line.removeprefix("error: ").strip()
            else:
                print(line, end="", file=sys.stderr, flush=True)
        child.wait()
    except KeyboardInterrupt:
        child.wait()
        raise StageInterrupted(
            "interrupted; pass rates that were measured are kept", "the same command again"
        ) from None
    if child.returncode == EXIT_BAD_INPUT:
        raise MissingInput(last or "the data cannot be used", "change the key that the message names, or the data")
    if child.returncode:
        raise StageFailed(f"the data process ended with exit code {child.returncode}", "its message stands above")
    return 0
