"""`r1 serve` on an export: it answers an OpenAI client as transformers does, by its chat template, up to its end of
sequence; and it ends with all its processes.
"""

import os
import re
import signal
import subprocess
import sys

import psutil
import pytest

from tests.support.stage_dirs import REPOSITORY
from tests.support.tiny_stages import arithmetic_samples

END_S = 60  # 3 on an idle machine


@pytest.fixture(scope="module")
def server(policy):
    """The address of a server that the command has started; afterwards Ctrl-C ends it, and nothing is left."""
    words = ["serve", f"model={policy / 'model'}", "--name", "tiny", "--port", "0"]
    words += ["--vllm", "--max-model-len 128 --dtype float32 --max-num-seqs 4"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *words],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines = []
    try:
        for line in process.stdout:  # it ends where the server does
            lines.append(line)
            if found := re.match(r"ready: (http://127\.0\.0\.1:\d+/v1), model tiny", line):
                break
        else:
            pytest.fail("".join(lines))
        assert "chat/completions" in process.stdout.readline()  # the example for curl
        below = psutil.Process(process.pid).children(recursive=True)
        assert len(below) > 2  # the guard, the server, its engine
        yield found[1]
        process.send_signal(signal.SIGINT)
        assert process.wait(END_S) == 0
        assert not psutil.wait_procs(below, timeout=1)[1]
    finally:
        process.kill()  # and the guard kills the rest
        process.stdout.close()


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
