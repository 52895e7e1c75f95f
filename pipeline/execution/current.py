"""What of a run is current: its configuration, and the directory of each stage that its `latest` points to.

Current is what the command made, or found done, that ran last without a sweep. Jobs of a sweep and evaluations on the
side leave everything as it is; they only fill in what no command has made yet.
"""

import os
import shutil

import yaml

from pipeline.planning.command_line import remembered_overrides, use_command
from pipeline.planning.plan import Plan, Step
from pipeline.planning.whole import COMMAND_FILE
from stages.config import to_dict
from stages.contract.files import link, write_atomic, write_json
from stages.contract.manifest import Manifest

LATEST = "latest"


def write_configuration(plan: Plan, keeps_command: bool = False) -> None:
    """Writes the run's config.yaml and the words of the command.

    A plan on the side, and one that keeps the command before it, only say that they were here.
    """
    path = plan.config.run_dir / "config.yaml"
    if (plan.is_aside or keeps_command) and path.exists():
        os.utime(path)  # by its time commands find the run that was worked on last
        return
    text = yaml.safe_dump(to_dict(plan.config), sort_keys=False, allow_unicode=True)
    write_json(plan.config.run_dir / COMMAND_FILE, {"overrides": remembered_overrides()})
    write_atomic(path, text.encode())


def moves(plan: Plan) -> str:
    """One line on the stages whose `latest` this plan is going to point at another finished directory; "" for none."""
    moved = [
        (step, before)
        for step in (*plan.upstream, *plan.steps)
        if _may_show(step, plan)
        and (before := _shown(step)) not in ("", step.dir.name)
        and Manifest.find(step.dir.parent / before) is not None
    ]
    if not moved:
        return ""
    names = ", ".join(f"{step.stage} {step.dir.name} (was {before})" for step, before in moved)
    stage, before = ("STAGE", "FINGERPRINT") if len(moved) > 1 else (moved[0][0].stage, moved[0][1])
    return (
        f"current is now {names}; what was current stays: `{use_command(plan.config.run_dir, stage, before)}` goes "
        "back to it"
    )


def show_done(plan: Plan) -> None:
    """Makes every stage of the plan that is done already the current one, inputs too."""
    for step in (*plan.upstream, *plan.steps):
        if step.is_done:
            show(step, plan)
            if step.kind == "report" and not plan.is_aside:
                shutil.copyfile(step.dir / "report.html", plan.config.run_dir / "report.html")


def show(step: Step, plan: Plan) -> None:
    """Makes a stage of this plan the current one; a plan on the side only where there is no other."""
    if _may_show(step, plan) and _shown(step) != step.dir.name:
        link(step.dir.parent / LATEST, step.dir.name)


def _may_show(step: Step, plan: Plan) -> bool:
    return not (plan.is_aside and (step.dir.parent / LATEST).exists())


def _shown(step: Step) -> str:
    path = step.dir.parent / LATEST
    return os.readlink(path) if path.is_symlink() else ""
