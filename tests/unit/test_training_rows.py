"""Steps of SFT follow from rows and epochs, time on a CPU from the size, an evaluation's from its models; by hand."""

import json
import math

import pytest

from pipeline.configuration import graph
from pipeline.planning import estimate
from pipeline.planning.training_rows import training_rows
from stages.contract.manifest import Manifest
from tests.support.runs import config, model_directory, plan, step

pytestmark = pytest.mark.slow  # composes many configurations


def rows_and_tokens(run, stage):
    node, own = graph.build(run).nodes[stage], run.stage(stage)
    rows = training_rows(node, own, run)
    return rows, estimate.tokens(node, own, rows)[0]


def test_what_a_builder_will_keep(tmp_path):
    """cold_start_data: 96 x 12 completions, at most 600; rejection_data: 192 x 4, at most 500, and 2,400 general."""
    run = config(f"runs_dir={tmp_path}")
    assert rows_and_tokens(run, "cold_start") == (600, 50 * 32 * 64)  # 4 x 600 / 32 = 75 steps, but max_steps is 50
    assert rows_and_tokens(run, "rejection_sft") == (2900, 272 * 32 * 64)  # 3 x 2,900 / 32
    few = config(
        f"runs_dir={tmp_path}", "stages.cold_start_data.keep_per_prompt=2", "stages.cold_start_data.keep_total=0"
    )
    assert rows_and_tokens(few, "cold_start") == (192, 24 * 32 * 64)


def test_what_a_builder_has_kept_counts_more(tmp_path):
    run = config(f"runs_dir={tmp_path}")
    directory = run.run_dir / "rejection_data" / "latest"
    directory.mkdir(parents=True)
    Manifest(stage="rejection_data", kind="collect", files={}, metrics={"data/samples": 96}).write(directory)
    assert rows_and_tokens(run, "distill") == (96, 9 * 32 * 64)  # 3 x 96 / 32


@pytest.mark.parametrize("ending", ["\n", ""])
def test_lines_of_a_file_of_traces(ending, tmp_path):
    path = tmp_path / "traces.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": "1?", "completion": "1"}) for _ in range(160)) + ending)
    run = config(f"runs_dir={tmp_path}", f"stages.cold_start.traces.path={path}", "stages.cold_start.max_steps=0")
    assert rows_and_tokens(run, "cold_start") == (160, 20 * 32 * 64)  # 4 x 160 / 32


def test_rows_of_parquet_and_of_what_is_no_file(tmp_path, monkeypatch):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"prompt": ["a"] * 70}), tmp_path / "traces.parquet")
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1")
    for name, rows in (("traces.parquet", 70), ("damaged.parquet", None)):
        run = config(f"runs_dir={tmp_path}", f"stages.distill.traces.path={tmp_path / name}")
        assert rows_and_tokens(run, "distill")[0] == rows
    monkeypatch.setattr("pipeline.planning.training_rows.MAX_READ_BYTES", 100)
    (tmp_path / "long.jsonl").write_text("123456789\n" * 1000)  # of which a hundredth is read
    run = config(f"runs_dir={tmp_path}", f"stages.distill.traces.path={tmp_path / 'long.jsonl'}")
    assert rows_and_tokens(run, "distill")[0] == 1000


def test_an_evaluation_takes_as_long_as_it_has_models(tmp_path):
    def seconds(*stages: str) -> float:
        made = plan(f"+stage=[{','.join(stages)},evaluate]", f"runs_dir={tmp_path}")
        return step(made, "evaluate").seconds - 14

    one, two = seconds("base"), seconds("base", "r1_zero")
    assert two == pytest.approx(2 * one)


def test_large_models_use_a_processor_better(tmp_path):
    """Between 0.5M and 135M parameters the rate is a power of the size; beyond, it stays."""
    run = config(f"runs_dir={tmp_path}")

    def rates(size: float) -> tuple[float, float]:
        return estimate._flops_of_rank(None, run, size)

    assert rates(1e5) == rates(516_096) == (2e10, 1e10)
    assert rates(135e6) == rates(7e9) == pytest.approx((1.5e11, 3e10))
    middle = rates(math.sqrt(516_096 * 135e6))
    assert middle == pytest.approx((math.sqrt(2e10 * 1.5e11), math.sqrt(1e10 * 3e10)))


def test_without_a_penalty_there_is_no_reference(tmp_path):
    path = model_directory(tmp_path / "model")
    run = config(f"runs_dir={tmp_path}", f"model.path={path}", "stages.r1_zero.beta=0")
    node, own = graph.build(run).nodes["r1_zero"], run.stage("r1_zero")
    prompts, group, prompt_tokens = 35 * 16, 16, own.data.max_prompt_tokens / 2
    assert estimate.tokens(node, own)[0] == prompts * (group * 55 + prompt_tokens)
    assert estimate.tokens(node, own, shares_prompts=False)[0] == prompts * group * (55 + prompt_tokens)
