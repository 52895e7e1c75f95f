"""Where Prefect keeps its files, and which server it talks to.

With PREFECT_API_URL set, that server is used. With nothing set, an embedded server runs beside the driver. It runs
under the guard, so that it dies with the driver however that dies; its database lies in the runs directory, and nothing
is sent anywhere.

Nothing here imports Prefect: it reads its environment as it is imported, and that is prepared here.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.paths import REPOSITORY

START_TIMEOUT_S = 120  # a cold start takes about 8 s on two idle cores, 46 s were seen with four at once


def has_own_server() -> bool:
    """Whether the user has named a server of their own."""
    return bool(os.environ.get("PREFECT_API_URL")) and not _SERVER


def prepare_environment(runs_dir: Path) -> None:
    """Sets what Prefect reads as it is imported: its home in the runs directory, offline, quiet on the console."""
    home = runs_dir / ".prefect"
    home.mkdir(parents=True, exist_ok=True)
    for name, value in {
        "PREFECT_HOME": str(home),
        "PREFECT_LOCAL_STORAGE_PATH": str(home / "storage"),
        "PREFECT_MEMO_STORE_PATH": str(home / "memo_store.toml"),
        "PREFECT_LOGGING_SETTINGS_PATH": str(home / "logging.yml"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_CLI_COLORS": "false",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    }.items():
        os.environ.setdefault(name, value)


# the embedded server of this process, if it has one: one for all jobs of a sweep, as Prefect reads its address once
_SERVER: list[subprocess.Popen] = []


def start(runs_dir: Path) -> None:
    """Makes a server reachable: the user's own, or an embedded one, which is started once."""
    prepare_environment(runs_dir)
    if has_own_server() or _SERVER:
        return
    # each waits twice as long as the one before: with 5, a run takes minutes to see that its server was killed
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "2")
    port = _free_port()
    home = Path(os.environ["PREFECT_HOME"])
    with open(home / "server.log", "ab") as log:
        _SERVER.append(
            subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "pipeline.execution.guard",
                    str(os.getpid()),
                    sys.executable,
                    "-m",
                    "uvicorn",
                    "--factory",
                    "prefect.server.api.server:create_app",
                    "--host",
                    "127.0.0.1",
                    "--port",
                    str(port),
                    "--log-level",
                    "warning",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": _python_path()},
            )
        )
    os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{port}/api"
    _wait_until_healthy(_SERVER[-1], home / "server.log")


def is_embedded() -> bool:
    """Whether this process has started a server."""
    return bool(_SERVER)


def has_ended() -> bool:
    """Whether the embedded server has ended by itself: it was killed, or it broke."""
    return bool(_SERVER) and _SERVER[-1].poll() is not None


def stop() -> None:
    """Ends the embedded server, if there is one."""
    while _SERVER:
        process = _SERVER.pop()
        process.terminate()
        process.wait()
        os.environ.pop("PREFECT_API_URL", None)


def _python_path() -> str:
    root = str(REPOSITORY)
    return os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)


def _wait_until_healthy(process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{os.environ['PREFECT_API_URL']}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise PipelineError(
        f"Prefect's embedded server did not start; its log: {log}", "add orchestrator=none to run without Prefect"
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
