"""The command `join`: lends this machine to a run whose driver is on another one."""

import signal
import sys
from typing import Annotated

from pipeline.commands.declaration import Overrides, declare, exit_codes, flag, option
from pipeline.commands.run_directory import run_place
from pipeline.errors import StageInterrupted
from pipeline.execution.join import follow

app = declare(
    "join",
    "[--address HOST] [--stay] [--wait SECONDS] [run=NAME] [runs_dir=DIRECTORY]",
    {
        "r1 join run=big runs_dir=/shared/runs": "on every machine but the driver's; there: "
        "`r1 run ... launcher=torchrun launcher.num_nodes=2`",
        "r1 join --address 10.0.0.2 run=big": "where the host name is not the address of the fast network",
    },
    exit_codes(0, 2) | {4: "no driver called in time", 75: "interrupted"},
)


@app.default
def join(
    *overrides: Overrides,
    address: Annotated[str | None, option("--address", value="HOST")] = None,
    stay: Annotated[bool, flag("--stay")] = False,
    wait: Annotated[float, option("--wait", value="SECONDS")] = 3600.0,
) -> int:
    """Lend this machine to a run whose driver is on another one.

    It starts this machine's share of the workers of each stage that the driver launches with `launcher=torchrun`, and
    ends when the driver ends. All machines must see the same runs directory and have the same installation.

    Args:
        overrides: `run=NAME` and `runs_dir=DIRECTORY`, as the driver has them.
        address: The address by which the other machines reach this one; by default its host name.
        stay: Wait for the next driver of the run when one has ended.
        wait: How long to wait for a driver, and for one that has fallen silent.
    """
    signal.signal(signal.SIGTERM, _end)
    run_dir = run_place(overrides, "join")
    try:
        follow(run_dir, address, wait, stay, lambda line: print(line, file=sys.stderr, flush=True))
    except KeyboardInterrupt:
        raise StageInterrupted("join was interrupted; the workers here were ended", "type it again to go on") from None
    return 0


def _end(*_: object) -> None:
    raise KeyboardInterrupt
