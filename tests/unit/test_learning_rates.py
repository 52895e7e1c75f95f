"""Learning rates belong to the size of a model: the recipe's own keeps its rates, others get what is usual, and a rate
that would destroy a model is refused with the right one.
"""

import json
from pathlib import Path

import pytest

from pipeline.configuration.model_directory import num_parameters
from stages.config import ModelConfig
from stages.config.learning_rates import OF_KIND, usual_rate
from tests.support.runs import config, model_directory, plan

pytestmark = pytest.mark.slow  # composes many configurations

SMOLLM2 = 134_515_008  # parameters


def a_model(path: Path, parameters: int = SMOLLM2) -> Path:
    """A model directory whose weight file has a header and a hole in the place of the numbers."""
    model_directory(path)
    embed, rest = [1000, 64], [parameters - 64_000]
    header = {
        "embed": {"dtype": "BF16", "shape": embed, "data_offsets": [0, 128_000]},
        "rest": {"dtype": "BF16", "shape": rest, "data_offsets": [128_000, 2 * parameters]},
    }
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    with open(path / "model.safetensors", "wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(8 + len(text) + 2 * parameters)
    return path


@pytest.fixture
def model(tmp_path) -> Path:
    return a_model(tmp_path / "model")


@pytest.fixture
def problems(tmp_path) -> Path:
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{n}+1?", "answer": str(n + 1)}) + "\n" for n in range(40)))
    return path


def test_parameters_are_counted_from_the_headers_whatever_the_precision(model):
    assert num_parameters(ModelConfig(path=str(model))) == SMOLLM2
    for damage in (b"", b"abc", (10**9).to_bytes(8, "little"), (2).to_bytes(8, "little") + b"[]"):
        (model / "model.safetensors").write_bytes(damage)  # then by the size of the file, 2 bytes each
        assert num_parameters(ModelConfig(path=str(model))) == len(damage) / 2


def test_weights_that_lie_there_twice_count_once(model):
    (model / "consolidated.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    assert num_parameters(ModelConfig(path=str(model))) == SMOLLM2
    (model / "model.safetensors").rename(model / "model-00001-of-00001.safetensors")
    index = {"weight_map": {"embed": "model-00001-of-00001.safetensors", "rest": "model-00001-of-00001.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    assert num_parameters(ModelConfig(path=str(model))) == SMOLLM2


def rates(*overrides: str) -> dict[str, float]:
    stages = config("+stage=all", *overrides).stages
    return {
        name: stage.optim.lr for name, stage in vars(stages).items() if hasattr(stage, "optim") and "base" not in name
    }


def test_the_recipe_s_own_model_keeps_its_rates():
    assert rates() == {
        "r1_zero": 1e-3,
        "cold_start": 5e-4,
        "reasoning_rl": 1e-3,
        "rejection_sft": 7e-4,
        "reward_models": 5e-4,
        "preference_rl": 7e-4,
        "distill": 1e-3,
        "student_rl": 1e-3,
    }


def test_a_model_from_outside_gets_the_rates_of_its_size(model, problems):
    own, file = f"model.path={model}", f"data.path={problems}"
    usual = rates(own, file)
    assert usual["r1_zero"] == usual["reasoning_rl"] == usual["preference_rl"] == 1e-5
    assert usual["cold_start"] == usual["rejection_sft"] == 1e-4 and usual["reward_models"] == 1e-5
    assert usual["distill"] == 1e-3 and usual["student_rl"] == 1e-3  # the student is still the recipe's
    chosen = rates(own, file, "stages.r1_zero.optim.lr=3e-5", f"student.path={model}")
    assert chosen["r1_zero"] == 3e-5 and chosen["cold_start"] == 1e-4
    assert chosen["distill"] == 1e-4 and chosen["student_rl"] == 1e-5


def test_each_of_several_students_gets_its_own(model, problems, tmp_path):
    large = a_model(tmp_path / "large", 1_500_000_000)
    made = config(
        "+stage=all",
        f"model.path={model}",
        f"data.path={problems}",
        f"+students.a.path={model}",
        f"+students.b.path={large}",
        f"+students.c.path={large}",
        "+students.c.distill.optim.lr=7e-5",
    )
    assert [made.stage(f"distill_{name}").optim.lr for name in "abc"] == [1e-4, 4.3e-5, 7e-5]


def test_a_rate_far_above_the_usual_is_refused_with_the_right_one(model, problems, tmp_path):
    common = ["+stage=[r1_zero,evaluate]", f"model.path={model}", f"data.path={problems}", f"runs_dir={tmp_path}"]
    ((message, fix),) = plan(*common, "stages.r1_zero.optim.lr=1e-3").errors
    assert (
        "stages.r1_zero.optim.lr 0.001 is 100 times what is usual for a model of 134.5M parameters (1e-05)" in message
    )
    assert fix == "stages.r1_zero.optim.lr=1e-05; health.max_lr_ratio=101 allows it"
    for allowed in (["stages.r1_zero.optim.lr=1e-4"], ["stages.r1_zero.optim.lr=1e-3", "health.max_lr_ratio=101"]):
        assert not plan(*common, *allowed).errors
    assert any("learning rates for a model of 134.5M parameters: r1_zero 1e-05" in note for note in plan(*common).notes)


def test_a_rate_far_below_the_usual_is_said(model, problems, tmp_path):
    made = plan(
        "+stage=r1_zero",
        f"model.path={model}",
        f"data.path={problems}",
        f"runs_dir={tmp_path}",
        "stages.r1_zero.optim.lr=1e-6",
    )
    assert any("stages.r1_zero.optim.lr 1e-06 is far below" in note and "(1e-05)" in note for note in made.notes)


def test_nothing_is_said_of_the_recipe_s_own_model_or_of_one_that_is_missing(problems, tmp_path):
    tiny = plan("+stage=all", f"runs_dir={tmp_path}", "stages.r1_zero.optim.lr=0.5")
    assert not tiny.errors and not any("learning rate" in note for note in tiny.notes)
    missing = plan("+stage=r1_zero", "model.path=/nowhere", f"data.path={problems}", f"runs_dir={tmp_path}")
    assert all("no such directory" in message for message, _ in missing.errors)


@pytest.mark.parametrize("kind", OF_KIND)
def test_rates_fall_with_the_size_within_bounds(kind):
    sizes = [10.0**power for power in range(3, 13)]
    found = [usual_rate(kind, size) for size in sizes]
    assert found == sorted(found, reverse=True) and found[0] == 1e-3 and found[-1] == OF_KIND[kind].least


@pytest.mark.parametrize(
    "kind, size, published",
    [
        ("grpo", 671e9, 3e-6),
        ("sft", 671e9, 5e-5),
        ("reward_models", 671e9, 6e-6),
        ("sft", 1.5e9, 1e-4),
        ("sft", 7e9, 8e-5),
        ("sft", 32e9, 6e-5),
        ("sft", 70e9, 2e-5),
        ("grpo", 516_096, 1e-3),
        ("sft", 516_096, 1e-3),
    ],
)
def test_published_and_measured_rates_are_not_refused(kind, size, published):
    assert usual_rate(kind, size) / 5 < published < 5 * usual_rate(kind, size)


def test_adapters_of_low_rank_want_a_higher_rate_and_those_of_full_rank_the_usual_one(model, problems):
    def rates(*overrides: str) -> list[float]:  # of two stages of the model and one of the student
        stages = config(*overrides).stages
        return [stages.r1_zero.optim.lr, stages.cold_start.optim.lr, stages.distill.optim.lr]

    assert rates("lora=on") == [3.5e-3, 1.8e-3, 3.1e-3]  # the recipe's own model is 128 wide, its student 96
    assert rates("lora=on", "lora.rank=128")[:2] == rates()[:2]
    one = rates("lora@stages.r1_zero.lora=on")
    assert one == [3.5e-3, *rates()[1:]]
    assert rates("lora=on", "stages.r1_zero.optim.lr=1e-4")[0] == 1e-4
    gpu = ("recipe=one_gpu", f"data.path={problems}", f"model.path={model}")
    assert rates(*gpu, "lora=on")[:2] == [1e-5, 1e-4]
    (model / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 576}))
    assert rates(*gpu, "lora=on")[0] == 7.5e-6


def test_a_rate_that_destroys_all_weights_can_suit_adapters(model, problems):
    high = ["stage=r1_zero", f"model.path={model}", f"data.path={problems}", "stages.r1_zero.optim.lr=1.2e-4"]
    assert "12 times what is usual for a model of 134.5M" in str(plan(*high).errors)
    assert not any("what is usual" in str(error) for error in plan(*high, "lora=on").errors)
