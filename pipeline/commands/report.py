"""The command `report`: the HTML report of what a run has made so far, as a file or followed live in a browser."""

from pathlib import Path
from typing import Annotated

from pipeline.commands.declaration import Overrides, declare, exit_codes, flag, option
from pipeline.commands.run_directory import find_run
from pipeline.commands.wholeness import print_flaws
from pipeline.errors import InvalidConfig
from pipeline.report import write_report
from pipeline.view.console import standard_console

MAX_PORT = 65535

app = declare(
    "report",
    "[--output FILE | --watch [--port N]] [run=NAME] [runs_dir=DIRECTORY]",
    {
        "r1 report": "runs/<run>/report.html of the run that was worked on last",
        "r1 report run=second --output second.html": "another run, another file",
        "r1 report --watch": "follow the run in a browser; Ctrl-C ends it",
    },
    exit_codes(0, 2, 3),
)


@app.default
def report(
    *overrides: Overrides,
    output: Annotated[Path | None, option("--output", value="FILE")] = None,
    watch: Annotated[bool, flag("--watch")] = False,
    port: Annotated[int | None, option("--port", value="N")] = None,
) -> int:
    """Write the HTML report of what a run has made so far, or follow the run in a browser.

    The report is one file that can be read offline. Stages that are not finished are shown as far as they are.

    Args:
        overrides: `run=NAME` and `runs_dir=DIRECTORY`; by default the run that was worked on last.
        output: Where to write it; by default `report.html` in the run's directory.
        watch: Serve the report on this machine (127.0.0.1) and follow the run, until Ctrl-C. No file is written.
        port: The port of `--watch`; by default one that is free.
    """
    _check(output, watch, port)
    run_dir = find_run(overrides, "report")
    if watch:
        return _watch(run_dir, port or 0)
    path = write_report(run_dir, output or run_dir / "report.html")
    console = standard_console()
    print_flaws(run_dir, console)
    console.print(f"report: {path}", highlight=False, soft_wrap=True)
    return 0


def _check(output: Path | None, watch: bool, port: int | None) -> None:
    mistakes = []
    if watch and output is not None:
        mistakes.append("--output and --watch: --watch writes no file; leave one of them out")
    if port is not None and not watch:
        mistakes.append("--port belongs to --watch: add it, or leave --port out")
    if port is not None and not 0 <= port <= MAX_PORT:
        mistakes.append(f"--port {port}: not a port; they go from 0 (one that is free) to {MAX_PORT}")
    if mistakes:
        raise InvalidConfig(mistakes)


def _watch(run_dir: Path, port: int) -> int:
    from pipeline.report.server import HOST, make_server  # http.server is for this alone

    try:
        server = make_server(run_dir, port)
    except OSError as error:
        raise InvalidConfig(
            [f"--port {port} cannot be used: {error.strerror or error}; leave --port out for one that is free"]
        ) from None
    address = f"http://{HOST}:{server.server_address[1]}/"
    console = standard_console()
    console.print(f"report of run {run_dir.name}: {address}", highlight=False, soft_wrap=True)
    console.print("It follows the run. Ctrl-C ends it.", highlight=False)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0
