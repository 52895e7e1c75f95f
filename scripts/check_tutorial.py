"""Runs docs/tutorial.md from top to bottom: every block of commands, in order, in an empty directory.

    python scripts/check_tutorial.py [--model DIRECTORY] [--short] [--into DIRECTORY] [--write]

Blocks that begin with ```bash are run, in one bash. The output of each block goes to the terminal and to block_NN.txt.
At the end the tutorial's promise is checked: the trained model is better than the base on held-out problems, by a
paired difference whose interval leaves out 0.

Where it was stopped, the same command with the same --into continues: finished blocks are not run again. --short takes
two steps and a few problems, and promises nothing. --model uses a model that is there in the place of `r1 models get`.
--write puts what was printed into the page, in the place of the ```text that follows a block. About 8 minutes on two
idle cores, less with --short.
"""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "tutorial.md"
MODEL = "models/smollm2-135m"  # where `r1 models get` puts it
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OUTPUT = re.compile(r"^```bash\n(?P<block>(?:(?!```).*\n)*)```\n\n```text\n(?:(?!```).*\n)*```$", re.MULTILINE)
ASSIGNMENT = re.compile(r"^[A-Z]+=", re.MULTILINE)
NOISE = re.compile(r"it/s\]|^Loading |Loading safetensors|^\s*$")  # bars of progress
MARK = "@@ block"
WIDTH, FIRST_LINES, LAST_LINES = 118, 26, 10  # of what is shown of a block's output
SHORT = (
    "stages.r1_zero.num_steps=2 stages.r1_zero.prompts_per_step=2 stages.r1_zero.group_size=2 "
    "stages.evaluate.num_reasoning=4 stages.evaluate.samples_per_prompt=1"
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a directory with SmolLM2-135M, in the place of fetching it")
    parser.add_argument("--short", action="store_true", help="two steps, a few problems")
    parser.add_argument("--into", type=Path, help="the directory to work in; by default a new one in /tmp")
    parser.add_argument("--write", action="store_true", help="put what was printed into the page")
    options = parser.parse_args()
    directory = (options.into or Path(tempfile.mkdtemp(prefix="tutorial_"))).resolve()  # blocks run inside of it
    directory.mkdir(parents=True, exist_ok=True)
    print(f"working in {directory}")
    if options.model:
        link = directory / MODEL
        link.parent.mkdir(exist_ok=True)
        if not link.exists():
            link.symlink_to(options.model.resolve())
    page = PAGE.read_text(encoding="utf-8")
    failed = run(script_of(page, options.model is not None, options.short), directory)
    if options.write:
        PAGE.write_text(with_outputs(page, directory), encoding="utf-8")
    if failed:
        print(f"FAILED: {failed}")
        return 1
    return 0 if options.short else check_promise(directory)


def blocks_of(page: str) -> list[str]:
    """The commands of a page, block by block."""
    return BLOCK.findall(page)


def script_of(page: str, has_model: bool, is_short: bool) -> str:
    """A page's commands as one script.

    It says before each block which one it is, and leaves out what is done already; what sets variables is done again,
    as another block, so that what it printed at first is kept.
    """
    lines = ["set -eo pipefail"]
    for number, block in enumerate(blocks_of(page), 1):
        if has_model and block.startswith("r1 models get"):
            continue
        if is_short:
            block = re.sub(r'^(SETTINGS="[^"]*)"', rf'\1 {SHORT}"', block, flags=re.MULTILINE)
        done = f".done_{number:02d}"
        text = f'echo "{MARK} {number:02d}$([ ! -e {done} ] || echo _again)"\n{block}touch {done}'
        lines.append(text if ASSIGNMENT.search(block) else f"if [ ! -e {done} ]; then\n{text}\nfi")
    return "\n".join(lines) + "\n"


def run(script: str, directory: Path) -> str:
    """Runs a script in a directory and writes down what each block prints; returns what failed, or nothing."""
    tools = directory / ".tools"
    tools.mkdir(exist_ok=True)
    for name, command in (("r1", f"{sys.executable} -m pipeline"), ("python", sys.executable)):
        (tools / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (tools / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "COLUMNS": "110"}
    process = subprocess.Popen(
        ["bash", "-c", script],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    block, started = "00", time.monotonic()
    for line in process.stdout:
        if line.startswith(MARK):
            block = line.removeprefix(MARK).strip()
            (directory / f"block_{block}.txt").write_text("")
            line = f"--- block {block}, after {time.monotonic() - started:.0f} s\n"
        else:
            with (directory / f"block_{block}.txt").open("a", encoding="utf-8") as output:
                output.write(line)
        print(line, end="", flush=True)
    code = process.wait()
    return f"block {block} ended with {code} (see {directory}/block_{block}.txt)" if code else ""


def with_outputs(page: str, directory: Path) -> str:
    """The page with what its blocks printed; blocks that have printed nothing keep what the page says."""
    places = [block.start() for block in BLOCK.finditer(page)]  # a page may have the same block twice
    model = directory / MODEL

    def shown(match: re.Match[str]) -> str:
        path = directory / f"block_{places.index(match.start()) + 1:02d}.txt"
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        text = text.replace(str(model.resolve()), MODEL).replace(f"{directory}/", "")  # where --model has linked it
        lines = [line.rstrip() for line in text.splitlines() if not NOISE.search(line)]
        if not lines:
            return match[0]
        if len(lines) > FIRST_LINES + LAST_LINES:
            lines = [*lines[:FIRST_LINES], "...", *lines[-LAST_LINES:]]
        text = "\n".join(map(_narrow, lines))
        return f"```bash\n{match['block']}```\n\n```text\n{text}\n```"

    return OUTPUT.sub(shown, page)


def _narrow(line: str) -> str:
    """A long line cut, where it is one of a log, else wrapped."""
    if len(line) <= WIDTH:
        return line
    return line[: WIDTH - 4] + " ..." if line.startswith("  ") else textwrap.fill(line, WIDTH)


def check_promise(directory: Path) -> int:
    """Whether the trained model is better than the base on the held-out problems."""
    path = directory / "runs" / "mine" / "evaluate" / "latest" / "comparisons.json"
    for row in json.loads(path.read_text(encoding="utf-8")):
        if (row["metric"], row["model"], row["against"]) == ("pass@1", "r1_zero", "base"):
            print(f"r1_zero - base: {row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})")
            return 0 if row["low"] > 0 else 1
    print(f"FAILED: {shlex.quote(str(path))} does not compare r1_zero with base")
    return 1


if __name__ == "__main__":
    sys.exit(main())
