"""The command `report`: the HTML report of what a run has made so far."""

from pathlib import Path
from typing import Annotated

from pipeline.commands.declaration import Overrides, declare, exit_codes, option
from pipeline.commands.run_directory import find_run
from pipeline.report import write_report
from pipeline.view.console import standard_console

app = declare(
    "report",
    "[--output FILE] [run=NAME] [runs_dir=DIRECTORY]",
    {
        "r1 report": "runs/<run>/report.html of the run that was worked on last",
        "r1 report run=second --output second.html": "another run, another file",
    },
    exit_codes(0, 2, 3),
)


@app.default
def report(*overrides: Overrides, output: Annotated[Path | None, option("--output", value="FILE")] = None) -> int:
    """Write the HTML report of what a run has made so far.

    The report is one file that can be read offline. Stages that are not finished are shown as far as they are.

    Args:
        overrides: `run=NAME` and `runs_dir=DIRECTORY`; by default the run that was worked on last.
        output: Where to write it; by default `report.html` in the run's directory.
    """
    run_dir = find_run(overrides, "report")
    path = write_report(run_dir, output or run_dir / "report.html")
    standard_console().print(f"report: {path}", highlight=False, soft_wrap=True)
    return 0
