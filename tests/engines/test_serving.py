"""An export is served by vLLM's OpenAI server and answers an OpenAI client as transformers does: by its chat template,
up to its end of sequence.
"""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from tests.support.stage_dirs import REPOSITORY
from tests.support.tiny_stages import arithmetic_samples

START_S = 600  # 30 on an idle machine
# what `vllm serve` starts; that command asks for the metadata of a package vllm, and the build for CPUs has another
# name
SERVER = "vllm.entrypoints.openai.api_server"


@pytest.fixture(scope="module")
def server(policy, tmp_path_factory):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    directory = tmp_path_factory.mktemp("serving")
    log = directory / "server.log"
    (directory / "sitecustomize.py").write_text(
        "import stages\n"
    )  # hides a torchvision build that does not match, in the server's children too
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(directory), str(REPOSITORY))),
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "TORCHDYNAMO_DISABLE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "OMP_NUM_THREADS": "1",
    }
    command = [
        sys.executable,
        "-m",
        SERVER,
        "--model",
        str(policy / "model"),
        "--served-model-name",
        "tiny",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--max-model-len",
        "128",
        "--dtype",
        "float32",
        "--enforce-eager",
        "--max-num-seqs",
        "4",
        "--block-size",
        "32",
    ]
    with open(log, "wb") as stream:
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_S
        while not is_up(port):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-4000:]
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def is_up(port: int) -> bool:
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).status == 200
    except OSError:
        return False


def test_an_openai_client_gets_what_transformers_generates(server, policy):
    from openai import OpenAI
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, model = (
        AutoTokenizer.from_pretrained(policy / "model"),
        AutoModelForCausalLM.from_pretrained(policy / "model").eval(),
    )
    client = OpenAI(base_url=server, api_key="none")
    for row in arithmetic_samples("collected", 3):
        question = row["prompt"].removeprefix("User:").removesuffix("Assistant:")
        answer = client.chat.completions.create(
            model="tiny",
            messages=[{"role": "user", "content": question}],
            temperature=0,
            max_tokens=40,
            extra_body={"skip_special_tokens": False},
        ).choices[0]
        ids = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        generated = model.generate(**ids, do_sample=False, max_new_tokens=40)[0, ids["input_ids"].shape[1] :]
        assert (
            generated[-1] == tokenizer.eos_token_id and answer.finish_reason == "stop"
        )  # both stop at the end of sequence that was trained
        text = tokenizer.decode(generated[:-1], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        assert answer.message.content.removesuffix(tokenizer.eos_token) == text == row["completion"]
