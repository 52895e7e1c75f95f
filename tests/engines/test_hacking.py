"""A flawed reward model is exploited, for real: its reward rises, held-out accuracy falls, the watch says so at its step. An honest one is not."""
import json
import signal
from pathlib import Path

import pytest

from stages.files import read_json, read_jsonl
from stages.tiny_world.tokenizer import vocabulary
from tests.engines.conftest import arithmetic_samples, general_samples
from tests.stage_dirs import StageRun, run_stage, sampled, steps, write_stage

NUM_STEPS = 12


def reward_model(directory: Path, liked: str) -> None:
    """A reward model by hand: one layer of uniform attention reads how large a share of the tokens `liked` is, and the head likes it."""
    import torch
    from transformers import LlamaConfig, LlamaForSequenceClassification
    tokens = vocabulary()
    model = LlamaForSequenceClassification(LlamaConfig(
        vocab_size=len(tokens), hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1,
        max_position_embeddings=256, num_labels=1, pad_token_id=0, attention_bias=False))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if "norm" in name else 0.0)
        model.model.embed_tokens.weight[:, 1] = 0.01
        model.model.embed_tokens.weight[tokens[liked]] = 0.0
        model.model.embed_tokens.weight[tokens[liked], 0] = 0.01
        attention = model.model.layers[0].self_attn
        attention.v_proj.weight.copy_(torch.eye(32))
        attention.o_proj.weight.copy_(torch.eye(32))
        model.score.weight[0, 0] = 0.35  # a share of 1 is worth 2
    model.save_pretrained(directory)


@pytest.fixture(scope="module")
def judge(stage_root) -> Path:
    """A reward_models stage whose helpful model likes exclamation marks."""
    directory = stage_root / "flawed"
    for name in ("helpful", "safety"):
        reward_model(directory / "model" / name, "!")
    (directory / "model" / "helpful" / "reward_stats.json").write_text('{"mean": 0.0, "std": 1.0}')
    (directory / "manifest.json").write_text("{}")
    return directory


@pytest.fixture(scope="module")
def data(stage_root) -> dict:
    """The sums that the policy knows by heart, half of them held out, and general prompts."""
    def write(name: str, rows: list[dict]) -> str:
        (stage_root / name).write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return str(stage_root / name)
    bare = lambda text: text.removeprefix("User:").removesuffix("Assistant:")
    sums = [{"prompt": bare(row["prompt"]), "answer": row["completion"].split("<answer>")[1].split("</answer>")[0]} for row in arithmetic_samples("collected", 8)]
    chats = [{"prompt": prompt} for prompt in dict.fromkeys(bare(row["prompt"]) for row in general_samples("reward_models", "helpful", 10, 1))]
    return {"name": "file", "template": "plain", "max_prompt_tokens": 24, "eval_fraction": 0.5, "sources": {
        "sums": {"path": write("sums.jsonl", sums), "verifier": "integer"}, "chats": {"path": write("chats.jsonl", chats), "domain": "helpful"}}}


def config(data: dict, **changes) -> dict:
    base = {"num_steps": NUM_STEPS, "prompts_per_step": 4, "group_size": 6, "updates_per_rollout": 1, "max_completion_tokens": [[0, 20]], "beta": 0.0,
            "micro_batch_tokens": 600, "save_every": 4, "keep_checkpoints": 20, "data": data, "optim": {"lr": 3e-3}, "mix": {"reasoning": 0.0, "helpful": 1.0},
            "rewards": {"accuracy": 1.0, "format": 0.0, "language": 0.0, "preference": 1.0}, "rollout": {"engine": "transformers"},
            "hacking": {"every": 2, "num_prompts": 4, "samples_per_prompt": 6, "window": 2, "on_hacking": "end_phase"}}
    return base | changes


@pytest.fixture(scope="module")
def exploited(policy, judge, data, stage_root) -> Path:
    return run_stage(write_stage(stage_root / "exploited", "grpo", config(data), {"policy": policy, "reward_models": judge}, stage="preference_rl"), 1)


def test_the_reward_rises_the_accuracy_falls_and_the_alarm_says_so_at_its_step(exploited):
    rows = read_jsonl(exploited / "metrics.jsonl")
    (alarm,) = [alarm for alarm in read_jsonl(exploited / "alarms.jsonl") if alarm["name"] == "reward_hacking"]
    assert "reward/helpful rose from" in alarm["message"] and "held-out accuracy fell" in alarm["message"] and "preference_last_steps" in alarm["advice"]
    watched = [row for row in rows if "watch/accuracy" in row]
    assert [row["step"] for row in watched] == list(range(1, NUM_STEPS + 1, 2)) and alarm["step"] in [row["step"] for row in watched]
    before = [row for row in rows if row["step"] <= alarm["step"]]
    rewards = [row["reward/helpful"] for row in before]
    accuracy = [row["watch/accuracy"] for row in before if "watch/accuracy" in row]
    assert rewards[-1] > rewards[0] + 0.2 and accuracy[-1] < accuracy[0] - 0.3


def test_the_preference_phase_ends_there(exploited):
    """on_hacking=end_phase: from the next step on, only reasoning prompts, and no learned reward."""
    (alarm,) = [alarm for alarm in read_jsonl(exploited / "alarms.jsonl") if alarm["name"] == "reward_hacking"]
    kept = range(4, NUM_STEPS)  # rollouts before the first checkpoint are dropped
    kinds = {step: {row["prompt"]["domain"] for row in sampled(exploited, step)} for step in kept}
    assert all(kinds[step] == ({"helpful"} if step < alarm["step"] else {"reasoning"}) for step in kept) and alarm["step"] in kept
    later = [row for row in read_jsonl(exploited / "metrics.jsonl") if row["step"] > alarm["step"]]
    assert later and not any("reward/helpful" in row for row in later) and all("reward/accuracy" in row for row in later)


def test_killed_after_the_alarm_it_resumes_to_the_same_bits(exploited, policy, judge, data, tmp_path):
    (alarm,) = [alarm for alarm in read_jsonl(exploited / "alarms.jsonl") if alarm["name"] == "reward_hacking"]
    directory = write_stage(tmp_path / "killed", "grpo", config(data), {"policy": policy, "reward_models": judge}, stage="preference_rl")
    with StageRun(directory, 1) as attempt:
        attempt.wait_for_step(alarm["step"] + 1)
        attempt.process.send_signal(signal.SIGKILL)
        attempt.process.wait()
    run_stage(directory, 1)
    assert read_json(directory / "manifest.json")["timing"]["attempts"] == 2
    assert steps(directory) == steps(exploited) and read_jsonl(directory / "alarms.jsonl") == read_jsonl(exploited / "alarms.jsonl")
    assert read_jsonl(directory / "first_words.jsonl") == read_jsonl(exploited / "first_words.jsonl")
    assert {path.name: path.read_bytes() for path in (directory / "watch").iterdir()} == {path.name: path.read_bytes() for path in (exploited / "watch").iterdir()}
    assert (directory / "model/model.safetensors").read_bytes() == (exploited / "model/model.safetensors").read_bytes()
    timing = read_json(directory / "manifest.json")["timing"]  # the killed attempt's seconds count too
    beats = [read_json(path) for path in sorted(directory.glob("logs/attempt_*/rank0.json"))]
    assert len(beats) == 2 and timing["rank_s"] == pytest.approx(sum(beat["updated"] - beat["started"] for beat in beats), abs=2.5)


def test_an_honest_run_raises_no_alarm_and_stop_stops(policy, judge, data, tmp_path):
    """Half of the prompts keep the accuracy, a small learning rate keeps the reward model's flaw small."""
    honest = config(data, num_steps=12, mix={"reasoning": 0.5, "helpful": 0.5}, optim={"lr": 1e-5}, hacking={"every": 2, "num_prompts": 4,
                    "samples_per_prompt": 6, "window": 2, "on_hacking": "stop"})
    directory = run_stage(write_stage(tmp_path / "honest", "grpo", honest, {"policy": policy, "reward_models": judge}, stage="preference_rl"), 1)
    assert not [alarm for alarm in read_jsonl(directory / "alarms.jsonl") if alarm["name"] == "reward_hacking"]
    assert sum("watch/accuracy" in row for row in steps(directory)) == 6


def test_stop_fails_before_the_next_checkpoint_with_the_way_on(policy, judge, data, exploited, tmp_path):
    (alarm,) = [alarm for alarm in read_jsonl(exploited / "alarms.jsonl") if alarm["name"] == "reward_hacking"]
    stopping = config(data, hacking={"every": 2, "num_prompts": 4, "samples_per_prompt": 6, "window": 2, "on_hacking": "stop"})
    directory = write_stage(tmp_path / "stopped", "grpo", stopping, {"policy": policy, "reward_models": judge}, stage="preference_rl")
    with StageRun(directory, 1) as attempt:
        assert attempt.wait() == 1
    error = read_json(directory / "error.json")
    assert error["kind"] == "Unhealthy" and f"reward_hacking at step {alarm['step']}" in error["message"] and "hacking.on_hacking=warn" in error["fix"]
