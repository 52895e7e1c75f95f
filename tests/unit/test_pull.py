"""Requests that servers pull: the faster one takes more, what a lost one had is drawn again, nothing is mixed."""

import time

import pytest

from stages.engines.sampling.servers.client import Client
from stages.engines.sampling.servers.pull import Batch, Puller, Refused, Source
from tests.support.fake_server import FakeServer

SETTINGS = {"n": 2, "temperature": 1.0, "max_tokens": 2, "logprobs": 0}


@pytest.fixture
def servers():
    made = [FakeServer(), FakeServer()]
    yield made
    for server in made:
        server.close()


def sources(servers: list[FakeServer], room: int = 2) -> list[Source]:
    return [Source(Client(server.url, 5.0, 1.0), "w", 7, room, lambda: False) for server in servers]


def draw(servers: list[FakeServer], count: int = 12, on_group=None, **limits) -> tuple[Batch, list[Source]]:
    batch = Batch([[i] for i in range(count)], [100 * i for i in range(count)], SETTINGS, on_group)
    asked = sources(servers)
    Puller(limits.get("lost_after_s", 3.0), limits.get("limit_s", 60.0)).begin(batch, asked).wait()
    return batch, asked


def assert_whole(batch: Batch) -> None:
    for i, group in enumerate(batch.groups):
        assert [one.token_ids.tolist() for one in group] == [[i, 100 * i], [i, 100 * i + 1]]
        assert [one.logprobs.tolist() for one in group] == [[-0.5, -0.25]] * 2
        assert [one.version.tolist() for one in group] == [[7, 7]] * 2


def test_a_server_takes_the_next_request_when_it_has_room(servers):
    servers[0].delay_s = 0.3
    batch, _ = draw(servers, 20)
    assert_whole(batch)
    assert servers[1].asked > 3 * servers[0].asked > 0
    assert servers[0].most_at_once <= 2 and servers[1].most_at_once <= 2


def test_what_a_lost_server_had_is_drawn_by_another(servers):
    servers[0].delay_s, servers[0].breaks = 0.05, True
    seen = []
    batch, (lost, left) = draw(servers, on_group=lambda i, group: seen.append(i))
    assert_whole(batch)
    assert batch.redone > 0 and "broke off requests" in lost.lost and left.lost is None
    assert sorted(seen) == list(range(12))  # each once


def test_a_server_that_is_gone_is_lost_at_once(servers):
    servers[0].close()
    started = time.monotonic()
    batch, (lost, _) = draw(servers)
    assert_whole(batch)
    assert "does not answer" in lost.lost and time.monotonic() - started < 5


def test_without_any_server_the_rest_is_missing(servers):
    for server in servers:
        server.close()
    batch, _ = draw(servers)
    assert batch.missing == list(range(12)) and sorted(batch.waiting) == batch.missing


@pytest.mark.parametrize("broken", [{"version": "another"}, {"finish": "abort"}])
def test_tokens_of_other_weights_and_broken_off_ones_are_drawn_again(servers, broken):
    vars(servers[0]).update(broken)
    batch, (lost, _) = draw(servers)
    assert_whole(batch)
    assert "other weights" in lost.lost


def test_a_server_that_draws_no_token_is_lost(servers):
    servers[0].delay_s = 30.0
    batch, (lost, _) = draw(servers, lost_after_s=3.0, limit_s=2.5)
    assert_whole(batch)
    assert "drawn no token" in lost.lost


def test_an_error_of_the_grader_reaches_the_stage(servers):
    def fail(i, group):
        raise RuntimeError("grader")

    with pytest.raises(RuntimeError, match="grader"):
        draw(servers, on_group=fail)


def test_a_request_that_no_server_takes_is_an_error(servers):
    servers[0].group = servers[1].group = lambda body: None  # 404
    with pytest.raises(Refused, match="404"):
        draw(servers)
