"""A builder with a judge behind HTTP: refined, reviewed by a person, killed, and left alone by its judge; the same data in the end."""
import json
import re

import pytest

from stages.files import damaged_files, read_json
from tests.engines.conftest import DATA
from tests.judge_server import judge_server
from tests.stage_dirs import StageRun, attempt_log, manifest, write_stage

COLLECT = {"num_prompts": 8, "samples_per_prompt": 4, "max_completion_tokens": 24, "keep_per_prompt": 2, "min_language": 0.9, "max_kept_tokens": 24,
           "chunk_prompts": 4, "refine": "judge", "human_review": True, "data": DATA, "rollout": {"temperature": 0.5, "engine": "transformers"}}


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
    config = {**COLLECT, "judge": {"backend": "openai", "url": url, "model": "judge", "retries": 1, "concurrency": 1, "price_prompt": 1.0,
                                   "cache_dir": str(stage_root / f"cache_{name}"), **settings}}
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
    import pyarrow.parquet
    directory = make(stage_root, policy, "whole", server.url)
    code, log = attempt(directory)
    assert code == 75 and "examples wait for a person" in log, log
    review(directory)
    code, log = attempt(directory, num_processes=2)
    assert code == 0, log
    written = manifest(directory)
    assert {"data/train.parquet", "data/card.json", "data/card.md", "data/reviewed.jsonl"} <= set(written["files"]) and not damaged_files(directory, written["files"])
    rows = pyarrow.parquet.read_table(directory / "data" / "train.parquet").to_pylist()
    assert "!!</think><answer>\\boxed{" in rows[0]["completion"] and all("!</think><answer>\\boxed{" in row["completion"] for row in rows)
    card, ledger = read_json(directory / "data" / "card.json"), read_json(directory / "judge_ledger.json")
    assert card["review"]["edited"] == card["review"]["dropped"] == 1 and card["review"]["sha256"] == written["files"]["data/reviewed.jsonl"]["sha256"]
    assert len(rows) == card["filters"]["kept"] - 1 >= 2
    assert ledger["jobs"]["refine"]["calls"] == len({request["messages"][1]["content"] for request in server.asked} & refined_of(server)) > 0
    assert written["metrics"]["judge/calls"] == len(server.asked) and ledger["money"] == pytest.approx(len(server.asked) * 100e-6)

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
    assert {name: (killed / name).read_bytes() for name in written["files"]} == {name: (directory / name).read_bytes() for name in written["files"]}
    assert read_json(killed / "judge_ledger.json")["jobs"]["refine"]["failed"] == 1


def refined_of(server) -> set[str]:
    return {text for request in server.asked if not (text := request["messages"][1]["content"]).rstrip().endswith("!\n</thinking_process>")}


def test_a_judge_that_cannot_be_asked_is_bad_input(policy, stage_root):
    directory = make(stage_root, policy, "away", "http://127.0.0.1:1/v1")
    code, _ = attempt(directory)
    assert code == 64 and "judge.url" in read_json(directory / "error.json")["message"] and "engines up" not in attempt_log(directory)
