"""The live view: what a terminal draws, what a log has, and what `run` says at its end."""

import io
import json

import pytest
from rich.console import Console

from pipeline.commands.run_ending import what_was_reached
from pipeline.execution.run import _live_view
from pipeline.planning.presentation import print_plan
from pipeline.view.live import LiveView
from pipeline.view.scores import print_scores
from pipeline.view.screen import Screen
from pipeline.view.step_numbers import StepNumbers
from stages.contract.manifest import Manifest
from stages.contract.progress import StageProgress
from tests.support.runs import plan

ESTIMATES = {"base": 0.0, "r1_zero": 120.0, "cold_start": 20.0}
STEP = "step 3/35 reward 0.635 accuracy 0.332 tokens 29.9"


def log(width: int = 100) -> Console:
    return Console(file=io.StringIO(), width=width)


def text_of(console: Console) -> str:
    return console.file.getvalue()


def manifest(**metrics: float) -> Manifest:
    return Manifest(stage="r1_zero", kind="grpo", files={}, metrics=metrics)


def test_a_log_of_several_stages_has_a_line_at_each_end_and_says_alarms(tmp_path):
    console = log()
    with LiveView(console, "run tiny", ESTIMATES, has_steps=False) as live:
        live.skipped("base", "done, files verified")
        live.started("r1_zero", "run", "starting DeepSpeed and vLLM in 2 processes", tmp_path)
        live.line(STEP)
        live.line("ALARM kl at step 3: policy/kl 1.2 is over 1; advice: lower the learning rate")
        live.done("r1_zero", manifest(**{"reward/mean": 1.3671875, "data/samples": 2900}))
        live.started("cold_start", "run", "starting DeepSpeed in 2 processes", tmp_path)  # short: not announced
        live.done("cold_start", manifest())
    assert text_of(console).splitlines() == [
        "base skipped (done, files verified)",
        "r1_zero runs (2/3, about 2 min): starting DeepSpeed and vLLM in 2 processes",
        "  r1_zero: ALARM kl at step 3: policy/kl 1.2 is over 1; advice: lower the learning rate",
        "r1_zero done in 0 s  reward/mean 1.37  data/samples 2,900",
        "cold_start done in 0 s",
    ]


def test_a_log_of_one_stage_has_a_line_a_step_and_says_where_the_whole_log_is(tmp_path):
    console = log()
    with LiveView(console, "run tiny", {"r1_zero": 20.0}, has_steps=True) as live:
        live.started("r1_zero", "resume", "starting vLLM in 1 process", tmp_path)
        live.line(STEP)
    lines = text_of(console).splitlines()
    assert lines[0].startswith("r1_zero resumes (1/1, about 20 s)") and f"  {STEP}" in lines
    assert lines[1].startswith("  tail -F ")


def metrics(path, rows: list[dict]) -> None:
    with open(path, "a", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row) + "\n" for row in rows)


def drawn(screen: Screen, width: int) -> str:
    screen.console = log(width)
    screen.console.print(screen.render())
    return text_of(screen.console)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_screen_shows_the_recipe_the_stage_and_how_its_numbers_go(tmp_path, monkeypatch, width):
    monkeypatch.setattr("pipeline.view.screen.READ_S", 0.0)
    path = tmp_path / "metrics.jsonl"
    screen = Screen(log(), "run tiny", ESTIMATES)
    screen.begin("r1_zero", "starting DeepSpeed and vLLM in 2 processes", StepNumbers(path))
    first = drawn(screen, width)
    assert "1/3 stages" in first and "starting DeepSpeed and vLLM in 2 processes" in first
    metrics(
        path,
        [
            {"step": step, "reward/mean": step / 4, "completion/mean_tokens": 20 + step, "completion/language": 0.8}
            for step in range(1, 9)
        ],
    )
    screen.state = StageProgress(phase="train", step=8, num_steps=35, eta_s=75.0)
    screen.last_line = STEP
    text = drawn(screen, width)
    assert "8/35, 1 min 15 s left" in text and STEP in text
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines()}
    assert rows["reward"] == ["2", "▁▂▃▄▅▆▇█"] and rows["tokens"] == ["28", "▁▂▃▄▅▆▇█"] and "language" in rows
    assert len(text.splitlines()) == 6 and max(map(len, text.splitlines())) <= width


def test_step_numbers_follow_a_file_that_grows_and_one_that_is_cut_back(tmp_path):
    path = tmp_path / "metrics.jsonl"
    numbers = StepNumbers(path)
    assert numbers.read() == {}
    metrics(path, [{"step": 1, "train/loss": 2.0}, {"step": 2, "train/loss": 1.0}])
    assert numbers.read() == {"loss": [2.0, 1.0]}
    with open(path, "a", encoding="utf-8") as stream:
        stream.write('{"step": 3, "train/lo')
    assert numbers.read() == {"loss": [2.0, 1.0]}
    path.write_text('{"step": 1, "train/loss": 2.0}\n')
    assert numbers.read() == {"loss": [2.0]}


@pytest.mark.parametrize("width", [60, 80, 200])
def test_scores_are_a_table_with_a_row_for_each_model(width):
    console = log(width)
    found = {f"{model}/tiny_math/{metric}": value for model in ("base", "r1_zero") for metric, value in (
        ("pass@1", 0.277344), ("cons@4", 0.5), ("language", 0.786), ("tokens", 46.99))}  # fmt: skip
    found |= {"base/tiny_safety/harmful_refused": 0.375, "r1_zero/tiny_safety/harmful_refused": 0.4}
    print_scores(console, found)
    lines = text_of(console).splitlines()
    assert len(lines) == 4 and "tiny_math pass@1" in lines[0] and lines[2].split()[:2] == ["base", "27.7"]
    if width == 200:
        assert lines[3].split() == ["r1_zero", "27.7", "78.6", "47.0", "40.0"]


def result(model: str, value: float) -> dict:
    return {"model": model, "set": "tiny_math", "metric": "pass@1", "value": value, "low": value - 0.03,
            "high": value + 0.03, "n": 192}  # fmt: skip


def test_the_end_says_what_was_reached_beside_the_paper():
    values = {"base": 0.277, "r1_zero": 0.88, "cold_start": 0.773, "preference_rl": 0.941, "distill": 0.596}
    pair = {"set": "tiny_math", "metric": "pass@1", "model": "base", "against": "preference_rl"}
    pair |= {"difference": -0.664, "low": -0.7, "high": -0.63, "p": 0.0, "n": 192}
    lines = what_was_reached([result(model, value) for model, value in values.items()], [pair])
    assert [head for head, _ in lines] == ["result:", "recipe:", "paper:"]
    assert lines[0][1] == "R1 94.1 on tiny_math (pass@1, %), Base 27.7: +66.4 points [+63.0, +70.0]"
    assert lines[1][1] == "Base 27.7, R1-Zero 88.0, Dev1 77.3, R1 94.1; Student 59.6"
    assert lines[2][1].startswith("AIME 2024: R1-Zero 77.9, Dev1 59.0, ") and "1 go its way" in lines[2][1]


def test_one_model_alone_says_nothing():
    assert what_was_reached([result("base", 0.3)], []) == []


@pytest.mark.slow  # composes the whole recipe
def test_the_whole_recipe_prints_at_most_60_lines_without_a_terminal(tmp_path):
    made = plan("+stage=all", f"runs_dir={tmp_path}")
    console = log(140)
    print_plan(console, made)
    with _live_view(made, console, None) as live:
        for one in made.steps:
            live.started(one.stage, one.action, "starting DeepSpeed and vLLM in 2 processes", one.dir)
            for number in range(40):
                live.line(f"step {number}/40 reward 1.0")
            live.done(one.stage, manifest(**{"reward/mean": 1.0}))
    models = [one.stage for one in made.steps if one.kind in ("pretrain", "sft", "grpo")]
    print_scores(console, {f"{model}/tiny_math/pass@1": 0.5 for model in models})
    ending = what_was_reached([result(model, 0.5) for model in models], [])
    assert len(ending) == 3  # and two more: the report and the next command
    assert len(text_of(console).splitlines()) + 5 <= 55
