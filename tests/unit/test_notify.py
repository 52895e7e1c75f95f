"""Notifications: a real HTTP server and a real command get them; none of their mistakes ends or delays a run."""

import http.server
import json
import threading
import time

import pytest

from pipeline.errors import InvalidConfig, StageFailed, StageInterrupted
from pipeline.execution import notify
from pipeline.execution.execute import prepare
from pipeline.execution.notify import Notifier
from pipeline.execution.observers import DONE
from pipeline.planning.preflight import check_notify
from stages.contract.files import append_jsonl
from tests.support.command_line import r1
from tests.support.runs import config, finish, plan, step

ALARM = {"step": 3, "name": "kl_blow_up", "message": "KL is 9", "advice": "lower the learning rate"}


@pytest.fixture
def server():
    """A server that keeps what was posted to it."""
    posted: list[dict] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(500 if self.path == "/broken" else 200)
            self.end_headers()

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    running.posted, running.url = posted, f"http://127.0.0.1:{running.server_address[1]}"
    yield running
    running.shutdown()


def test_alarms_and_the_end_are_posted_once(server, tmp_path):
    made = plan("+stage=[base,r1_zero]", f"runs_dir={tmp_path}", f"notify.webhook={server.url}/hook")
    one, said = step(made, "r1_zero"), []
    prepare(one, made)
    append_jsonl(one.dir / "alarms.jsonl", [{**ALARM, "step": 1}])  # of an earlier attempt
    notifier = Notifier(made.config, said.append)
    notifier.begin(one, made)
    notifier.poll()
    append_jsonl(one.dir / "alarms.jsonl", [ALARM])
    notifier.poll()
    notifier.poll()
    notifier.end(one, DONE)
    notifier.finished("2 stages")
    notifier.close()
    assert not said and sorted(told["event"] for told in server.posted) == ["alarm", "end"]
    alarm = next(told for told in server.posted if told["event"] == "alarm")
    assert alarm["stage"] == "r1_zero" and "KL is 9; advice: lower the learning rate" in alarm["text"]
    assert alarm["title"] == "run tiny has an alarm: r1_zero" and alarm["content"] == alarm["text"]


def test_only_what_was_asked_for_is_told(server):
    notifier = Notifier(config(f"notify.webhook={server.url}", "notify.on=[failure]"), print)
    notifier.finished("all")
    notifier.failed(StageInterrupted("a person stopped it"))
    notifier.failed(StageFailed("base failed on rank 0"))
    notifier.close()
    assert [(told["event"], told["message"]) for told in server.posted] == [("failure", "base failed on rank 0")]


def test_the_command_gets_the_words(tmp_path):
    command = f'echo "$R1_EVENT|$R1_TITLE|$R1_MESSAGE" > {tmp_path}/told'
    notifier = Notifier(config(f"notify.command='{command}'"), print)
    notifier.finished('it\'s "done"; $(rm -rf /)')
    notifier.close()
    assert (tmp_path / "told").read_text() == 'end|run tiny is done|it\'s "done"; $(rm -rf /)\n'


def test_what_goes_wrong_is_said_once_and_delays_nothing(server, monkeypatch):
    monkeypatch.setattr(notify, "TIMEOUT_S", 1.0)
    said: list[str] = []
    words = [f"notify.webhook={server.url}/broken", "notify.command='sleep 60'", "notify.desktop=true"]
    monkeypatch.setenv("PATH", "/nowhere-notify:/bin:/usr/bin")
    notifier = Notifier(config(*words), said.append)
    began = time.monotonic()
    notifier.finished("one")
    notifier.finished("two")
    assert time.monotonic() - began < 0.5
    time.sleep(1.5)
    notifier.close()
    assert time.monotonic() - began < 5
    assert sorted(line.split(" failed:")[0] for line in said) == ["notify.command", "notify.desktop", "notify.webhook"]


def test_mistakes_are_found_before_the_run(monkeypatch):
    with pytest.raises(InvalidConfig, match=r"notify.on: 'alarms' is none of end, alarm, failure; did you mean alarm"):
        config("notify.on=[end,alarms]")
    with pytest.raises(InvalidConfig, match="notify.webhook: an address begins with http:// or https://"):
        config("notify.webhook=hooks.example.org")
    monkeypatch.setenv("PATH", "/nowhere")
    ((message, fix),) = check_notify(config("notify.desktop=true"))
    assert "notify-send" in message and "libnotify" in fix


@pytest.mark.slow
def test_a_run_tells_its_end_and_its_failure(server, tmp_path):
    words = (f"runs_dir={tmp_path}", f"notify.webhook={server.url}", "orchestrator=none")
    finish(plan("+stage=base", f"runs_dir={tmp_path}"), "base")
    done = r1("run", "+stage=[base,report]", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [told["event"] for told in server.posted] == ["end"] and "report" in server.posted[0]["message"]
    assert r1("run", "+stage=[base,report]", *words).returncode == 0
    assert len(server.posted) == 1  # there was nothing to do
