"""MLflow: a server, or a database in a file. Needs only mlflow-skinny."""

import json
import os
import re
from pathlib import Path
from typing import Any

# before the import, and only where the user has not set them: MLflow itself would try for many minutes
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunStatus

from pipeline.execution.observers import DONE, INTERRUPTED
from pipeline.execution.tracking.sink import TrackedStage, table

MAX_VALUE = 5000  # characters of a parameter or a tag
MAX_PARAMETERS = 100  # of one request
STATES = {DONE: RunStatus.FINISHED, INTERRUPTED: RunStatus.KILLED}


class MlflowSink:
    """One run for each stage, nested under a run for the whole recipe, in the experiment `tracker.project`."""

    def begin(self, stage: TrackedStage, first_step: int) -> int | None:
        """Opens the run, or goes on with it after the last step that it has."""
        uri, artifacts = _store(stage)
        if uri.startswith(("file:", "/", ".")):
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow refuses directories unless it is asked to
        self.stage = stage
        self.client = MlflowClient(tracking_uri=uri)
        self.where = f"mlflow ui --backend-store-uri {uri}" if "://" not in uri or "sqlite" in uri else uri
        experiment = self._experiment(stage.tracker["project"], artifacts)
        self.parent = self._run(experiment, f"group:{stage.group}", stage.group, {})
        self.client.update_run(self.parent, status=RunStatus.to_string(RunStatus.RUNNING))
        found, is_new = self._run_and_age(experiment, stage.id, stage.name, {"mlflow.parentRunId": self.parent})
        self.run_id = found
        if is_new:
            self._log_parameters({**stage.labels, **stage.parameters})
            return 0
        self.client.update_run(self.run_id, status=RunStatus.to_string(RunStatus.RUNNING))
        return self._last_step()

    def _experiment(self, name: str, artifacts: str | None) -> str:
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return found.experiment_id
        return self.client.create_experiment(name, artifact_location=artifacts)

    def _run(self, experiment: str, key: str, name: str, tags: dict[str, str]) -> str:
        return self._run_and_age(experiment, key, name, tags)[0]

    def _run_and_age(self, experiment: str, key: str, name: str, tags: dict[str, str]) -> tuple[str, bool]:
        """(id of the run with this key, whether it was made now)."""
        found = self.client.search_runs([experiment], filter_string=f"tags.`r1.key` = '{key}'", max_results=1)
        if found:
            return found[0].info.run_id, False
        labels = {f"r1.{label}": str(value) for label, value in self.stage.labels.items()} if tags else {}
        made = self.client.create_run(experiment, run_name=name, tags={"r1.key": key, **labels, **tags})
        return made.info.run_id, True

    def _log_parameters(self, parameters: dict[str, Any]) -> None:
        items = [Param(_key(name), _text(value)) for name, value in parameters.items()]
        for first in range(0, len(items), MAX_PARAMETERS):
            self.client.log_batch(self.run_id, params=items[first : first + MAX_PARAMETERS])

    def _last_step(self) -> int:
        """The last step that the run has: a step is one request, so any of its metrics tells."""
        names = [name for name in self.client.get_run(self.run_id).data.metrics if not name.startswith("final/")]
        steps = [entry.step for name in names for entry in self.client.get_metric_history(self.run_id, name)[-1:]]
        return max(steps, default=0)

    def step(self, step: int, metrics: dict[str, float], completions: list[dict], seconds: float) -> None:
        """Logs the numbers in one request, and the completions as a table of their own."""
        time_ms = int(seconds * 1000)
        self.client.log_batch(
            self.run_id, metrics=[Metric(_key(name), value, time_ms, step) for name, value in metrics.items()]
        )
        if completions:
            self._log_table(completions, f"completions/step_{step:06d}.json")

    def _log_table(self, rows: list[dict], path: str) -> None:
        columns, cells = table(rows)
        self.client.log_dict(self.run_id, {"columns": columns, "data": cells}, path)  # the form of mlflow.log_table

    def alarm(self, row: dict) -> None:
        """Sets a tag, which the list of runs shows."""
        text = f"step {row['step']}: {row['message']}; advice: {row.get('advice', '')}"
        self.client.set_tag(self.run_id, _key(f"alarm.{row['name']}.{row['step']}"), text[:MAX_VALUE])

    def end(self, outcome: str, metrics: dict[str, float], completions: list[dict], files: list[Path]) -> None:
        """Logs the result and its files, and ends the run."""
        for name, value in metrics.items():
            self.client.log_metric(self.run_id, _key(f"final/{name}"), value)
        if completions:
            self._log_table(completions, "completions/result.json")
        for path in files:
            self.client.log_artifact(self.run_id, str(path))
        state = STATES.get(outcome, RunStatus.FAILED)
        for run in (self.run_id, self.parent):  # the recipe's goes on with its next stage
            self.client.set_terminated(run, RunStatus.to_string(state))


def _store(stage: TrackedStage) -> tuple[str, str | None]:
    """(tracking URI, where artifacts go; None for the store's own place)."""
    uri = stage.tracker["uri"] or os.environ.get("MLFLOW_TRACKING_URI")
    if uri:
        return uri, None
    home = Path(stage.run_dir).parent / "mlflow"
    home.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{home / 'mlflow.db'}", (home / "artifacts").as_uri()


def _key(name: str) -> str:
    """A name that MLflow takes: pass@1 is pass_at_1, and other characters that it refuses are underscores."""
    return re.sub(r"[^/\w.\- :]", "_", name.replace("@", "_at_"))[:250]


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return text[:MAX_VALUE]


def make() -> MlflowSink:
    """The sink."""
    return MlflowSink()
