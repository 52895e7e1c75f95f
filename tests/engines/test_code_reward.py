"""GRPO whose reward is the verifier `code`: a tiny policy that writes right and wrong programs by heart, graded in the
sandbox while it samples.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
import torch

from stages.config import ModelConfig
from stages.contract.error_report import ErrorReport
from stages.modeling.model import new_model, save_model
from stages.prompting.templates import apply_template
from tests.support.paths import FIXTURES
from tests.support.sandboxes import needs_bubblewrap
from tests.support.stage_dirs import StageRun, attempt_log, run_stage, sampled, steps, write_stage

PROBLEMS = FIXTURES / "data" / "programs.jsonl"
CODE = {
    "Read a whole number and print its double.": ("print(2 * int(input()))", "print(3 * int(input()))"),
    "Write a function add(a, b) that returns the sum.": ("def add(a, b): return a + b", "def add(a, b): return a - b"),
}
DATA = {
    "name": "file",
    "verifier_column": "verifier",
    "checks_column": "checks",
    "max_prompt_tokens": 64,
    "eval_fraction": 0.0,
}
CONFIG = {
    "num_steps": 2,
    "prompts_per_step": 4,
    "group_size": 6,
    "updates_per_rollout": 1,
    "max_completion_tokens": [[0, 48]],
    "beta": 0.01,
    "rewards": {"format": 0.5},
    "micro_batch_tokens": 1200,
    "save_every": 10,
    "optim": {"lr": 1e-4},
}


def completion(program: str) -> str:
    return f"<think>easy</think><answer>\n```python\n{program}\n```\n</answer>"


@pytest.fixture(scope="module")
def policy(tmp_path_factory) -> Path:
    """A Llama of two layers with a byte-level BPE tokenizer that gives each of the programs above about half of the
    time.
    """
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    texts = [
        (apply_template(prompt, "plain"), completion(program))
        for prompt, programs in CODE.items()
        for program in programs
    ]
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        [part for text in texts for part in text] * 9, vocab_size=480, special_tokens=["<|end|>"], show_progress=False
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token="<|end|>", pad_token="<|end|>")
    model = new_model(
        ModelConfig(
            hidden_size=64, num_layers=2, num_heads=2, num_kv_heads=1, intermediate_size=128, max_positions=128
        ),
        tokenizer,
        seed=0,
    )
    rows = [
        (tokenizer(prompt)["input_ids"], tokenizer(text)["input_ids"] + [tokenizer.eos_token_id])
        for prompt, text in texts
    ]
    length = max(len(prompt) + len(ids) for prompt, ids in rows)
    tokens = torch.tensor([prompt + ids + [0] * (length - len(prompt) - len(ids)) for prompt, ids in rows])
    labels = torch.tensor(
        [[-100] * len(prompt) + ids + [-100] * (length - len(prompt) - len(ids)) for prompt, ids in rows]
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(120):
        loss = model(input_ids=tokens, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert loss.item() < 0.1  # what is left is the choice between the two programs of a prompt
    directory = tmp_path_factory.mktemp("policy") / "model"
    save_model(model, None, tokenizer, directory)
    return directory


@pytest.fixture(scope="module")
def problems(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("data") / "programs.jsonl"
    path.write_text(
        "\n".join(line for line in PROBLEMS.read_text().splitlines() if any(prompt in line for prompt in CODE))
    )
    return path


def stage(directory: Path, policy: Path, problems: Path, **changes) -> Path:
    return write_stage(
        directory,
        "grpo",
        {**CONFIG, "data": {**DATA, "path": str(problems)}, **changes},
        {"policy": policy},
        stage="r1_zero",
    )


@needs_bubblewrap
def test_the_reward_is_what_the_programs_do(policy, problems, tmp_path):
    done = run_stage(stage(tmp_path / "grpo", policy, problems), num_processes=1)
    for row in steps(done):
        assert 0 < row["reward/accuracy"] < 1 and row["reward/zero_std_frac"] < 1 and row["train/grad_norm"] > 0
    right = {completion(program) for program, _ in CODE.values()}
    for step in (0, 1):
        rollouts = sampled(done, step)
        assert len(rollouts) == 24
        assert [row["reward_parts"]["accuracy"] for row in rollouts] == [
            float(row["completion"] in right) for row in rollouts
        ]
        assert any(row["completion"] in right for row in rollouts) and any(
            row["completion"] not in right for row in rollouts
        )


def test_without_a_sandbox_no_engine_starts(policy, problems, tmp_path):
    directory = stage(tmp_path / "grpo", policy, problems)
    with StageRun(directory, num_processes=1, environment={"PATH": str(tmp_path)}) as attempt:
        assert attempt.wait() == 64, attempt.log()
        log = attempt.log()
    error = ErrorReport.read(directory)
    assert error.kind == "input" and "bubblewrap" in error.message and "apt-get install bubblewrap" in error.message
    assert "engines up" not in log and not (directory / "rollouts").exists()


@pytest.fixture
def switch():
    """(environment, path): a bubblewrap that makes no box any more once the path is there, as where user namespaces
    were forbidden meanwhile.
    """
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)  # boxes are made by an unprivileged user where we are root
    off, program = directory / "off", directory / "bwrap"
    program.write_text(
        f"#!/bin/sh\nif [ -e {off} ]; then echo 'bwrap: No permissions to create new namespace' >&2; exit 1; "
        f'fi\nexec {shutil.which("bwrap")} "$@"\n'
    )
    program.chmod(0o755)
    yield {"PATH": os.pathsep.join((str(directory), os.environ["PATH"]))}, off
    shutil.rmtree(directory)


@needs_bubblewrap
def test_a_sandbox_that_is_gone_stops_the_stage_before_it_trains_on_zeros(policy, problems, tmp_path, switch):
    environment, off = switch
    several = {"num_steps": 12, "save_every": 1, "keep_checkpoints": 20}
    whole = run_stage(stage(tmp_path / "whole", policy, problems, **several), num_processes=1)
    directory = stage(tmp_path / "cut", policy, problems, **several)
    with StageRun(directory, num_processes=1, environment=environment) as attempt:
        attempt.wait_for_checkpoint(1)
        off.touch()
        assert attempt.wait() == 1, attempt.log()
    error = ErrorReport.read(directory)
    assert (
        error.kind == "GraderAway"
        and "No permissions to create new namespace" in error.message
        and "same command" in error.message
    )
    assert steps(directory) == steps(whole)[: len(steps(directory))] and 1 <= len(steps(directory)) < 12
    off.unlink()
    with StageRun(directory, num_processes=1, environment=environment) as attempt:
        assert attempt.wait() == 0, attempt.log()
    assert "resumed from step_" in attempt_log(directory) and steps(directory) == steps(whole)
    assert (directory / "model" / "model.safetensors").read_bytes() == (
        whole / "model" / "model.safetensors"
    ).read_bytes()
