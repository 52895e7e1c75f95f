"""Workers killed at one named place after another: what they make in the end is, bit for bit, what one makes that
nobody touched.

Each stage goes through a chain: an attempt is killed, the next continues and is killed further on. `scripts/chaos.py`
does it at random, through the driver and with every process of a run.
"""

import random
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from scripts.chaos_tools.kill import Kill, damage, damage_logs
from scripts.chaos_tools.outcome import differences, left_over, outcome
from scripts.chaos_tools.places import places_of
from stages.config import KINDS
from tests.support.stage_dirs import REPOSITORY, StageRun, run_stage, write_stage
from tests.support.tiny_stages import BASE, DATA

KILL, TERM, INT = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
SPOIL, SPOIL_LOGS = "spoil the newest checkpoint", "spoil the newest rollouts and reference"
TRANSFORMERS = {"engine": "transformers"}
SFT = {"num_epochs": 10, "max_steps": 8, "batch_size": 4, "max_tokens": 64, "save_every": 1, "optim": {"lr": 1e-3}}
GRPO = {
    "num_steps": 7,
    "prompts_per_step": 4,
    "group_size": 4,
    "updates_per_rollout": 2,
    "max_completion_tokens": [[0, 14]],
    "beta": 0.05,
    "reference_every": 3,
    "rewards": {"format": 0.5, "language": 0.5},
    "micro_batch_tokens": 300,
    "save_every": 1,
    "data": DATA,
    "optim": {"lr": 2e-3},
    "rollout": TRANSFORMERS,
}
REWARD_MODELS = {
    "num_prompts": 10,
    "samples_per_prompt": 6,
    "min_gap": 0.4,
    "num_safety_prompts": 8,
    "safety_samples_per_prompt": 6,
    "holdout_fraction": 0.2,
    "max_completion_tokens": 16,
    "batch_size": 8,
    "num_steps": 4,
    "safety_steps": 4,
    "save_every": 1,
    "data": DATA,
    "optim": {"lr": 1e-3},
    "rollout": TRANSFORMERS,
}
COLLECT = {
    "num_prompts": 8,
    "samples_per_prompt": 4,
    "few_shot": 1,
    "max_completion_tokens": 24,
    "keep_per_prompt": 2,
    "min_language": 0.9,
    "max_kept_tokens": 24,
    "num_general": 5,
    "chunk_prompts": 2,
    "data": DATA,
    "rollout": {**TRANSFORMERS, "temperature": 0.5},
}
EVALUATE = {
    "num_reasoning": 7,
    "num_general": 5,
    "num_safety": 4,
    "samples_per_prompt": 2,
    "max_completion_tokens": 16,
    "num_shown": 2,
    "data": DATA,
    "rollout": {**TRANSFORMERS, "temperature": 0.5},
}

# stage kind, processes, configuration, and (place, before or after it, which call of the attempt, signal); SPOIL and
# SPOIL_LOGS come between two attempts
CHAINS = {
    "base": (
        "pretrain",
        1,
        {**BASE, "num_steps": 8, "save_every": 1},
        [
            ("optimizer step", "after", 4, KILL),
            SPOIL,
            ("rename of the checkpoint", "before", 1, KILL),
            ("log of a step", "after", 2, INT),
            ("export", "after", 1, KILL),
        ],
    ),
    "chaos_sft": (
        "sft",
        1,
        SFT,
        [("checkpoint", "after", 3, KILL), ("backward", "after", 1, TERM), ("removal of the state", "before", 1, KILL)],
    ),
    "collected": (
        "grpo",
        1,
        GRPO,
        [  # the policy knows the prompts of a stage of this name, so that groups have rewards to differ in
            ("manifest of the rollout log", "before", 1, KILL),
            ("rollout log", "after", 1, KILL),
            ("optimizer step", "after", 3, KILL),
            SPOIL,
            ("refresh of the reference", "after", 1, KILL),
            ("forgetting rollouts", "before", 2, KILL),
            SPOIL_LOGS,
            ("sync", "after", 1, TERM),
        ],
    ),
    "collected on two": (
        "grpo",
        2,
        {**GRPO, "deepspeed": {"zero_stage": 3}},
        [
            ("checkpoint", "after", 2, KILL),
            ("optimizer step", "after", 1, TERM),
            SPOIL,
            ("gathering", "before", 2, KILL),
            ("shard of the rollout log", "after", 1, KILL),
            ("delivery of tokens", "after", 2, KILL),
        ],
    ),
    "samples": (
        "collect",
        1,
        COLLECT,
        [
            ("record of a prompt", "before", 3, KILL),
            ("record of a prompt", "after", 2, KILL),
            ("log of a step", "after", 1, KILL),
            ("judging", "after", 1, TERM),
            ("writing the data", "after", 1, KILL),
        ],
    ),
    "reward_models": (
        "reward_models",
        1,
        REWARD_MODELS,
        [
            ("record of a prompt", "after", 4, KILL),
            ("rename of the judged samples", "before", 1, KILL),
            ("checkpoint manifest", "after", 2, KILL),
            ("reward statistics", "before", 1, KILL),
            ("end of a reward model", "after", 1, KILL),
            ("optimizer step", "before", 3, INT),
        ],
    ),
    "evaluated": (
        "evaluate",
        1,
        EVALUATE,
        [
            ("record of a sample", "after", 5, KILL),
            ("record of a sample", "before", 9, TERM),
            ("results of a model", "after", 1, KILL),
            ("results", "after", 1, KILL),
        ],
    ),
}


@pytest.fixture
def make_stage(base, policy, sft_data, stage_root):
    """Makes a directory of a chain's stage; its name looks like a fingerprint, as the driver's do."""
    inputs = {"pretrain": {}, "sft": {"policy": base, "data": sft_data}, "evaluate": {"base": base, "policy": policy}}

    def make(chain: str, name: str) -> Path:
        kind, _, config, _ = CHAINS[chain]
        stage = "collected" if kind == "collect" else chain.split()[0]
        return write_stage(
            stage_root / f"chaos {chain}" / name, kind, config, inputs.get(kind, {"policy": policy}), stage=stage
        )

    return make


def kill_at(directory: Path, kind: str, num_processes: int, name: str, when: str, call: int, number: int) -> None:
    """Starts the workers; the last rank sends itself the signal at that place."""
    place = next(place for place in places_of(kind, "transformers") if place.name == name)
    note, rank = directory / "hit", f"rank{num_processes - 1}"
    kill = Kill(rank, number, place, rank, when, call)
    with StageRun(directory, num_processes, environment=kill.environment(note)) as attempt:
        code = attempt.wait()
        assert note.exists(), f"{kill} was never reached\n{attempt.log()}"
        assert code == (1 if num_processes > 1 else -KILL if number == KILL else 75), (
            f"{kill}: exit code {code}\n{attempt.log()}"
        )
    note.unlink()


@pytest.mark.parametrize("chain", CHAINS)
def test_killed_again_and_again(make_stage, chain):
    kind, num_processes, _, events = CHAINS[chain]
    whole, killed = run_stage(make_stage(chain, "00000000"), num_processes), make_stage(chain, "00000001")
    rng = random.Random(chain)
    for event in events:
        if event in (SPOIL, SPOIL_LOGS):
            assert (damage if event == SPOIL else damage_logs)(killed, rng)
        else:
            kill_at(killed, kind, num_processes, *event)
    run_stage(killed, num_processes)
    assert not differences(outcome(killed), outcome(whole))
    assert not left_over(killed, whole)


def test_killed_at_random_with_the_driver(repository, tmp_path):
    """The program itself: a small stage through the driver, two processes, all that can be killed."""
    done = subprocess.run(
        [
            sys.executable,
            "scripts/chaos.py",
            "--stages",
            "student_base",
            "--kills",
            "3",
            "--seed",
            "0",
            "--work",
            str(tmp_path),
        ],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("| same") >= 2 and "DIFFERENT" not in done.stdout


@pytest.mark.parametrize("engine", ["vllm", "transformers"])
def test_the_places_exist(engine):
    """A function of the product that was renamed is not silently left out."""
    for place in (place for kind in KINDS for place in places_of(kind, engine)):
        module, _, name = place.target.partition(":")
        source = REPOSITORY.joinpath(*module.split(".")).with_suffix(".py")
        is_there = (
            f"def {name.split('.')[-1]}(" in source.read_text(encoding="utf-8")
            if source.exists()
            else hasattr(import_module(module), name)
        )
        assert is_there, place
