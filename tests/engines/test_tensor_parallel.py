"""Two ranks that hold one vLLM engine together (tensor parallelism 2) draw what two engines draw.

Prompts have different lengths, and their number is odd, so that a wrong dealing shows.
"""

import signal

import pyarrow.parquet
import pytest

from stages.contract.files import read_json, read_jsonl
from tests.support.stage_dirs import StageRun, run_stage, sampled, steps, write_stage
from tests.support.tiny_stages import DATA, GRPO

KINDS = {
    "grpo": {**GRPO, "num_steps": 3, "updates_per_rollout": 2, "prompts_per_step": 5},
    "collect": {
        "num_prompts": 7,
        "samples_per_prompt": 4,
        "few_shot": 1,
        "few_shot_share": 0.5,
        "max_completion_tokens": 24,
        "keep_per_prompt": 2,
        "min_language": 0.9,
        "max_kept_tokens": 24,
        "chunk_prompts": 3,
        "data": DATA,
    },
    "evaluate": {
        "num_reasoning": 7,
        "num_general": 5,
        "num_safety": 4,
        "samples_per_prompt": 3,
        "max_completion_tokens": 16,
        "data": DATA,
    },
}
TEMPERATURE = {"grpo": 1.0, "collect": 0.5, "evaluate": 0.5}


def prepare(directory, kind, policy, tensor_parallel, **changes):
    rollout = {"temperature": TEMPERATURE[kind], "tensor_parallel": tensor_parallel}
    config = {**KINDS[kind], "rollout": rollout, **changes}
    return write_stage(directory, kind, config, {"policy": policy}, stage="collected")


@pytest.fixture(scope="module")
def of_kind(policy, stage_root):
    """kind, tensor parallelism -> the finished stage's directory."""
    known = {}

    def make(kind, tensor_parallel):
        key = kind, tensor_parallel
        if key not in known:
            directory = stage_root / f"tensor_parallel_{kind}_{tensor_parallel}"
            known[key] = run_stage(prepare(directory, kind, policy, tensor_parallel))
        return known[key]

    return make


def test_rl_trains_on_the_same_completions(of_kind):
    one, two = of_kind("grpo", 1), of_kind("grpo", 2)
    expected, got = sampled(one, 0), sampled(two, 0)
    assert len({len(row["prompt_ids"]) for row in expected}) > 1
    assert [row["prompt"]["id"] for row in got] == [row["prompt"]["id"] for row in expected]
    assert [row["completion_ids"] for row in got] == [row["completion_ids"] for row in expected]
    assert len(got) == 2 * 5 * 4
    for row, other in zip(got, expected, strict=True):
        assert row["rollout_logprobs"] == pytest.approx(other["rollout_logprobs"], abs=1e-4)
    for row, other in zip(steps(two), steps(one), strict=True):
        assert row["policy/probe_max"] < 1e-4
        for name in ("train/loss", "train/grad_norm", "policy/entropy", "reward/mean", "train/tokens"):
            assert row[name] == pytest.approx(other[name], rel=1e-3, abs=1e-5), name


def test_data_is_built_from_the_same_completions(of_kind):
    one, two = (
        pyarrow.parquet.read_table(of_kind("collect", width) / "data" / "train.parquet").to_pylist() for width in (1, 2)
    )
    assert one == two and len(one) > 0
    assert steps(of_kind("collect", 1)) == steps(of_kind("collect", 2)) != []


def test_evaluation_grades_the_same_completions(of_kind):
    one, two = of_kind("evaluate", 1), of_kind("evaluate", 2)
    assert read_json(two / "results.json") == read_json(one / "results.json")
    assert read_jsonl(two / "samples.jsonl") == read_jsonl(one / "samples.jsonl")


def test_a_signal_to_one_rank_of_an_engine_stops_both(policy, stage_root, of_kind):
    """The other rank must not wait for it in the middle of a decoding step."""
    directory = prepare(
        stage_root / "tensor_parallel_stopped", "evaluate", policy, 2, num_reasoning=60, samples_per_prompt=16
    )
    with StageRun(directory) as attempt:
        attempt.wait_for(lambda: list(directory.glob("state/policy/*/samples.*")), "a sample")
        attempt.ranks()[1].send_signal(signal.SIGTERM)
        attempt.wait()
        assert attempt.rank_exit_codes() <= {75}, attempt.log()
    assert not (directory / "manifest.json").exists()
