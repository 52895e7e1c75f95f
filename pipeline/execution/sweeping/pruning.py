"""Early stopping of bad jobs: reports a metric of the stage that a sweep compares to Optuna's pruner as it is logged.

The pruner of the study decides. A job that it gives up writes a checkpoint and ends; it counts as pruned.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.configuration.schema import RunConfig
from pipeline.execution.stop import StopRequest
from pipeline.execution.sweep import NUM_LAST_ROWS, choose_objective, is_minimized, own_metric
from pipeline.execution.tracking.feed import GrowingRows
from pipeline.planning.plan import Plan, Step
from stages.contract.files import find_json

FILE = "trial.json"  # SWEEP/NUMBER/trial.json: {"storage", "study", "number", "pruner"}, by the sweeper


@dataclass
class Pruner:
    """Follows one job of an Optuna sweep. As an observer it raises nothing: without the study a job runs to its end."""

    trial: Any  # optuna.Trial
    stage: str
    metric: str
    sign: int  # -1 where the study maximizes and small numbers of the metric are good, or the other way round
    stop: StopRequest
    is_pruned: bool = False
    _rows: GrowingRows | None = None
    _reported: int = 0
    _step: Step | None = field(default=None)

    def begin(self, step: Step, plan: Plan) -> None:
        """A stage begins; only the compared one is watched."""
        self._rows = GrowingRows(step.dir / "metrics.jsonl") if step.stage == self.stage else None

    def poll(self) -> None:
        """Reports the steps that are new, and asks the pruner."""
        if self._rows is None or self.is_pruned or self.stop.is_requested:
            return
        self._rows.refresh()
        rows = [row for row in self._rows.rows if self.metric in row]
        for index, row in enumerate(rows):
            if row["step"] <= self._reported:
                continue
            self._reported = row["step"]
            values = [one[self.metric] for one in rows[max(0, index + 1 - NUM_LAST_ROWS) : index + 1]]
            value = self.sign * sum(values) / len(values)
            if not math.isfinite(value):
                continue
            self.trial.report(value, row["step"])
            if self.trial.should_prune():
                self.is_pruned = True
                self.stop.count = max(1, self.stop.count)
                return

    def end(self, step: Step, outcome: str) -> None:
        """A stage has ended."""
        self._rows = None


def find_pruner(sweep_dir: Path, number: int, config: RunConfig, stop: StopRequest) -> Pruner | None:
    """The pruner of a job; None where its sweeper has none, or does not prune."""
    told = find_json(sweep_dir / str(number) / FILE)
    if not isinstance(told, dict) or not told.get("prunes"):
        return None
    from pipeline.execution.sweeping.study import load_trial  # loads Optuna

    objective = choose_objective(config)
    metric = config.sweep.watch or (own_metric(config, objective.stage) if objective.set_name else objective.metric)
    goals = (is_minimized(config, objective.metric), is_minimized(config, metric))
    sign = 1 if metric == objective.metric or goals[0] == goals[1] else -1
    return Pruner(load_trial(told), objective.stage, metric, sign, stop)
