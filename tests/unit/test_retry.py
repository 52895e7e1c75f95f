"""A stage that has lost a machine or a server is begun again after waits that grow; nothing else is."""

import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.configuration.orchestration import RetryConfig
from pipeline.errors import Lost, MissingInput, PipelineError, RunLocked, StageFailed, StageInterrupted
from pipeline.execution import failure
from pipeline.execution.retry import with_retries
from pipeline.execution.stop import TWICE_S, StopRequest
from pipeline.planning.plan import Step
from stages.contract.error_report import ErrorReport
from stages.engines.sampling.servers.group import NoServers, ServersLost
from stages.judges.calls import JudgeUnavailable
from stages.rewards.grading import GraderAway
from stages.runtime.errors import CollectiveTimeout, InputError
from stages.runtime.failure import report_of

STEP = Step("r1_zero", "grpo", "run", "", "f" * 64, Path("r1_zero/ffffffff"), None, {}, was_there=True)


class Making:
    """Fails with these errors, one after another, and then is done."""

    def __init__(self, *errors: PipelineError):
        self.errors, self.actions = list(errors), []

    def __call__(self, step: Step) -> str:
        self.actions.append(step.action)
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def test_a_lost_server_is_tried_again_from_the_checkpoint():
    making, said = Making(Lost("the judge is away\n  last lines"), Lost("again")), []
    assert with_retries(making, STEP, [0, 0], StopRequest(), said.append) == "done"
    assert making.actions == ["run", "resume", "resume"]  # the later ones do not move aside what is begun
    assert said[:2] == [
        "WARNING: the judge is away",
        "WARNING: tries again in 0 s (attempt 2 of 3)",
    ]


def test_the_last_error_is_raised_when_no_attempt_is_left():
    making = Making(Lost("one"), Lost("two"), Lost("three"))
    with pytest.raises(Lost, match="two"):
        with_retries(making, STEP, [0], StopRequest(), lambda _: None)


@pytest.mark.parametrize(
    "error", [MissingInput("no file"), StageFailed("NaN"), RunLocked("held"), StageInterrupted("x")]
)
def test_what_another_attempt_cannot_mend_is_raised_at_once(error):
    making = Making(error)
    with pytest.raises(type(error)):
        with_retries(making, STEP, [0, 0, 0], StopRequest(), lambda _: None)
    assert making.actions == ["run"]


def test_a_stop_ends_the_wait():
    stop, started = StopRequest(), time.monotonic()
    stop.ask("cancelled")
    with pytest.raises(StageInterrupted, match="r1_zero was stopped before it was tried again: x"):
        with_retries(Making(Lost("x")), STEP, [600], stop, lambda _: None)
    assert time.monotonic() - started < 30


def test_the_wait_hears_of_a_stop_that_comes_through_a_file():
    stop, started = StopRequest(), time.monotonic()
    with pytest.raises(StageInterrupted):
        with_retries(Making(Lost("x")), STEP, [600], stop, lambda _: None, lambda: stop.ask("by the sweep"))
    assert time.monotonic() - started < 30


def test_waits_double_up_to_the_longest():
    assert RetryConfig(times=4, wait_s=30, max_wait_s=100).waits() == [30, 60, 100, 100]
    assert RetryConfig().waits() == []


@pytest.mark.parametrize(
    "cause", [JudgeUnavailable("x"), GraderAway("x"), CollectiveTimeout("x"), ServersLost("x", "y")]
)
def test_a_rank_that_lost_a_server_or_its_peers_says_that_it_may_pass(cause, tmp_path):
    assert explained(report_of(cause, 0, "logs/rank0.log"), tmp_path) is Lost


@pytest.mark.parametrize(
    "cause, kind",
    [(InputError("x"), MissingInput), (RuntimeError("x"), StageFailed), (NoServers("x", "y"), StageFailed)],
)
def test_bad_input_and_other_failures_do_not_pass(cause, kind, tmp_path):
    assert explained(report_of(cause, 0, "logs/rank0.log"), tmp_path) is kind


def test_a_lost_machine_may_pass(tmp_path):
    error = failure.explain("base", tmp_path, tmp_path, 1, False, "again", lost=["node2"])
    assert type(error) is Lost and error.exit_code == StageFailed.exit_code


def explained(report: ErrorReport, directory: Path) -> type[PipelineError]:
    (directory / "rank0.log").write_text("line\n")
    replace(report, log="rank0.log").write(directory)
    return type(failure.explain("base", directory, directory, 1, False, "again"))


def test_cancel_asks_once_and_the_workers_signal_says_the_same(monkeypatch):
    stop = StopRequest().install()
    try:
        stop.ask("cancelled in Prefect's page", is_repeated=True)
        signal.raise_signal(signal.SIGTERM)
        assert stop.count == 1  # the worker's own SIGTERM
        monkeypatch.setattr(stop, "_asked_at", time.monotonic() - 2 * TWICE_S)
        signal.raise_signal(signal.SIGTERM)
        assert stop.count == 2  # somebody is impatient
        stop.ask("again")
        assert stop.count == 2
    finally:
        stop.restore()
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_cancel_in_the_page_of_a_run_that_was_typed_leaves_the_next_signal_its_meaning():
    stop = StopRequest().install()
    try:
        stop.ask("cancelled in Prefect's page")
        signal.raise_signal(signal.SIGTERM)
        assert stop.count == 2
    finally:
        stop.restore()
        signal.signal(signal.SIGINT, signal.default_int_handler)
