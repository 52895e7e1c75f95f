"""Servers of our own that die: in the middle of requests, in the middle of a transfer, and all of them.

Beside vLLM in this process, which has the same weights: what is drawn must be the same, token for token.
"""

import sys
import threading
import time
from pathlib import Path

import psutil

from stages.runtime import environment

environment.prepare()

import torch  # noqa: E402

from stages.config import RolloutConfig, ServerConfig  # noqa: E402
from stages.contract.files import write_json  # noqa: E402
from stages.engines.sampling import Apart, Completion, make_sampler  # noqa: E402
from stages.engines.sampling.server_sampler import ServerSampler  # noqa: E402
from stages.engines.training import init_distributed  # noqa: E402
from stages.engines.weights import StepWeights, named_weights  # noqa: E402
from stages.modeling.model import load_model  # noqa: E402
from tests.support.stage_dirs import end_process  # noqa: E402

PROMPT_TOKENS, TOKENS, GROUP = 64, 40, 4
PROMPTS = [[5 + i % 40, 7, 9, 11 + i % 30] * (1 + i % 3) for i in range(24)]


def seeds(count: int) -> list[int]:
    return [1000 * i for i in range(count)]


def drawn(groups: list[list[Completion]]) -> list[list[tuple]]:
    return [[(list(one.token_ids), list(one.logprobs)) for one in group] for group in groups]


def main(model_dir: Path, logs: Path, result: Path) -> None:
    init_distributed()
    told: list[str] = []
    config = RolloutConfig(engine="server", server=ServerConfig(replicas=2, lost_after_s=5.0, start_timeout_s=280))
    started = time.time()
    servers = make_sampler(config, model_dir, PROMPT_TOKENS, TOKENS, apart=Apart(GROUP, logs, told.append))
    assert isinstance(servers, ServerSampler) and servers.group is not None
    replicas = servers.group.replicas
    own = make_sampler(RolloutConfig(), model_dir, PROMPT_TOKENS, TOKENS, is_synced_first=True)
    model = load_model(model_dir, "fp32").eval()
    found: dict[str, object] = {}

    def next_weights(step: int) -> StepWeights:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.02)
        return StepWeights(step, lambda: named_weights(model))

    def compare(name: str, prompts: list[list[int]], step: int) -> None:
        theirs = servers.sample(prompts, seeds(len(prompts)), GROUP, 1.0, TOKENS)
        ours = own.sample(prompts, seeds(len(prompts)), GROUP, 1.0, TOKENS)
        found[name] = drawn(theirs) == drawn(ours) and all(
            set(one.version) == {step} for group in theirs for one in group
        )

    weights = next_weights(1)
    servers.sync(weights)
    found["start_s"] = time.time() - started
    own.sync(weights)
    compare("two replicas", PROMPTS, 1)

    many = PROMPTS * 8
    server = replicas[0].process.pid
    threading.Timer(0.2, lambda: psutil.Process(server).kill()).start()
    compare("killed in the middle of requests", many, 1)
    found["lost"] = [source.lost for source in servers.sources]

    weights = next_weights(2)
    doomed = psutil.Process(replicas[1].process.pid)
    engine = max(doomed.children(), key=lambda child: child.memory_info().rss)  # the process that holds the model

    def cut_off():
        yield from weights
        if doomed.is_running() and engine.status() != psutil.STATUS_STOPPED:
            engine.suspend()  # it is in an update, and takes none of these
            threading.Timer(2.0, doomed.kill).start()

    servers.sync(StepWeights(2, cut_off))  # waits for the one that replaces the first
    own.sync(weights)
    found["told"] = list(told)
    compare("killed in the middle of a transfer", PROMPTS, 2)

    found["processes left"] = engine.is_running() and engine.status() != psutil.STATUS_ZOMBIE
    servers.close()
    write_json(result, found)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
    end_process()
