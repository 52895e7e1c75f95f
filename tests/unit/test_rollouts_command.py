"""`r1 rollouts`: what people and programs see of the log, of this version and of older ones."""

import json
import os

import numpy as np
import pytest

from pipeline.errors import InvalidConfig, MissingInput
from stages import logged_rollouts
from stages.config import GrpoConfig, to_dict
from stages.contract.description import StageDescription
from stages.contract.inputs import StageInput, write_inputs
from stages.contract.records import write_record_file
from stages.training.rollout_log import RolloutLog
from stages.training.rollouts import Rollout, Row
from stages.worlds.tiny_world.tokenizer import build_tokenizer
from tests.support.rollouts import a_prompt

TEXTS = ("<think>31-3=28</think><answer>28</answer>", "<think>31-3=27</think><answer>27</answer>", "wait")


@pytest.fixture
def stage(tmp_path):
    """A stage directory with the rollouts of steps 2 and 4; the policy's directory has the tokenizer."""
    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(tmp_path / "policy")
    directory = tmp_path / "runs" / "first" / "r1_zero" / "latest"
    directory.mkdir(parents=True)
    (tmp_path / "runs" / "first" / "config.yaml").touch()
    config = to_dict(GrpoConfig(num_steps=5, updates_per_rollout=1))
    StageDescription(stage="r1_zero", kind="grpo", config=config).write(directory)
    write_inputs(directory, {"policy": StageInput(path="", model_dir=str(tmp_path / "policy"), fingerprint="")})
    rows = []
    for place, text in enumerate(TEXTS):
        ids = [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        parts = {"accuracy": 1.0 - place, "format": 1.0}
        drawn = Rollout(a_prompt(id=f"p{place // 2}"), place // 2, [1], ids, np.zeros(len(ids)), False, text)
        drawn.reward, drawn.reward_parts, drawn.step = 1.5 - place, parts, 4
        rows.append(Row.of(drawn))
    rows[2].use = "drop"
    for step in (2, 4):
        RolloutLog(directory / "rollouts").write(step, rows)
    return directory


def printed(capsys, *arguments) -> str:
    assert logged_rollouts.main([*map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_rollouts_as_text(stage, capsys):
    text = printed(capsys, stage, "--number", 2)
    first, *lines = text.splitlines()
    assert first.startswith("rollouts of step 4: 3 completions of ") and first.endswith(
        "(2 train, 1 drop), mean reward 0.500; 2 shown"
    )
    assert lines[1] == "--- p0 (math, en), group 0, train, sampled at step 4"
    assert lines[2].startswith("reward 1.5 (accuracy 1, format 1), advantage 0, ")
    assert lines[3:6] == ["prompt: what is31-3?", "reference: 28", f"completion: {TEXTS[0]}"]
    assert "completion_ids" not in text and "completion_ids" in printed(capsys, stage, "--tokens")


def test_rollouts_as_lines_of_json(stage, capsys):
    rows = [json.loads(line) for line in printed(capsys, stage, "--number", 0, "--json", "--tokens").splitlines()]
    assert [row["completion"] for row in rows] == list(TEXTS)
    assert rows[0]["completion_ids"][-1] == build_tokenizer().eos_token_id and rows[0]["prompt"]["answer"] == "28"
    assert len(rows[0]["rollout_logprobs"]) == len(rows[0]["completion_ids"]) and rows[2]["use"] == "drop"


@pytest.mark.parametrize(
    "options, expected",
    [
        (("--order", "worst", "--number", 1), [2]),
        (("--order", "best"), [0, 1, 2]),
        (("--order", "shortest", "--number", 1), [2]),
        (("--use", "train"), [0, 1]),
        (("--prompt", "p1"), [2]),
        (("--prompt", "other"), []),
        (("--step", 2, "--number", 1), [0]),
    ],
)
def test_some_are_chosen(stage, capsys, options, expected):
    lines = printed(capsys, stage, "--json", *options).splitlines()
    assert [json.loads(line)["completion"] for line in lines] == [TEXTS[place] for place in expected]


def test_what_cannot_be_shown_is_said(stage, capsys):
    assert logged_rollouts.main([str(stage), "--step", "3"]) == logged_rollouts.EXIT_BAD_INPUT
    assert "error: no rollouts of step 3 are kept; there are those of step 2, 4" in capsys.readouterr().err
    (stage / "rollouts" / "step_000004" / "rank_0.arrow").write_bytes(b"spoiled")
    assert logged_rollouts.main([str(stage)]) == logged_rollouts.EXIT_BAD_INPUT
    assert "is damaged: rank_0.arrow" in capsys.readouterr().err


def test_a_reader_that_has_read_enough_is_no_error(stage, capsys, monkeypatch):
    """`r1 rollouts r1_zero | head -1`"""
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w") as stream:
        monkeypatch.setattr("sys.stdout", stream)
        assert logged_rollouts.main([str(stage)]) == 0
    assert capsys.readouterr().err == ""


def test_texts_without_a_tokenizer(stage, capsys):
    write_inputs(stage, {"policy": StageInput(path="", model_dir="gone", fingerprint="")})
    logged_rollouts.texts_of.cache_clear()
    assert logged_rollouts.main([str(stage)]) == logged_rollouts.EXIT_BAD_INPUT
    assert "the texts need a tokenizer, and neither gone nor" in capsys.readouterr().err


def test_rollouts_of_an_older_version(stage, capsys):
    row = {
        "prompt": vars(a_prompt()),
        "group": 0,
        "prompt_ids": [1],
        "completion_ids": [2, 3],
        "rollout_logprobs": [-0.5, -0.25],
        "is_truncated": False,
        "completion": "as it was",
        "reward": 1.0,
        "reward_parts": {"accuracy": 1.0},
        "advantage": 0.5,
        "index": 7,
        "step": 6,
        "opening": "",
        "grader_error": "",
        "use": "train",
        "old_logprobs": None,
    }
    write_record_file(stage / "rollouts" / "step_000006.jsonl", [row])
    assert json.loads(printed(capsys, stage, "--json", "--tokens")) == row
    assert "completion: as it was" in printed(capsys, stage)


def test_a_stage_without_rollouts(stage, tmp_path):
    from pipeline.commands.rollouts import rollouts

    where = f"runs_dir={tmp_path / 'runs'}"
    with pytest.raises(MissingInput, match="base of the run first has no rollouts; there are those of: r1_zero"):
        rollouts("base", where)
    (tmp_path / "runs" / "first" / "reasoning_rl" / "latest" / "rollouts" / "step_000000").mkdir(parents=True)
    with pytest.raises(MissingInput, match="reasoning_rl of the run first has no .* those of: r1_zero$"):
        rollouts("reasoning_rl", where)  # the first ones are not whole yet
    with pytest.raises(InvalidConfig, match="nonsense: no such stage"):
        rollouts("nonsense", where)
