"""Notifications at the end of a run, where it fails, and at alarms: a command, a webhook, the desktop.

Nothing waits for one: each is sent from a thread of its own, and what goes wrong is said once.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.configuration.schema import RunConfig
from pipeline.errors import PipelineError, StageInterrupted
from pipeline.execution.tracking.feed import GrowingRows
from pipeline.planning.plan import Plan, Step

END, ALARM, FAILURE = "end", "alarm", "failure"
TIMEOUT_S = 15.0  # of one notification, and of all that are left at the end


@dataclass(frozen=True)
class Notification:
    """What is told."""

    event: str  # END, ALARM or FAILURE
    run: str
    message: str
    stage: str = ""

    @property
    def title(self) -> str:
        """One line for a desktop."""
        what = {END: "is done", ALARM: "has an alarm", FAILURE: "has failed"}[self.event]
        return f"run {self.run} {what}" + (f": {self.stage}" if self.stage else "")


class Notifier:
    """Sends the notifications that the configuration asks for. It is an observer of stages: it sees their alarms.

    Args:
        config: the run's configuration.
        say: called with each line that people should read.
    """

    def __init__(self, config: RunConfig, say: Callable[[str], None]):
        self.config, self.notify, self.say = config, config.notify, say
        self.threads: list[threading.Thread] = []
        self.problems: list[str] = []
        self.said: set[str] = set()
        self._alarms: GrowingRows | None = None
        self._told: set[tuple[str, str, int]] = set()  # (stage, alarm, step)

    def begin(self, step: Step, plan: Plan) -> None:
        """A stage begins or goes on. Alarms of an earlier attempt were told then."""
        self._alarms = GrowingRows(step.dir / "alarms.jsonl")
        self._alarms.refresh()
        self._told |= {(step.stage, row["name"], row["step"]) for row in self._alarms.rows}
        self._step = step

    def poll(self) -> None:
        """Tells of new alarms."""
        self._say_problems()
        if self._alarms is None or not self._wants(ALARM):
            return
        self._alarms.refresh()
        for row in self._alarms.rows:
            key = (self._step.stage, row["name"], row["step"])
            if key not in self._told:
                self._told.add(key)
                text = f"{row['name']} at step {row['step']}: {row['message']}; advice: {row.get('advice', '')}"
                self.send(Notification(ALARM, self.config.run, text, self._step.stage))

    def end(self, step: Step, outcome: str) -> None:
        """A stage has ended."""
        self.poll()
        self._alarms = None

    def finished(self, message: str) -> None:
        """The command has come to its end."""
        self.send(Notification(END, self.config.run, message))

    def failed(self, error: PipelineError) -> None:
        """The command has failed. One that a person has stopped has not."""
        if not isinstance(error, StageInterrupted):
            self.send(Notification(FAILURE, self.config.run, str(error).strip()))

    def _wants(self, event: str) -> bool:
        return event in self.notify.on

    def send(self, told: Notification) -> None:
        """Sends a notification in every way that was asked for, without waiting."""
        if not self._wants(told.event):
            return
        ways = {
            "notify.command": self.notify.command and self._run_command,
            "notify.webhook": self.notify.webhook and self._post,
            "notify.desktop": self.notify.desktop and self._show,
        }
        for name, way in ways.items():
            if way:
                thread = threading.Thread(target=self._try, args=(name, way, told), daemon=True)
                self.threads.append(thread)
                thread.start()

    def close(self) -> None:
        """Gives what is on its way its time."""
        deadline = time.monotonic() + TIMEOUT_S
        for thread in self.threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._say_problems()

    def _try(self, name: str, way: Callable[[Notification], None], told: Notification) -> None:
        try:
            way(told)
        except Exception as error:  # no notification is worth a run
            self.problems.append(f"{name} failed: {error}; the run is not affected")

    def _say_problems(self) -> None:
        while self.problems:
            problem = self.problems.pop(0)
            name = problem.split()[0]
            if name not in self.said:
                self.said.add(name)
                self.say(problem)

    def _run_command(self, told: Notification) -> None:
        environment = {
            "R1_EVENT": told.event,
            "R1_RUN": told.run,
            "R1_STAGE": told.stage,
            "R1_TITLE": told.title,
            "R1_MESSAGE": told.message,
        }
        done = subprocess.run(
            ["sh", "-c", self.notify.command or ""],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or [""])[-1]
            raise RuntimeError(f"exit code {done.returncode} {last}".strip())

    def _post(self, told: Notification) -> None:
        text = f"{told.title}\n{told.message}"
        body = {
            "text": text,  # Slack, Mattermost
            "content": text[:2000],  # Discord
            "event": told.event,
            "run": told.run,
            "stage": told.stage,
            "title": told.title,
            "message": told.message,
            "host": socket.gethostname(),
        }
        request = urllib.request.Request(
            self.notify.webhook or "",
            data=json.dumps(body, ensure_ascii=False).encode(),
            headers={"Content-Type": "application/json", "User-Agent": "r1-recipe"},
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):
            pass

    def _show(self, told: Notification) -> None:
        subprocess.run(desktop_command(told.title, told.message), check=True, capture_output=True, timeout=TIMEOUT_S)


def desktop_command(title: str, message: str) -> list[str]:
    """The command that shows a notification on this desktop."""
    if sys.platform == "darwin":
        return ["osascript", "-e", f"display notification {json.dumps(message)} with title {json.dumps(title)}"]
    program = shutil.which("notify-send") or "notify-send"
    return [program, "--app-name=r1", title, message]
