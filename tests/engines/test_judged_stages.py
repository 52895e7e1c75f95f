"""A builder and an evaluation with a judge behind HTTP: refined, reviewed by a person, killed, and left alone by its
judge; the same in the end.
"""

import json
import re
import zlib

import pyarrow.parquet
import pytest

from stages.contract.error_report import ErrorReport
from stages.contract.files import damaged_files, read_json
from stages.contract.records import RecordReader
from tests.support.judge_server import judge_server
from tests.support.stage_dirs import StageRun, attempt_log, manifest, write_stage
from tests.support.tiny_stages import DATA

COLLECT = {
    "num_prompts": 8,
    "samples_per_prompt": 4,
    "max_completion_tokens": 24,
    "keep_per_prompt": 2,
    "min_language": 0.9,
    "max_kept_tokens": 24,
    "chunk_prompts": 4,
    "refine": "judge",
    "human_review": True,
    "data": DATA,
    "rollout": {"temperature": 0.5, "engine": "transformers"},
}


@pytest.fixture
def server():
    with judge_server() as running:
        running.answer = refine
        yield running


def refine(user: str) -> str:
    """Puts a mark behind the thought, and writes its last number into the summary of a marked one."""
    thought = re.search(r"<thinking_process>\n(.*)\n</thinking_process>", user, re.DOTALL)[1]
    return f"\\boxed{{{re.findall(r'[0-9]+', thought)[-1]}}}" if thought.endswith("!") else thought + "!"


def make(stage_root, policy, name: str, url: str, **settings):
    config = {
        **COLLECT,
        "judge": {
            "backend": "openai",
            "url": url,
            "model": "judge",
            "retries": 1,
            "concurrency": 1,
            "price_prompt": 1.0,
            "cache_dir": str(stage_root / f"cache_{name}"),
            **settings,
        },
    }
    return write_stage(stage_root / "judged" / name, "collect", config, {"policy": policy}, stage="collected")


def attempt(directory, num_processes: int = 1) -> tuple[int, str]:
    with StageRun(directory, num_processes) as run:
        return run.wait(), run.log()


def review(directory) -> None:
    """A person mends the first example and drops the second."""
    rows = [json.loads(line) for line in (directory / "review" / "export.jsonl").read_text().splitlines()]
    rows[0]["completion"] = rows[0]["completion"].replace("!</think>", "!!</think>")
    rows[1]["decision"] = "drop"
    (directory / "review" / "reviewed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_refined_reviewed_and_built(server, policy, stage_root):
    directory = make(stage_root, policy, "whole", server.url)
    code, log = attempt(directory)
    assert code == 75 and "examples wait for a person" in log, log
    review(directory)
    code, log = attempt(directory, num_processes=2)
    assert code == 0, log
    written = manifest(directory)
    assert {"data/train.parquet", "data/card.json", "data/card.md", "data/reviewed.jsonl"} <= set(
        written.files
    ) and not damaged_files(directory, written.files)
    rows = pyarrow.parquet.read_table(directory / "data" / "train.parquet").to_pylist()
    assert "!!</think><answer>\\boxed{" in rows[0]["completion"] and all(
        "!</think><answer>\\boxed{" in row["completion"] for row in rows
    )
    card, ledger = read_json(directory / "data" / "card.json"), read_json(directory / "judge_ledger.json")
    assert (
        card["review"]["edited"] == card["review"]["dropped"] == 1
        and card["review"]["sha256"] == written.files["data/reviewed.jsonl"]["sha256"]
    )
    assert len(rows) == card["filters"]["kept"] - 1 >= 2
    assert (
        ledger["jobs"]["refine"]["calls"]
        == len({request["messages"][1]["content"] for request in server.asked} & refined_of(server))
        > 0
    )
    assert written.metrics["judge/calls"] == len(server.asked) and ledger["money"] == pytest.approx(
        len(server.asked) * 100e-6
    )

    killed = make(stage_root, policy, "killed", server.url)
    server.script = ["ok", "500", "500", "500", "500"]
    code, log = attempt(killed)
    assert code == 1 and "JudgeUnavailable" in log and server.url in log, log
    server.script = ["slow"] * 200
    with StageRun(killed, 2) as run:
        run.wait_for(lambda: any(path.stat().st_size for path in killed.glob("state/done.*")), "a finished prompt")
    server.script = []
    assert attempt(killed)[0] == 75
    review(killed)
    code, log = attempt(killed)
    assert code == 0, log
    assert {name: (killed / name).read_bytes() for name in written.files} == {
        name: (directory / name).read_bytes() for name in written.files
    }
    assert read_json(killed / "judge_ledger.json")["jobs"]["refine"]["failed"] == 1


def refined_of(server) -> set[str]:
    return {
        text
        for request in server.asked
        if not (text := request["messages"][1]["content"]).rstrip().endswith("!\n</thinking_process>")
    }


def test_a_judge_that_cannot_be_asked_is_bad_input(policy, stage_root):
    directory = make(stage_root, policy, "away", "http://127.0.0.1:1/v1")
    code, _ = attempt(directory)
    assert (
        code == 64 and "judge.url" in ErrorReport.read(directory).message and "engines up" not in attempt_log(directory)
    )


def verdict(user: str) -> str:
    """By a hash of what it was asked: right in about half of the cases, and the same whenever it is asked."""
    return json.dumps({"correctness": "correct" if zlib.crc32(user.encode()) % 2 else "incorrect"})


def evaluation(stage_root, policy, prompts, name: str, url: str):
    config = {
        "num_reasoning": 12,
        "num_general": 0,
        "num_safety": 0,
        "samples_per_prompt": 4,
        "max_completion_tokens": 24,
        "rollout": {"engine": "transformers"},
        "data": {
            "name": "file",
            "path": str(prompts),
            "verifier": "judge",
            "template": "plain",
            "max_prompt_tokens": 24,
            "eval_fraction": 0.5,
        },
        "judge": {
            "backend": "openai",
            "url": url,
            "model": "judge",
            "retries": 1,
            "concurrency": 2,
            "cache_dir": str(stage_root / f"cache_{name}"),
        },
    }
    return write_stage(stage_root / "judged" / name, "evaluate", config, {"policy": policy}, stage="evaluate")


def test_an_evaluation_whose_judge_goes_away_goes_on_with_what_it_has(server, policy, prompts_from_outside, stage_root):
    """Each sample is made once, and each distinct answer is judged once, whatever happened in between."""
    server.answer = verdict
    whole = evaluation(stage_root, policy, prompts_from_outside, "evaluated", server.url)
    code, log = attempt(whole)
    assert code == 0, log
    (accuracy,) = [row for row in read_json(whole / "results.json") if row["metric"] == "pass@1"]
    scores = pyarrow.parquet.read_table(whole / "data" / "scores.parquet").to_pylist()
    assert 0 < accuracy["value"] < 1 and accuracy["value"] == pytest.approx(
        sum(row["correct"] for row in scores) / len(scores), abs=1e-6
    )
    asked = {request["messages"][-1]["content"] for request in server.asked}
    assert len(asked) == len(server.asked) > 6

    cut = evaluation(stage_root, policy, prompts_from_outside, "evaluated_cut", server.url)
    server.asked.clear()

    def verdict_then_away(user: str) -> str:
        if len(server.asked) >= 4:
            server.is_away = True
        return verdict(user)

    server.answer = verdict_then_away
    code, log = attempt(cut)
    error = ErrorReport.read(cut)
    assert (
        code == 1 and error.kind == "GraderAway" and server.url in error.message and "same command" in error.message
    ), log
    assert not (cut / "results.json").exists() and not list(RecordReader(next(cut.glob("state/policy/*")), "grades.*"))
    judged = read_json(next(cut.glob("logs/latest/judge_rank0.json")))["jobs"]["correct"]["calls"]
    server.is_away, server.answer = False, verdict
    server.asked.clear()
    code, log = attempt(cut)
    assert code == 0 and "48 of 48 samples are there already" in log, log
    assert (
        judged >= 4
        and len(server.asked) == len(asked) - judged
        and {request["messages"][-1]["content"] for request in server.asked} < asked
    )
    assert (cut / "results.json").read_bytes() == (whole / "results.json").read_bytes()
    assert pyarrow.parquet.read_table(cut / "data" / "scores.parquet").to_pylist() == scores
