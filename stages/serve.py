"""Serves a model directory by vLLM's OpenAI server: `python -m stages.serve MODEL_DIR --port PORT [OPTIONS]`.

It is the worker of the command `serve`. What follows `--` goes to vLLM as it is.
"""

import argparse
import os
import runpy
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

from stages.contract.exit_codes import BAD_INPUT
from stages.runtime import environment
from stages.runtime.errors import InputError

# What `vllm serve` starts. That command asks for the metadata of a package named vllm, and the build for processors has
# another name.
SERVER = "vllm.entrypoints.openai.api_server"
NAMES = ("auto", "plain", "r1_zero", "chat")
# On a processor: whole blocks are shared, and the default of 128 tokens is long; nothing is compiled.
CPU_ARGUMENTS = ("--block-size", "32", "--enforce-eager")
CPU_CACHE_GIB = "1"
# What libraries say in the server's children about what nobody can do anything about; see also environment.py.
HIDDEN_WARNINGS = (
    "ignore:resource_tracker:UserWarning",  # Python's helper for shared memory cleans up after the engine
    "ignore:`torch.distributed.reduce_op` is deprecated:FutureWarning",  # vLLM looks through all names of it
)


def main(arguments: Sequence[str]) -> int:
    """Serves until it is stopped; returns the exit code where the model cannot be served."""
    options = parse(arguments)
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "1"  # the engine has a process of its own here
    os.environ.setdefault("PYTHONWARNINGS", ",".join(HIDDEN_WARNINGS))
    os.environ.pop("STAGE_GUARD_PID", None)  # the guard is this process's own parent here, not that of a launcher
    environment.prepare()
    try:
        template = _chat_template(options.model_dir, options.template)
        words = _server_arguments(options, template)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    sys.argv = ["serve", *words]
    # It says that `vllm serve` should be used, which cannot be where the package has another name.
    warnings.filterwarnings("ignore", message=".*vllm", category=DeprecationWarning)
    # `sys.modules["__main__"]` stays this module, which processes of the engine import first: it hides what
    # `stages/__init__.py` has to hide.
    try:
        runpy.run_module(SERVER, run_name="__main__", alter_sys=False)
    finally:
        if template is not None:
            Path(words[words.index("--chat-template") + 1]).unlink(missing_ok=True)
    sys.stderr.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())  # Triton prints pages about what it did not free
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of the command line."""
    words = list(arguments)
    place = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(prog="python -m stages.serve", description=__doc__)
    parser.add_argument("model_dir", type=Path)
    parser.add_argument("--name", required=True, help="what clients call the model")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--template", default="auto", help=f"{', '.join(NAMES)} or a file FILE.jinja")
    options = parser.parse_args(words[:place])
    options.vllm = words[place + 1 :]
    return options


def _chat_template(model_dir: Path, template: str) -> str | None:
    """The chat template that the server is given; None for the tokenizer's own.

    Raises:
        InputError: The model cannot be served, or it has no chat template.
    """
    import torch

    from stages.engines.vllm_models import prepare_vllm, require_vllm
    from stages.modeling.model import load_tokenizer
    from stages.prompting.chat_templates import as_chat_template
    from stages.prompting.vocabulary import own_chat_template

    on_gpu = torch.cuda.is_available()
    require_vllm(model_dir, on_gpu)
    prepare_vllm(on_gpu)
    if template == "auto":
        if not own_chat_template(load_tokenizer(model_dir)):
            print(
                "the tokenizer of this model has no chat template: clients can use /v1/completions; for "
                "/v1/chat/completions give --template r1_zero, plain or FILE.jinja",
                file=sys.stderr,
            )
        return None
    if template not in NAMES:
        return Path(template).read_text(encoding="utf-8")
    text = as_chat_template(template, load_tokenizer(model_dir))
    if text is None:
        raise InputError(f"{model_dir}: its tokenizer has no chat template: use --template r1_zero or plain")
    return text


def _server_arguments(options: argparse.Namespace, template: str | None) -> list[str]:
    import torch

    words = ["--model", str(options.model_dir), "--served-model-name", options.name]
    words += ["--host", options.host, "--port", str(options.port), "--uvicorn-log-level", "warning"]
    if template is not None:
        with tempfile.NamedTemporaryFile("w", suffix=".jinja", encoding="utf-8", delete=False) as stream:
            stream.write(template)
        words += ["--chat-template", stream.name]
    if not torch.cuda.is_available():
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", CPU_CACHE_GIB)
        words += CPU_ARGUMENTS
    return words + options.vllm


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
