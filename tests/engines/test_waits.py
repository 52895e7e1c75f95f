"""What hangs is named: a rank (stopped by a signal) by status and by those that wait for it, an engine, a reward."""

import os
import re
import signal
import time

import pytest

from pipeline.execution import stall
from stages.contract.error_report import ErrorReport
from stages.contract.files import read_jsonl
from stages.contract.heartbeat import Heartbeat
from tests.support.paths import ENGINE_SCRIPTS
from tests.support.stage_dirs import StageRun, write_stage
from tests.support.tiny_stages import DATA

SFT = {
    "num_epochs": 1000,
    "max_steps": 5000,
    "batch_size": 4,
    "max_tokens": 64,
    "save_every": 1000,
    "optim": {"lr": 1e-4},
}
TIMEOUT_S = 30


def last_step(directory) -> int:
    return read_jsonl(directory / "metrics.jsonl")[-1]["step"]


def test_a_rank_that_hangs_is_named(base, sft_data, tmp_path, monkeypatch):
    monkeypatch.setenv("STAGE_COLLECTIVE_TIMEOUT_S", str(TIMEOUT_S))
    directory = write_stage(tmp_path / "sft", "sft", SFT, {"policy": base, "data": sft_data})
    with StageRun(directory, 2) as attempt:
        attempt.wait_for_step(5)
        hung = next(process for process in attempt.ranks() if process.environ()["RANK"] == "1")
        path = Heartbeat.path(directory / "logs/latest", 1)
        attempt.wait_for(
            lambda: (beat := Heartbeat.read_path(path)).phase == "train" and time.time() - beat.updated < 0.5,
            "heartbeat while it trains",
        )
        assert stall.describe(directory, after_s=5) is None

        hung.suspend()
        attempt.wait_for(
            lambda: "does not respond" in (stall.describe(directory, after_s=5) or ""), "report of a stall"
        )
        text = stall.describe(directory, after_s=5)
        assert re.search(
            r"^no progress for \d+ s: rank 1 does not respond since \d\d:\d\d:\d\d, "
            r"it was in phase train of step \d+ \(stages/.*\); "
            r"rank 0 waits in \w+, in phase train of step \d+ \(stages/[\w/]+\.py:\d+ \w+\) since \d\d:\d\d:\d\d$",
            text,
        ), text

        before = last_step(directory)
        hung.resume()
        attempt.wait_for(lambda: last_step(directory) > before + 5, "steps after the stall")
        assert stall.describe(directory, after_s=5) is None

        hung.suspend()
        stopped = time.time()
        attempt.wait_for((directory / "error.json").exists, "error of the waiting rank")
        assert TIMEOUT_S - 5 < time.time() - stopped < TIMEOUT_S + 20
        error = ErrorReport.read(directory)
        assert error.kind == "CollectiveTimeout" and error.rank == 0
        assert re.search(
            rf"rank 0 waited {TIMEOUT_S} s in \w+ \(stages/[\w/]+\.py:\d+ \w+\) for the others: "
            r"rank 1 does not respond since",
            error.message,
        ), error
        os.kill(hung.pid, signal.SIGCONT)
        assert attempt.wait() != 0 and not (directory / "manifest.json").exists()


@pytest.mark.parametrize(
    "what, changes, message",
    [
        (
            "hang",
            {"rollout": {"engine": "transformers", "engine_timeout_s": 3}},
            r"rank 0 waited [\d.]+ s for a decoding step of transformers "
            r"\(stages/engines/sampling/transformers_sampler.py:\d+ \w+\); the limit is 3 s",
        ),
        (
            "reward",
            {"rollout": {"engine": "transformers"}, "reward_timeout_s": 3},
            r"rank 0 waited 3 s for the rewards of prompt \S+ \(kind \S+, verifier integer\); "
            r"the limit is stages.collected.reward_timeout_s",
        ),
    ],
)
def test_an_engine_or_a_reward_that_hangs_is_named(what, changes, message, policy, tmp_path, monkeypatch):
    monkeypatch.setenv("BREAK", what)
    directory = write_stage(
        tmp_path / what,
        "grpo",
        {
            "num_steps": 2,
            "prompts_per_step": 4,
            "group_size": 4,
            "updates_per_rollout": 1,
            "max_completion_tokens": [[0, 8]],
            "data": DATA,
            **changes,
        },
        {"policy": policy},
        stage="collected",
    )
    with StageRun(directory, 1, [str(ENGINE_SCRIPTS / "broken_sampler.py")]) as attempt:
        assert attempt.wait() == 1, attempt.log()
    error = ErrorReport.read(directory)
    assert error.kind == "DeadlineMissed" and re.fullmatch(message, error.message), error
    assert (
        what != "hang" or "most recent call first" in (directory / "logs/latest/rank0.log").read_text()
    )  # where every thread is
