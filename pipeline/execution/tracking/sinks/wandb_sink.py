"""Weights & Biases, online or offline (WANDB_MODE=offline, later `wandb sync`)."""

import os
import re
from pathlib import Path

import wandb

from pipeline.execution.observers import DONE, INTERRUPTED
from pipeline.execution.tracking.sink import TrackedStage, table


class WandbSink:
    """One run of wandb for each stage, in the group of the recipe."""

    def begin(self, stage: TrackedStage, first_step: int) -> int | None:
        """Opens the run, or goes on with it."""
        options = stage.tracker
        settings = wandb.Settings(
            console="off",  # the output of this process is not that of the stage
            silent=True,
            disable_git=True,
            disable_code=True,
            x_disable_stats=True,  # the processor and memory of this process tell nothing of the stage
            init_timeout=max(1.0, options["timeout_s"]),
        )
        self.stage = stage
        self.run = wandb.init(
            project=options["project"],
            entity=options["entity"],
            id=stage.id,
            resume="allow",
            group=stage.group,
            job_type=stage.stage,
            name=stage.name,
            tags=[stage.kind, f"run:{stage.run}"[:64], f"recipe:{stage.recipe}"[:64]],
            dir=None if os.environ.get("WANDB_DIR") else stage.run_dir,
            config={**stage.labels, **stage.parameters},
            settings=settings,
        )
        offline = Path(self.run.dir).parent
        self.where = (
            self.run.url or f"offline in {offline.parent}; send with: wandb sync {offline.parent}/offline-run-*"
        )
        return None if self.run.offline else max(0, self.run.step - 1)

    def step(self, step: int, metrics: dict[str, float], completions: list[dict], seconds: float) -> None:
        """Logs the numbers and a table at this step."""
        values: dict = dict(metrics)
        if completions:
            values["completions"] = _table(completions)
        self.run.log(values, step=step)

    def alarm(self, row: dict) -> None:
        """Sends an alert, which wandb can pass on by mail or to Slack."""
        text = f"{self.stage.name}, step {row['step']}: {row['message']}\nadvice: {row.get('advice', '')}"
        self.run.alert(title=row["name"], text=text, level="WARN")

    def end(self, outcome: str, metrics: dict[str, float], completions: list[dict], files: list[Path]) -> None:
        """Writes the summary and the artifact, and finishes the run."""
        for name, value in metrics.items():
            self.run.summary[f"final/{name}"] = value
        if completions:
            self.run.log({"completions": _table(completions)})
        if files:
            artifact = wandb.Artifact(_artifact_name(f"{self.stage.stage}-{self.stage.run}"), type=self.stage.stage)
            for path in files:
                artifact.add_file(str(path), name=path.name)
            self.run.log_artifact(artifact)
        if outcome == INTERRUPTED:
            self.run.mark_preempting()
        self.run.finish(exit_code=0 if outcome == DONE else 1)


def _table(rows: list[dict]) -> wandb.Table:
    columns, cells = table(rows)
    return wandb.Table(columns=columns, data=cells, allow_mixed_types=True)


def _artifact_name(text: str) -> str:
    return re.sub(r"[^\w.-]", "-", text)[:128]


def make() -> WandbSink:
    """The sink."""
    return WandbSink()
