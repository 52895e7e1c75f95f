"""Workers killed at one named place after another: what they make in the end is, bit for bit, what one makes that nobody touched.

Each stage is a chain: an attempt is killed, the next continues and is killed further on. `scripts/chaos.py` does the same at random, through the
driver and with every process of a run.
"""
import os
import random
import signal
from pathlib import Path

import pytest

from scripts.chaos import Kill, damage, differences, left_over, outcome
from scripts.chaos_places import PLACES, places_of
from tests.engines.conftest import BASE, DATA
from tests.stage_dirs import StageRun, run_stage, write_stage

KILL, TERM, INT = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
SPOIL = "spoil the newest checkpoint"
TRANSFORMERS = {"engine": "transformers"}
SFT = {"num_epochs": 10, "max_steps": 8, "batch_size": 4, "max_tokens": 64, "save_every": 1, "optim": {"lr": 1e-3}}
GRPO = {"num_steps": 7, "prompts_per_step": 4, "group_size": 4, "updates_per_rollout": 2, "max_completion_tokens": [[0, 14]], "beta": 0.05,
        "reference_every": 3, "rewards": {"format": 0.5, "language": 0.5}, "micro_batch_tokens": 300, "save_every": 1, "data": DATA, "optim": {"lr": 2e-3},
        "rollout": TRANSFORMERS}
REWARD_MODELS = {"num_prompts": 10, "samples_per_prompt": 6, "min_gap": 0.4, "num_safety_prompts": 8, "safety_samples_per_prompt": 6, "holdout_fraction": 0.2,
                 "max_completion_tokens": 16, "batch_size": 8, "num_steps": 4, "safety_steps": 4, "save_every": 1, "data": DATA, "optim": {"lr": 1e-3},
                 "rollout": TRANSFORMERS}
COLLECT = {"num_prompts": 8, "samples_per_prompt": 4, "few_shot": 1, "max_completion_tokens": 24, "keep_per_prompt": 2, "min_language": 0.9,
           "max_kept_tokens": 24, "num_general": 5, "chunk_prompts": 2, "data": DATA, "rollout": {**TRANSFORMERS, "temperature": 0.5}}
EVALUATE = {"num_reasoning": 7, "num_general": 5, "num_safety": 4, "samples_per_prompt": 2, "max_completion_tokens": 16, "num_shown": 2, "data": DATA,
            "rollout": {**TRANSFORMERS, "temperature": 0.5}}

# (place, before or after it, which call of the attempt, signal); SPOIL comes between two attempts
CHAINS = {
    "pretrain": ({**BASE, "num_steps": 8, "save_every": 1}, "base", [
        ("optimizer step", "after", 4, KILL), SPOIL, ("rename of the checkpoint", "before", 1, KILL), ("log of a step", "after", 2, INT),
        ("export", "after", 1, KILL)]),
    "sft": (SFT, "chaos_sft", [
        ("checkpoint", "after", 3, KILL), ("backward", "after", 1, TERM), ("removal of the state", "before", 1, KILL)]),
    "grpo": (GRPO, "collected", [
        ("rename of the rollout log", "before", 1, KILL), ("rollout log", "after", 1, KILL), ("optimizer step", "after", 3, KILL), SPOIL,
        ("refresh of the reference", "after", 1, KILL), ("forgetting rollouts", "before", 2, KILL), ("sync", "after", 1, TERM)]),
    "collect": (COLLECT, "collected", [
        ("log of a step", "after", 2, KILL), ("saved chunk", "after", 1, TERM), ("writing the data", "after", 1, KILL)]),
    "reward_models": (REWARD_MODELS, "reward_models", [
        ("rename of the judged samples", "before", 1, KILL), ("checkpoint manifest", "after", 2, KILL), ("reward statistics", "before", 1, KILL),
        ("end of a reward model", "after", 1, KILL), ("optimizer step", "before", 3, INT)]),
    "evaluate": (EVALUATE, "evaluated", [("results of a model", "after", 1, KILL), ("results", "after", 1, KILL)]),
}


@pytest.fixture
def stage(request, base, policy, sft_data, stage_root):
    """Makes a stage directory of a kind; its name looks like a fingerprint, as the driver's do."""
    inputs = {"pretrain": {}, "sft": {"policy": base, "data": sft_data}, "evaluate": {"base": base, "policy": policy}}

    def make(kind: str, name: str) -> Path:
        config, seeds, _ = CHAINS[kind]
        return write_stage(stage_root / f"chaos_{kind}" / name, kind, config, inputs.get(kind, {"policy": policy}), stage=seeds)
    return make


def kill_at(directory: Path, kind: str, name: str, when: str, call: int, number: int) -> None:
    """Starts a lone worker and lets it send itself the signal at that place."""
    place = next(place for place in places_of(kind, "transformers") if place.name == name)
    note = directory / "hit"
    kill = Kill("rank0", number, place, "rank0", when, call)
    with StageRun(directory, num_processes=1, environment=kill.environment(note)) as attempt:
        code = attempt.wait()
        assert note.exists(), f"{kill} was never reached\n{attempt.log()}"
        assert code == (-KILL if number == KILL else 75), f"{kill}: exit code {code}\n{attempt.log()}"
    note.unlink()


@pytest.mark.parametrize("kind", CHAINS)
def test_killed_again_and_again(stage, kind):
    whole, killed = run_stage(stage(kind, "00000000"), num_processes=1), stage(kind, "00000001")
    rng = random.Random(kind)
    for event in CHAINS[kind][2]:
        if event == SPOIL:
            assert damage(killed, rng)
        else:
            kill_at(killed, kind, *event)
    run_stage(killed, num_processes=1)
    assert not differences(outcome(killed), outcome(whole))
    assert left_over(killed, whole) == []


def test_the_places_exist():
    """Every place names a function of the product, so that a renamed one is not silently left out."""
    from importlib import import_module
    for place in PLACES:
        module, _, name = place.target.partition(":")
        for engine in ("vllm", "transformers"):
            target = next(p.target for p in places_of(place.kinds[0], engine) if p.name == place.name)
            source = Path(__file__).parents[2].joinpath(*target.partition(":")[0].split(".")).with_suffix(".py")
            last = target.rpartition(".")[2].rpartition(":")[2]
            assert f"def {last}(" in source.read_text() if source.exists() else hasattr(import_module(module), name), target
