"""A run that has lost Prefect's server goes on with the stages that are left, also with force=true."""

import io

from rich.console import Console

from pipeline.execution import run
from pipeline.planning.action import RUN
from tests.support.runs import finish, plan


def test_force_does_not_redo_what_this_run_has_made(tmp_path, monkeypatch):
    words = ("+stage=[base,report]", f"runs_dir={tmp_path}", "orchestrator=prefect", "force=true")
    finish(plan(*words), "base")
    forced = plan(*words)
    assert forced.steps[0].action == RUN
    flows = []

    def run_plan(made, console, stop, with_prefect, has_steps, observers):
        if with_prefect:
            observers.end(made.steps[0], run.DONE)  # then the server is killed
        else:
            flows.append(made)
        return not with_prefect

    monkeypatch.setattr(run, "run_plan", run_plan)
    run._run_observed(forced, Console(file=io.StringIO()), None, None)
    assert [(step.stage, step.is_done) for step in flows[0].steps] == [("base", True), ("report", False)]
