"""A stage directory that grows as a worker would make it grow, followed by the real processes of trackers."""

import json
from pathlib import Path

from pipeline.execution.execute import prepare
from pipeline.execution.observers import DONE
from pipeline.execution.tracking.trackers import Trackers
from pipeline.planning.plan import Plan, Step
from stages.contract.files import append_jsonl, cut_jsonl, read_json
from tests.support.runs import finish, plan, step
from tests.support.waiting import wait_for

REPORT = "<title>the report</title>"


class TrackedRun:
    """A run of one stage, r1_zero, whose logs the test writes."""

    def __init__(self, runs_dir: Path, *overrides: str):
        self.plan: Plan = plan("+stage=[base,r1_zero]", f"runs_dir={runs_dir}", *overrides)
        self.step: Step = step(self.plan, "r1_zero")
        prepare(self.step, self.plan)
        self.dir = self.step.dir
        self.said: list[str] = []

    def trackers(self) -> Trackers:
        """Those of the configuration."""
        return Trackers(self.plan.config, self.said.append)

    def log(self, *steps: int, offset: float = 0.0) -> None:
        """What a worker logs of these steps: a completion, then the numbers."""
        for number in steps:
            sample = {"step": number, "prompt": f"p{number}", "completion": "a | b\n<c>", "reward": number + offset}
            append_jsonl(self.dir / "samples.jsonl", [sample])
            row = {"step": number, "reward/mean": number + offset, "time/rollout": 0.1, "words/等一下": 1.0}
            append_jsonl(self.dir / "metrics.jsonl", [row])

    def alarm(self, number: int) -> None:
        """An alarm of a step."""
        row = {"step": number, "name": "kl_blow_up", "message": "KL is 9", "advice": "lower the learning rate"}
        append_jsonl(self.dir / "alarms.jsonl", [row])

    def cut(self, last: int) -> None:
        """What a resumed worker does first."""
        for name in ("metrics.jsonl", "samples.jsonl", "alarms.jsonl"):
            cut_jsonl(self.dir / name, last)

    def finish(self) -> None:
        """The last thing that a worker does: the manifest. A report lies beside it, as in the stage that writes one."""
        (self.dir / "report.html").write_text(REPORT)
        finish(self.plan, "r1_zero", metrics={"pass@1": 0.75})

    def sent(self, tracker: str) -> int:
        """The last step that a tracker has been sent."""
        path = self.dir / "trackers" / f"{tracker}.json"
        return read_json(path)["sent"] if path.exists() else 0

    def wait(self, tracker: str, last: int) -> None:
        """Until a tracker has this step."""
        wait_for(lambda: self.sent(tracker) == last, 120)

    def run_killed_and_resumed(self, tracker: str) -> None:
        """Six steps, whose driver is killed after the fourth; the worker's last checkpoint is that of the second."""
        killed = self.trackers()
        killed.begin(self.step, self.plan)
        self.log(1, 2, 3, 4)
        self.alarm(3)
        self.wait(tracker, 4)
        for process in killed.processes.values():  # what is left of a driver that was killed: the pipe's end
            process.close_input()
            process.process.wait(60)
        with self.trackers() as trackers:
            trackers.begin(self.step, self.plan)
            self.cut(2)
            self.log(3, 4, 5, 6)
            self.wait(tracker, 6)
            self.finish()
            trackers.end(self.step, DONE)


def rows_of(path: Path) -> list[dict]:
    """The rows of a JSON lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]
