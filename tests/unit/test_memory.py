"""The memory that a plan predicts: by parts, on numbers worked by hand; what does not fit, and what would."""

import dataclasses
import functools

import pytest

from pipeline.configuration import graph
from pipeline.configuration.schema import RunConfig
from pipeline.planning import capacity, changes, fitting, memory, models
from pipeline.planning.activations import layer_bytes, logit_bytes
from pipeline.planning.plan import Step, make_plan
from pipeline.planning.shapes import KNOWN, Shape, read_shape, shape_of
from pipeline.planning.training_state import BUCKET, TrainingState
from stages.config import DeepSpeedConfig, LoraConfig, ModelConfig
from tests.support.hollow_models import hollow_model
from tests.support.runs import config

GIB = 2**30
BILLION = 10**9
PARAMETERS = 516_096  # of the tiny model


@functools.cache  # composing takes a second
def composed(*overrides: str) -> RunConfig:
    return config("runs_dir=/nowhere", *overrides)


def needed(run: RunConfig, stage: str) -> memory.Needed:
    found = memory.needed(graph.build(run).nodes[stage], run.stage(stage), run)
    assert found is not None
    return found


def steps(run: RunConfig, *stages: str) -> list[Step]:
    """Steps as a plan has them, without looking at any disk."""
    return [
        Step(stage, run.node(stage).kind, "run", "", "0" * 64, run.run_dir, run.stage(stage), {},
             memory=needed(run, stage))
        for stage in stages
    ]  # fmt: skip


def errors(run: RunConfig, *stages: str) -> list[tuple[str, str]]:
    return fitting.check_memory(run, steps(run, *stages))


def test_on_a_cpu_all_ranks_share_the_machine_and_rank_0_writes_the_checkpoint():
    run = composed()
    found = needed(run, "cold_start")
    assert found.gpu == {} and found.host_moment == "update"
    assert found.host["libraries"] == 2 * memory.LIBRARIES["sft"]
    assert found.host["weights"] == found.host["gradients"] == 2 * PARAMETERS * 4 / GIB
    assert found.host["optimizer"] == 2 * PARAMETERS * 8 / GIB
    assert found.host["checkpoint"] == PARAMETERS * 12 / GIB
    assert sum(found.rank.values()) > found.host_gib / 2
    cached = needed(run, "r1_zero")
    assert cached.host["cache"] == 2 * 0.0625 and cached.host["sampler"] == cached.host["weights"]


@pytest.mark.parametrize(
    "zero_stage, weights, gradients, optimizer",
    [
        (0, 2, 2 + 4, 12),  # bf16 without ZeRO adds gradients up in fp32
        (1, 2, 2, 12 / 4),
        (2, 2, 2 / 4 + 1, 12 / 4),  # and the bucket that they are sent in, half a billion numbers
        (3, 2 / 4, 2 / 4 + 1, 12 / 4),
    ],
)
def test_zero_divides_memory_among_the_ranks(zero_stage, weights, gradients, optimizer):
    settings = DeepSpeedConfig(zero_stage=zero_stage, precision="bf16")
    state = TrainingState(Shape(BILLION), settings, BILLION, 4, True, LoraConfig())
    assert BUCKET == BILLION / 2
    assert state.weights() == weights * BILLION and state.optimizer() == optimizer * BILLION
    assert state.gradients() == gradients * BILLION
    assert state.reference() == (0.5 if zero_stage == 3 else 2) * BILLION
    each, main = state.checkpoint()
    assert 4 * each + main == 14 * BILLION  # weights, two moments and the fp32 copy, wherever they are
    assert state.gathered() == (2 * BILLION if zero_stage == 3 else 0)


def test_adapters_are_all_that_has_gradients_and_state():
    settings = DeepSpeedConfig(zero_stage=2, precision="bf16")
    state = TrainingState(Shape(BILLION), settings, BILLION / 100, 1, False, LoraConfig(rank=8))
    assert state.weights() == 2 * BILLION * 1.01 and state.optimizer() == 12 * BILLION / 100
    packed = TrainingState(Shape(BILLION), settings, 0, 1, False, LoraConfig(rank=8, quantize="4bit"))
    assert packed.weights() == 0.56 * BILLION


def test_activations_of_a_layer_and_of_the_logits():
    shape = Shape(parameters=1200, layers=2, width=10, vocabulary=20)  # 2 x 20 x 10 of embeddings: 400 in each layer
    assert layer_bytes(shape, 4, is_recomputed=False) == 2 * 800 / 10 * 4
    assert layer_bytes(shape, 4, is_recomputed=True) == (10 * 2 + 2 * 400 / 10) * 4
    assert logit_bytes(shape, 4, 7, is_on_gpu=False) == 2 * 7 * 20 * 4
    assert logit_bytes(shape, 4, 1e9, is_on_gpu=False) == 2 * 2**26 * 4


def test_a_feed_forward_layer_in_parts_keeps_its_input_and_is_whole_in_one_part_only():
    shape = Shape(2 * 1200, layers=2, width=10, heads=2, kv_heads=1, cached=10)
    of_mlp = 1200 - (2 * 10 * 2 * 5 + 10 * 10)
    assert shape.of_mlp == of_mlp
    of_layer = 2 * (1200 - of_mlp) / 10 + 10
    assert layer_bytes(shape, 4, False, mlp_tiles=4) == pytest.approx(4 * (2 * of_layer + 2 * of_mlp / 10 / 4))
    assert layer_bytes(shape, 4, True, mlp_tiles=4) == pytest.approx(4 * (2 * 10 + of_layer + 2 * of_mlp / 10 / 4))
    experts = dataclasses.replace(shape, experts=4)
    assert layer_bytes(experts, 4, True, mlp_tiles=4) == layer_bytes(experts, 4, True)


def test_the_longest_sequence_counts_where_it_is_longer_than_a_micro_batch():
    run = composed()
    assert needed(run, "cold_start").tokens == 2048
    own = dataclasses.replace(run.stages.cold_start, max_tokens=5000)
    found = memory.needed(run.node("cold_start"), own, run)
    assert found is not None and found.tokens == 5000


def test_a_shape_is_read_from_the_configuration_or_known_by_its_name(tmp_path):
    path = hollow_model(tmp_path / "m", "qwen25_7b")
    parameters = models.num_parameters(ModelConfig(path=str(path)))
    text = {"hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
            "intermediate_size": 18944, "vocab_size": 152064, "tie_word_embeddings": False}  # fmt: skip
    found, known = read_shape(text, parameters), shape_of(ModelConfig(path="Qwen/Qwen2.5-7B"))
    assert known is not None and dataclasses.replace(found, parameters=known.parameters) == known
    assert found.parameters == pytest.approx(known.parameters, rel=1e-4)  # without norms and biases
    deepseek = KNOWN["deepseek-ai/DeepSeek-V3-Base"]
    assert deepseek.active == pytest.approx(37e9, rel=0.02)  # as published
    assert deepseek.largest_layer * 2 == pytest.approx(22.5e9, rel=0.01)  # bytes that ZeRO 3 gathers
    assert shape_of(ModelConfig(path="nobody/knows")) is None


def test_experts_and_latent_attention_are_read():
    text = {"hidden_size": 7168, "num_hidden_layers": 61, "num_attention_heads": 128, "num_key_value_heads": 128,
            "intermediate_size": 18432, "moe_intermediate_size": 2048, "n_routed_experts": 256, "vocab_size": 129280,
            "num_experts_per_tok": 8, "first_k_dense_replace": 3, "kv_lora_rank": 512, "qk_rope_head_dim": 64,
            "tie_word_embeddings": False}  # fmt: skip
    assert read_shape(text, 671_026_419_200) == KNOWN["deepseek-ai/DeepSeek-V3-Base"]


def test_offloading_moves_state_to_the_host():
    run = composed("recipe=one_node_7b", "data.path=/nowhere/prompts.jsonl")
    before = needed(run, "r1_zero")
    own = run.stages.r1_zero
    offloaded = dataclasses.replace(own, deepspeed=dataclasses.replace(own.deepspeed, offload_optimizer=True))
    after = memory.needed(run.node("r1_zero"), offloaded, run)
    assert after is not None and "optimizer" in before.gpu and "optimizer" not in after.gpu
    assert "checkpoint" not in after.host  # there is no room for a copy
    assert after.host["optimizer"] == pytest.approx(7_615_616_512 * (12 + 4) / GIB)


@pytest.mark.parametrize("recipe", ["paper_32b", "one_node_7b"])
def test_the_recipes_for_80_gb_fit(recipe):
    run = composed(f"recipe={recipe}", "data.path=/nowhere/prompts.jsonl")
    stages = [node.name for node in graph.nodes(run) if node.name in run.selection or node.kind in ("grpo", "sft")]
    made = steps(run, *[name for name in stages if name != "student_rl"])
    assert fitting.check_memory(run, made) == [] and max(step.memory_gib or 0 for step in made) < 300
    assert 50 < max(step.gpu_memory_gib or 0 for step in made) < 79


def test_the_paper_s_model_is_refused_with_the_reason():
    run = composed("recipe=paper", "data.path=/nowhere/prompts.jsonl")
    messages = errors(run, "r1_zero", "cold_start")
    text = "\n".join(message for message, _ in messages)
    assert "r1_zero does not fit: vLLM needs" in text and "671B parameters in layers of 256 experts" in text
    assert "only expert parallelism would divide such a layer, and DeepSpeed exports no weights under it" in text
    assert [bool(fix) for _, fix in messages] == [False, False, True] and "recipe=paper_32b" in messages[-1][1]


@pytest.mark.parametrize(
    "overrides, stages, fix",
    [
        (["deepspeed=zero1"], ["r1_zero", "cold_start"], "deepspeed.zero_stage="),
        (["rollout.gpu_memory_fraction=0.1"], ["r1_zero"], "rollout.gpu_memory_fraction=0.3"),
        (["rollout.gpu_memory_fraction=0.9"], ["r1_zero"], "rollout.gpu_memory_fraction=0.75"),
        (["deepspeed.gradient_checkpointing=false"], ["r1_zero"], "deepspeed.gradient_checkpointing=true fits"),
        (["stages.r1_zero.micro_batch_tokens=300000"], ["r1_zero"], "stages.r1_zero.micro_batch_tokens="),
    ],
)
def test_the_smallest_change_that_fits_is_said_and_fits(overrides, stages, fix):
    base = ("recipe=one_node_7b", "data.path=/nowhere/prompts.jsonl")
    messages = errors(composed(*base, *overrides), *stages)
    assert messages and fix in messages[-1][1] and "force_memory=true starts it all the same" in messages[-1][1]
    said = messages[-1][1].split(" fits by")[0].split()
    assert errors(composed(*base, *overrides, *said), *stages) == []


def test_a_small_machine_is_refused_and_force_makes_it_a_note(monkeypatch):
    monkeypatch.setattr(capacity, "here_gib", lambda: 1.2)
    run = composed()
    messages = errors(run, "r1_zero")
    assert "r1_zero does not fit: it needs 2." in messages[0][0] and "of each machine" in messages[0][0]
    assert "which has 1.2" in messages[0][0]
    forced = dataclasses.replace(run, force_memory=True)
    assert errors(forced, "r1_zero") == []
    assert any(
        "starts because of force_memory=true" in line for line in fitting.memory_notes(forced, steps(forced, "r1_zero"))
    )
    assert any(stage.memory for stage in make_plan(forced).steps) or forced.selection == []


def test_hardly_room_is_a_note_and_unknown_gpus_are_said(monkeypatch):
    run = composed("recipe=one_node_7b", "data.path=/nowhere/prompts.jsonl")
    size = needed(run, "cold_start").gpu_gib
    launcher = dataclasses.replace(run.launcher, gpu_memory_gib=size * 1.1)
    tight = dataclasses.replace(run, launcher=launcher)
    assert any("cold_start has little room" in line for line in fitting.memory_notes(tight, steps(tight, "cold_start")))
    nobody = dataclasses.replace(run, launcher=dataclasses.replace(run.launcher, gpu_memory_gib=None))
    lines = fitting.memory_notes(nobody, steps(nobody, "cold_start"))
    assert any("is not checked: launcher.gpu_memory_gib=N" in line for line in lines)
    assert fitting.check_memory(nobody, steps(nobody, "r1_zero")) == []


def test_sequence_parallelism_and_servers_are_counted_where_the_schema_has_them():
    run = composed("recipe=paper_32b", "data.path=/nowhere/prompts.jsonl")
    own, node, before = run.stages.r1_zero, run.node("r1_zero"), needed(run, "r1_zero")
    settings = memory._Stage(node, own, run, KNOWN["Qwen/Qwen2.5-32B"], 1.0).state.config
    if hasattr(settings, "sequence_parallel"):
        changed = dataclasses.replace(own, deepspeed=dataclasses.replace(settings, sequence_parallel=4))
        after = memory.needed(node, changed, run)
        assert after is not None and after.tokens == before.tokens / 4
    if hasattr(settings, "hpz_partition_size"):
        state = TrainingState(Shape(BILLION), dataclasses.replace(settings, hpz_partition_size=8), BILLION, 32, True,
                              LoraConfig())  # fmt: skip
        assert state.weights() == 2 * BILLION / 32 + 2 * BILLION / 8
    if hasattr(own.rollout, "server"):
        served = dataclasses.replace(own, rollout=dataclasses.replace(own.rollout, engine="server", tensor_parallel=1))
        after = memory.needed(node, served, run)
        assert after is not None and "cache" not in after.gpu and after.sampler_share == 0
        assert after.host["sampler"] == memory.LIBRARIES_BESIDE_GPU[True]


def served(run: RunConfig, **settings: object) -> Step:
    """A step of r1_zero with servers."""
    own = run.stages.r1_zero
    rollout = dataclasses.replace(own.rollout, engine="server", tensor_parallel=1)
    server = dataclasses.replace(rollout.server, **settings)
    config = dataclasses.replace(own, rollout=dataclasses.replace(rollout, server=server))
    return dataclasses.replace(
        *steps(run, "r1_zero"), config=config, memory=memory.needed(run.node("r1_zero"), config, run)
    )


def test_a_server_on_the_trainers_gpu_holds_its_share_while_it_trains():
    run = composed("recipe=one_node_7b", "data.path=/nowhere/prompts.jsonl")
    apart, beside = served(run).memory, served(run, transfer="ipc").memory
    assert apart is not None and beside is not None and beside.gpu_moment == "update"
    assert beside.gpu_gib > apart.gpu_gib + 79 * run.stages.r1_zero.rollout.gpu_memory_fraction


def test_a_server_that_a_gpu_cannot_hold_is_refused_where_the_stage_starts_it():
    run = composed("recipe=paper_32b", "data.path=/nowhere/prompts.jsonl")
    ((message, _),) = fitting.check_memory(run, [served(run)])
    assert "r1_zero does not fit: vLLM needs" in message and "rollout.server.tensor_parallel divides it" in message
    assert fitting.check_memory(run, [served(run, tensor_parallel=4)]) == []
    assert fitting.check_memory(run, [served(run, urls=["http://far:1"])]) == []


def test_a_rollout_ahead_is_held_beside_the_one_that_trains():
    run = composed()
    now, ahead = served(run).memory, served(run, max_staleness=1).memory
    assert now is not None and ahead is not None and ahead.host["rollouts"] == 2 * now.host["rollouts"]


@pytest.mark.parametrize(
    "settings, ranks, nodes, is_allowed",
    [
        ({"sequence_parallel": 2}, 2, 1, True),  # Ulysses needs no ZeRO
        ({"sequence_parallel": 4}, 1, 4, True),  # it divides all ranks
        ({"sequence_parallel": 4}, 2, 1, False),
        ({"sequence_parallel": 8}, 8, 1, False),  # 40 heads, and 5 of keys and values
        ({"zero_stage": 3, "hpz_partition_size": 4}, 2, 2, False),
    ],
)
def test_a_change_is_proposed_only_where_the_rules_allow_it(settings, ranks, nodes, is_allowed):
    run = composed()
    config = dataclasses.replace(run.stages.cold_start, deepspeed=DeepSpeedConfig(**settings))
    launcher = dataclasses.replace(run.launcher, num_processes=ranks, num_nodes=nodes, name="torchrun")
    shape = Shape(BILLION, heads=40, kv_heads=5 if settings.get("sequence_parallel") == 8 else 8)
    stage = changes.Stage(run.node("cold_start"), config, dataclasses.replace(run, launcher=launcher), shape)
    assert changes.is_allowed(stage) == is_allowed


# GiB of both ranks, from the manifests of two whole runs of the tiny recipe (docs/memory.md).
PEAKS = {
    "base": (1.35, 1.24),
    "r1_zero": (2.66, 2.53),
    "cold_start_data": (2.20, 2.22),
    "cold_start": (1.49, 1.34),
    "reasoning_rl": (2.57, 2.41),
    "rejection_data": (2.11, 2.11),
    "rejection_sft": (1.47, 1.31),
    "reward_models": (1.94, 1.82),
    "preference_rl": (2.34, 2.34),
    "student_base": (1.26, 1.15),
    "distill": (1.43, 1.26),
    "evaluate": (2.80, 2.58),
}


@pytest.mark.parametrize("stage", PEAKS)
def test_predictions_are_within_15_percent_of_measured_peaks(stage):
    predicted = 2 * sum(needed(composed(), stage).rank.values())
    for measured in PEAKS[stage]:
        assert predicted == pytest.approx(measured, rel=0.15)


def test_a_gpu_that_was_measured():
    """SFT of a 0.5B model in micro-batches of 16,384 tokens: 11.1 GiB of an H200 (docs/benchmarks/gpu.md)."""
    run = composed("launcher=gpu", "model=qwen25_05b", "deepspeed=zero1", "deepspeed.precision=bf16",
                   "deepspeed.gradient_checkpointing=true", "stages.cold_start.max_tokens=16384",
                   "stages.cold_start.micro_batch_tokens=16384")  # fmt: skip
    assert needed(run, "cold_start").gpu_gib == pytest.approx(11.1, rel=0.15)
