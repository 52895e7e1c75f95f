"""An alarm: what a person should look at. Where it is written, and how a stage says one of its data or settings."""

from dataclasses import asdict, dataclass

from stages.contract import files
from stages.runtime.worker import Worker

FILE = "alarms.jsonl"


@dataclass(frozen=True)
class Alarm:
    """Something that a person should look at: since which step, what was seen, what to try."""

    name: str
    step: int
    message: str
    advice: str


def report(worker: Worker, found: list[Alarm]) -> None:
    """Writes alarms to alarms.jsonl and the log."""
    if found and worker.is_main:
        files.append_jsonl(worker.dir / FILE, [asdict(alarm) for alarm in found])
    for alarm in found:
        worker.say(f"ALARM {alarm.name} at step {alarm.step}: {alarm.message}; advice: {alarm.advice}")


def report_once(worker: Worker, found: list[Alarm]) -> None:
    """Writes the alarms that no earlier attempt at the stage has written: those of its data, not of a step."""
    if worker.is_main:
        known = {(row["name"], row["message"]) for row in files.read_jsonl(worker.dir / FILE)}
        report(worker, [alarm for alarm in found if (alarm.name, alarm.message) not in known])
