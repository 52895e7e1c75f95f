"""The command `models check`. What needs the weights happens in a child process, `stages.model_check`."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.markup import escape

from pipeline.commands.declaration import ARGUMENTS, declare, exit_codes, flag
from pipeline.configuration.model_directory import locate
from pipeline.errors import MissingInput, StageFailed
from pipeline.paths import REPOSITORY
from pipeline.planning.model_check import quick_findings
from pipeline.view.console import standard_console
from stages.contract.model_finding import ModelFinding

EXIT_UNUSABLE = 3
LINES_OF_A_FAILURE = 20
MARKS = {"ok": "[green]ok  [/]", "note": "[yellow]note[/]", "problem": "[red]FAIL[/]"}

check_app = declare(
    "check",
    "DIR [--quick] [--gpu] [--json]",
    {
        "r1 models check ~/models/Qwen2.5-0.5B": "everything, engines included: about a minute on a CPU",
        "r1 models check DIR --quick": "what the files alone tell, as `plan` does",
        "r1 models check runs/tiny/r1_zero/latest/model --json": "for programs",
    },
    exit_codes(0, 2, 3) | {4: "the process that loads the model failed"},
    parent="r1 models",
)


@check_app.default
def check(
    directory: Annotated[str, Parameter(name="DIR", group=ARGUMENTS)],
    *,
    is_quick: Annotated[bool, flag("--quick")] = False,
    on_gpu: Annotated[bool, flag("--gpu")] = False,
    as_json: Annotated[bool, flag("--json")] = False,
) -> int:
    """Say what a model directory is, and whether the recipe can use it.

    Family, parameters, precision, context, special tokens, what ends a turn, the chat template; whether its weights are
    whole; whether training computes the model's own logits, padded and packed; which engines can sample from it and
    take its weights. Each line is ok, a note about what the recipe does without, or FAIL with the reason.

    Args:
        directory: A model directory, a stage's directory, or OWNER/NAME of the hub's cache.
        is_quick: Read no weights and start no engine.
        on_gpu: Use a GPU, in bf16; by default none is touched.
        as_json: Print one JSON object, and nothing else.
    """
    path = Path(directory).expanduser()
    path = _locate(str(path / "model") if (path / "model" / "config.json").is_file() else directory)
    findings: list[ModelFinding] = []
    if not as_json:
        standard_console().print(f"{path}", highlight=False, markup=False)
    for finding in _findings(path, is_quick, on_gpu):
        findings.append(finding)
        if not as_json:
            line = f"  {MARKS[finding.level]} {finding.name:<12} {escape(finding.text)}"
            standard_console().print(line, highlight=False, soft_wrap=True)
    is_usable = all(finding.level != "problem" for finding in findings)
    if as_json:
        found = [asdict(finding) for finding in findings]
        print(json.dumps({"directory": str(path), "is_usable": is_usable, "findings": found}, ensure_ascii=False))
    return 0 if is_usable else EXIT_UNUSABLE


def _locate(directory: str) -> Path:
    """The directory of a model. Raises MissingInput where there is none."""
    try:
        return locate(directory, None)
    except MissingInput as error:
        message, fix = str(error).removeprefix("model.path "), error.fix.replace("model.path=DIRECTORY", "DIR")
        raise MissingInput(message, fix) from None


def _findings(path: Path, is_quick: bool, on_gpu: bool) -> Iterator[ModelFinding]:
    """What the files tell; then, where nothing is wrong with them, what a child process finds."""
    quick = quick_findings(path)
    yield from quick
    if not is_quick and all(finding.level != "problem" for finding in quick):
        yield from _from_worker(path, on_gpu)


def _from_worker(path: Path, on_gpu: bool) -> Iterator[ModelFinding]:
    """What `python -m stages.model_check` writes, line by line."""
    python_path = os.pathsep.join(part for part in (str(REPOSITORY), os.environ.get("PYTHONPATH", "")) if part)
    environment = {**os.environ, "PYTHONPATH": python_path}
    if not on_gpu:
        environment |= {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", "stages.model_check", str(path), *(["--gpu"] if on_gpu else [])]
    with tempfile.TemporaryFile("w+") as complaints:  # engines say much that is of no use here
        child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=complaints, text=True)
        assert child.stdout is not None
        with child:
            for line in child.stdout:
                finding = ModelFinding.from_line(line)
                if finding is not None:
                    yield finding
        if child.returncode:
            complaints.seek(0)
            sys.stderr.writelines(complaints.readlines()[-LINES_OF_A_FAILURE:])
            message = f"the process that loads the model ended with exit code {child.returncode}"
            raise StageFailed(message, "what it said stands above")
