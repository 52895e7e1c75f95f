"""What decides in scripts/chaos.py whether two stages are the same, and what is drawn for a round."""

import random
import signal
from pathlib import Path

import pytest

from scripts.chaos_tools.kill import DISK, damage, draw_fault, draw_kill
from scripts.chaos_tools.outcome import differences, left_over, outcome
from scripts.chaos_tools.places import HANGS, places_of
from stages.config import KINDS
from stages.contract import files
from stages.contract.manifest import Manifest, Timing

ROWS = [
    {"step": 1, "train/loss": 0.5, "time/train": 1.0, "perf/step_s": 2.0},
    {"step": 2, "train/loss": 0.25, "time/train": 3.0, "perf/step_s": 4.0},
]


def finished(directory, rows=ROWS, weights=b"weights", rollouts=(2, 3), attempts=1):
    """A stage directory with what is compared."""
    (directory / "model").mkdir(parents=True)
    (directory / "model" / "model.safetensors").write_bytes(weights)
    for step in rollouts:
        files.write_json(directory / "rollouts" / f"step_{step:06d}" / "manifest.jsonl", [step])
    files.append_jsonl(directory / "metrics.jsonl", rows)
    Manifest(
        stage="s",
        kind="grpo",
        version=1,
        fingerprint="f",
        metrics={"train/loss": 0.25},
        files=files.file_table(directory, ["model/**/*"]),
        timing=Timing(attempts=attempts),
    ).write(directory)
    return directory


def test_clocks_and_older_rollouts_make_no_difference(tmp_path):
    whole = finished(tmp_path / "whole")
    slower = finished(
        tmp_path / "slower",
        [{**row, "time/train": 9.0, "perf/step_s": 9.0} for row in ROWS],
        rollouts=(1, 2, 3),
        attempts=3,
    )
    assert differences(outcome(slower), outcome(whole)) == [] and left_over(slower, whole) == []


def test_everything_else_does(tmp_path):
    whole = outcome(finished(tmp_path / "whole"))
    assert differences(
        outcome(finished(tmp_path / "loss", [ROWS[0], {**ROWS[1], "train/loss": 0.2500001}])), whole
    ) == ["metrics.jsonl"]
    assert differences(outcome(finished(tmp_path / "weights", weights=b"weightz")), whole) == [
        "manifest.json",
        "model/model.safetensors",
    ]
    assert differences(outcome(finished(tmp_path / "other rollouts", rollouts=(1,))), whole) == ["rollouts/"]
    rollout = finished(tmp_path / "rollout")
    (rollout / "rollouts" / "step_000002" / "manifest.jsonl").write_text("[7]")
    (rollout / "data").mkdir()
    (rollout / "data" / "stray").write_text("")
    assert differences(outcome(rollout), whole) == ["data/stray", "rollouts/step_000002/manifest.jsonl"]
    for name in ("rank_0.arrow", ".rank_1.arrow.7.tmp"):
        (rollout / "rollouts" / "step_000002" / name).touch()
    assert left_over(rollout, tmp_path / "whole") == ["data/stray", "rollouts/step_000002/.rank_1.arrow.7.tmp"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_round_can_be_drawn_again(kind):
    places = places_of(kind, "vllm")
    drawn = [draw_kill(random.Random(number), places, 2) for number in range(300)]
    assert drawn == [draw_kill(random.Random(number), places, 2) for number in range(300)]
    assert {kill.who for kill in drawn} == {"rank0", "rank1", "launcher", "guard", "driver", "all"}
    assert {kill.signal for kill in drawn} == {signal.SIGKILL, signal.SIGTERM, signal.SIGINT}
    assert all(kill.who == "driver" for kill in drawn if kill.inside == "driver") and all(
        bool(kill.place) != bool(kill.span) for kill in drawn
    )


def test_faults_are_full_disks_and_rewards_that_never_come():
    drawn = [draw_fault(random.Random(number), HANGS) for number in range(40)]
    assert {str(kill).split(" at ")[0] for kill in drawn if kill.who == DISK} == {"full disk"}
    hung = [kill for kill in drawn if kill.who != DISK]
    assert hung and all(
        kill.environment(Path("note"))["CHAOS"].count('"signal": 0') == 1
        and str(kill).startswith("HANG to rank0 before")
        for kill in hung
    )
    assert all(draw_fault(random.Random(number), []).who == DISK for number in range(10))


def test_damage_is_found_by_the_resume(tmp_path):
    """Each way to spoil a file shows in the checkpoint's table of checksums."""
    for number in range(20):
        checkpoint = tmp_path / str(number) / "state" / "step_000001"
        files.write_json(checkpoint / "progress.json", {"step": 1})
        (checkpoint / "weights.pt").write_bytes(bytes(200))
        table = files.file_table(checkpoint, ["**/*"])
        assert damage(tmp_path / str(number), random.Random(number)) and files.damaged_files(checkpoint, table)
    assert damage(tmp_path / "nothing", random.Random(0)) == ""
