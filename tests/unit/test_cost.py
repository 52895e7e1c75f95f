"""The cost ledger: all attempts and ranks count, finished or not; money; the table beside the paper's."""

import json
from pathlib import Path

import pytest

from pipeline.report import cost
from stages.contract.attempts import attempts, timing
from stages.contract.heartbeat import Heartbeat
from stages.contract.manifest import Manifest, Timing, Tokens
from tests.support.command_line import r1


def beat(directory, attempt: int, rank: int, seconds: float, startup_s: float | None) -> None:
    path = Heartbeat.path(directory / "logs" / f"attempt_{attempt}", rank)
    Heartbeat(rank=rank, started=1000.0, updated=1000.0 + seconds, startup_s=startup_s).write_path(path)


def test_killed_attempts_count_and_a_damaged_heartbeat_does_not(tmp_path):
    beat(tmp_path, 1, 0, 100, 10.0)
    beat(tmp_path, 1, 1, 98, 12.0)
    beat(tmp_path, 2, 0, 5, None)  # killed before its engines were up: all of it was start-up
    beat(tmp_path, 10, 0, 50, 8.0)
    (tmp_path / "logs" / "attempt_10" / "rank1.json").write_text('{"rank": 1, "star')
    found = attempts(tmp_path)
    assert [(a.number, a.total_s, a.startup_s, a.rank_s) for a in found] == [
        (1, 100, 12, 198),
        (2, 5, 5, 5),
        (10, 50, 8, 50),
    ]
    assert timing(found) == Timing(total_s=155, startup_s=25, rank_s=253, attempts=10)
    assert timing([]) == Timing(total_s=0, startup_s=0, rank_s=0, attempts=1)


@pytest.fixture
def run(tmp_path):
    """R1-Zero finished on two ranks in two attempts; cold-start data judged; Dev1 unfinished; a base that the paper's
    table leaves out.
    """
    run_dir = tmp_path / "runs" / "demo"

    def stage(name: str, timing: Timing | None, tokens: Tokens | None = None) -> Path:
        directory = run_dir / name / "aaaaaaaa"
        directory.mkdir(parents=True)
        (run_dir / name / "latest").symlink_to("aaaaaaaa")
        if timing:
            Manifest(files={}, timing=timing, tokens=tokens).write(directory)
        return directory

    stage("base", Timing(total_s=3600, rank_s=7200), Tokens(sampled=0, trained=500))
    stage("r1_zero", Timing(total_s=1800, rank_s=3600, attempts=2), Tokens(sampled=1000, trained=2000))
    data = stage("cold_start_data", Timing(total_s=360), Tokens(sampled=300))  # a manifest without rank_s
    (data / "judge_ledger.json").write_text(
        json.dumps({"jobs": {"verdict": {"calls": 7}, "refine": {"calls": 5}}, "money": 0.25})
    )
    dev1 = stage("cold_start", None)
    beat(dev1, 1, 0, 720, 10.0)
    (dev1 / "metrics.jsonl").write_text(
        '{"step": 1, "tokens/trained": 40}\n{"step": 2, "tokens/trained": 60}\n{"step": 3, "tok'
    )
    stage("report", Timing(total_s=1))
    (run_dir / "config.yaml").write_text("run: demo\ncost: {price_per_hour: 2.0}\n")
    return run_dir


def test_the_ledger(run):
    lines = cost.read(run)
    assert [
        (line.stage, line.is_done, line.attempts, round(line.hours, 6), line.sampled, line.trained, line.judge_calls)
        for line in lines
    ] == [
        ("base", True, 1, 2.0, 0, 500, None),
        ("r1_zero", True, 2, 1.0, 1000, 2000, None),
        ("cold_start_data", True, 1, 0.1, 300, 0, 12),
        ("cold_start", False, 1, 0.2, 0, 100, None),
    ]
    assert lines[2].money(2.0) == pytest.approx(0.45)  # 0.1 h, and 0.25 for the judge
    whole = cost.total(lines)
    assert (round(whole.hours, 6), whole.sampled, whole.trained, whole.judge_calls) == (
        3.3,
        1300,
        2600,
        12,
    ) and whole.money(2.0) == pytest.approx(6.85)


def test_beside_the_paper(run):
    """1.0, 0.1 and 0.2 of 1.3 hours; 101K, 5K and 41K of 147K. The base is in neither."""
    rows = {
        name: (round(hours, 6), round(share, 4), published, round(there, 4))
        for name, hours, share, published, there in cost.beside_the_paper(cost.read(run))
    }
    assert rows == {
        "R1-Zero": (1.0, 0.7692, 101_000, 0.6871),
        "SFT data creation": (0.1, 0.0769, 5_000, 0.034),
        "R1": (0.2, 0.1538, 41_000, 0.2789),
    }
    assert sum(hours for _, hours in cost.PAPER.values()) == 147_000  # [V2 Table 7]
    assert cost.beside_the_paper([])[0][2] == 0.0


def test_the_command(run):
    done = r1("status", "--cost", f"runs_dir={run.parent}", "run=demo")
    assert done.returncode == 0, done.stdout + done.stderr
    for text in (
        "at 2 USD an hour",
        "cold_start (unfinished)",
        "12",
        "R1-Zero: 1 h, 77%; in the paper 101,000 H800 hours, 69%, $202,000",
        "total",
    ):
        assert text in done.stdout, (text, done.stdout)
    dearer = json.loads(r1("status", "--cost", "--json", "--price", "4", f"runs_dir={run.parent}", "run=demo").stdout)
    assert dearer[-1]["stage"] == "total" and dearer[-1]["money"] == pytest.approx(3.3 * 4 + 0.25)
    wrong = r1("status", "--price", "cheap", f"runs_dir={run.parent}", "run=demo")
    assert wrong.returncode == 2 and "--price cheap: not a number" in wrong.stdout
