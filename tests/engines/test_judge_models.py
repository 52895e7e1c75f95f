"""Language models as judges, with the real engine: vLLM's own OpenAI server on the CPU, and vLLM in our process.

The model is random. What it says freely cannot be read, and is counted; with structured output its verdicts can, whatever they are worth.
"""
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from stages.config import JudgeConfig
from stages.judges import make_judge
from tests.engines.questions import ask
from tests.engines.tiny_chat_model import make_chat_model
from tests.stage_dirs import ROOT, run_script

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
    command = [sys.executable, Path(__file__).with_name("vllm_server.py"), "--model", model, "--served-model-name", "tiny", "--host", "127.0.0.1", "--port", port,
               "--dtype", "float32", "--enforce-eager", "--max-model-len", 1024, "--kv-cache-memory-bytes", 64 << 20, "--block-size", 32,
               "--structured-outputs-config", '{"backend": "guidance", "disable_any_whitespace": true}']
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_NO_USAGE_STATS": "1",
                   "TORCHDYNAMO_DISABLE": "1", "HF_HUB_OFFLINE": "1"}
    with open(log, "wb") as stream:
        server = subprocess.Popen(list(map(str, command)), cwd=ROOT, env=environment, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True)
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
    processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)] if server.poll() is None else []
    for process in processes:
        process.terminate()
    _, left = psutil.wait_procs(processes, timeout=15)
    for process in left:
        process.kill()
    server.wait(timeout=15)


@pytest.fixture(scope="module")
def local(model, tmp_path_factory):
    work = tmp_path_factory.mktemp("local")
    return run_script(Path(__file__).with_name("ask_local_judge.py"), model, work, work / "result.json")


def endpoint(url: str, cache: Path, **settings):
    judge = make_judge(JudgeConfig(backend="openai", url=url, model="tiny", explain=False, max_tokens=24, concurrency=4, **settings), cache)
    judge.check()
    return judge


def check_free(outcome: dict) -> None:
    said, jobs = outcome["said"], outcome["jobs"]
    assert said["correct"] == [None] * 6 and said["compare"] == [None, None] and said["refine"] == [None]
    assert jobs["correct"]["unparsed"] == 6 == jobs["correct"]["calls"] and jobs["compare"]["unparsed"] == 2
    assert jobs["correct"]["prompt_tokens"] > 600 and 0 < jobs["correct"]["completion_tokens"] <= 6 * 24


def check_structured(outcome: dict) -> None:
    said, jobs = outcome["said"], outcome["jobs"]
    assert set(said["correct"]) <= {True, False} and set(said["safe"]) <= {True, False} and set(said["compare"]) <= {2, 1, 0, -1, -2}
    assert jobs["correct"]["unparsed"] == jobs["compare"]["unparsed"] == jobs["safe"]["unparsed"] == 0


def test_a_real_server_without_structured_output(url, tmp_path):
    check_free(ask(endpoint(url, tmp_path, structured=False)))


def test_a_real_server_with_structured_output(url, tmp_path):
    first = ask(endpoint(url, tmp_path))
    check_structured(first)
    again = ask(endpoint(url, tmp_path))
    assert again["said"] == first["said"] and again["jobs"]["correct"]["cached"] == 6 and again["jobs"]["correct"]["calls"] == 0


def test_a_real_server_refuses_what_is_too_long(url, tmp_path):
    judge = endpoint(url, tmp_path)
    from stages.judges import Judged
    from tests.rollouts import a_prompt
    assert judge.safe([Judged(a_prompt(), "words " * 2000)]) == [None] and judge.ledger.of("safe", "refused") == 1


def test_a_local_model_without_and_with_structured_output(local, url, tmp_path):
    check_free(local["free"])
    check_structured(local["structured"])
    assert local["structured"]["said"] == ask(endpoint(url, tmp_path))["said"], "the same model gives the same verdicts behind a server"
