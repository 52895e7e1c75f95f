"""Checks the servers of rollout=server before anything is launched: address, vLLM, how they were started, model."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.configuration.schema import RunConfig
from pipeline.errors import MessageAndFix
from pipeline.planning.devices import num_gpus
from stages.config import GrpoConfig
from stages.contract.served_model import Wanted, installed_vllm, shape_digest, vocabulary_digest, why_unusable

if TYPE_CHECKING:
    from pipeline.planning.plan import Step

ANSWER_S = 3.0


def check_servers(config: RunConfig, steps: Sequence["Step"]) -> list[MessageAndFix]:
    """What is wrong with the servers of the stages that are going to run, each server once a model."""
    asked: dict[tuple[str, Wanted], str] = {}  # -> the stage that asks first
    for step in steps:
        if isinstance(step.config, GrpoConfig) and step.config.rollout.engine == "server" and not step.is_made:
            wanted = _wanted(step, config)
            for url in step.config.rollout.server.urls:
                asked.setdefault((url, wanted), step.stage)
    with ThreadPoolExecutor(8) as pool:  # one that does not answer takes its time
        found = list(pool.map(lambda pair: why_unusable(pair[0], pair[1], ANSWER_S), asked))
    errors = {
        (f"{stage}: the rollout server {url} {why[0]}", why[1])
        for ((url, _), stage), why in zip(asked.items(), found)
        if why is not None
    }
    return [*sorted(errors), *_waits_too_long(config, steps), *_too_few_gpus(config, steps)]


def _wanted(step: "Step", run: RunConfig) -> Wanted:
    """What a stage needs of its servers. Of a policy that is not made yet, shape and vocabulary are asked for later."""
    config = step.config
    policy = step.inputs.get("policy")
    model_dir = Path(policy.model_dir) if policy is not None and policy.model_dir else None
    is_there = model_dir is not None and model_dir.is_dir()
    longest = max(tokens for _, tokens in config.max_completion_tokens)
    return Wanted(
        installed_vllm(),
        _transfer(config.rollout.server.transfer, run),
        config.deepspeed.precision,
        config.data.max_prompt_tokens + longest,
        config.most_completions,
        shape_digest(model_dir) if is_there and model_dir else None,
        vocabulary_digest(model_dir) if is_there and model_dir else None,
    )


def _transfer(transfer: str, run: RunConfig) -> str | None:
    """`rollout.server.transfer`, with auto decided by this machine's GPUs; None where the ranks are on others."""
    if transfer != "auto":
        return transfer
    if run.launcher.name != "local" or num_gpus() is None:
        return None
    return "nccl" if num_gpus() else "gloo"


def _waits_too_long(config: RunConfig, steps: Sequence["Step"]) -> list[MessageAndFix]:
    """Waits of rank 0 for servers that the other ranks, which wait for rank 0, do not sit out."""
    limit_s = config.launcher.collective_timeout_s
    found: list[MessageAndFix] = []
    if config.launcher.num_processes * config.launcher.num_nodes == 1:
        return found
    for step in steps:
        if not isinstance(step.config, GrpoConfig) or step.config.rollout.engine != "server" or step.is_made:
            continue
        server = step.config.rollout.server
        key, wait_s = ("wait_s", server.wait_s) if server.urls else ("start_timeout_s", server.start_timeout_s)
        if wait_s >= limit_s:
            message = f"rollout.server.{key}={wait_s:g}: the other ranks wait {limit_s:g} s only for rank 0"
            fix = f"raise launcher.collective_timeout_s over {wait_s:g}, or lower rollout.server.{key}"
            found.append((message, fix))
    return list(dict.fromkeys(found))


def _too_few_gpus(config: RunConfig, steps: Sequence["Step"]) -> list[MessageAndFix]:
    """Replicas that this machine has no GPUs for, beside its ranks."""
    gpus = num_gpus() if config.launcher.name == "local" else None
    errors = []
    for step in steps:
        if not isinstance(step.config, GrpoConfig) or step.config.rollout.engine != "server" or step.is_made:
            continue
        server = step.config.rollout.server
        if not gpus or server.urls or server.gpus or server.start != "local" or server.transfer == "ipc":
            continue
        ranks, taken = config.launcher.num_processes, server.replicas * server.tensor_parallel
        if ranks + taken > gpus:
            message = (
                f"{step.stage}: {ranks} ranks and {server.replicas} rollout servers of {server.tensor_parallel} GPUs "
                f"need {ranks + taken} GPUs; this machine has {gpus}"
            )
            fix = (
                "lower launcher.num_processes or rollout.server.replicas, give servers on other machines in "
                "rollout.server.urls, or use rollout=vllm"
            )
            errors.append((message, fix))
    return errors
