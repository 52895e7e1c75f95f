"""The live report: it follows the files of a run, for this machine alone."""

import http.client
import os
import re
import signal
import subprocess
import sys
import threading

import pytest

from pipeline.errors import InvalidConfig
from pipeline.report import server as live
from tests.support.paths import REPOSITORY
from tests.support.synthetic_run import stage_dir, write_run


@pytest.fixture
def served(tmp_path, monkeypatch):
    """(a run's directory, the port of its live report, which looks at the files at every request)."""
    monkeypatch.setattr(live, "MIN_S", 0.0)
    monkeypatch.setattr(live, "PATIENCE", 0)
    run_dir = write_run(tmp_path / "demo", stages=("base", "r1_zero"), unfinished="r1_zero")
    server = live.make_server(run_dir, 0)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield run_dir, server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


def ask(port: int, path: str = "/", **headers: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    return connection.getresponse()


def test_it_follows_the_run_and_sends_nothing_twice(served):
    run_dir, port = served
    reply = ask(port)
    text, version = reply.read().decode(), reply.headers["ETag"]
    assert reply.status == 200 and "step 36 of 36" in text and f"data-version={version}" in text
    assert ask(port, If_None_Match=version).status == 304
    with (stage_dir(run_dir, "r1_zero") / "alarms.jsonl").open("w") as stream:
        stream.write('{"step": 3, "message": "something new", "advice": "look"}\n')
    reply = ask(port, If_None_Match=version)
    assert reply.status == 200 and "something new" in reply.read().decode() and reply.headers["ETag"] != version


def test_a_half_written_file_does_not_end_it(served):
    run_dir, port = served
    (stage_dir(run_dir, "r1_zero") / "progress.json").write_text('{"step": 1, "num')
    reply = ask(port)
    assert reply.status == 200 and "progress.json" in reply.read().decode()


def test_only_this_machine_is_answered(served):
    _, port = served
    assert ask(port, Host="evil.example:80").status == 403
    assert ask(port, Host=f"localhost:{port}").status == 200
    assert ask(port, "/../config.yaml").status == 404
    with pytest.raises(OSError):
        live.make_server(served[0], port)


def test_the_page_may_ask_only_its_own_server(served):
    text = ask(served[1]).read().decode()
    assert "connect-src 'self'" in text and "script-src 'sha256-" in text


def test_pages_are_made_at_most_every_few_seconds(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(live, "version_of", lambda _: str(len(made)))
    monkeypatch.setattr(live, "read_run", lambda _: None)
    monkeypatch.setattr(live, "render", lambda run, version: made.append(version) or "page")
    page = live.LivePage(tmp_path)
    assert {page.latest() for _ in range(50)} == {("0", b"page")} and len(made) == 1


def test_the_command_serves_until_it_is_interrupted(tmp_path):
    write_run(tmp_path / "runs" / "demo", stages=("base",))
    words = ["report", "--watch", f"runs_dir={tmp_path / 'runs'}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *words],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        found = re.search(r"report of run demo: http://127\.0\.0\.1:(\d+)/", process.stdout.readline())
        assert found and ask(int(found[1])).status == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.stdout.close()
    assert not (tmp_path / "runs" / "demo" / "report.html").exists()


@pytest.mark.parametrize(
    "words, why",
    [
        (["--watch", "--output", "x.html"], "--watch writes no file"),
        (["--port", "80"], "--port belongs to --watch"),
        (["--watch", "--port", "70000"], "--port 70000: not a port"),
    ],
)
def test_options_that_do_not_go_together(words, why):
    from pipeline.commands.app import call

    with pytest.raises(InvalidConfig, match=why):
        call(["report", *words])
