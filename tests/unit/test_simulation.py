"""`plan --simulate`: what is asked for, the arithmetic of speeds on numbers worked by hand, and what is printed."""

import dataclasses
import functools
import io
import json
import math

import pytest
from rich.console import Console

from pipeline.commands.app import call
from pipeline.configuration.schema import RunConfig
from pipeline.errors import InvalidConfig
from pipeline.planning.plan import make_plan
from pipeline.planning.shapes import KNOWN, Shape
from pipeline.planning.simulation import Machines, on_machines, parse, print_simulation, simulate
from pipeline.planning.speeds import CARDS, SCHEDULER_OF_SEQUENCE_S, SCHEDULER_S, Card, Speeds
from tests.support.runs import config

CARD = Card("card", flops=1e12, bandwidth=1e9, link=1e9, network=1e8)
SMALL = Shape(494e6, layers=2, width=10)


@functools.cache  # composing takes a second
def composed(*overrides: str) -> RunConfig:
    return config("runs_dir=/nowhere", *overrides)


def test_what_is_simulated():
    assert parse("nodes=64") == Machines(64)
    assert parse("nodes=4,gpus=8,card=h800,length=0.25") == Machines(4, 8, "h800", 0.25)
    for text, says in (
        ("node=4", "it takes nodes, gpus, card, length"),
        ("nodes=many", "'many' is not a number"),
        ("nodes=0", "at least one machine"),
        ("gpus=8", "at least one machine"),
        ("nodes=2,length=2", "share of the longest"),
        ("nodes=2,card=h1", "card is one of a100, h100, h200, h800"),
    ):
        with pytest.raises(InvalidConfig, match=says):
            parse(text)


def test_machines_take_the_place_of_the_launcher_s():
    run = on_machines(composed("recipe=one_node_7b", "data.path=/nowhere/p.jsonl"), Machines(2, 4))
    assert (run.launcher.name, run.launcher.num_nodes, run.launcher.num_processes) == ("torchrun", 2, 4)
    assert on_machines(composed(), Machines(1)).launcher.name == "local"


def test_an_update_is_arithmetic_or_what_zero_3_sends():
    plain = Speeds(SMALL, CARD, ranks=1, nodes=1)
    work = 2 * (494e6 + 2 * 10 * 100) * 3 * 1000
    assert plain.update(1000, 100, 3, 100) == pytest.approx(work / (1e12 * 0.21))
    divided = Speeds(SMALL, dataclasses.replace(CARD, flops=1e30), ranks=4, nodes=2, zero_stage=3)
    sent = 494e6 * 2 * 3 * 3  # three micro-batches of a rank gather all weights three times
    assert divided.update(1000, 100, 3, 100) == pytest.approx(sent / (1e8 * 0.7))


def test_a_rollout_reads_the_weights_at_every_token_of_the_longest():
    speeds = Speeds(SMALL, CARD, ranks=1, nodes=1)
    one = speeds.sample(rows=1, mean=1000, limit=100, prompt=0, parallel=1, most=8, cache_bytes=0)
    step = 494e6 * 2 / (1e9 * 0.7) + SCHEDULER_S + SCHEDULER_OF_SEQUENCE_S
    assert one == pytest.approx(100 * step)
    many = speeds.sample(rows=80, mean=1000, limit=100, prompt=0, parallel=1, most=8, cache_bytes=0)
    assert many > 9 * one  # nine more batches, before the last


def test_what_was_measured_on_an_h200():
    """128 sequences of 2,048 tokens of a 0.5B model: 10.3 s (docs/benchmarks/gpu.md)."""
    speeds = Speeds(KNOWN["Qwen/Qwen2.5-0.5B"], CARDS["h200"], ranks=1, nodes=1)
    assert speeds._decode(128, 1024, 1) == pytest.approx(10.3 / 2048, rel=0.15)
    update = speeds.update(128 * 2176, 2176, 4, 16384)
    assert update == pytest.approx(5.85, rel=0.2)


def test_few_sequences_of_a_model_of_experts_read_few_of_them():
    speeds = Speeds(KNOWN["deepseek-ai/DeepSeek-V3-Base"], CARDS["h800"], ranks=512, nodes=64)
    assert speeds._decode(1, 1000, 8) < speeds._decode(128, 1000, 8) / 4
    assert math.isfinite(speeds.update(1e6, 1000, 4, 32768))


def test_the_recipe_of_the_paper_comes_out_in_the_order_of_what_it_cost():
    machines = parse("nodes=64,card=h800,length=0.25")
    run = on_machines(composed("recipe=paper", "data.path=/nowhere/p.jsonl", "+stage=all"), machines)
    plan = make_plan(run)
    rows = simulate(plan, machines)
    hours = {row.step.stage: row.time.seconds / 3600 * 512 for row in rows}
    assert 101_000 / 3 < hours["r1_zero"] < 101_000 * 3
    assert 147_000 / 3 < sum(hours.values()) < 147_000 * 3
    assert [row.begins for row in rows] == sorted(row.begins for row in rows)
    stream = io.StringIO()
    print_simulation(Console(file=stream, width=80), plan, machines, rows)
    text = stream.getvalue()
    assert "simulated on 64 machines of 8: 512 H800 GPUs" in text and "147,000" in text and "294,000" in text
    assert max(map(len, [line for line in text.splitlines() if not line.startswith("note")])) <= 80


def test_the_command_needs_neither_machines_nor_models(capsys, tmp_path):
    words = ["plan", "recipe=one_node_7b", "data.path=/nowhere/p.jsonl", f"runs_dir={tmp_path}", "--json"]
    assert call([*words, "--simulate", "nodes=2"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["errors"] == [] and shown["simulation"]["ranks"] == 16
    r1_zero = shown["simulation"]["stages"][0]
    assert {phase["name"] for phase in r1_zero["cycle"]} >= {"sync", "rollout", "update"} and r1_zero["cost"] > 0
    assert call([*words, "--simulate", "nodes=none"]) == 1
    assert "is not a number" in capsys.readouterr().out


def test_the_tiny_recipe_is_simulated_on_processors():
    machines = Machines(4)
    run = on_machines(composed("+stage=[base,r1_zero]"), machines)
    rows = simulate(make_plan(run), machines)
    assert [row.step.stage for row in rows] == ["base", "r1_zero"]
    assert rows[1].time.cycles == 35 and {phase.name for phase in rows[1].time.cycle} == {"rollout", "update"}


def test_models_of_one_shape_are_evaluated_by_one_engine():
    machines = Machines(1)
    run = on_machines(composed("recipe=one_node_7b", "data.path=/nowhere/p.jsonl", "+stage=all"), machines)
    row = next(row for row in simulate(make_plan(run), machines) if row.step.stage == "evaluate")
    others = {phase.name: phase.count for phase in row.time.others}
    assert row.time.cycles > 3 and others == {"start": 1, "more engines": 1}  # of the models, and of the students
