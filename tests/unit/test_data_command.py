"""The command `data`: inspect, prepare and fetch, as people type them."""

import json

import pyarrow.parquet
import pytest

from tests.support.command_line import r1
from tests.support.data_rows import sentence, write_lines
from tests.support.hub_server import Hub

pytestmark = pytest.mark.slow  # runs the command line


def test_the_command_line_inspects_and_prepares(tmp_path):
    path = write_lines(
        tmp_path / "x.jsonl", [*({"prompt": sentence(number), "answer": number} for number in range(8)), "{"]
    )
    shown = r1("data", "inspect", f"data.path={path}", "data.verifier=integer")
    assert (
        shown.returncode == 0 and "9 rows, 8 can be used as prompts" in shown.stdout and "not JSON" in shown.stdout
    ), shown.stdout + shown.stderr
    refused = r1(
        "data",
        "prepare",
        f"data.path={path}",
        "data.verifier=integer",
        f"prepare.output={tmp_path / 'out'}",
        "prepare.processes=1",
    )
    assert (
        refused.returncode == 3
        and "line 9: not JSON" in refused.stdout
        and "Traceback" not in refused.stdout + refused.stderr
    )
    done = r1(
        "data",
        "prepare",
        f"data.path={path}",
        "data.verifier=integer",
        "data.malformed=skip",
        f"prepare.output={tmp_path / 'out'}",
        "prepare.processes=1",
    )
    assert (
        done.returncode == 0
        and "8 of 9 rows" in done.stdout
        and len(pyarrow.parquet.read_table(tmp_path / "out" / "train.parquet")) == 8
    )
    assert r1("data", "inspct", f"data.path={path}").returncode == 2


def test_a_set_is_fetched_and_says_which_commit_it_is(tmp_path):
    """The hub's own client, and a hub on this machine."""
    rows = "".join(
        json.dumps({"question": sentence(number), "answer": f"so\n#### {number}"}) + "\n" for number in range(3)
    )
    with Hub() as here:
        here.datasets["openai/gsm8k"] = {
            "sha": "d" * 40,
            "files": {"README.md": b"not asked for", "train.jsonl": rows.encode()},
        }
        environment = {**here.environment(), "HF_HUB_CACHE": str(tmp_path / "cache")}
        words = ("data=gsm8k", "data.files=train.jsonl")
        done = r1("data", "fetch", *words, **environment)
        shown = " ".join(done.stdout.split())
        assert (
            done.returncode == 0 and f"commit {'d' * 40}" in shown and f"data.revision={'d' * 40} pins it" in shown
        ), done.stdout + done.stderr
        assert not [path for _, path in here.requests if "README" in path]
        pinned = r1("data", "fetch", *words, f"data.revision={'d' * 40}", **environment)
        assert pinned.returncode == 0 and "not pinned" not in pinned.stdout, pinned.stdout + pinned.stderr
    shown = r1("data", "inspect", *words, HF_HUB_CACHE=str(tmp_path / "cache"))
    text = " ".join(shown.stdout.split())
    assert "3 rows, 3 can be used" in text and f"commit {'d' * 40}" in text and "is not pinned" in text, (
        text + shown.stderr
    )


def test_what_was_not_fetched_is_an_input_error(tmp_path):
    done = r1("data", "inspect", "data=gsm8k", HF_HUB_CACHE=str(tmp_path))
    assert done.returncode == 3 and "python -m pipeline data fetch" in " ".join(done.stdout.split())
