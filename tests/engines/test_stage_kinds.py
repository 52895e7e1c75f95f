"""Each kind of stage end to end on two processes: what it writes is what ARCHITECTURE.md says."""

import json
import signal
from pathlib import Path

import pyarrow.parquet
import pytest

from scripts.chaos_tools.kill import Kill
from scripts.chaos_tools.places import places_of
from stages.contract.files import damaged_files, read_json, read_jsonl
from stages.contract.manifest import Manifest
from stages.contract.progress import StageProgress
from stages.contract.records import RecordReader
from tests.support.stage_dirs import StageRun, attempt_log, manifest, run_stage, steps, write_stage
from tests.support.tiny_stages import DATA


def load(directory):
    """The exported model and tokenizer, as a person would load them; generates a few tokens."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(directory), AutoTokenizer.from_pretrained(directory)
    output = model.generate(**tokenizer("User:31-3?Assistant:", return_tensors="pt"), max_new_tokens=3, do_sample=False)
    assert output.shape[0] == 1
    return model, tokenizer


def check_manifest(directory: Path, kind: str, *files: str) -> Manifest:
    written = manifest(directory)
    assert written.kind == kind and written.stage == directory.name and written.fingerprint == "f" * 64
    assert set(files) <= set(written.files) and not damaged_files(directory, written.files)
    assert written.timing.total_s >= written.timing.startup_s > 0 and written.timing.attempts == 1
    assert written.peak_memory_gib > 0 and "torch" in written.versions
    assert not (directory / "state").exists() and not (directory / "error.json").exists()
    assert StageProgress.read(directory).phase == "done"
    return written


def test_pretrain(base):
    check_manifest(base, "pretrain", "model/model.safetensors", "model/config.json", "model/tokenizer.json")
    rows = steps(base)
    assert [row["step"] for row in rows] == list(range(1, 21))
    assert rows[-1]["train/loss"] < rows[0]["train/loss"]
    assert rows[0]["train/lr"] == pytest.approx(1e-3)  # first of three warm-up steps
    assert {"train/loss", "train/grad_norm", "train/lr", "train/tokens"} <= set(rows[0])
    model, _ = load(base / "model")
    assert model.config.hidden_size == 64
    assert "engines up" in attempt_log(base) and (base / "logs/latest/rank1.log").exists()


def test_sft(policy):
    written = check_manifest(policy, "sft", "model/model.safetensors")
    assert written.metrics["train/steps"] == 150 and written.metrics["data/samples"] == 8 * 4 + 60 + 48
    losses = [row["train/loss"] for row in steps(policy)]
    assert sum(losses[-10:]) < 0.3 * sum(losses[:10])
    load(policy / "model")


COLLECT = {
    "num_prompts": 8,
    "samples_per_prompt": 4,
    "few_shot": 1,
    "few_shot_share": 0.5,
    "max_completion_tokens": 24,
    "keep_per_prompt": 2,
    "min_language": 0.9,
    "max_kept_tokens": 24,
    "num_general": 5,
    "chunk_prompts": 3,
    "data": DATA,
    "rollout": {"temperature": 0.5},
}
EVALUATE = {
    "num_reasoning": 7,
    "num_general": 5,
    "num_safety": 4,
    "samples_per_prompt": 3,
    "max_completion_tokens": 16,
    "num_shown": 2,
    "data": DATA,
}
ALONE = {
    "rollout": {"temperature": 0.5, "engine": "transformers"}
}  # another engine, another number of processes: the same samples


@pytest.fixture(scope="module")
def collected(policy, stage_root):
    return run_stage(write_stage(stage_root / "collected", "collect", COLLECT, {"policy": policy}))


@pytest.fixture(scope="module")
def evaluated(base, policy, stage_root):
    return run_stage(
        write_stage(
            stage_root / "evaluated",
            "evaluate",
            {**EVALUATE, "rollout": {"temperature": 0.5}},
            {"base": base, "policy": policy},
        )
    )


def killed_at(directory, name: str):
    """Runs a stage on one process, kills it when `name` is there, and runs it again."""
    with StageRun(directory, num_processes=1) as attempt:
        attempt.wait_for(lambda: (directory / name).exists(), name)
    assert not (directory / "manifest.json").exists()
    return run_stage(directory, num_processes=1)


def files_of(directory) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def read_rows(directory) -> list[dict]:
    return pyarrow.parquet.read_table(directory / "data" / "train.parquet").to_pylist()


def test_collect(collected):
    directory = collected
    metrics = check_manifest(directory, "collect", "data/train.parquet", "data/card.json", "data/card.md").metrics
    rows = read_rows(directory)
    assert set(rows[0]) == {"prompt", "completion", "kind", "language", "prompt_id", "source", "text", "opening"}
    kept = [row for row in rows if row["source"] == "sampled"]
    assert len(rows) - len(kept) == metrics["data/general"] == 5
    assert len(kept) == metrics["data/reasoning"] >= 3
    assert len({(row["prompt_id"], row["completion"]) for row in kept}) == len(kept)
    assert all(row["prompt"].startswith("User:") and row["completion"].startswith("<think>") for row in kept)
    card = read_json(directory / "data" / "card.json")
    assert (
        sum(card["filters"].values()) == 32
        and {f"data/{reason}": number for reason, number in card["filters"].items()}.items() <= metrics.items()
    )
    assert card["filters"]["kept"] == len(kept) and card["prompts"] == 8 and card["review"] is None
    assert [row["samples"] for row in card["table"]] == [len(kept), 5, len(rows)] and "| total |" in (
        directory / "data" / "card.md"
    ).read_text()
    assert [row["step"] for row in steps(directory)] == [1, 2, 3]


def test_collect_killed_after_its_first_chunk(collected, policy, stage_root):
    """The same rows from the transformers engine on one process, although it was killed in the middle of a chunk:
    examples for few-shot prompts included.
    """
    directory = write_stage(
        stage_root / "collected_killed", "collect", {**COLLECT, **ALONE}, {"policy": policy}, stage="collected"
    )
    killed_at(directory, "state/done.a1.r0.records")
    assert read_rows(directory) == read_rows(collected)
    assert files_of(directory / "data") == files_of(collected / "data")
    assert steps(directory) == steps(collected)
    assert read_jsonl(directory / "samples.jsonl") == read_jsonl(collected / "samples.jsonl")


def test_evaluate(evaluated):
    directory = evaluated
    check_manifest(directory, "evaluate", "results.json", "comparisons.json", "data/scores.parquet")
    results = read_json(directory / "results.json")
    assert all(set(row) == {"model", "set", "metric", "value", "low", "high", "n"} for row in results)
    assert {row["model"] for row in results} == {"base", "policy"}
    table = {(row["model"], row["set"], row["metric"]): row for row in results}
    assert {
        ("policy", "tiny_math", metric)
        for metric in (
            "pass@1",
            "pass@3",
            "cons@3",
            "format",
            "no_answer",
            "language",
            "reflection",
            "tokens",
            "truncated",
            "pass@1[2]",
            "thinking_tokens[4]",
        )
    } <= set(table)
    assert table["policy", "tiny_math", "pass@1"]["n"] == 7 and table["policy", "tiny_general", "pass@1"]["n"] == 5
    assert table["policy", "tiny_safety", "harmful_refused"]["n"] == 2
    assert table["base", "tiny_math", "tokens"]["value"] <= 16
    shown = read_jsonl(directory / "samples.jsonl")
    assert len(shown) == 2 * 3 * 2 and {
        "model",
        "set",
        "prompt_id",
        "prompt",
        "answer",
        "completion",
        "correct",
    } <= set(shown[0])
    assert [row["prompt_id"] for row in shown[:6]] == [
        row["prompt_id"] for row in shown[6:]
    ]  # the same prompts for every model
    (compared,) = [row for row in read_json(directory / "comparisons.json") if row["set"] == "tiny_math"]
    assert (compared["model"], compared["against"], compared["n"]) == ("policy", "base", 7)
    assert compared["difference"] == pytest.approx(
        table["policy", "tiny_math", "pass@1"]["value"] - table["base", "tiny_math", "pass@1"]["value"], abs=2e-6
    )
    scores = pyarrow.parquet.read_table(directory / "data" / "scores.parquet").to_pylist()
    assert len(scores) == 2 * (7 * 3 + 5 + 4) and {row["level"] for row in scores if row["set"] == "tiny_math"} == {
        "2",
        "3",
        "4",
    }


def test_evaluate_killed_among_its_samples(evaluated, base, policy, stage_root):
    """With the real engine: what was recorded before the kill is not sampled again, and the outcome is the same."""
    directory = write_stage(
        stage_root / "evaluated_among",
        "evaluate",
        {**EVALUATE, "rollout": {"temperature": 0.5}},
        {"base": base, "policy": policy},
        stage="evaluated",
    )
    place = next(place for place in places_of("evaluate", "vllm") if place.name == "record of a sample")
    kill = Kill("rank0", signal.SIGKILL, place, "rank0", "after", 17)
    with StageRun(directory, num_processes=1, environment=kill.environment(directory / "hit")) as attempt:
        assert attempt.wait() == -signal.SIGKILL, attempt.log()
    recorded = {
        (row["problem"], row["sample"]) for row in RecordReader(directory / "state" / "base" / "tiny_math", "samples.*")
    }
    assert 0 < len(recorded) < 21
    run_stage(directory, num_processes=1)
    assert f"base on tiny_math: {len(recorded)} of 21 samples are there already" in attempt_log(directory)
    for name in ("results.json", "comparisons.json"):
        assert read_json(directory / name) == read_json(evaluated / name)
    assert read_jsonl(directory / "samples.jsonl") == read_jsonl(evaluated / "samples.jsonl")


def test_evaluate_killed_after_its_first_model(evaluated, base, policy, stage_root):
    directory = write_stage(
        stage_root / "evaluated_killed",
        "evaluate",
        {**EVALUATE, **ALONE},
        {"base": base, "policy": policy},
        stage="evaluated",
    )
    killed_at(directory, "state/base.json")
    assert read_json(directory / "results.json") == read_json(evaluated / "results.json")
    assert read_jsonl(directory / "samples.jsonl") == read_jsonl(evaluated / "samples.jsonl")


def test_reward_models(reward_models):
    from transformers import AutoTokenizer

    metrics = check_manifest(
        reward_models,
        "reward_models",
        "model/helpful/model.safetensors",
        "model/safety/model.safetensors",
        "model/helpful/reward_stats.json",
    ).metrics
    assert metrics["helpful/pairs"] >= 5 and metrics["safety/labels"] >= 30
    assert [row["step"] for row in steps(reward_models)] == list(range(1, 19))
    losses = [row["helpful/loss"] for row in steps(reward_models)[:12]]
    assert losses[-1] < losses[0]
    judged = read_json(reward_models / "data" / "judged.json")
    held = [pair for pair in judged["pairs"] if pair["is_holdout"]]
    assert abs(metrics["helpful/length_correlation"]) <= 1 and metrics["helpful/judged"] >= metrics[
        "helpful/candidates"
    ] >= len(judged["pairs"])
    better = [
        scored(reward_models / "model" / "helpful", pair["chosen"])
        > scored(reward_models / "model" / "helpful", pair["rejected"])
        for pair in held
    ]
    assert held and sum(better) / len(better) == pytest.approx(metrics["helpful/holdout_accuracy"])
    safe = [
        (scored(reward_models / "model" / "safety", row["token_ids"]) > 0) == row["is_safe"]
        for row in judged["labelled"]
        if row["is_holdout"]
    ]
    assert safe and sum(safe) / len(safe) == pytest.approx(metrics["safety/holdout_accuracy"])
    assert AutoTokenizer.from_pretrained(reward_models / "model" / "helpful")("User:31-3?Assistant:")["input_ids"]


def scored(directory, ids: list[int]) -> float:
    """The reward of a token row, as anyone would compute it who was given the directory."""
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(directory)
    assert model.config.num_labels == 1
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits.item()


def test_reward_models_from_files(policy, stage_root):
    """Pairs and labels that are there already: nothing is sampled and no judge is asked."""
    pairs, labels = stage_root / "pairs.jsonl", stage_root / "labels.jsonl"
    pairs.write_text(
        "".join(
            json.dumps({"prompt": f"hi{n}", "chosen": "paris.", "rejected": "go away!" if n % 2 else "no."}) + "\n"
            for n in range(40)
        )
    )
    labels.write_text(
        "".join(
            json.dumps({"prompt": f"hi{n}", "completion": "sorry" if n % 2 else "sure", "is_safe": n % 2 == 1}) + "\n"
            for n in range(40)
        )
    )
    config = {
        "num_prompts": 30,
        "max_completion_tokens": 16,
        "batch_size": 8,
        "num_steps": 12,
        "safety_steps": 12,
        "holdout_fraction": 0.3,
        "max_length_bias": 10.0,
        "optim": {"lr": 2e-3},
        "data": {
            **DATA,
            "name": "file",
            "template": "plain",
            "eval_fraction": 0.0,
            "sources": {
                "pairs": {"path": str(pairs), "rows": "preferences", "domain": "helpful"},
                "labels": {"path": str(labels), "rows": "labels", "domain": "safety"},
            },
        },
        "judge": {"backend": "openai", "url": "http://127.0.0.1:1/v1", "model": "nobody"},
    }
    directory = run_stage(
        write_stage(stage_root / "rewards_of_files", "reward_models", config, {"policy": policy}), num_processes=1
    )
    metrics = manifest(directory).metrics
    assert (
        metrics["helpful/pairs"] + metrics["helpful/holdout_pairs"] == 30
        and metrics["safety/labels"] + metrics["safety/holdout_labels"] == 40
    )
    assert metrics["helpful/holdout_accuracy"] == metrics["safety/holdout_accuracy"] == 1.0
