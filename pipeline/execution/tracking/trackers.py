"""The driver's side of trackers: starts their processes, tells them which stage begins and ends, and never waits."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from pipeline.configuration.schema import RunConfig
from pipeline.execution.observers import DONE
from pipeline.execution.tracking import cursor as cursors
from pipeline.execution.tracking.sink import TrackedStage
from pipeline.paths import REPOSITORY
from pipeline.planning.plan import Plan, Step
from stages.config import to_dict

KILL_AFTER_S = 5.0
PATIENCE_S = 3.0  # after which people are told what is waited for


class TrackerProcess:
    """One tracker, which runs beside the driver. Nothing here blocks but `close`, which has a deadline."""

    def __init__(self, name: str, config: RunConfig):
        self.name = name
        self.lines: list[str] = []  # what people should be told and were not yet
        self.has_closed = False
        self.is_stuck = False
        self.timeout_s = config.tracker.timeout_s
        log = config.run_dir / "trackers" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.execution.tracking.process", name, str(self.timeout_s)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                start_new_session=True,  # Ctrl-C is for the driver, which lets it send the rest
                env=_environment(),
                text=True,
                encoding="utf-8",
            )
        self.log = log
        self._messages: queue.Queue[dict | None] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        threading.Thread(target=self._talk, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with contextlib.suppress(ValueError, OSError):
            for line in self.process.stdout:
                message = json.loads(line)
                if "say" in message:
                    self.lines.append(message["say"])
                self.is_stuck = self.is_stuck or message.get("kind") == "hangs"
                self.has_closed = self.has_closed or "closed" in message
        if not self.has_closed and not self.is_stuck:
            self.lines.append(f"tracker {self.name} has ended; the run goes on without it; its log: {self.log}")
            self.has_closed = True

    def _talk(self) -> None:
        """Writes the messages: a process that hangs does not read them, and the pipe is full one day."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            while (message := self._messages.get()) is not None:
                self.process.stdin.write(json.dumps(message) + "\n")
                self.process.stdin.flush()
            self.process.stdin.close()

    def tell(self, message: dict) -> None:
        """Sends a message, without waiting."""
        self._messages.put(message)

    def close_input(self) -> None:
        """Tells the process that the run has ended."""
        self._messages.put(None)

    def kill(self) -> None:
        """Ends the process."""
        self.process.terminate()
        try:
            self.process.wait(timeout=KILL_AFTER_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Trackers:
    """The trackers of one run, as a context manager; no process is started before a stage has something to send.

    Args:
        config: the run's configuration.
        say: called with each line that people should read.
    """

    def __init__(self, config: RunConfig, say: Callable[[str], None]):
        self.config, self.say = config, say
        self.processes: dict[str, TrackerProcess] = {}
        self.current: Step | None = None

    def __enter__(self) -> "Trackers":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, _: object) -> None:
        self.close(is_hurried=kind is not None and not issubclass(kind, Exception))

    def catch_up(self, plan: Plan) -> None:
        """Sends finished stages that a tracker has not been sent to their end."""
        for step in plan.steps:
            if step.is_done:
                self._begin(step, plan)
                self._end(step, DONE)

    def begin(self, step: Step, plan: Plan) -> None:
        """A stage begins or goes on: its directory is prepared."""
        self._begin(step, plan)

    def end(self, step: Step, outcome: str) -> None:
        """A stage has ended."""
        self._end(step, outcome)
        self.poll()

    def poll(self) -> None:
        """Says what the trackers have to say."""
        for process in self.processes.values():
            while process.lines:
                self.say(process.lines.pop(0))

    def close(self, is_hurried: bool = False) -> None:
        """Ends the processes. Those that answer get time to send the rest; none with `is_hurried`."""
        for process in self.processes.values():
            process.close_input()
        if not is_hurried:
            with contextlib.suppress(KeyboardInterrupt):
                self._wait()
        self.poll()
        for process in self.processes.values():
            if not process.has_closed:
                self.say(f"tracker {process.name} was not sent everything; the same command sends the rest")
                process.kill()
            process.process.wait()
        self.processes = {}

    def _wait(self) -> None:
        """Returns when every process has ended, hangs, or has had its time."""
        started, is_told = time.monotonic(), False
        while waited_for := [one for one in self.processes.values() if not (one.has_closed or one.is_stuck)]:
            seconds = time.monotonic() - started
            if seconds > max(one.timeout_s for one in waited_for):
                return
            if seconds > PATIENCE_S and not is_told:
                is_told = True
                names = ", ".join(one.name for one in waited_for)
                self.say(f"sending the rest to {names} (Ctrl-C leaves it for the next time)")
            self.poll()
            time.sleep(0.05)

    def _begin(self, step: Step, plan: Plan) -> None:
        for name in self.config.tracker.names:
            found = cursors.find(step.dir, name)
            if found is not None and found.is_finished:
                continue
            try:
                if name not in self.processes:
                    self.processes[name] = TrackerProcess(name, self.config)
                self.processes[name].tell({"begin": _tracked(step, plan, name).to_plain()})
            except OSError as error:
                self.say(f"tracker {name} cannot be started: {error}; the run goes on without it")

    def _end(self, step: Step, outcome: str) -> None:
        for process in self.processes.values():
            process.tell({"end": outcome, "stage": str(step.dir)})


def _environment() -> dict[str, str]:
    path = os.pathsep.join(part for part in (str(REPOSITORY), os.environ.get("PYTHONPATH", "")) if part)
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def _tracked(step: Step, plan: Plan, tracker: str) -> TrackedStage:
    """What a tracker is told of a stage."""
    config = plan.config
    return TrackedStage(
        id=cursors.find_or_make(step.dir, tracker, step.fingerprint).id,
        stage=step.stage,
        kind=step.kind,
        fingerprint=step.fingerprint,
        directory=str(step.dir),
        run=config.run,
        recipe=config.recipe,
        seed=config.seed,
        group=config.tracker.group or f"{config.run}-{config.recipe}",
        run_dir=str(config.run_dir),
        tracker=to_dict(config.tracker),
        parameters=_flat(to_dict(step.config)) if step.config is not None else {},
    )


def _flat(tree: dict, prefix: str = "") -> dict:
    """Nested mappings as one, with dotted keys."""
    flat: dict = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) and value else {f"{prefix}{name}": value}
    return flat
