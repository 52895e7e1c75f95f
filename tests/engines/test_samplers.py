"""vLLM against the transformers engine: the same tokens and logprobs from the same seeds, tied head or not, before and
after a sync.
"""

import pytest

from tests.support.paths import ENGINE_SCRIPTS
from tests.support.stage_dirs import run_script

NUM_COMPLETIONS = 4
CASES = [f"{which}/{temperature}" for which in ("first", "second") for temperature in (1.0, 0.7)]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    directory = tmp_path_factory.mktemp("samplers")
    return run_script((ENGINE_SCRIPTS / "compare_samplers.py"), directory, directory / "result.json")


@pytest.fixture(params=["untied", "tied"])
def model(request, drawn):
    return drawn[request.param]


def tokens(rows) -> list:
    return [row[0] for row in rows]


def assert_close(rows, expected) -> None:
    for a, b in zip(rows, expected, strict=True):
        assert a == pytest.approx(b, abs=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_engines_draw_the_same(model, case):
    vllm, transformers = model["vllm"][case], model["transformers"][case]
    assert tokens(vllm) == tokens(transformers)
    assert [row[2] for row in vllm] == [row[2] for row in transformers]
    assert_close([row[1] for row in vllm], [row[1] for row in transformers])


@pytest.mark.parametrize("case", CASES)
def test_logprobs_are_the_trainers(model, case):
    assert_close([row[1] for row in model["vllm"][case]], model["trainer"][case])


@pytest.mark.parametrize("engine", ["vllm", "transformers"])
def test_samples_do_not_depend_on_the_batch(model, engine):
    found = model[engine]
    rows, turned = found["first/1.0"], found["reversed"]
    groups = [turned[i : i + NUM_COMPLETIONS] for i in range(0, len(turned), NUM_COMPLETIONS)]
    assert tokens(rows) == tokens([row for group in groups[::-1] for row in group])
    assert (
        tokens(found["third alone"]) == tokens(rows)[2 * NUM_COMPLETIONS + 1 : 2 * NUM_COMPLETIONS + 3]
    )  # sample k draws with seed + k


@pytest.mark.parametrize("engine", ["vllm", "transformers"])
def test_a_sync_replaces_all_weights_and_leaves_the_generators_alone(model, engine):
    found = model[engine]
    assert tokens(found["second/1.0"]) != tokens(found["first/1.0"]) == tokens(found["first again"])
    assert found["generators untouched"] is True
    assert found["nothing asked"] == []


def test_samples_are_varied_and_end(model):
    """A guard for the tests above: they would hold for an engine that always draws the same token."""
    rows = model["vllm"]["first/1.0"]
    assert len(set(map(tuple, tokens(rows)))) >= 15
    assert {row[2] for row in rows} == {True, False}
    assert tokens(rows) != tokens(model["vllm"]["first/0.7"])


def test_a_cache_that_is_too_small_changes_nothing(drawn):
    """rollout.kv_cache_gib is no part of a fingerprint: a request that loses its blocks and starts again draws what it
    would have drawn.
    """
    assert drawn["cramped"]["preemptions"] > 0
    assert drawn["cramped"]["rows"] == drawn["tied"]["vllm"]["first/1.0"]
