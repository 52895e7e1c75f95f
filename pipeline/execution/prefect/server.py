"""Where Prefect keeps its things and which server it talks to. Nothing here imports Prefect: the environment must stand
before that.

With PREFECT_API_URL set, that server is used. With nothing set, a server of our own runs beside the driver, under the
guard, so that it dies with the driver however that dies; its database lies in the runs directory, nothing is sent
anywhere.
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
    """Whether the user pointed us at a server."""
    return bool(os.environ.get("PREFECT_API_URL")) and not _SERVER


def prepare_environment(runs_dir: Path) -> None:
    """Settings that Prefect reads at import: its home in the runs directory, offline, quiet on the console."""
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


_SERVER: list[
    subprocess.Popen
] = []  # the embedded server of this process: one for all jobs of a sweep, Prefect reads its address once


def start(runs_dir: Path) -> None:
    """Makes an API reachable: the user's server, or an embedded one that is started once."""
    prepare_environment(runs_dir)
    if has_own_server() or _SERVER:
        return
    os.environ.setdefault(
        "PREFECT_CLIENT_MAX_RETRIES", "2"
    )  # each waits twice as long; with 5, a run takes minutes to see that its server was killed
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
    return bool(_SERVER)


def has_ended() -> bool:
    """Whether the embedded server, which only `stop` ends, is gone: it was killed, or broke."""
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
