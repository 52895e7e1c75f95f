"""The recipe on reasoning-gym, very short: a base on its world, R1-Zero with vLLM and DeepSpeed, held-out problems; run
again, nothing is to do.
"""

import json

from stages.contract.files import read_json, read_jsonl
from stages.rewards.verifiers.reasoning_gym_worker import score
from tests.support.command_line import r1

SHORT = [
    "recipe=reasoning_gym_cpu",
    "run=gym",
    "orchestrator=none",
    "launcher.num_processes=1",
    "model.hidden_size=64",
    "model.num_layers=2",
    "model.num_heads=2",
    "model.num_kv_heads=1",
    "model.intermediate_size=96",
    "stages.base.num_steps=30",
    "stages.base.batch_size=8",
    "stages.r1_zero.num_steps=2",
    "stages.r1_zero.prompts_per_step=4",
    "stages.r1_zero.group_size=4",
    "stages.r1_zero.max_completion_tokens=[[0,24]]",
    "stages.evaluate.num_reasoning=8",
    "stages.evaluate.samples_per_prompt=2",
    "stages.evaluate.max_completion_tokens=24",
]


def test_base_r1_zero_and_evaluate_run_on_families_of_reasoning_gym(tmp_path):
    command = ("run", "+stage=[base,r1_zero,evaluate]", *SHORT, f"runs_dir={tmp_path}")
    done = r1(*command)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    run = tmp_path / "gym"
    results = read_json(run / "evaluate" / "latest" / "results.json")
    assert {(row["model"], row["set"]) for row in results} == {
        (model, task) for model in ("base", "r1_zero") for task in ("chain_sum", "gcd")
    }
    assert {row["metric"] for row in results} >= {"pass@1", "format", "language", "tokens"}
    metrics = read_jsonl(run / "r1_zero" / "latest" / "metrics.jsonl")
    assert len(metrics) == 2 and all(row["policy/probe_max"] < 1e-3 for row in metrics)
    samples = read_jsonl(run / "r1_zero" / "latest" / "samples.jsonl")
    assert samples and {row["kind"] for row in samples} <= {"chain_sum", "gcd"}
    logged = r1("rollouts", "r1_zero", "-n", "1", "--json", "run=gym", f"runs_dir={tmp_path}")
    assert logged.returncode == 0, logged.stdout + logged.stderr
    prompt = json.loads(logged.stdout)["prompt"]  # the prompts carry what grades them
    assert prompt["verifier"] == "reasoning_gym" and score(prompt["answer"], prompt["checks"]) == 1
    planned = r1("plan", *command[1:], "--json")
    assert planned.returncode == 0 and {step["action"] for step in json.loads(planned.stdout)["stages"]} == {"skip"}
