"""Distillation with the real engines: a student of another tokenizer, several students in one run, a kill in the middle
of one.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stages.contract.files import read_json, read_jsonl
from stages.contract.manifest import Manifest
from tests.support.stage_dirs import REPOSITORY, manifest, run_stage, steps, write_stage
from tests.support.tiny_stages import arithmetic_samples

TIMEOUT_S = 240
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if "
    "add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def foreign(stage_root) -> Path:
    """A random Qwen2 with a byte-level BPE and a ChatML template: another architecture and another tokenizer than the
    teacher's.
    """
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    bpe = ByteLevelBPETokenizer()
    texts = [row["prompt"] + row["completion"] for row in arithmetic_samples("collected", 8)]
    bpe.train_from_iterator(
        texts * 4, vocab_size=320, special_tokens=["<|end|>", "<|im_start|>", "<|im_end|>"], show_progress=False
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, eos_token="<|end|>", pad_token="<|end|>", chat_template=CHATML
    )
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=512,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    model.save_pretrained(stage_root / "foreign")
    tokenizer.save_pretrained(stage_root / "foreign")
    return stage_root / "foreign"


@pytest.fixture(scope="module")
def traces(stage_root) -> Path:
    """A file of traces in the users' words."""
    rows = [
        {"prompt": row["prompt"].removeprefix("User:").removesuffix("Assistant:"), "completion": row["completion"]}
        for row in arithmetic_samples("collected", 8)
    ]
    path = stage_root / "traces.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def taught(foreign, traces, stage_root) -> Path:
    """The student `distill` of the run `taught`: it knows the traces by heart, in its own chat template and tokens."""
    config = {
        "traces": {"path": str(traces)},
        "template": "chat",
        "num_epochs": 100,
        "max_steps": 120,
        "batch_size": 8,
        "max_tokens": 400,
        "micro_batch_tokens": 1500,
        "save_every": 100,
        "optim": {"lr": 5e-3, "schedule": "cosine", "warmup_steps": 5},
    }
    directory = run_stage(
        write_stage(stage_root / "taught" / "distill" / "ffffffff", "sft", config, {"policy": foreign}, stage="distill")
    )
    (directory.parent / "latest").symlink_to(directory.name)
    (stage_root / "taught" / "config.yaml").write_text("data: {template: plain}\n")  # what its teacher was prompted by
    return directory


def test_a_student_of_another_tokenizer_learns_the_traces_by_heart(taught, traces):
    """The export answers as taught, through its chat template, and stops at its end of sequence."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    directory = taught
    losses = [row["train/loss"] for row in steps(directory)]
    assert losses[-1] < 0.05 * losses[0]
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(directory / "model"),
        AutoTokenizer.from_pretrained(directory / "model"),
    )
    row = read_jsonl(traces)[0]
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": row["prompt"]}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    output = model.generate(**prompt, max_new_tokens=200, do_sample=False)[0][prompt["input_ids"].shape[1] :]
    assert tokenizer.decode(output) == row["completion"] + "<|end|>"  # generation_config stops it
    assert {
        "model/model.safetensors",
        "model/generation_config.json",
        "model/README.md",
        "model/chat_template.jinja",
    } <= set(manifest(directory).files)
    card = (directory / "model" / "README.md").read_text()
    assert "traces.jsonl" in card and "policy: `foreign`" in card and "| train/loss |" in card


def test_a_student_is_evaluated_and_talked_to_with_the_template_it_was_trained_with(
    taught, traces, stage_root, tmp_path
):
    """Where the run's own is another. A copy that nothing says of how it was trained is prompted by the run's, and
    knows less.
    """
    rows = read_jsonl(traces)
    problems = tmp_path / "problems.jsonl"
    problems.write_text(
        "".join(
            json.dumps(
                {"prompt": row["prompt"], "answer": row["completion"].split("<answer>")[1].split("</answer>")[0]}
            )
            + "\n"
            for row in rows
        )
    )
    copy = shutil.copytree(taught / "model", tmp_path / "copy")
    finish(
        [
            sys.executable,
            "-m",
            "pipeline",
            "evaluate",
            f"model=[{taught},{copy}]",
            "eval=own",
            f"runs_dir={tmp_path}",
            f"data.path={problems}",
            "data.verifier=integer",
            "data.template=plain",
            "data.eval_fraction=0.99",
            "data.max_prompt_tokens=200",
            "rollout=transformers",
            "launcher.num_processes=1",
            "stages.evaluate.max_completion_tokens=150",
            "stages.evaluate.samples_per_prompt=1",
            "stages.evaluate.rollout.temperature=0.05",
        ]
    )
    results = read_json(tmp_path / "evaluate" / "evaluate" / "latest" / "results.json")
    found = {row["model"]: row for row in results if row["metric"] == "pass@1"}
    assert found["distill"]["n"] >= 4 and found["distill"]["value"] == 1 > found["copy"]["value"]
    said = finish(
        [
            sys.executable,
            "-m",
            "pipeline",
            "chat",
            f"runs_dir={stage_root}",
            "run=taught",
            "--stage",
            "distill",
            "--prompt",
            rows[0]["prompt"],
        ]
    )
    assert said.strip() == rows[0]["completion"]


def driver(runs: Path, traces: Path, student: Path, *more: str) -> list[str]:
    small = [
        "stages.distill.batch_size=8",
        "stages.distill.num_epochs=100",
        "stages.distill.max_steps=24",
        "stages.distill.save_every=4",
        "stages.distill.max_tokens=400",
    ]
    return [
        sys.executable,
        "-m",
        "pipeline",
        "run",
        "+stage=distill",
        f"runs_dir={runs}",
        "run=two",
        "orchestrator=none",
        "launcher.num_processes=1",
        f"stages.distill.traces.path={traces}",
        f"students.a.path={student}",
        f"students.b.path={student}",
        "students.b.distill.optim.lr=5e-4",
        *small,
        *more,
    ]


def finish(command: list[str]) -> str:
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    return done.stdout


def test_a_kill_in_the_second_student_repeats_neither_the_first_nor_its_own_steps(foreign, traces, tmp_path):
    command = driver(tmp_path / "runs", traces, foreign)
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    second = tmp_path / "runs" / "two" / "distill_b" / "latest"
    deadline = time.monotonic() + TIMEOUT_S
    try:
        while not any((path / "manifest.json").exists() for path in second.glob("state/step_*")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not (second / "manifest.json").exists()
    first = (tmp_path / "runs" / "two" / "distill_a" / "latest" / "manifest.json").stat().st_mtime_ns
    output = finish(command)
    assert "distill_a skipped" in output and "distill_b resumes" in output
    assert (tmp_path / "runs" / "two" / "distill_a" / "latest" / "manifest.json").stat().st_mtime_ns == first
    assert (
        "resumed from step_" in (second / "logs" / "latest" / "rank0.log").read_text()
        and Manifest.read(second).timing.attempts == 2
    )
    undisturbed = tmp_path / "undisturbed"
    finish(driver(undisturbed, traces, foreign)[:4] + ["+stage=distill_b"] + driver(undisturbed, traces, foreign)[5:])
    whole = undisturbed / "two" / "distill_b" / "latest"
    assert Manifest.read(second).files == Manifest.read(whole).files  # the same bits, model card and all
    assert [row["step"] for row in steps(second)] == list(range(1, 25)) and steps(second) == steps(whole)
    assert Manifest.read(second).fingerprint != Manifest.read(tmp_path / "runs/two/distill_a/latest").fingerprint
