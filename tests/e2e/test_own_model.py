"""Your own model and data: a model directory that this project did not make and a JSONL file go through the driver,
vLLM and DeepSpeed.
"""

import json
from pathlib import Path

import pytest

from tests.support.command_line import r1


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A random Qwen2 with a byte-level BPE tokenizer, made with transformers and tokenizers alone."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    directory = tmp_path_factory.mktemp("own") / "model"
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        ["A conversation between User and Assistant about a reasoning process, <think> </think> <answer> </answer>"]
        * 20,
        vocab_size=320,
        special_tokens=["<|end|>"],
        show_progress=False,
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token="<|end|>", pad_token="<|end|>")
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=1024,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def problems(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "problems.jsonl"
    path.write_text(
        "".join(
            json.dumps({"question": f"What is {a} + {b}?", "solution": a + b}) + "\n"
            for a in range(1, 9)
            for b in range(1, 9)
        )
    )
    return path


def test_your_own_model_and_data_go_through_r1_zero_evaluate_and_report(model, problems, tmp_path):
    done = r1(
        "run",
        "+stage=[r1_zero,evaluate,report]",
        f"model.path={model}",
        f"data.path={problems}",
        "data.prompt_column=question",
        "data.answer_column=solution",
        "data.max_prompt_tokens=600",
        f"runs_dir={tmp_path}",
        "run=own",
        "orchestrator=none",
        "launcher.num_processes=1",
        "stages.r1_zero.num_steps=2",
        "stages.r1_zero.prompts_per_step=2",
        "stages.r1_zero.group_size=4",
        "stages.r1_zero.max_completion_tokens=[[0,16]]",
        "stages.r1_zero.micro_batch_tokens=4000",
        "stages.evaluate.max_completion_tokens=16",
        "stages.evaluate.samples_per_prompt=2",
        "stages.evaluate.num_reasoning=3",
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    (manifest,) = (tmp_path / "own" / "r1_zero").glob("latest/manifest.json")
    assert "model/model.safetensors" in json.loads(manifest.read_text())["files"]
    results = json.loads((tmp_path / "own" / "evaluate" / "latest" / "results.json").read_text())
    assert {(row["model"], row["set"]) for row in results} == {("base", "file"), ("r1_zero", "file")}
    assert {row["metric"] for row in results} >= {"pass@1", "format", "language", "tokens"}
    samples = (tmp_path / "own" / "r1_zero" / "latest" / "samples.jsonl").read_text()
    assert "A conversation between User and Assistant" in samples or "What is" in samples
    assert (tmp_path / "own" / "report.html").stat().st_size > 10_000
    for stage in ("r1_zero", "evaluate"):  # a model of random weights has no answers, which is said
        lines = (tmp_path / "own" / stage / "latest" / "alarms.jsonl").read_text().splitlines()
        (alarm, *_) = [row for row in map(json.loads, lines) if row["name"] == "no_answer"]
        assert "have no readable answer" in alarm["message"] and f"stages.{stage}." in alarm["advice"]
        assert "ALARM no_answer" in done.stdout


def test_prompts_longer_than_the_limit_are_named_before_training(model, problems, tmp_path):
    done = r1(
        "run",
        "+stage=r1_zero",
        f"model.path={model}",
        f"data.path={problems}",
        "data.prompt_column=question",
        "data.answer_column=solution",
        "data.max_prompt_tokens=20",
        f"runs_dir={tmp_path}",
        "orchestrator=none",
        "launcher.num_processes=1",
        "stages.r1_zero.max_completion_tokens=[[0,16]]",
    )
    assert done.returncode == 3, done.stdout[-3000:]
    assert "tokens" in done.stdout and "data.max_prompt_tokens" in done.stdout


def test_every_suite_evaluates_your_own_model_offline(model, tmp_path):
    """All suites in one engine, from files in the published schemas; typed again, it is done."""
    from tests.support.suites import FILES, SCHEMAS

    words = [
        "evaluate",
        f"model={model}",
        f"eval=[{','.join(FILES)}]",
        f"runs_dir={tmp_path}",
        "run=suites",
        "launcher.num_processes=1",
        f"eval.codeforces.standings={SCHEMAS / 'standings'}",
    ]
    words += [
        f"eval.{name}.{key}"
        for name, file in FILES.items()
        for key in (f"path={SCHEMAS / file}", "samples_per_prompt=2", "max_completion_tokens=16")
    ]
    done = r1(*words)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    directory = (tmp_path / "suites" / "evaluate" / "latest").resolve()
    results = json.loads((directory / "results.json").read_text())
    found = {(row["set"], row["metric"]) for row in results}
    assert {row["set"] for row in results} == set(FILES)
    assert all(
        (name, metric) in found
        for name in FILES
        for metric in ("pass@1", "pass@2", "no_answer", "truncated", "language", "tokens")
    )
    assert {
        ("codeforces", "rating"),
        ("codeforces", "percentile"),
        ("math500", "pass@1[5]"),
        ("livecodebench", "pass@1[easy]"),
    } <= found
    assert {("aime24", "cons@2"), ("gpqa", "cons@2")} <= found and not {
        ("livecodebench", "cons@2"),
        ("ifeval", "cons@2"),
    } & found
    assert "AIME 2024 (aime24)" in done.stdout and "rating" in done.stdout
    manifest = (directory / "manifest.json").read_text()
    again = r1(*words)
    assert (
        again.returncode == 0
        and "AIME 2024 (aime24)" in again.stdout
        and (directory / "manifest.json").read_text() == manifest
    )
