"""One rollout ahead: how old tokens are, and which are too old."""

import dataclasses

import numpy as np
import pytest

from stages.config import GrpoConfig, RolloutConfig, ServerConfig
from stages.config.mistakes import ConfigError
from stages.kinds.grpo import ahead
from stages.training.rollouts import Row
from tests.support.rollouts import a_rollout, a_row


def config(max_staleness: int, updates: int = 2) -> GrpoConfig:
    rollout = RolloutConfig(engine="server", server=ServerConfig(max_staleness=max_staleness))
    return dataclasses.replace(GrpoConfig(), rollout=rollout, updates_per_rollout=updates)


def stamped(*version: int):
    rollout = dataclasses.replace(a_rollout("x", num_tokens=len(version)), version=np.array(version, np.int32))
    return Row.of(rollout)


def test_only_servers_with_a_bound_draw_ahead():
    assert config(1).draws_ahead and not config(0).draws_ahead and not GrpoConfig().draws_ahead


def test_the_oldest_token_counts_and_the_bound_is_in_rollouts():
    assert ahead.staleness(stamped(4, 4, 2), 6) == 4
    assert ahead.staleness(a_row("x"), 6) == 0  # a sampler in the trainer's process has the weights of now
    ahead.require_bound([stamped(4, 4), stamped(2, 4)], 4, config(1))
    with pytest.raises(RuntimeError, match="3 steps older; the bound is 2"):
        ahead.require_bound([stamped(4), stamped(1)], 4, config(1))


def test_the_mean_is_over_tokens():
    assert ahead.mean_staleness([stamped(4, 4, 4), stamped(2)], 4) == 0.5


def test_keys_that_do_not_go_together():
    with pytest.raises(ConfigError, match="not an address"):
        ServerConfig(urls=["host:8000"])
    with pytest.raises(ConfigError, match="twice"):
        ServerConfig(urls=["http://a:1", "http://a:1/"])
    with pytest.raises(ConfigError, match="transfer=ipc is for one server"):
        ServerConfig(transfer="ipc", replicas=2)
    with pytest.raises(ConfigError, match="gpus names 1 GPUs for 2 replicas of 1"):
        ServerConfig(gpus=[0], replicas=2)
    with pytest.raises(ConfigError, match=r"server\.tensor_parallel=2"):
        RolloutConfig(engine="server", tensor_parallel=2)
