"""What people ask of runs: which there are, where one stands, what its workers say, how two of them differ."""

import json
import os
import signal
import threading
import time
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from pipeline.__main__ import main
from pipeline.commands import run_state
from pipeline.commands.comparison import compare_results
from pipeline.commands.logs import follow
from pipeline.errors import MissingInput, StageFailed, StageInterrupted
from pipeline.execution import launch
from pipeline.execution.lock import RunLock
from stages.contract import files
from stages.contract.failures import RankFailure, write_failures
from stages.contract.inputs import StageInput, write_inputs
from stages.contract.manifest import Manifest
from stages.contract.outcome import Outcome
from stages.contract.progress import StageProgress
from tests.support.synthetic_run import stage_dir, write_lines, write_run
from tests.support.waiting import wait_for


@pytest.fixture
def run_dir(tmp_path):
    """A run whose base is done and whose R1-Zero is not: attempt 1 has got to step 12 of 36."""
    made = write_run(tmp_path / "runs" / "demo", ("base", "r1_zero"), unfinished="r1_zero")
    directory = stage_dir(made, "r1_zero")
    StageProgress(phase="train", step=12, num_steps=36, updated=time.time()).write(directory)
    attempt(directory, 1, "step 12\n")
    return made


def attempt(directory: Path, number: int, log: str) -> Path:
    logs = directory / "logs" / f"attempt_{number}"
    logs.mkdir(parents=True)
    (logs / "rank0.log").write_text(log)
    files.link(directory / "logs" / "latest", logs.name)
    return logs


def r1_zero(run_dir: Path) -> dict:
    return run_state.read_run(run_dir)["stages"][1]


def test_a_stage_that_ended_is_what_the_driver_said(run_dir):
    directory = stage_dir(run_dir, "r1_zero")
    assert r1_zero(run_dir)["state"] == "interrupted"
    logs = directory / "logs" / "attempt_1"
    write_failures(logs, "host", [RankFailure(1, -signal.SIGKILL, 1.0), RankFailure(0, 1, 2.0)])
    found = r1_zero(run_dir)  # of workers that no driver watched
    assert found["state"] == "failed" and found["message"].startswith("rank 1: killed (signal 9)")
    Outcome(state="failed", message="r1_zero failed on rank 1: killed (signal 9)", fix="continue with: X").write(logs)
    found = r1_zero(run_dir)
    assert (found["state"], found["fix"]) == ("failed", "continue with: X") and "signal 9" in found["message"]
    attempt(directory, 2, "")
    assert r1_zero(run_dir)["state"] == "interrupted"  # the next attempt has no outcome yet


def test_the_step_is_kept_when_the_next_attempt_ends_before_its_first(run_dir):
    directory = stage_dir(run_dir, "r1_zero")
    write_lines(directory / "metrics.jsonl", [{"step": 11}, {"step": 12}])
    StageProgress(phase="start", updated=time.time()).write(directory)
    found = r1_zero(run_dir)
    assert (found["step"], found["num_steps"]) == (12, 36)
    (directory / "metrics.jsonl").write_text("damaged\n")
    assert r1_zero(run_dir)["step"] == 0


def test_only_what_this_driver_has_begun_is_running(run_dir):
    directory = stage_dir(run_dir, "r1_zero")
    an_hour_ago = time.time() - 3600
    with RunLock(run_dir):
        state = run_state.read_run(run_dir)
        assert f"process {os.getpid()}" in state["driver"] and state["stages"][1]["state"] == "running"
        os.utime(directory / "logs" / "attempt_1", (an_hour_ago, an_hour_ago))
        assert r1_zero(run_dir)["state"] == "interrupted"  # an earlier driver's; this one works on something else
        StageProgress(phase="interrupted", step=12, num_steps=36, updated=an_hour_ago).write(directory)
        attempt(directory, 2, "")
        assert r1_zero(run_dir)["state"] == "running"  # resumed: its progress is not written yet
    state = run_state.read_run(run_dir)
    assert state["driver"] is state["lost_driver"] is None
    (run_dir / ".lock").write_text(
        json.dumps({"pid": 2**22 - 1, "host": os.uname().nodename, "user": "me", "since": "2026-01-01T00:00:00"})
    )
    assert f"process {2**22 - 1} of me" in run_state.read_run(run_dir)["lost_driver"]


def test_a_result_that_was_edited_is_damaged(run_dir, capsys):
    directory = stage_dir(run_dir, "base")
    (directory / "model").mkdir()
    (directory / "model" / "weights").write_text("right")
    Manifest(stage="base", kind="pretrain", files=files.file_table(directory, ["model/*"])).write(directory)
    (directory / "model" / "weights").write_text("wrong")
    assert run_state.read_run(run_dir)["stages"][0]["state"] == "damaged"
    assert main(["status", "run=demo", f"runs_dir={run_dir.parent}"]) == 0
    out = capsys.readouterr().out
    assert "was changed after it was written" in out.replace("\n    ", " ") and "+stage=base run=demo" in out
    assert "force=true" in out


def test_damage_is_said_by_every_command_that_takes_the_result(run_dir, capsys):
    place = f"runs_dir={run_dir.parent}"
    manifest = stage_dir(run_dir, "base") / "manifest.json"
    right = manifest.read_text()
    manifest.write_text('{"half')
    assert main(["runs", "--json", place]) == 0
    assert json.loads(capsys.readouterr().out)[0]["stages"]["base"] == "damaged"
    assert main(["chat", "run=demo", place, "--stage", "base", "--prompt", "x"]) == 3
    said = capsys.readouterr().out
    assert "the model of base in the run demo is damaged" in said and "force=true" in said and "model=" in said
    manifest.write_text(right)
    second = write_run(run_dir.parent / "second", ("base", "evaluate"))
    results = stage_dir(second, "evaluate") / "results.json"
    Manifest(stage="evaluate", kind="evaluate", files=files.file_table(results.parent, [results.name])).write(
        results.parent
    )
    results.write_text(results.read_text().replace("0.9", "0.8"))
    state = run_state.read_run(second)
    assert state["stages"][-1]["state"] == "damaged" and "evaluate" not in (state["continue"] or "")
    assert main(["runs", "--json", place]) == 0
    found = {one["run"]: one["state"] for one in json.loads(capsys.readouterr().out)}
    assert found["second"] == "damaged"


def test_a_run_that_has_lost_its_configuration_is_known_by_its_stages(run_dir, capsys):
    (run_dir / "config.yaml").unlink()
    (run_dir / "base" / "latest").exists() or files.link(run_dir / "base" / "latest", stage_dir(run_dir, "base").name)
    assert main(["status", f"runs_dir={run_dir.parent}"]) == 0
    assert "its config.yaml is damaged or missing" in capsys.readouterr().out
    assert main(["runs", f"runs_dir={run_dir.parent}"]) == 0 and "demo" in capsys.readouterr().out


def test_a_configuration_that_is_damaged_costs_nothing_else(run_dir, capsys):
    (run_dir / "config.yaml").write_text("run: [")
    assert main(["status", "run=demo", f"runs_dir={run_dir.parent}"]) == 0
    assert "its config.yaml is damaged" in capsys.readouterr().out
    assert main(["runs", f"runs_dir={run_dir.parent}"]) == 0


def test_runs_are_listed_with_the_one_worked_on_last_first(run_dir, capsys):
    second = write_run(run_dir.parent / "second", ("base", "evaluate"))
    os.utime(run_dir / "config.yaml", (1, 1))
    assert main(["runs", "--json", f"runs_dir={run_dir.parent}"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(one["run"], one["recipe"], one["seed"], one["state"]) for one in found] == [
        ("second", "tiny", 0, "done"),
        ("demo", "tiny", 0, "interrupted"),
    ]
    assert found[0]["headline"].startswith("preference_rl 92.0% on tiny_math, base 27.0")
    assert found[1]["headline"].startswith("r1_zero; base: ") and found[0]["bytes"] > 1000
    assert main(["runs", f"runs_dir={run_dir.parent}"]) == 0
    assert "commands without run= take second" in capsys.readouterr().out
    assert main(["report", f"runs_dir={run_dir.parent}", "--output", str(second / "x.html")]) == 0
    said = capsys.readouterr().err
    assert f"run second in {run_dir.parent}, the one worked on last; `r1 runs` lists 1 more" in said
    assert main(["runs", f"runs_dir={run_dir / 'nowhere'}"]) == 3


def test_logs_follow_all_attempts_and_end_with_the_stage(run_dir):
    directory = stage_dir(run_dir, "r1_zero")
    lines: list[str] = []
    ended: list[int] = []
    with RunLock(run_dir):
        reader = threading.Thread(target=lambda: ended.append(follow(run_dir, "r1_zero", 0, lines.append)))
        reader.start()
        assert wait_for(lambda: lines == ["step 12"])
        with open(directory / "logs" / "attempt_1" / "rank0.log", "a") as log:
            log.write("step 13\nhalf a li")
        assert wait_for(lambda: lines[-1] == "step 13")
        attempt(directory, 2, "step 14\n")
        assert wait_for(lambda: lines[-2:] == ["--- attempt 2", "step 14"])
        Manifest(stage="r1_zero", kind="grpo", files={}).write(directory)
        reader.join(20)
    assert ended == [0]


def test_logs_wait_for_the_directory_that_a_driver_makes_in_the_place_of_a_finished_one(tmp_path):
    """The base has been made anew with other settings; R1-Zero, made from the old one, comes next."""
    run_dir = write_run(tmp_path / "runs" / "demo", ("base", "r1_zero"))
    attempt(stage_dir(run_dir, "r1_zero"), 1, "old\n")
    new_base = run_dir / "base" / "aaaaaaaa"
    stage_dir(run_dir, "base").rename(new_base)
    files.link(run_dir / "base" / "latest", new_base.name)
    lines: list[str] = []
    assert follow(run_dir, "r1_zero", 0, lines.append) == 0 and lines == ["old"]  # nobody is at work
    ended: list[int] = []
    with RunLock(run_dir):
        reader = threading.Thread(target=lambda: ended.append(follow(run_dir, "r1_zero", 0, lines.append)))
        reader.start()
        assert wait_for(lambda: "the driver has other settings" in lines[-1]) and not ended
        made = run_dir / "r1_zero" / "bbbbbbbb"
        attempt(made, 1, "new\n")
        source = StageInput(stage="base", fingerprint="aaaaaaaa" + "0" * 56, path=str(new_base))
        write_inputs(made, {"policy": source})
        Manifest(stage="r1_zero", kind="grpo", files={}).write(made)
        files.link(run_dir / "r1_zero" / "latest", made.name)
        reader.join(20)
    assert ended == [0] and lines[-2:] == ["--- attempt 1", "new"]


def test_logs_say_how_a_stage_ended_and_wait_only_for_what_may_come(run_dir, capsys):
    directory = stage_dir(run_dir, "r1_zero")
    with pytest.raises(StageInterrupted, match="r1_zero is interrupted"):
        follow(run_dir, "r1_zero", 0, print)
    Outcome(state="failed", message="killed", fix="continue with: X").write(directory / "logs" / "attempt_1")
    with pytest.raises(StageFailed, match="killed") as failed:
        follow(run_dir, "r1_zero", 0, print)
    assert failed.value.fix == "continue with: X"
    with pytest.raises(MissingInput, match="no driver is at work"):
        follow(run_dir, "distill", 0, print)
    place = f"runs_dir={run_dir.parent}"
    assert main(["logs", "r1_zero", place]) == 0 and "step 12" in capsys.readouterr().out
    assert main(["logs", "r1_zero", "--rank", "7", place]) == 3
    assert "there are: attempt_1 rank0" in capsys.readouterr().out
    assert main(["logs", "r1_zro", place]) == 2 and main(["logs", "report", place]) == 2


def test_the_driver_writes_down_why_an_attempt_ended(tmp_path):
    launch._note_outcome(tmp_path, StageFailed("base failed on rank 1: killed\n  log: x", "continue with: X"))
    assert Outcome.read(tmp_path) == Outcome(
        state="failed", message="base failed on rank 1: killed", fix="continue with: X"
    )
    launch._note_outcome(tmp_path, StageInterrupted("base was interrupted at step 3", ""))
    assert Outcome.read(tmp_path).state == "interrupted"


def evaluation(run_dir: Path, right: dict[str, list[int]], prompt: str = "2+2") -> Path:
    """A finished evaluation; `right` has, for each model, the samples of each problem that are right, of four."""
    directory = run_dir / "evaluate" / "00000000"
    (directory / "data").mkdir(parents=True)
    scores = [
        {"model": model, "set": "numbers", "problem": f"p{problem}", "sample": number, "correct": number < count}
        for model, counts in right.items()
        for problem, count in enumerate(counts)
        for number in range(4)
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(scores), directory / "data" / "scores.parquet")
    files.write_json(
        directory / "results.json",
        [
            {"model": model, "set": "numbers", "metric": "pass@1", "value": sum(counts) / 4 / len(counts)}
            for model, counts in right.items()
        ],
    )
    write_lines(directory / "samples.jsonl", [{"set": "numbers", "prompt_id": "p0", "prompt": prompt}])
    Manifest(stage="evaluate", kind="evaluate", files=files.file_table(directory, ["results.json"])).write(directory)
    return directory


def test_two_runs_are_compared_by_a_paired_test_on_the_same_problems(tmp_path):
    first = evaluation(tmp_path / "a", {"base": [0, 1, 2, 3], "r1_zero": [4, 4, 4, 4]})
    second = evaluation(tmp_path / "b", {"base": [1, 2, 3, 4], "distill": [0, 0, 0, 1]})
    rows, notes = compare_results(first, second)
    assert [(row.model, row.a, row.b) for row in rows] == [
        ("base", 0.375, 0.625),
        ("r1_zero", 1.0, None),
        ("distill", None, 0.0625),
    ]
    base = rows[0]  # every problem is better by one sample: of the 16 ways to flip signs 2 are as far from zero
    assert (base.difference, base.low, base.high, base.p, base.n) == (0.25, 0.25, 0.25, 0.125, 4) and notes == []


def test_other_problems_are_not_compared_and_damage_is_said(tmp_path):
    first = evaluation(tmp_path / "a", {"base": [0, 1, 2, 3]})
    other_text = evaluation(tmp_path / "b", {"base": [0, 1, 2, 3]}, prompt="3+3")
    rows, notes = compare_results(first, other_text)
    assert rows[0].p is None and notes == ["numbers: no paired test, for problems of the same name have another text"]
    fewer = evaluation(tmp_path / "c", {"base": [0, 1]})
    assert "4 and 2 problems, of which 2" in compare_results(first, fewer)[1][0]
    (fewer / "results.json").write_text("[]")
    assert "damaged" in compare_results(first, fewer)[1][0]
    assert compare_results(first, tmp_path / "d" / "evaluate" / "latest")[0] == []


def test_the_command_puts_two_runs_side_by_side(run_dir, capsys):
    second = write_run(run_dir.parent / "second", ("base",))
    place = f"runs_dir={run_dir.parent}"
    assert main(["compare", "demo", str(second), "--json", place]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(row["stage"], row["a"], row["b"], row["is_same"]) for row in found["stages"]] == [
        ("base", "done", "done", True),
        ("r1_zero", "interrupted", None, False),
    ]
    assert {line["stage"] for line in found["costs"]} == {"base", "r1_zero", "total"}
    assert main(["compare", "demo", "second", place]) == 0 and "not made" in capsys.readouterr().out
    assert main(["compare", "demo", "nothing", place]) == 3
