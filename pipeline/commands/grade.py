"""The command `grade`: what the verifiers make of the answers in a file, in a child process that loads them."""

import json as json_format
import sys
import tempfile
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from pipeline.commands.data_process import relay
from pipeline.commands.declaration import ARGUMENTS, Overrides, declare, exit_codes, flag
from pipeline.configuration import compose, spelling
from stages.config import to_dict

MORE = """**Columns**

- `verifier`: `math`, `integer`, `choice`, `exact`, `code`, `instructions` or `reasoning_gym`
- `reference`: the right answer
- `answer`: what stands in `<answer>..</answer>`. With `<answer>` or `</think>` in it, it is a whole completion and is
  graded as it is; so is the column `completion`
- `checks`, or `options`, `tests`, `tolerance` and other keys of it: what else a verifier needs
- `prompt`, `language`: the problem, where a verifier reads it
- `right` (1 or 0) and `kind`: the verdict that is expected; agreement is shown by kind
"""

app = declare(
    "grade",
    "FILE [--json] [KEY=VALUE ...]",
    {
        "r1 grade answers.jsonl": "each row's verdict, what was read, and why",
        "r1 grade answers.csv --json": "the same for programs",
        "r1 grade programs.parquet sandbox.time_limit_s=5": "programs, in the sandbox",
    },
    exit_codes(0, 2) | {3: "the file cannot be read, or some rows cannot be graded", 4: "a grader is gone"},
    more=MORE,
)


@app.default
def grade(
    file: Annotated[Path, Parameter(name="FILE", group=ARGUMENTS)],
    *overrides: Overrides,
    json: Annotated[bool, flag("--json")] = False,
) -> int:
    """Grade the answers in a file, and say what was read and why.

    The verdicts are those that training uses. A row that cannot be graded says so, and the others are graded.

    Args:
        file: JSON Lines, CSV or Parquet, one answer a row.
        overrides: Keys of `sandbox`, with which programs are run.
        json: Print one JSON object: `rows`, in order, with `verdict` (1, 0, partial credit or null), `read`
            (reference and answer) and `why`; and `summary`.
    """
    config = compose.compose_config(spelling.rewrite(list(overrides)))
    given = {"file": str(file.expanduser().resolve()), "json": json, "sandbox": to_dict(config.sandbox)}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "config.json"
        path.write_text(json_format.dumps(given, ensure_ascii=False), encoding="utf-8")
        return relay([sys.executable, "-m", "stages.data", "grade", str(path)], "interrupted")
