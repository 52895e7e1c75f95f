"""What a sampler asks of its servers, without an engine."""

from stages.config import RolloutConfig
from stages.engines.sampling.server_sampler import ServerSampler
from stages.engines.sampling.servers.client import Client
from stages.engines.sampling.servers.pull import Puller, Source
from tests.support.fake_server import FakeServer


def sampler_of(server: FakeServer) -> ServerSampler:
    sampler = ServerSampler.__new__(ServerSampler)  # without the group, which starts engines
    sampler.config, sampler.stop_ids, sampler.rank, sampler.world_size = RolloutConfig(engine="server"), [], 0, 1
    sampler.puller = Puller(3.0, 60.0)
    sampler.sources = [Source(Client(server.url, 5.0, 1.0), "w", 7, 1, lambda: False)]
    return sampler


def test_a_probe_of_many_ranks_is_no_request_for_more_than_a_server_draws_at_once():
    server = FakeServer()
    counts: list[int] = []
    answer = server.group
    server.group = lambda body: counts.append(body["sampling_params"]["n"]) or answer(body)
    try:
        (drawn,) = sampler_of(server).draw_on_each([5], 3, 1.0, 2).values()
    finally:
        server.close()
    assert counts == [1, 1, 1]
    assert [one.token_ids.tolist() for one in drawn] == [[5, 0], [5, 1], [5, 2]]  # the seeds of one request for three
