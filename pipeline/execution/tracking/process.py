"""The process of one tracker: follows the files of the stage that it is told of, and sends what is new.

    python -m pipeline.execution.tracking.process NAME TIMEOUT_S

It reads a JSON object a line: {"begin": STAGE} or {"end": OUTCOME}; the end of its input is the end of the run. What
people should know it writes to its output, {"say": TEXT} a line, once. Whatever its library prints goes to its error
output, which is a log file.
"""

import contextlib
import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import TextIO

from pipeline.execution.observers import DONE, INTERRUPTED
from pipeline.execution.tracking import cursor as cursors
from pipeline.execution.tracking.advice import advice
from pipeline.execution.tracking.feed import StageFeed
from pipeline.execution.tracking.sink import Sink, TrackedStage
from pipeline.execution.tracking.sinks import make_sink

POLL_S = 0.5


class Voice:
    """Says each thing once, to the driver."""

    def __init__(self, tracker: str, stream: TextIO):
        self.tracker, self.stream = tracker, stream
        self.said: set[str] = set()

    def say(self, kind: str, text: str) -> None:
        """Says a text, unless something of this kind was said before."""
        print(text, file=sys.stderr, flush=True)
        if kind not in self.said:
            self.said.add(kind)
            self._write({"say": text, "kind": kind})

    def tell(self, **facts: object) -> None:
        """Tells the driver how far the process is."""
        self._write(facts)

    def _write(self, message: dict) -> None:
        with contextlib.suppress(BrokenPipeError, ValueError):  # the driver has died
            print(json.dumps(message), file=self.stream, flush=True)


class Watchdog:
    """Says it when one call of the library takes too long. The run goes on whatever it does."""

    def __init__(self, voice: Voice, timeout_s: float):
        self.voice, self.timeout_s = voice, timeout_s
        self.since: float | None = None
        threading.Thread(target=self._watch, daemon=True).start()

    def call(self, function: Callable, *arguments: object) -> object:
        """Calls a function of the library."""
        self.since = time.monotonic()
        try:
            return function(*arguments)
        finally:
            self.since = None

    def _watch(self) -> None:
        while True:
            time.sleep(min(1.0, self.timeout_s / 4))
            since = self.since
            if since is not None and time.monotonic() - since > self.timeout_s:
                name = self.voice.tracker
                self.voice.say(
                    "hangs",
                    f"tracker {name} has not answered for {self.timeout_s:g} s; the run goes on without waiting for "
                    f"it. {advice(name, TimeoutError())}",
                )


class Tracking:
    """Sends one stage to one tracker."""

    def __init__(self, stage: TrackedStage, sink: Sink, voice: Voice, watchdog: Watchdog):
        self.stage, self.sink, self.voice, self.watchdog = stage, sink, voice, watchdog
        self.tracker = voice.tracker
        self.feed = StageFeed(stage.path, stage.tracker["completions"])
        self.cursor = cursors.find_or_make(stage.path, self.tracker, stage.fingerprint)
        self.feed.refresh()  # before the workers cut the logs back, to see which steps they make again

    def open(self) -> None:
        """Begins the tracker's run, or goes on with it where it stopped."""
        if self.cursor.attempted > self.cursor.sent and not getattr(self.sink, "can_cut_back", False):
            self.cursor.sent = self.cursor.attempted  # sent by a process that was killed: better a gap than a double
        known = self.watchdog.call(self.sink.begin, self.stage, self.cursor.sent + 1)
        if isinstance(known, int):
            self.cursor.sent = known
        if where := getattr(self.sink, "where", None):
            self.voice.say("where", f"tracker {self.tracker}: {where}")

    def send(self) -> None:
        """Sends the steps and alarms that are new."""
        changed = [step for step in self.feed.refresh() if step <= self.cursor.sent]
        if getattr(self.sink, "can_cut_back", False):
            if self.feed.last_step < self.cursor.sent or changed:
                self.cursor.sent = min([self.feed.last_step, *(step - 1 for step in changed)])
                self.watchdog.call(self.sink.cut_back, self.cursor.sent)  # type: ignore[attr-defined]
        elif changed:
            self.voice.say(
                f"repeated {self.stage.id}",
                f"tracker {self.tracker}: steps {changed[0]} to {changed[-1]} of {self.stage.stage} were made again "
                "from a checkpoint with other numbers; it cannot take points back and keeps the first ones "
                "(metrics.jsonl has the new ones)",
            )
        for row in self.feed.steps_after(self.cursor.sent):
            self._send_step(row)
        for note in getattr(self.sink, "notes", [])[:1]:
            self.voice.say("note", f"tracker {self.tracker}: {note}. {advice(self.tracker, RuntimeError(note))}")
        for row in self.feed.alarms.rows[self.cursor.alarms :]:
            self.watchdog.call(self.sink.alarm, row)
            self.cursor.alarms += 1
            self._note()

    def _send_step(self, row: dict) -> None:
        step = row["step"]
        metrics = {
            name: float(value)
            for name, value in row.items()
            if name != "step" and isinstance(value, (int, float)) and not isinstance(value, bool)
        }
        self.cursor.attempted = step
        self._note()
        self.watchdog.call(self.sink.step, step, metrics, self.feed.completions(step), row.get("time") or time.time())
        self.cursor.sent = step
        self._note()
        self.feed.forget_completions(step)

    def close(self, outcome: str) -> None:
        """Sends the rest and ends the tracker's run."""
        self.send()
        is_done = outcome == DONE
        metrics = self.feed.final_metrics() if is_done else {}
        completions = self.feed.completions_of_result() if is_done else []
        self.watchdog.call(self.sink.end, outcome, metrics, completions, self.feed.artifacts() if is_done else [])
        self.cursor.is_finished = is_done
        self._note()

    def _note(self) -> None:
        try:
            cursors.write(self.stage.path, self.tracker, self.cursor)
        except OSError as error:
            print(f"cannot note how far the tracker is: {error}", file=sys.stderr)


class Loop:
    """Takes the driver's messages and follows one stage after the other."""

    def __init__(self, voice: Voice, watchdog: Watchdog, messages: "queue.Queue[dict | None]"):
        self.voice, self.watchdog, self.messages = voice, watchdog, messages
        self.sink: Sink | None = None

    def run(self) -> None:
        """Until the end of the input."""
        while (message := self.messages.get()) is not None:
            if "begin" in message:
                stage = TrackedStage(**message["begin"])
                with cursors.held(stage.path, self.voice.tracker) as is_ours:
                    outcome = self._follow(stage) if is_ours else self._skip()
                self.voice.tell(ended=stage.directory)
                if outcome is None:
                    return

    def _follow(self, stage: TrackedStage) -> str | None:
        """Sends a stage until it has ended. Returns how it did; None where the driver died before."""
        try:
            if self.sink is None:
                sink = self.watchdog.call(make_sink, self.voice.tracker)
                self.sink = sink  # type: ignore[assignment]
            tracking = Tracking(stage, self.sink, self.voice, self.watchdog)  # type: ignore[arg-type]
            tracking.open()
            while (message := self._next()) is None:
                tracking.send()
            outcome = message.get("end")
            tracking.close(outcome or INTERRUPTED)
            return outcome
        except Exception as error:  # whatever a library raises, no run may end for it
            lines = str(error).strip().splitlines()
            name = self.voice.tracker
            self.voice.say(
                "failed",
                f"tracker {name} cannot take {stage.stage}: {type(error).__name__}: {lines[0] if lines else ''}; the "
                f"run goes on. {advice(name, error)}",
            )
            traceback.print_exc()
            return self._skip()

    def _skip(self) -> str | None:
        """Waits for the end of a stage that is not sent."""
        while (message := self.messages.get()) is not None:
            if "end" in message:
                return message["end"]
        return None

    def _next(self) -> dict | None:
        """The next message; None where there is none yet. The end of the input is a message without an outcome."""
        try:
            message = self.messages.get(timeout=POLL_S)
        except queue.Empty:
            return None
        return {} if message is None else message


def main(arguments: list[str]) -> int:
    """Runs the process of the tracker that `arguments` name."""
    name, timeout_s = arguments[0], float(arguments[1])
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the library prints goes to the log
    messages: queue.Queue[dict | None] = queue.Queue()

    def read() -> None:
        for line in sys.stdin:
            messages.put(json.loads(line))
        messages.put(None)

        time.sleep(timeout_s)  # the driver has ended: a library that hangs is not waited for
        os._exit(1)

    threading.Thread(target=read, daemon=True).start()
    voice = Voice(name, channel)
    Loop(voice, Watchdog(voice, timeout_s), messages).run()
    voice.tell(closed=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
