"""Estimates of time and disk, on numbers worked by hand; those of memory are in test_memory.py.

The tiny model has 516,096 parameters: three layers of 2*128*128 (query, output) + 2*128*64 (key, value) + 3*128*256
(MLP) = 147,456, and 2*288*128 = 73,728 of embeddings.
"""

import dataclasses
import functools

import pytest

from pipeline.configuration import graph
from pipeline.configuration.schema import RunConfig
from pipeline.planning import estimate, models
from stages.config import DeepSpeedConfig, ModelConfig
from stages.contract.description import StageDescription
from stages.contract.files import write_json
from stages.contract.manifest import Manifest, Timing
from tests.support.runs import config

PARAMETERS = 516_096
STUDENT_PARAMETERS = 215_040
GIB = 2**30


@functools.cache  # composing takes a second
def composed(*overrides: str) -> RunConfig:
    return config("runs_dir=/nowhere", *overrides)


@pytest.fixture
def tiny(tmp_path):
    """A function: the tiny recipe with these values, in a run that does not exist."""

    def make(*overrides: str, **values) -> RunConfig:
        run = dataclasses.replace(composed(*overrides), runs_dir=str(tmp_path))
        for key, value in values.items():
            run = changed(run, key.split("__"), value)
        return run

    return make


def changed(node, names: list[str], value):
    """The configuration with the value at this place."""
    name, *others = names
    return dataclasses.replace(node, **{name: changed(getattr(node, name), others, value) if others else value})


def seconds(run: RunConfig, stage: str) -> float:
    return estimate.seconds(graph.build(run).nodes[stage], run.stage(stage), run)


def test_the_tiny_model_has_the_parameters_that_the_numbers_below_are_worked_with(tiny):
    assert models.num_parameters(tiny().model_of("r1_zero")) == PARAMETERS
    assert models.num_parameters(tiny().model_of("distill")) == STUDENT_PARAMETERS


@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])  # transformers 5 and before
def test_parameters_of_a_model_directory_follow_from_its_weight_files_and_precision(key, tmp_path):
    (tmp_path / "model-1.safetensors").write_bytes(b"x" * 3000)
    (tmp_path / "model-2.safetensors").write_bytes(b"x" * 1000)
    for precision, parameters in (("float32", 1000), ("bfloat16", 2000)):
        write_json(tmp_path / "config.json", {key: precision})
        assert models.num_parameters(ModelConfig(path=str(tmp_path))) == parameters
    assert models.num_parameters(ModelConfig(path=str(tmp_path / "nowhere"))) == 0


TRAINED_AND_SAMPLED = {
    "base": (1350 * 32 * 45, 0),  # steps, documents a step, tokens a document
    "cold_start": (50 * 32 * 256 / 4, 0),  # steps, rows a step, a quarter of the longest row
    # steps, prompts a step, 16 completions of half of 110 tokens and once half of 32 of the prompt; 1/3: reference
    "r1_zero": (35 * 16 * (16 * 55 + 16) * 4 / 3, 35 * 256 * 55),
    "cold_start_data": (0, 96 * 12 * 55),  # prompts, completions of each, half of 110 tokens
    "reward_models": (150 * 24 * 3 * 40, (320 * 8 + 160 * 4) * 40),
    "evaluate": (0, 8 * (192 * 4 + 192 + 128) * 55),  # eight models
    "report": (0, 0),
}


NAMES = ("oversampling", "max_sampling_rounds")


@pytest.mark.parametrize("stage", TRAINED_AND_SAMPLED)
def test_tokens_of_every_kind(stage, tiny):
    run = tiny()
    assert estimate.tokens(graph.build(run).nodes[stage], run.stage(stage)) == pytest.approx(TRAINED_AND_SAMPLED[stage])


def test_dynamic_sampling_draws_more_than_it_trains_on(tiny):
    plain = tiny()
    trained, sampled = estimate.tokens(graph.build(plain).nodes["r1_zero"], plain.stage("r1_zero"))
    for words, drawn in (([1, 3], 1 + 0.5 + 0.25), ([2, 2], 2), ([4, 1], 1)):
        run = tiny(*(f"stages.r1_zero.{key}={value}" for key, value in zip(NAMES, words)))
        found = estimate.tokens(graph.build(run).nodes["r1_zero"], run.stage("r1_zero"))
        assert found == pytest.approx((trained, sampled * drawn))


def test_every_kind_of_stage_is_here(tiny):
    nodes = graph.build(tiny()).nodes
    assert {nodes[stage].kind for stage in TRAINED_AND_SAMPLED} == {node.kind for node in nodes.values()}


@pytest.mark.parametrize(
    "stage, startup_s, flop_per_parameter",
    [
        ("base", 10, 6 * 1_944_000),
        ("cold_start", 10, 6 * 102_400),
        ("r1_zero", 16, 6 * 35 * 16 * (16 * 55 + 16) * 4 / 3 + 4 * 492_800),  # sampling at half the rate
        ("cold_start_data", 14, 4 * 63_360),
        ("reward_models", 16, 6 * 432_000 + 4 * 128_000),
        ("evaluate", 14, 4 * 478_720),
        ("report", 1, 0),
    ],
)
def test_seconds_of_every_kind_on_two_cpu_ranks(stage, startup_s, flop_per_parameter, tiny):
    assert seconds(tiny(), stage) == pytest.approx(startup_s + PARAMETERS * flop_per_parameter / (2 * 2e10))


def test_a_student_is_estimated_with_its_own_model(tiny):
    assert seconds(tiny(), "student_base") == pytest.approx(10 + STUDENT_PARAMETERS * 6 * 900 * 32 * 45 / (2 * 2e10))


def test_suites_are_estimated_by_their_problems(tiny):
    run = tiny("+eval@eval.math500=math500", "stages.evaluate.suites=[math500]")
    suite = run.stage("evaluate").settings["math500"]
    of_a_model = (suite.num_problems or 500) * suite.samples_per_prompt * suite.max_completion_tokens / 2
    expected = 8 * of_a_model
    assert estimate.tokens(graph.build(run).nodes["evaluate"], run.stage("evaluate")) == (0, expected)


def test_more_ranks_and_nodes_divide_the_work(tiny):
    run = tiny(launcher__name="slurm", launcher__num_nodes=3, launcher__num_processes=4)
    assert seconds(run, "base") == pytest.approx(10 + PARAMETERS * 6 * 1_944_000 / (12 * 2e10))


WORK = PARAMETERS * 6 * 102_400  # FLOP of cold_start


@pytest.mark.parametrize(
    "overrides, flops",
    [
        (["launcher=cpu"], 2 * 2e10),
        (["launcher=gpu"], 1.5e13),  # in fp32: what was taken for a CPU
        (["launcher=gpu", "deepspeed.precision=bf16"], 1.5e14),
        (["launcher=slurm"], 16 * 1.5e13),  # two nodes of eight
    ],
)
def test_where_it_will_run_decides_not_the_precision(overrides, flops, tiny):
    assert seconds(tiny(*overrides), "cold_start") == pytest.approx(10 + WORK / flops)


def test_what_only_gpus_have_says_so_too(tiny):
    assert not estimate.is_for_gpus(tiny())
    for values in (
        {"deepspeed__precision": "bf16"},
        {"deepspeed": DeepSpeedConfig(zero_stage=2, offload_optimizer=True)},
        {"deepspeed": DeepSpeedConfig(zero_stage=3, offload_parameters=True)},
        {"rollout__tensor_parallel": 2},
        {"launcher__threads_per_process": 8},
    ):
        assert estimate.is_for_gpus(tiny(**values)), values


def test_bf16_that_runs_here_without_a_gpu_is_timed_as_what_it_is(monkeypatch, tiny):
    """A recipe for one GPU with launcher=cpu was planned with the speed of a GPU: minutes in the place of hours."""
    monkeypatch.setattr("pipeline.planning.devices.num_gpus", lambda: 0)
    run = tiny("launcher=cpu", "deepspeed.precision=bf16")
    assert seconds(run, "cold_start") == pytest.approx(10 + WORK * estimate.BF16_ON_CPU / (2 * 2e10))
    run = tiny("launcher=cpu", "launcher.threads_per_process=4")
    assert seconds(run, "cold_start") == pytest.approx(10 + WORK / (8 * 2e10))


def test_a_stage_of_another_precision_than_the_run_is_estimated_with_its_own(tiny):
    run = tiny("launcher=gpu", "deepspeed.precision=bf16", stages__evaluate__precision="fp32")
    assert run.stage("base").deepspeed.precision == "fp32"  # Muon
    assert seconds(run, "base") == pytest.approx(10 + PARAMETERS * 6 * 1_944_000 / 1.5e13)
    assert seconds(run, "evaluate") == pytest.approx(14 + PARAMETERS * 4 * 478_720 / 1.5e13)
    assert seconds(run, "cold_start_data") == pytest.approx(14 + PARAMETERS * 4 * 63_360 / 1.5e14)


def finished(run: RunConfig, stage: str, total_s: float, **changed) -> None:
    """A directory of the stage as a worker leaves it: with its configuration, and the time it took."""
    directory = run.run_dir / stage / "0a1b2c3d"
    own = run.stage(stage)
    fields = {name: getattr(own, name) for name in estimate.SIZE_FIELDS if hasattr(own, name)}
    kind = graph.build(run).nodes[stage].kind
    StageDescription(stage=stage, kind=kind, config={**fields, **changed}).write(directory)
    Manifest(stage=stage, kind=kind, files={}, timing=Timing(total_s=total_s)).write(directory)
    (directory.parent / "latest").symlink_to(directory.name)


def test_the_time_of_an_earlier_directory_beats_the_formula_where_it_had_as_much_to_do(tiny):
    run = tiny()
    finished(run, "r1_zero", 77.5)
    assert seconds(run, "r1_zero") == 77.5
    assert seconds(tiny(stages__r1_zero__beta=0.5), "r1_zero") == 77.5  # no more work
    for more in ({"num_steps": 70}, {"group_size": 32}, {"prompts_per_step": 8}):
        values = {f"stages__r1_zero__{name}": value for name, value in more.items()}
        assert seconds(tiny(**values), "r1_zero") != 77.5


def test_an_unfinished_or_damaged_directory_measures_nothing(tiny):
    run = tiny()
    by_formula = seconds(run, "cold_start")
    finished(run, "cold_start", 5.0)
    (run.run_dir / "cold_start" / "latest" / "manifest.json").unlink()
    assert seconds(run, "cold_start") == by_formula
    (run.run_dir / "cold_start" / "latest" / "manifest.json").write_text("[")
    assert seconds(run, "cold_start") == by_formula


BILLION = 10**9


def test_disk_of_checkpoints_and_model(tiny, monkeypatch):
    monkeypatch.setattr(models, "num_parameters", lambda model: BILLION)
    run = tiny(stages__cold_start__keep_checkpoints=3)
    assert estimate.disk_gib("cold_start", run.stage("cold_start"), run) == BILLION * (4 * 16 + 4) / GIB
    half = tiny(stages__cold_start__deepspeed__precision="bf16")  # keeps 2 and writes a third
    assert estimate.disk_gib("cold_start", half.stage("cold_start"), half) == BILLION * (3 * 14 + 2) / GIB
    assert estimate.disk_gib("evaluate", run.stage("evaluate"), run) == 0.0
