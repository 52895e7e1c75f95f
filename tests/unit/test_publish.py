"""`publish` against a hub on this machine: nothing without --yes, private unless --public, every file and the card as
they are.
"""

import dataclasses
import os
import subprocess
import sys

import pytest

from pipeline.execution import current
from stages.contract.description import StageDescription
from stages.contract.files import file_table, write_json
from stages.contract.inputs import read_inputs
from stages.contract.manifest import Manifest
from stages.engines.export import model_card
from tests.support.hub_server import Hub
from tests.support.runs import finish, plan, step
from tests.support.stage_dirs import REPOSITORY

pytestmark = pytest.mark.slow  # runs the command line


@pytest.fixture
def run(tmp_path):
    """A run with a finished Dev2 and its evaluation. Returns (arguments that name it, the stage's directory)."""
    made = plan("+stage=[base,cold_start,reasoning_rl,evaluate]", f"runs_dir={tmp_path / 'runs'}", "run=demo")
    finish(made, "base", "reasoning_rl")
    made = plan("+stage=[reasoning_rl,evaluate]", f"runs_dir={tmp_path / 'runs'}", "run=demo")
    current.write_configuration(made)
    directory = step(made, "reasoning_rl").dir
    card = model_card(StageDescription.read(directory), read_inputs(directory), {"reward/mean": 1.5})
    (directory / "model" / "README.md").write_text(card)
    (directory / "model" / "config.json").write_text('{"model_type": "llama"}')
    dataclasses.replace(Manifest.read(directory), files=file_table(directory, ["model/*"])).write(directory)
    finish(made, "evaluate")
    rows = [
        {"model": name, "set": "tiny_math", "metric": "pass@1", "value": value, "low": 0.8, "high": 0.9, "n": 96}
        for name, value in (("reasoning_rl", 0.875), ("base", 0.25))
    ]
    evaluation = step(made, "evaluate").dir
    write_json(evaluation / "results.json", rows)
    dataclasses.replace(Manifest.read(evaluation), files=file_table(evaluation, ["results.json"])).write(evaluation)
    return [f"runs_dir={tmp_path / 'runs'}", "run=demo"], directory


def publish(arguments, *more: str, environment: dict[str, str]):
    cleared = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    return subprocess.run(
        [sys.executable, "-m", "pipeline", "publish", *arguments, *more],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
        env={**cleared, "HF_HOME": "/nonexistent", **environment},
    )


def test_without_yes_nothing_leaves_this_machine(run):
    with Hub() as hub:
        done = publish(run[0], "--stage", "reasoning_rl", "--to", "me/dev2", environment=hub.environment())
        assert done.returncode == 0, done.stdout + done.stderr
        assert not hub.requests
    for text in (
        "me/dev2, private",
        "model.safetensors",
        "README.md",
        "nothing was uploaded",
        "--to me/dev2 --yes",
        "| tiny_math | pass@1 | 0.875 | 0.8 to 0.9 | 96 |",
    ):
        assert text in done.stdout, (text, done.stdout)
    assert "0.25" not in done.stdout  # the results of the other model


def test_yes_uploads_every_file_in_one_commit_to_a_private_repository(run):
    with Hub() as hub:
        done = publish(run[0], "--stage", "reasoning_rl", "--to", "me/dev2", "--yes", environment=hub.environment())
        assert done.returncode == 0, done.stdout + done.stderr
        assert f"published: {hub.address}/me/dev2" in done.stdout
        repository = hub.repositories["me/dev2"]
        assert repository["private"] and sum("/commit/" in path for _, path in hub.requests) == 1
        model = run[1] / "model"
        assert set(repository["files"]) == {path.name for path in model.iterdir()}
        for name in ("model.safetensors", "config.json"):
            assert repository["files"][name] == (model / name).read_bytes()
        card = repository["files"]["README.md"].decode()
        assert (
            "pass@1 | 0.875" in card
            and "| reward/mean | 1.5 |" in card
            and "python -m pipeline run +stage=reasoning_rl run=demo" in card
        )
        assert "runs_dir" not in card
        assert (
            publish(
                run[0], "--stage", "reasoning_rl", "--to", "me/dev2", "--yes", environment=hub.environment()
            ).returncode
            == 0
        )  # again: a new commit


def test_public_must_be_said_also_for_a_repository_that_is_public_already(run):
    with Hub() as hub:
        assert publish(run[0], "--to", "me/open", "--public", "--yes", environment=hub.environment()).returncode == 0
        assert hub.repositories["me/open"]["private"] is False
        done = publish(run[0], "--to", "me/open", "--yes", environment=hub.environment())
        assert done.returncode == 2 and "exists and is public: add --public" in done.stdout
        assert sum("/commit/" in path for _, path in hub.requests) == 1


def test_a_token_that_is_missing_or_refused_says_so(run):
    with Hub() as hub:
        missing = publish(run[0], "--to", "me/dev2", "--yes", environment=hub.environment(token=None))
        assert (
            missing.returncode == 3
            and "no Hugging Face token" in missing.stdout
            and "hf auth login" in missing.stdout
            and not hub.requests
        )
        refused = publish(run[0], "--to", "me/dev2", "--yes", environment=hub.environment(token="hf_wrong"))
        assert (
            refused.returncode == 4 and "refused me/dev2 (401)" in refused.stdout and "hf auth whoami" in refused.stdout
        ), refused.stdout
        assert not hub.repositories


def test_mistakes_say_what_to_do(run):
    arguments, directory = run
    for more, text, code in (
        (["--yes"], "--to is missing", 2),
        (["--to", "nobody"], "give OWNER/NAME", 2),
        (["--to", "a/b", "--stage", "distill"], "has no model of distill", 3),
        (["--too", "a/b"], "knows no such flag", 2),
    ):
        done = publish(arguments, *more, environment={})
        assert done.returncode == code and text in done.stdout, (more, done.stdout, done.stderr)
    (directory / "model" / "model.safetensors").write_text("content of reasoning_rm")
    damaged = publish(arguments, "--to", "a/b", environment={})
    assert damaged.returncode == 3 and "was changed after it was written" in damaged.stdout


def test_an_evaluation_of_an_earlier_version_is_not_this_models(run):
    from pipeline.commands.parcel import evaluation

    arguments, directory = run
    run_dir = directory.parents[1]
    assert [row["value"] for row in evaluation(run_dir, directory)] == [0.875]
    inputs = run_dir / "evaluate" / "latest" / "inputs.json"
    inputs.write_text(inputs.read_text().replace(directory.name, "0" * 8))
    assert evaluation(run_dir, directory) == []


def test_what_is_not_of_one_piece_is_refused(run):
    arguments, directory = run
    inputs = directory.parents[1] / "evaluate" / "latest" / "inputs.json"
    inputs.write_text(inputs.read_text().replace(directory.name, "0" * 8))
    refused = publish(arguments, "--stage", "reasoning_rl", environment={})
    assert refused.returncode == 3 and "evaluate was made from reasoning_rl@00000000" in refused.stdout
    assert "fix: python -m pipeline run +stage=all run=demo" in refused.stdout and "add --anyway" in refused.stdout
    assert publish(arguments, "--stage", "reasoning_rl", "--anyway", environment={}).returncode == 0
    (inputs.parent / "results.json").write_text("[]")
    damaged = publish(arguments, "--stage", "reasoning_rl", "--anyway", environment={})
    assert damaged.returncode == 3 and "the evaluation that the card would quote is damaged" in damaged.stdout
