"""Pass rates where grading fails: what counts as not passed, and what ends the command."""

import json

import pytest

from stages.config import DataConfig, PrepareConfig, RolloutConfig
from stages.data import __main__ as command
from stages.data.preparing.pass_rate import PassRates
from stages.data.preparing.prepare import Preparation
from stages.engines.sampling import Completion
from stages.prompting.encoding import Encoder
from stages.rewards.grading import GraderAway
from stages.rewards.verifiers import integer
from stages.worlds.tiny_world.tokenizer import build_tokenizer
from tests.support.data_rows import write_lines
from tests.support.rollouts import a_prompt, answered


class Written:
    """A sampler that has written its completions down."""

    def __init__(self, tokenizer, *texts):
        self.ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]

    def sample(self, prompt_ids, seeds, n, temperature, max_tokens):
        return [[Completion(ids, [0.0] * len(ids), False) for ids in self.ids] for _ in prompt_ids]


def test_completions_that_nobody_can_grade_are_said_and_not_passed(tmp_path, monkeypatch):
    monkeypatch.setattr(integer, "grade", lambda completion, prompt: 1.0 if "<answer>28" in completion else 1 / 0)
    said, tokenizer = [], build_tokenizer()
    meter = PassRates(
        DataConfig(), PrepareConfig(samples=2), RolloutConfig(), 0, tmp_path, tmp_path / "rates", said.append
    )
    meter._encoder, meter._sampler = Encoder(tokenizer, "plain"), Written(tokenizer, answered("28"), answered("27"))
    assert meter.of([a_prompt()]) == [0.5]
    assert (
        said[0] == "1 of 2 completions could not be graded and count as not passed: integer: ZeroDivisionError: "
        "division by zero (1)"
    )


def test_a_grader_that_is_away_measures_no_pass_rates(tmp_path, monkeypatch, capsys):
    """Nothing is written that a second run would take for a rate, and the command says why it ended."""

    def away(pairs):
        raise GraderAway("no program can be run any more: user namespaces are forbidden")

    monkeypatch.setattr(integer, "grade_many", away, raising=False)
    tokenizer = build_tokenizer()

    def open_sampler(meter):
        meter._encoder, meter._sampler = Encoder(tokenizer, "plain"), Written(tokenizer, answered("28"), answered("27"))
        meter._sampler.close = lambda: None

    monkeypatch.setattr(PassRates, "_open", open_sampler)
    monkeypatch.setattr(command.environment, "prepare", lambda: None)
    tokenizer.save_pretrained(tmp_path / "model")
    given = {
        "data": {"path": write_lines(tmp_path / "x.jsonl", [{"prompt": "25+3", "answer": "28"}])},
        "prepare": {"output": str(tmp_path / "out"), "samples": 2, "processes": 1},
        "rollout": {},
        "sandbox": {},
        "seed": 0,
        "model_dir": str(tmp_path / "model"),
    }
    (tmp_path / "config.json").write_text(json.dumps(given))
    assert command.main(["prepare", str(tmp_path / "config.json")]) == 1
    assert "error: no program can be run any more: user namespaces are forbidden" in capsys.readouterr().err
    assert not (tmp_path / "out" / "train.parquet").exists() and not list((tmp_path / "out").glob(".pass_rates/*.json"))


def test_a_judge_measures_no_pass_rates(tmp_path):
    path = write_lines(tmp_path / "x.jsonl", [{"prompt": "x", "answer": "1"}])
    with pytest.raises(ValueError, match="a judge is only asked by stages"):
        Preparation(
            DataConfig(name="file", path=path, verifier="judge"),
            PrepareConfig(samples=2),
            RolloutConfig(),
            model_dir=str(tmp_path),
        )
