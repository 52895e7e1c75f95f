"""Language models as judges, with the real engine: vLLM's own OpenAI server on the CPU, and vLLM in our process; and a
server as the reward of RL.

The model is random. What it says freely cannot be read, and is counted; with structured output its verdicts can,
whatever they are worth.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from stages.config import JudgeConfig
from stages.contract.error_report import ErrorReport
from stages.contract.files import read_json
from stages.judges import Judged, make_judge
from stages.prompting.prompt import Prompt
from stages.rewards.verifiers.judge import judged
from stages.worlds.tiny_world.tokenizer import build_tokenizer
from tests.support.engines.gateway import gateway
from tests.support.engines.questions import ask
from tests.support.engines.tiny_chat_model import make_chat_model
from tests.support.paths import ENGINE_SCRIPTS
from tests.support.rollouts import a_prompt
from tests.support.stage_dirs import (
    REPOSITORY,
    StageRun,
    attempt_log,
    manifest,
    run_script,
    run_stage,
    sampled,
    steps,
    write_stage,
)

START_S = 240


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return make_chat_model(tmp_path_factory.mktemp("judge") / "model")


@pytest.fixture(scope="module")
def url(model, tmp_path_factory):
    """vLLM's server on a free port of this machine; ended with all its processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "server.log"
    command = [
        sys.executable,
        (ENGINE_SCRIPTS / "vllm_server.py"),
        "--model",
        model,
        "--served-model-name",
        "tiny",
        "--host",
        "127.0.0.1",
        "--port",
        port,
        "--dtype",
        "float32",
        "--enforce-eager",
        "--max-model-len",
        1024,
        "--kv-cache-memory-bytes",
        64 << 20,
        "--block-size",
        32,
        "--no-enable-chunked-prefill",
        "--max-num-batched-tokens",
        4096,  # on CPUs vLLM 0.32 dies of a seeded prompt that comes in pieces
        "--structured-outputs-config",
        '{"backend": "guidance", "disable_any_whitespace": true}',
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "OMP_NUM_THREADS": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
        "TORCHDYNAMO_DISABLE": "1",
        "HF_HUB_OFFLINE": "1",
    }
    with open(log, "wb") as stream:
        server = subprocess.Popen(
            list(map(str, command)),
            cwd=REPOSITORY,
            env=environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/v1/models", server, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        end(server)


def wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            assert server.poll() is None, log.read_text(errors="replace")[-4000:]
            assert time.monotonic() < deadline, f"no server in {START_S} s\n{log.read_text(errors='replace')[-4000:]}"
            time.sleep(0.3)


def end(server: subprocess.Popen) -> None:
    """By id, the server and the engine process that it started."""
    import psutil

    processes = (
        [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
        if server.poll() is None
        else []
    )
    for process in processes:
        process.terminate()
    _, left = psutil.wait_procs(processes, timeout=15)
    for process in left:
        process.kill()
    server.wait(timeout=15)


@pytest.fixture(scope="module")
def local(model, tmp_path_factory):
    work = tmp_path_factory.mktemp("local")
    return run_script((ENGINE_SCRIPTS / "ask_local_judge.py"), model, work, work / "result.json")


def endpoint(url: str, cache: Path, **settings):
    judge = make_judge(
        JudgeConfig(backend="openai", url=url, model="tiny", explain=False, max_tokens=24, concurrency=4, **settings),
        cache,
    )
    judge.check()
    return judge


def check_free(outcome: dict) -> None:
    said, jobs = outcome["said"], outcome["jobs"]
    assert said["correct"] == [None] * 6 and said["compare"] == [None, None] and said["refine"] == [None]
    assert jobs["correct"]["unparsed"] == 6 == jobs["correct"]["calls"] and jobs["compare"]["unparsed"] == 2
    assert jobs["correct"]["prompt_tokens"] > 600 and 0 < jobs["correct"]["completion_tokens"] <= 6 * 24


def check_structured(outcome: dict) -> None:
    said, jobs = outcome["said"], outcome["jobs"]
    assert (
        set(said["correct"]) <= {True, False}
        and set(said["safe"]) <= {True, False}
        and set(said["compare"]) <= {2, 1, 0, -1, -2}
    )
    assert jobs["correct"]["unparsed"] == jobs["compare"]["unparsed"] == jobs["safe"]["unparsed"] == 0


def test_a_real_server_without_structured_output(url, tmp_path):
    check_free(ask(endpoint(url, tmp_path, structured=False)))


def test_a_real_server_with_structured_output(url, tmp_path):
    first = ask(endpoint(url, tmp_path))
    check_structured(first)
    again = ask(endpoint(url, tmp_path))
    assert (
        again["said"] == first["said"]
        and again["jobs"]["correct"]["cached"] == 6
        and again["jobs"]["correct"]["calls"] == 0
    )


def test_a_real_server_refuses_what_is_too_long(url, tmp_path):
    judge = endpoint(url, tmp_path)
    assert judge.safe([Judged(a_prompt(), "words " * 2000)]) == [None] and judge.ledger.of("safe", "refused") == 1


def test_a_local_model_without_and_with_structured_output(local, url, tmp_path):
    check_free(local["free"])
    check_structured(local["structured"])
    assert local["structured"]["said"] == ask(endpoint(url, tmp_path))["said"], (
        "the same model gives the same verdicts behind a server"
    )


JUDGED = {
    "num_steps": 3,
    "prompts_per_step": 2,
    "group_size": 4,
    "updates_per_rollout": 1,
    "max_completion_tokens": [[0, 8]],
    "save_every": 1,
    "keep_checkpoints": 9,
    "beta": 0.0,
    "micro_batch_tokens": 400,
    "optim": {"lr": 1e-3},
    "rollout": {"engine": "transformers"},
}
CONCURRENCY = 5


@pytest.fixture(scope="module")
def random_policy(tmp_path_factory) -> Path:
    from tests.support.engines.compare_samplers import make_model

    return make_model(tmp_path_factory.mktemp("policy") / "model", build_tokenizer(), is_tied=False, seed=3)


def judge_of(url: str, cache: Path) -> dict:
    """Its explanations are of random length: some are cut off before the verdict. Drawn with a seed, so that they
    differ from answer to answer.
    """
    return {
        "backend": "openai",
        "url": url,
        "model": "tiny",
        "temperature": 1.0,
        "max_tokens": 56,
        "retries": 1,
        "concurrency": CONCURRENCY,
        "cache_dir": str(cache),
    }


def judged_stage(directory: Path, policy: Path, prompts: Path, url: str) -> Path:
    config = {
        **JUDGED,
        "judge": judge_of(url, directory.with_name("cache_" + directory.name)),
        "data": {
            "name": "file",
            "path": str(prompts),
            "verifier": "judge",
            "template": "plain",
            "max_prompt_tokens": 24,
            "eval_fraction": 0.0,
        },
    }
    return write_stage(directory, "grpo", config, {"policy": policy}, stage="judged")


def test_a_served_judge_rewards_a_policy_and_goes_away_and_comes_back(
    url, prompts_from_outside, random_policy, tmp_path
):
    with gateway(urlsplit(url).port) as way:
        whole = run_stage(
            judged_stage(tmp_path / "run" / "whole", random_policy, prompts_from_outside, way.url), num_processes=1
        )
        assert 1 < way.most_open <= CONCURRENCY
        check_rewards(whole, way)

        cut = judged_stage(tmp_path / "run" / "cut", random_policy, prompts_from_outside, way.url)
        way.closes_after = way.num_posts + 12  # in the middle of the second rollout
        with StageRun(cut, num_processes=1) as attempt:
            assert attempt.wait() == 1, attempt.log()
        error = ErrorReport.read(cut)
        assert error.kind == "GraderAway" and way.url in error.message and "same command" in error.message
        assert [row["step"] for row in steps(cut)] == [1] and not (cut / "rollouts" / "step_000001").exists()
        way.is_closed, way.closes_after = False, None
        run_stage(cut, num_processes=1)
    assert "resumed from step_" in attempt_log(cut)
    assert steps(cut) == steps(whole) and made(cut) == made(whole)
    assert all(sampled(cut, step) == sampled(whole, step) for step in range(1, JUDGED["num_steps"]))
    first, second = (
        read_json(whole / "judge_ledger.json")["jobs"]["correct"],
        read_json(cut / "judge_ledger.json")["jobs"]["correct"],
    )
    assert second["calls"] == first["calls"] and second["failed"] >= 1, (
        "what was judged before the server went away is not paid twice"
    )


def made(directory: Path) -> dict:
    """The files of a stage; the model's card says where the replies were kept."""
    return {name: entry for name, entry in manifest(directory).files.items() if name != "model/README.md"}


def check_rewards(directory: Path, way) -> None:
    """Every reward is the server's verdict; what could not be read is a counted zero that says so."""
    kept = range(1, JUDGED["num_steps"])  # the rollouts that the last checkpoints could ask for
    rollouts = [r for step in kept for r in sampled(directory, step)]
    asked = make_judge(
        JudgeConfig(**judge_of(way.url, directory.with_name("cache_whole"))), directory.with_name("cache_whole")
    )
    verdicts = asked.correct([judged(r["completion"], Prompt(**r["prompt"])) for r in rollouts])
    assert asked.ledger.of("correct", "calls") == 0, "all of them are in the cache"
    assert [r["reward_parts"]["accuracy"] for r in rollouts] == [float(verdict or False) for verdict in verdicts]
    assert {True, False, None} <= set(verdicts), verdicts
    unread = [r["grader_error"] for r, verdict in zip(rollouts, verdicts) if verdict is None]
    assert all(error.startswith("judge: its verdict could not be read") for error in unread) and any(
        "cut off at judge.max_tokens=56" in error for error in unread
    )
    assert [r["grader_error"] for r in rollouts if r["grader_error"]] == unread
    rows = steps(directory)
    assert sum(rows[step]["reward/grader_errors"] for step in kept) == len(
        unread
    ) and "could not be graded and got 0: judge: its verdict" in attempt_log(directory)
    assert any(row["train/grad_norm"] > 0 for row in rows)
    counts = read_json(directory / "judge_ledger.json")["jobs"]["correct"]
    assert counts["calls"] == way.num_posts > 0 and counts["unparsed"] == sum(
        row["reward/grader_errors"] for row in rows
    )
