"""A vLLM server that takes a trainer's weights, with the settings and the repairs of the sampler in its process."""

import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stages.config import RolloutConfig
from stages.contract.files import write_json
from stages.contract.served_model import Settings, names_of
from stages.engines import patches
from stages.engines.sampling.servers.settings import free_port
from stages.engines.sampling.vllm_sampler import engine_settings, prefer_newer_runner
from stages.engines.vllm_models import prepare_vllm, require_vllm
from stages.modeling.loading import require_loadable

ENTRY = "vllm.entrypoints.launchers.api_server.entry"
ANY_ADDRESS = "0.0.0.0"
WORKER = "stages.engines.sampling.servers.gloo.ServerWorker"


@dataclass(frozen=True)
class Served:
    """What a server is to serve, and where."""

    model_dir: Path
    config: RolloutConfig  # its limits and its `server`
    max_prompt_tokens: int
    max_model_tokens: int
    precision: str
    transfer: str  # gloo, nccl or ipc
    host: str  # address to listen on
    port: int  # 0: any that is free
    announce: Path | None  # file that gets {"url": ...} as soon as the port is known
    has_random_weights: bool  # until the first sync
    more: tuple[str, ...] = ()  # arguments for vLLM


def prepare_environment(transfer: str, host: str) -> None:
    """Sets what vLLM reads as it is imported, besides what `stages.runtime.environment` sets."""
    os.environ["VLLM_SERVER_DEV_MODE"] = "1"  # the routes for weights
    if host != ANY_ADDRESS:  # vLLM would look for a way to the internet
        os.environ.setdefault("VLLM_HOST_IP", socket.gethostbyname(host))
    if transfer == "ipc":
        os.environ["VLLM_ALLOW_INSECURE_SERIALIZATION"] = "1"  # handles of GPU memory come pickled


def serve(served: Served) -> None:
    """Serves until the process is stopped."""
    on_gpu = torch.cuda.is_available()
    require_vllm(served.model_dir, on_gpu)
    require_loadable(served.model_dir)
    if on_gpu:
        prefer_newer_runner(served.model_dir)
    prepare_vllm(on_gpu)
    if not on_gpu and os.environ.get("OMP_NUM_THREADS") == "1":
        patches.fork_engine()
    port = served.port or free_port(served.host)
    if served.announce is not None:
        shown = socket.gethostname() if served.host == ANY_ADDRESS else served.host
        write_json(served.announce, {"url": f"http://{shown}:{port}", "pid": os.getpid()})
    sys.argv = ["rollout_server", *arguments(served, port)]
    from importlib import import_module

    import_module(ENTRY).main()


def arguments(served: Served, port: int) -> list[str]:
    """The command line of vLLM's server."""
    settings = engine_settings(
        served.config, served.model_dir, served.max_prompt_tokens, served.max_model_tokens, served.precision
    )
    # without the trainer's launcher; its figures are the sign of life of a server that draws
    del settings["distributed_executor_backend"], settings["disable_log_stats"]
    settings |= {
        "tensor_parallel_size": served.config.server.tensor_parallel,
        "worker_extension_cls": WORKER,
        "load_format": "dummy" if served.has_random_weights else "auto",
    }
    words = ["--host", served.host, "--port", str(port), "--disable-uvicorn-access-log"]
    words += ["--weight-transfer-config", f'{{"backend": "{served.transfer}"}}']
    words += ["--enable-scale-out"]  # tokens in, tokens out
    facts = Settings(served.transfer, settings["dtype"], settings["logprobs_mode"], settings["max_num_seqs"])
    words += ["--served-model-name", *names_of(served.model_dir, facts)]
    return [*words, *as_options(settings), *served.more]


def as_options(settings: dict[str, Any]) -> Sequence[str]:
    """The arguments of vLLM's LLM as options of its command line.

    >>> as_options({"max_model_len": 64, "enforce_eager": True, "enable_chunked_prefill": False})
    ['--max-model-len', '64', '--enforce-eager', '--no-enable-chunked-prefill']
    """
    words: list[str] = []
    for name, value in settings.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        else:
            words += [f"--{option}", str(value)]
    return words
