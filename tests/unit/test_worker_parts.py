"""The parts of a worker: how far it says it is, what it logs, how an exception becomes an exit code and a report."""

import pytest

from stages.config import ConfigError
from stages.contract import exit_codes, files
from stages.contract.error_report import ErrorReport
from stages.contract.heartbeat import Heartbeat
from stages.contract.manifest import Tokens
from stages.contract.progress import StageProgress
from stages.runtime import progress as module
from stages.runtime.attempt_logs import AttemptLogs
from stages.runtime.disk import DiskFull
from stages.runtime.errors import CollectiveTimeout, InputError, Interrupted
from stages.runtime.failure import cause_of, exit_code_of, report_of
from stages.runtime.heartbeat import HeartbeatWriter
from stages.runtime.progress import ProgressReporter
from stages.runtime.step_logs import StepLogs
from stages.training.health import Unhealthy


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set."""

    class Clock:
        now = 1000.0

        def time(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def test_progress_is_written_once_a_second_and_says_what_is_left(tmp_path, clock):
    heartbeat = HeartbeatWriter(tmp_path / "logs", 0, 990.0)
    reporter = ProgressReporter(tmp_path, heartbeat, 990.0, is_main=True)
    reporter.report("start", 0, 0, "starting", force=True)
    assert StageProgress.read(tmp_path) == StageProgress(
        phase="start", updated=1000.0, started=990.0, message="starting"
    )
    clock.now = 1000.5
    reporter.report("train", 3, 10)
    assert StageProgress.read(tmp_path).phase == "start", "half a second later"
    clock.now = 1004.5
    reporter.report("train", 5, 10, "loss 0.5")
    assert StageProgress.read(tmp_path) == StageProgress(
        phase="train", step=5, num_steps=10, updated=1004.5, started=990.0, eta_s=10.0, message="loss 0.5"
    )  # two steps in 4 s since step 3, and 5 more to go
    reporter.report_end("interrupted", "stopped")
    found = StageProgress.read(tmp_path)
    assert (found.phase, found.step, found.num_steps, found.has_ended) == ("interrupted", 5, 10, True)
    assert (heartbeat.phase, heartbeat.step) == ("interrupted", 5)


def test_other_ranks_write_their_heartbeat_only(tmp_path):
    heartbeat = HeartbeatWriter(tmp_path, 1, 5.0)
    ProgressReporter(tmp_path, heartbeat, 5.0, is_main=False).report("train", 2, 4, force=True)
    heartbeat.write_now()
    assert [path.name for path in tmp_path.iterdir()] == ["rank1.json"]
    beat = Heartbeat.read_path(Heartbeat.path(tmp_path, 1))
    assert (beat.rank, beat.phase, beat.step, beat.started, beat.startup_s) == (1, "train", 2, 5.0, None)


def test_tokens_of_logged_steps_and_counted_parts_add_up_and_parts_count_once(tmp_path):
    logs = StepLogs(tmp_path)
    assert logs.tokens() == Tokens()
    logs.log_step(1, {"tokens/sampled": 10, "tokens/trained": 8})
    logs.log_step(2, {"tokens/trained": 4})
    logs.count_tokens("helpful", sampled=5)
    logs.count_tokens("helpful", sampled=7)
    logs.count_tokens("safety", trained=1)
    assert logs.tokens() == Tokens(sampled=17, trained=13)
    logs.cut(1)
    assert logs.tokens() == Tokens(sampled=17, trained=9)


def test_samples_may_be_cut_at_another_step(tmp_path):
    logs = StepLogs(tmp_path)
    for step in (1, 2, 3):
        logs.log_step(step, {"train/loss": 1 / 3})
        logs.log_samples([{"step": step}])
    logs.cut(1, last_sample_step=2)
    logs.sync()
    assert files.read_jsonl(tmp_path / "metrics.jsonl") == [{"step": 1, "train/loss": 0.3333333}]
    assert files.read_jsonl(tmp_path / "samples.jsonl") == [{"step": 1}, {"step": 2}]


@pytest.mark.parametrize(
    "error, code, kind, fix",
    [
        (InputError("no rows"), exit_codes.BAD_INPUT, "input", ""),
        (ConfigError(["a: unknown key"]), exit_codes.BAD_INPUT, "input", ""),
        (DiskFull("the disk is full", "free 3 MiB"), exit_codes.BAD_INPUT, "input", "free 3 MiB"),
        (Unhealthy("kl_blow_up", "raise beta"), exit_codes.FAILED, "Unhealthy", "raise beta"),
        (CollectiveTimeout("rank 0 waited"), exit_codes.FAILED, "CollectiveTimeout", ""),
        (KeyError("x"), exit_codes.FAILED, "KeyError", ""),
    ],
)
def test_what_an_exception_says_to_the_driver(error, code, kind, fix):
    assert exit_code_of(error) == code
    is_passing = kind == "CollectiveTimeout"  # worth another attempt
    assert report_of(error, 2, "logs/attempt_3/rank2.log") == ErrorReport(
        kind=kind, message=str(error), fix=fix, rank=2, log="logs/attempt_3/rank2.log", is_passing=is_passing
    )
    assert exit_code_of(Interrupted("stopped")) == exit_codes.INTERRUPTED


def test_a_full_disk_is_found_behind_other_errors(tmp_path):
    plain = KeyError("x")
    assert cause_of(plain, tmp_path, tmp_path, 0, 1) is plain
    hidden = RuntimeError("could not save")
    hidden.__cause__ = OSError(28, "No space left on device")
    assert isinstance(cause_of(hidden, tmp_path, tmp_path, 0, 1), DiskFull)


def test_a_lone_worker_takes_the_next_attempt_and_the_launcher_names_its_own(tmp_path, monkeypatch):
    monkeypatch.delenv("STAGE_ATTEMPT", raising=False)
    (tmp_path / "logs" / "attempt_1").mkdir(parents=True)
    (tmp_path / "logs" / "attempt_1" / "rank0.log").write_text("")
    assert AttemptLogs(tmp_path, 0).attempt == 2 and AttemptLogs(tmp_path, 1).attempt == 1
    monkeypatch.setenv("STAGE_ATTEMPT", "7")
    logs = AttemptLogs(tmp_path, 1)
    assert logs.directory == tmp_path / "logs" / "attempt_7" and logs.file_name == "rank1.log"
