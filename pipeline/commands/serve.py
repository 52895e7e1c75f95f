"""The command `serve`: vLLM's OpenAI server on a model of a run or a directory, in processes that all end with it."""

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Annotated

import psutil

from pipeline.commands.chat import checked_template
from pipeline.commands.chosen_models import ChosenModel, model_in, model_of_run
from pipeline.commands.declaration import Overrides, declare, exit_codes, option
from pipeline.commands.run_directory import find_run
from pipeline.errors import InvalidConfig, StageFailed
from pipeline.paths import REPOSITORY
from pipeline.view.console import standard_console

LOCAL = ("127.0.0.1", "localhost", "::1")
POLL_S = 0.3
STOP_S = 20  # that the server gets to end by itself

app = declare(
    "serve",
    "[model=DIRECTORY | --stage NAME] [--port N] [OPTIONS] [run=NAME] [runs_dir=DIR]",
    {
        "r1 serve --stage preference_rl": "http://127.0.0.1:8000/v1, until Ctrl-C",
        "r1 serve model=models/r1 --port 0 --name r1": "a model directory, at any port that is free",
        "r1 serve --vllm '--max-model-len 4096 --tensor-parallel-size 2'": "options of vLLM",
    },
    exit_codes(0, 2, 3) | {4: "the server ended by itself"},
)


@app.default
def serve(
    *overrides: Overrides,
    stage: Annotated[str | None, option("--stage", value="NAME")] = None,
    name: Annotated[str | None, option("--name", value="TEXT")] = None,
    host: Annotated[str, option("--host", value="ADDRESS")] = "127.0.0.1",
    port: Annotated[int, option("--port", value="N")] = 8000,
    template: Annotated[str | None, option("--template", value="TEMPLATE")] = None,
    vllm: Annotated[str, option("--vllm", value="TEXT", may_begin_with_dash=True)] = "",
) -> int:
    """Serve a model of a run, or a model directory, by vLLM's OpenAI server.

    It answers /v1/chat/completions by the chat template of the export, which has all that stood around the prompts in
    training. Ctrl-C ends it and all its processes.

    Args:
        overrides: `run=NAME` and `runs_dir=DIRECTORY`, by default the run that was worked on last; or
            `model=DIRECTORY`, any model directory or the directory of a stage.
        stage: The stage whose model is served; by default the one furthest along the recipe.
        name: What clients call the model; by default the stage, or the name of the directory.
        host: Where it listens. Others than this machine can use it only with another one, such as 0.0.0.0; the
            variable VLLM_API_KEY makes it ask for a key.
        port: The port; 0 is any that is free.
        template: Another chat template: plain, r1_zero, or a file FILE.jinja.
        vllm: Options that are handed to vLLM, in one word with quotes.
    """
    model = _chosen(overrides, stage)
    words = _vllm_words(vllm)
    chosen = checked_template(template) if template else "auto"
    port = free_port(host, port)
    name = name or model.name
    command = [sys.executable, "-m", "stages.serve", str(model.directory), f"--name={name}", f"--host={host}"]
    command += [f"--port={port}", f"--template={chosen}", "--", *words]
    if host not in LOCAL and not os.environ.get("VLLM_API_KEY"):
        print(
            f"note: whoever reaches {host}:{port} can use the model; VLLM_API_KEY=... asks for a key", file=sys.stderr
        )
    standard_console().print(f"loading {model.about} into vLLM ...", highlight=False, soft_wrap=True)
    with _stop_signals(), _guarded(command) as guard:
        try:
            if _comes_up(guard, host, port):
                _say_how(host, port, name)
            guard.wait()
        except KeyboardInterrupt:
            print("ending the server ...", file=sys.stderr, flush=True)
            return 0
    raise StageFailed(f"the server ended with exit code {guard.returncode}", "its message stands above")


def _chosen(overrides: Sequence[str], stage: str | None) -> ChosenModel:
    models = [word.partition("=")[2] for word in overrides if word.startswith("model=")]
    if not models:
        return model_of_run(find_run(overrides, "serve"), stage)
    if len(overrides) > 1 or stage is not None:
        raise InvalidConfig([f"model={models[-1]} is all that says which model is served: leave out --stage and run="])
    return model_in(models[0])


def _vllm_words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise InvalidConfig([f"--vllm {text!r}: {error}"]) from None


def free_port(host: str, port: int) -> int:
    """The port, or a free one for 0.

    Raises:
        InvalidConfig: the port or the address cannot be had.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    except (OSError, OverflowError) as error:
        raise InvalidConfig(
            [f"--port {port} of {host} cannot be used: {error}; give another one, or --port 0 for one that is free"]
        ) from None


@contextlib.contextmanager
def _stop_signals() -> Iterator[None]:
    """Makes SIGTERM and Ctrl-C raise KeyboardInterrupt, also where a script has started us with Ctrl-C ignored."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _guarded(command: list[str]) -> Iterator[subprocess.Popen]:
    """Runs a command below the guard, which kills all that descends from it, however this process ends."""
    path = os.pathsep.join(part for part in (str(REPOSITORY), os.environ.get("PYTHONPATH", "")) if part)
    guard = subprocess.Popen(
        [sys.executable, "-m", "pipeline.execution.guard", str(os.getpid()), *command],
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,  # Ctrl-C of the terminal comes to us alone, and we end the server in order
    )
    try:
        yield guard
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # a second one would leave processes behind
        _end(guard)


def _end(guard: subprocess.Popen) -> None:
    """Asks the server to end, then has the guard kill what is left."""
    if guard.poll() is None:
        with contextlib.suppress(psutil.Error):
            for child in psutil.Process(guard.pid).children():
                child.send_signal(signal.SIGINT)
    for ask_again in (True, False):
        try:
            guard.wait(STOP_S)
            return
        except subprocess.TimeoutExpired:
            guard.terminate() if ask_again else guard.kill()
    guard.wait()


def _comes_up(guard: subprocess.Popen, host: str, port: int) -> bool:
    """Waits until the server answers; False where it has ended before."""
    address = f"http://{_reachable(host)}:{port}/health"
    while guard.poll() is None:
        try:
            with urllib.request.urlopen(address, timeout=2) as reply:
                if reply.status == 200:
                    return True
        except OSError:
            time.sleep(POLL_S)
    return False


def _reachable(host: str) -> str:
    """An address at which this machine reaches a server that listens there."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{host}]" if ":" in host else host


def _say_how(host: str, port: int, name: str) -> None:
    address = f"http://{_reachable(host)}:{port}/v1"
    body = json.dumps({"model": name, "messages": [{"role": "user", "content": "what is 2+3?"}]}, ensure_ascii=False)
    key = ' -H "Authorization: Bearer $VLLM_API_KEY"' if os.environ.get("VLLM_API_KEY") else ""
    console = standard_console()
    for line in (
        f"ready: {address}, model {name}. Ctrl-C ends it.",
        f"  curl {address}/chat/completions -H 'Content-Type: application/json'{key} -d {shlex.quote(body)}",
    ):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
