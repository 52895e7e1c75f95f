"""What is said of a stage that does not move, from files written by hand."""

import dataclasses
import os
import subprocess
import time

from pipeline.commands import run_state
from pipeline.configuration.schema import LauncherConfig
from pipeline.execution import failure, launch, stall
from pipeline.execution.lock import RunLock
from pipeline.execution.stop import StopRequest
from stages.contract.failures import RankFailure, write_failures
from stages.contract.heartbeat import Heartbeat
from stages.contract.progress import StageProgress
from stages.runtime.heartbeat import _place, timeout_message
from tests.support.synthetic_run import stage_dir, write_run

NOW = 1_800_000_000.0


def beat(directory, rank, at, waits_in=None, since_s=420, updated_s=2):
    Heartbeat(
        rank=rank,
        phase="rollout",
        step=12,
        since=NOW - since_s,
        updated=NOW - updated_s,
        at=at,
        waits_in=waits_in,
    ).write_path(Heartbeat.path(directory / "logs" / "attempt_2", rank))


def stage(tmp_path, phase="rollout", moved_s=420):
    (tmp_path / "logs" / "attempt_2").mkdir(parents=True)
    (tmp_path / "logs" / "latest").symlink_to("attempt_2")
    StageProgress(phase=phase, step=12, num_steps=20, updated=NOW - moved_s).write(tmp_path)
    return tmp_path


def test_who_holds_the_others_up_comes_first(tmp_path):
    directory = stage(tmp_path)
    beat(directory, 0, "stages/training/rollouts.py:50 gather", "all_gather_object")
    beat(directory, 1, "stages/engines/sampling/vllm_sampler.py:88 sample")
    beat(directory, 2, "stages/training/rollouts.py:50 gather", "all_gather_object", updated_s=100)
    text = stall.describe(directory, 300, NOW)
    assert text.startswith("no progress for 7 min: rank 2 does not respond since ")
    assert "; rank 1 is in phase rollout of step 12 (stages/engines/sampling/vllm_sampler.py:88 sample) since " in text
    assert text.index("rank 1 is") < text.index(
        "rank 0 waits in all_gather_object, in phase rollout of step 12 (stages/training/rollouts.py:50 gather) since "
    )


def test_a_rank_that_was_aborted_is_explained_by_the_last_heartbeats(tmp_path):
    """As NCCL's watchdog leaves it: SIGABRT, no error report."""
    directory = stage(tmp_path)
    beat(directory, 0, "stages/kinds/grpo/trainer.py:190 _update", "all_reduce", since_s=1900)
    beat(directory, 1, "stages/engines/sampling/vllm_sampler.py:88 sample", since_s=1890)
    logs = directory / "logs" / "attempt_2"
    (logs / "driver.log").write_text("")
    write_failures(logs, "localhost", [RankFailure(rank=0, exit_code=-6, time=NOW)])
    (logs / "rank0.log").write_text("")
    error = failure.explain("r1_zero", directory, logs, 1, False, "COMMAND")
    assert (
        "signal 6 (SIGABRT)\n  at its end: rank 1 is in phase rollout of step 12 "
        "(stages/engines/sampling/vllm_sampler.py:88 sample)" in str(error)
    )
    assert "; rank 0 waits in all_reduce, in phase" in str(error)


def test_a_stage_that_moves_or_has_ended_is_not_stalled(tmp_path):
    directory = stage(tmp_path)
    assert stall.describe(directory, 421, NOW) is None and stall.describe(tmp_path / "nowhere", 1, NOW) is None
    assert stall.describe(directory, 300, NOW).startswith(
        "no progress for 7 min: phase rollout since "
    )  # without heartbeats
    for phase in ("done", "interrupted"):
        StageProgress(phase=phase, step=12, updated=NOW - 1000).write(directory)
        assert stall.describe(directory, 300, NOW) is None


def test_the_place_of_a_rank_is_our_innermost_line_and_the_collective_called_from_it():
    import stages

    ours, torch = (
        os.path.dirname(os.path.abspath(stages.__file__)),
        "/site-packages/torch/distributed/distributed_c10d.py",
    )
    outer = [(f"{ours}/training/supervised.py", 40, "train_supervised"), (f"{ours}/__main__.py", 28, "main")]
    assert _place(
        [
            (torch, 9, "all_reduce"),
            ("/x/c10d_logger.py", 3, "wrapper"),
            (f"{ours}/runtime/worker.py", 100, "should_stop"),
            *outer,
        ]
    ) == ("stages/runtime/worker.py:100 should_stop", "all_reduce")
    assert _place([(torch, 9, "barrier"), (f"{ours}/runtime/worker.py", 229, "barrier"), *outer]) == (
        "stages/training/supervised.py:40 train_supervised",
        "barrier",
    )
    assert _place(outer) == ("stages/training/supervised.py:40 train_supervised", None)


def raised(message: str) -> RuntimeError:
    try:
        raise RuntimeError(message)
    except RuntimeError as error:
        return error


def test_only_a_collective_that_timed_out_is_a_timeout(tmp_path):
    assert timeout_message(raised("Connection closed by peer"), 0, 2, tmp_path, 1800) is None
    assert timeout_message(raised("the request of the judge had a timeout"), 0, 2, tmp_path, 1800) is None
    beat_at = time.time()
    Heartbeat(
        rank=1,
        phase="rollout",
        step=3,
        since=beat_at,
        updated=beat_at,
        at="stages/kinds/grpo/trainer.py:95 _sample",
    ).write_path(tmp_path / "rank1.json")
    message = timeout_message(
        raised("Timed out waiting 1800000ms for recv operation to complete"), 0, 3, tmp_path, 1800
    )
    assert message.startswith(
        "rank 0 waited 1800 s in a collective () for the others: rank 1 works in phase rollout of step 3 "
        "(stages/kinds/grpo/trainer.py:95 _sample) since "
    )
    assert message.endswith("; rank 2 has left no trace")


def test_the_driver_warns_of_a_stall_once_in_a_while(tmp_path):
    directory = stage(tmp_path)
    StageProgress(phase="train", step=12, updated=time.time()).write(directory)
    lines = []
    process = subprocess.Popen(["sleep", "2.5"])
    launch._watch(
        process,
        directory,
        LauncherConfig(stall_after_s=1.0),
        StopRequest(),
        launch.LineRelay(tmp_path / "none.log", lines.append),
        lambda state: None,
    )
    assert 1 <= len(lines) <= 2 and all(
        line.startswith("WARNING: no progress for 1 s: phase train since ") or "for 2 s" in line for line in lines
    ), lines


def test_status_says_so_while_a_driver_holds_the_run(tmp_path):
    run_dir = write_run(tmp_path / "runs" / "demo", ("base",), unfinished="base")
    (run_dir / "config.yaml").write_text(
        "run: demo\nrecipe: tiny\nseed: 0\nselected: {base: true}\nlauncher: {stall_after_s: 300.0}\n"
    )
    progress = StageProgress(phase="train", step=12, num_steps=20, started=time.time() - 900, message="loss 0.3")
    with RunLock(run_dir):
        for moved_s, stalled in ((420, "no progress for 7 min: phase train since "), (200, None)):
            dataclasses.replace(progress, updated=time.time() - moved_s).write(stage_dir(run_dir, "base"))
            (found,) = run_state.read_run(run_dir)["stages"]
            assert (
                found["state"] == "running"
                and (found["stalled"] or "").startswith(stalled or "")
                and bool(found["stalled"]) == bool(stalled)
            )
            assert found["message"] == (found["stalled"] or "loss 0.3")
    assert run_state.read_run(run_dir)["stages"][0]["stalled"] is None  # nobody is at work
