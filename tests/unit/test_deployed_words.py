"""The words of a deployment: which it keeps, which win, and what a flow run makes of them."""

from types import SimpleNamespace
from typing import NoReturn

import pytest

from pipeline.configuration import compose, spelling
from pipeline.errors import InvalidConfig, MissingInput, PipelineError, StageFailed
from pipeline.execution.prefect import deployed
from pipeline.execution.prefect.deploy import DEFAULT_RETRIES, kept_words
from pipeline.planning import command_line

TWO = ["students.big.path=models/big", "students.small.path=models/small"]


@pytest.fixture
def notes(monkeypatch):
    """What a flow run logs; it is the first attempt."""
    said: list[str] = []
    logger = SimpleNamespace(warning=lambda text, *words: said.append(text % words))
    monkeypatch.setattr(deployed, "get_run_logger", lambda: logger)
    monkeypatch.setattr(deployed, "_flow_run", lambda: SimpleNamespace(run_count=1))
    monkeypatch.setattr(command_line, "_NOW", command_line._CommandLine())
    return said


def kept(*typed: str) -> tuple[list[str], list[str]]:
    """(stages, words) of what `r1 deploy` was given."""
    words = spelling.with_stages(spelling.rewrite(["runs_dir=/nowhere", *typed]))
    config = compose.compose_config(words)
    return config.selection, kept_words(config, words)


def test_a_stage_of_one_student_can_be_deployed(notes):
    stages, words = kept("+stage=distill_big", *TWO)
    assert stages == ["distill_big"]
    assert deployed._configuration(stages, words, [], None).selection == ["distill_big"]


def test_each_deployment_of_an_experiment_runs_its_own_stage(notes):
    stages, words = kept("experiment=distill_vs_rl")
    assert "student_rl" in stages and "preference_rl" not in stages
    config = deployed._configuration(["r1_zero"], words, [], None)
    assert config.selection == ["r1_zero"] and config.run == "distill_vs_rl" and config.student.rl


def test_words_of_the_page_win_over_an_option_that_is_put_somewhere(notes):
    stages, words = kept("+stage=r1_zero", "deepspeed@stages.r1_zero.deepspeed=zero2", "seed=3")
    config = deployed._configuration(stages, words, ["deepspeed@stages.r1_zero.deepspeed=zero3", "seed=4"], None)
    assert config.stages.r1_zero.deepspeed.zero_stage == 3 and config.seed == 4
    assert notes == []


def test_words_of_the_page_that_change_nothing_are_said(notes):
    stages, words = kept("+stage=r1_zero", "stages.evaluate.num_general=8")
    deployed._configuration(stages, words, ["stages.r1_zero.optim.muon_lr=0.1"], None)
    assert len(notes) == 1 and notes[0].startswith("note: stages.r1_zero.optim.muon_lr=0.1 changes nothing here")


@pytest.mark.parametrize("force", ["force=true", "++force=true"])
def test_force_is_for_the_first_attempt_of_one_flow_run(notes, monkeypatch, force):
    stages, words = kept("+stage=r1_zero", force)
    assert not any("force" in word for word in words)
    config = deployed._configuration(stages, words, [force], None)
    assert config.force and "force" not in command_line.resume_command(config, "all")
    monkeypatch.setattr(deployed, "_flow_run", lambda: SimpleNamespace(run_count=2))
    assert not deployed._configuration(stages, words, [force], None).force


@pytest.mark.parametrize(
    "words, said", [(["+sweep=seeds"], "one configuration"), (["+stage=base"], "its parameter `stages`")]
)
def test_what_one_flow_run_cannot_do_is_refused(notes, words, said):
    with pytest.raises(InvalidConfig) as refused:
        deployed._configuration(["r1_zero"], [], words, None)
    assert said in refused.value.errors[0]


def test_retries_are_kept_as_they_were_typed_else_there_are_three():
    assert DEFAULT_RETRIES in kept("+stage=base")[1]
    assert DEFAULT_RETRIES in kept("+stage=base", "retry.wait_s=1")[1]
    assert DEFAULT_RETRIES not in kept("+stage=base", "retry.times=0")[1]


@pytest.mark.parametrize("error", [MissingInput("no file"), StageFailed("NaN")])
def test_a_flow_run_that_failed_waits_for_its_server_to_say_so(notes, monkeypatch, error):
    """Without its last state it would count as running."""
    done: list[str] = []

    def fails(*_: object) -> NoReturn:
        raise error

    def failed(error: PipelineError) -> str:
        done.append("failed")
        return str(error)

    monkeypatch.setattr(deployed, "_configuration", fails)
    monkeypatch.setattr(deployed, "_failed", failed)
    monkeypatch.setattr(deployed, "_wait_for_server", lambda: done.append("waited"))
    assert deployed.r1.fn(["base"], []) == str(error) and done == ["failed", "waited"]
