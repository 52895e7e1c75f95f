"""The README states what is true: its commands, keys, exit codes and paths exist."""

import json
import re
import shlex
import subprocess
import sys

import pytest

from pipeline.__main__ import COMMANDS
from pipeline.configuration.compose import compose_config
from pipeline.configuration.spelling import rewrite, split_flags
from pipeline.errors import EXIT_CODES
from tests.support.paths import REPOSITORY

ARCHITECTURE = (REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8")
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def code_blocks() -> list[str]:
    return re.findall(r"```\n(.*?)```", README, flags=re.DOTALL)


def command_lines() -> list[str]:
    """Every `r1 ...` of the README, from its blocks and tables."""
    blocks = "\n".join(code_blocks()).replace("\\\n", " ")
    return [line.strip() for line in blocks.splitlines() if line.strip().startswith("r1 ")] + re.findall(
        r"^\| `(r1 [^`]+)`", README, flags=re.MULTILINE
    )


def test_there_are_commands_to_check():
    assert len(command_lines()) > 15


@pytest.mark.parametrize("line", command_lines())
def test_commands_are_known_and_their_overrides_compose(line):
    _, command, *arguments = shlex.split(line, comments=True)
    assert command in COMMANDS
    if command in ("run", "plan"):
        flags, overrides = split_flags(arguments)
        is_sweep = "-m" in flags or any(text.startswith("+sweep=") for text in overrides)
        assert compose_config(rewrite(overrides), is_sweep).selection


def test_every_command_is_in_the_table():
    assert set(COMMANDS) <= {line.split()[1] for line in command_lines()}


def test_exit_codes_are_those_of_the_program():
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", README, flags=re.MULTILINE)
    assert {int(code): text for code, text in rows} == EXIT_CODES


def tree_paths() -> list[str]:
    """The paths of the tree block: names stand before two spaces, folders end in a slash."""
    block = ARCHITECTURE.split("## The tree")[1].split("```")[1]
    paths, folder = [], ""
    for line in block.strip("\n").splitlines():
        names = re.split(r"  +", line.strip())[0].split() if line.strip() else []
        if not line.startswith(" "):
            folder = names[0] if names[0].endswith("/") else ""
            paths += names
        else:
            paths += [folder + name for name in names]
    return paths


@pytest.mark.parametrize("path", tree_paths())
def test_tree_shows_what_is_there(path):
    assert (REPOSITORY / path).exists()


def test_make_targets_exist():
    targets = re.findall(r"^([a-z-]+):.*##", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    named = re.findall(r"(?:^|`)make ([a-z-]+)", README, flags=re.MULTILINE)
    assert named and set(named) <= set(targets)


def test_the_example_file_is_what_the_configuration_reads(tmp_path):
    path = tmp_path / "problems.jsonl"
    subprocess.run(
        [sys.executable, REPOSITORY / "scripts" / "make_problems.py", path, "--num", "20"], check=True, timeout=60
    )
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len({row["prompt"] for row in rows}) == 20 and all(int(row["answer"]) > 0 for row in rows)
