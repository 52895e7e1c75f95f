"""A vLLM server for rollout=server: `python -m stages.rollout_server MODEL_DIR --max-prompt-tokens N ... [-- OPTIONS]`.

A stage starts servers of its own by it. By hand it makes a server on another machine, whose address goes into
rollout.server.urls. What follows `--` goes to vLLM as it is.
"""

import argparse
import os
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from stages.config import RolloutConfig, ServerConfig
from stages.contract.exit_codes import BAD_INPUT
from stages.runtime import environment
from stages.runtime.errors import InputError


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The options of the command line."""
    words = list(arguments)
    place = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(prog="python -m stages.rollout_server", description=__doc__)
    parser.add_argument("model_dir", type=Path, help="a Hugging Face directory, of the policy that will be trained")
    parser.add_argument("--max-prompt-tokens", type=int, required=True, help="data.max_prompt_tokens of the stage")
    parser.add_argument("--max-completion-tokens", type=int, required=True, help="the largest one of the stage")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="that of the stage")
    parser.add_argument("--transfer", choices=("gloo", "nccl", "ipc"), default="gloo", help="how weights come")
    parser.add_argument("--host", default="127.0.0.1", type=_host, help="IPv4 address, or a name, to listen on")
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--announce", type=Path, help="file that gets the address")
    parser.add_argument("--random-weights", action="store_true", help="until the first sync")
    parser.add_argument("--with-parent", action="store_true", help="end when the process ends that started it")
    parser.add_argument("--with-input", action="store_true", help="end when the standard input ends")
    parser.add_argument("--tensor-parallel", type=int, default=1)
    parser.add_argument("--max-sequences", type=int, default=256)
    parser.add_argument("--kv-cache-gib", type=float, default=0.0625, help="on a CPU")
    parser.add_argument("--gpu-memory-fraction", type=float, default=0.85)
    options = parser.parse_args(words[:place])
    options.vllm = tuple(words[place + 1 :])
    return options


def _host(word: str) -> str:
    """A host that the trainer can reach and send weights to."""
    try:
        socket.getaddrinfo(word, None, socket.AF_INET)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{word} is neither an IPv4 address nor a name of one") from error
    return word


def end_with_input() -> None:
    """Ends this process when its standard input does: a sign of life that srun carries to another machine."""

    def read() -> None:
        while os.read(0, 4096):
            pass
        os._exit(0)

    threading.Thread(target=read, name="input", daemon=True).start()


def main(arguments: Sequence[str]) -> int:
    """Serves until it is stopped; returns the exit code where the model cannot be served."""
    options = parse(arguments)
    environment.prepare(dies_with_parent=options.with_parent)
    if options.with_input:
        end_with_input()
    try:
        from stages.engines.sampling.servers import process

        os.environ[environment.ABOVE] = str(os.getpid())  # for the engine's processes
        process.prepare_environment(options.transfer, options.host)
        config = RolloutConfig(
            engine="server",
            max_sequences=options.max_sequences,
            kv_cache_gib=options.kv_cache_gib,
            gpu_memory_fraction=options.gpu_memory_fraction,
            server=ServerConfig(tensor_parallel=options.tensor_parallel),
        )
        process.serve(
            process.Served(
                options.model_dir,
                config,
                options.max_prompt_tokens,
                options.max_prompt_tokens + options.max_completion_tokens,
                options.precision,
                options.transfer,
                options.host,
                options.port,
                options.announce,
                options.random_weights,
                options.vllm,
            )
        )
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
