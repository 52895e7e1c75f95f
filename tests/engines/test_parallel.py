"""The same global batch gives the same gradient however it is split: over processes, micro-batches and ZeRO stages."""

import json

import pytest
import torch

from tests.support.paths import ENGINE_SCRIPTS
from tests.support.stage_dirs import run_script

SCRIPT = ENGINE_SCRIPTS / "parallel_batch.py"
WIDE, NARROW = 100_000, 40  # micro-batch tokens: all at once; at most 40


@pytest.fixture(scope="module")
def one_process(base, tmp_path_factory):
    cases = [[0, WIDE, 3], [0, NARROW, 3], *([stage, WIDE, 3, "bf16"] for stage in (0, 1, 2, 3))]
    return run_script(SCRIPT, base / "model", json.dumps(cases), tmp_path_factory.mktemp("parallel") / "one.json")


@pytest.fixture(scope="module")
def two_processes(base, tmp_path_factory):
    cases = [[stage, NARROW, 3] for stage in (0, 1, 2, 3)] + [[0, WIDE, 3]]
    return run_script(
        SCRIPT, base / "model", json.dumps(cases), tmp_path_factory.mktemp("parallel") / "two.json", num_processes=2
    )


def test_gradients_do_not_depend_on_the_split(one_process, two_processes):
    expected = torch.tensor(one_process[0]["gradients"])
    assert expected.norm() > 0.1
    for case in (one_process[1], two_processes[0], two_processes[4]):
        assert (torch.tensor(case["gradients"]) - expected).abs().max() < 1e-5


def test_all_zero_stages_train_alike(one_process, two_processes):
    """Losses, clipped gradient norms and weights after three steps."""
    expected = one_process[0]
    for case in two_processes:
        assert case["losses"] == pytest.approx(expected["losses"], rel=1e-4)
        assert case["norms"] == pytest.approx(expected["norms"], rel=1e-4)
        assert case["weights"] == pytest.approx(expected["weights"], abs=1e-4)


def test_bf16_trains_under_every_zero_stage(one_process):
    """The losses of fp32 to bf16's two or three digits: the weights move, and the gradient is clipped alike."""
    expected = one_process[0]
    assert expected["losses"][0] - expected["losses"][2] > 0.1
    for case in one_process[2:]:
        assert case["losses"] == pytest.approx(expected["losses"], abs=0.03)
        assert case["norms"] == pytest.approx(expected["norms"], rel=0.05)
