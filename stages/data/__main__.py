"""`python -m stages.data ACTION CONFIG.json`: the worker that the driver's commands `data` and `grade` start.

The actions are inspect, prepare, fetch and grade. CONFIG.json is an object with the keys data, prepare, rollout,
sandbox, seed and model_dir, as the driver composed it; for grade it has file, json and sandbox. Exit codes: 0 done, 64
bad input, 65 some rows cannot be graded, 1 failed.
"""

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from stages.config import ConfigError, DataConfig, PrepareConfig, RolloutConfig, SandboxConfig, SourceConfig, from_dict
from stages.config.quoting import print_whatever_the_locale
from stages.rewards.grading import GraderAway
from stages.runtime import environment

ACTIONS = ("inspect", "prepare", "fetch", "grade")
EXIT_UNGRADED_ROWS = 65  # also of `inspect`, where a source has no row that can be used
WIDTH_OF_LOGS = 140  # columns


def main(arguments: list[str]) -> int:
    """Carries out an action and returns the exit code; messages go to the standard streams."""
    print_whatever_the_locale()
    if len(arguments) != 2 or arguments[0] not in ACTIONS:
        print(f"usage: python -m stages.data {'|'.join(ACTIONS)} CONFIG.json", file=sys.stderr)
        return 64
    if arguments[0] != "fetch":
        environment.prepare()
    given = json.loads(Path(arguments[1]).read_text(encoding="utf-8"))
    try:
        if arguments[0] == "grade":
            return _grade(given)
        data = from_dict(DataConfig, given["data"])
        if not data.all_sources:
            raise ValueError(
                "there is nothing to read: name a file, a directory or a hub name, as data.path=FILE, "
                "or choose a preset, as data=gsm8k"
            )
        return {"inspect": _inspect, "prepare": _prepare, "fetch": _fetch}[arguments[0]](data, given)
    except (ValueError, ConfigError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 64
    except GraderAway as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1


def _inspect(data: DataConfig, given: dict[str, Any]) -> int:
    from rich.console import Console

    from stages.data.preparing.inspect import inspect

    columns = os.environ.get("COLUMNS", "")
    width = int(columns) if columns.isdecimal() and int(columns) else None if sys.stdout.isatty() else WIDTH_OF_LOGS
    return 0 if inspect(data, given["model_dir"], Console(width=width)) else EXIT_UNGRADED_ROWS


def _prepare(data: DataConfig, given: dict[str, Any]) -> int:
    """Prepares the data and prints what each filter dropped."""
    from stages.data.preparing.prepare import Preparation

    def say(line: str) -> None:
        print(line, flush=True)

    prepare = from_dict(PrepareConfig, given["prepare"])
    if prepare.samples:
        _configure_programs(data, from_dict(SandboxConfig, given["sandbox"]))
    preparation = Preparation(
        data, prepare, from_dict(RolloutConfig, given["rollout"]), given["seed"], given["model_dir"], say
    )
    path = preparation.run()
    num_read = sum(preparation.num_read.values())
    for row in preparation.dropped.table(num_read):
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in row["reasons"].items())
        say(f"{row['filter']:16} {row['dropped']:>10,} dropped, {row['left']:>10,} left: {reasons}")
    say(
        f"{preparation.kept.num_rows:,} of {num_read:,} rows in {path}; "
        f"{path.parent / 'card.md'} says what was dropped and why"
    )
    return 0


def _configure_programs(data: DataConfig, sandbox: SandboxConfig) -> None:
    """Sets where the verifier `code` runs the policy's programs.

    Raises ValueError where it cannot run any and a source names that verifier.
    """
    from stages.rewards.verifiers import code

    code.configure(sandbox)
    if any(source.verifier == "code" for source in data.all_sources.values()):
        code.require_sandbox()


def _fetch(data: DataConfig, given: dict[str, Any]) -> int:
    """Downloads the sources that are sets of the hub and prints their commits."""
    from stages.data.file_prompts import source_key
    from stages.data.hub import fetch, is_hub_name, pin_advice

    for name, source in data.all_sources.items():
        if source.path and is_hub_name(source.path):
            directory = fetch(source, source_key(data, name))
            print(f"{source.path}: commit {directory.name} in {directory}", flush=True)
            for line in (_files(source, source_key(data, name)), pin_advice(source, source_key(data, name))):
                if line:
                    print(line, flush=True)
        else:
            print(f"{source.path} is here", flush=True)
    return 0


def _grade(given: dict[str, Any]) -> int:
    """Grades the rows of a file, and prints each and a summary, or all of it as JSON."""
    from stages.data import grade_report
    from stages.data.graded_rows import GradedRow, graded_rows

    def say(line: str) -> None:
        print(line, flush=True)

    rows: list[GradedRow] = []
    for row in graded_rows(Path(given["file"]), from_dict(SandboxConfig, given["sandbox"])):
        rows.append(row)
        if not given["json"]:
            grade_report.print_row(row, say)
    if given["json"]:
        say(grade_report.as_json(rows))
    else:
        grade_report.print_summary(rows, say)
    return EXIT_UNGRADED_ROWS if any(row.verdict is None for row in rows) else 0


def _files(source: SourceConfig, key: str) -> str | None:
    """Returns which files of a fetched set are read, or which choice is left to make."""
    from stages.data.file_selection import select, shown

    try:
        select(source, key)
    except ValueError as error:
        return str(error)
    return shown(source, key)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)  # engines leave threads behind
