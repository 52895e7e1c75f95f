"""Stages with a poisoned batch, and the proof that the record of what was left out decides the result."""

import json
import shutil
from pathlib import Path

from scripts.chaos_tools.outcome import differences, outcome
from stages.contract.files import read_jsonl
from tests.support.paths import ENGINE_SCRIPTS
from tests.support.stage_dirs import StageRun, run_stage


def attempt(directory: Path, num_processes: int = 1, **poison) -> StageRun:
    """One attempt at a stage whose batches are poisoned as `poison` says (tests/support/engines/poisoned.py)."""
    return StageRun(directory, num_processes, [str(ENGINE_SCRIPTS / "poisoned.py")], {"POISON": json.dumps(poison)})


def run_poisoned(directory: Path, num_processes: int = 1, **poison) -> list[dict]:
    """To its end; the record of what was left out."""
    with attempt(directory, num_processes, **poison) as running:
        assert running.wait() == 0, running.log()
    return read_jsonl(directory / "skipped.jsonl")


def assert_the_record_decides(directory: Path, healthy: Path, num_processes: int = 1) -> None:
    """The same stage without the poison, told beforehand what to leave out, is the same in all that it makes."""
    shutil.copyfile(directory / "skipped.jsonl", healthy / "skipped.jsonl")
    run_stage(healthy, num_processes)
    assert not differences(outcome(directory), outcome(healthy))
