"""Where Prefect keeps its files, and which server it talks to.

With PREFECT_API_URL set, that server is used. With nothing set, an embedded server runs beside the driver. It runs
under the guard, so that it dies with the driver however that dies; its database lies in the runs directory, and nothing
is sent anywhere.

Nothing here imports Prefect: it reads its environment as it is imported, and that is prepared here.
"""

import http.client
import os
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from pipeline.errors import MissingInput, PipelineError
from pipeline.paths import REPOSITORY
from stages.config.quoting import printable

CONNECT_TIMEOUT_S = 10
START_TIMEOUT_S = 120  # a cold start takes about 8 s on two idle cores, 46 s were seen with four at once


def has_own_server() -> bool:
    """Whether the user has named a server of their own."""
    return bool(os.environ.get("PREFECT_API_URL")) and not _SERVER


def is_deployed() -> bool:
    """Whether a worker of Prefect has started this process for a flow run."""
    return "PREFECT__FLOW_RUN_ID" in os.environ


def require_own_server() -> None:
    """Raises MissingInput where the user has named a server that cannot be used: Prefect itself would try for minutes.

    Only what is surely wrong is refused: keys, certificates and proxies are Prefect's own matter.
    """
    url = os.environ["PREFECT_API_URL"]
    if why := _address_problem(url) or _connection_problem(url):
        raise MissingInput(
            f"PREFECT_API_URL={printable(url)}: {why}",
            "set PREFECT_API_URL=http://HOST:4200/api, unset it for an embedded server, "
            "or add orchestrator=none to run without Prefect",
        )


def _address_problem(url: str) -> str | None:
    """Why a text is not the address of a server; None where it may be one."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError as error:
        return f"not an address ({error})"
    if parts.scheme not in ("http", "https") or not parts.hostname or printable(url) != url or port == 0:
        return "not an address: it begins with http:// or https://, a host and perhaps a port"
    return None


def _connection_problem(url: str) -> str | None:
    """Why nothing answers as Prefect does at an address; None where it does, or where Prefect may know better."""
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health", timeout=CONNECT_TIMEOUT_S) as answer:
            is_page = answer.headers.get_content_type() == "text/html"
    except urllib.error.HTTPError as error:
        return f"it answers {error.code} {error.reason}; addresses end with /api" if error.code == 404 else None
    except urllib.error.URLError as error:
        return None if isinstance(error.reason, ssl.SSLError) else f"no server answers there ({error.reason})"
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"no server answers there ({type(error).__name__}: {error})"
    return "a page answers there, not the interface of Prefect: addresses end with /api" if is_page else None


def prepare_environment(runs_dir: Path) -> None:
    """Sets what Prefect reads as it is imported: its home in the runs directory, offline, quiet on the console.

    Raises:
        MissingInput: its home, which the user may have set, cannot be made or written.
    """
    home = Path(os.environ.get("PREFECT_HOME") or runs_dir / ".prefect").expanduser()
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fix = "unset PREFECT_HOME, or name a directory that you may write to; or add orchestrator=none"
        raise MissingInput(f"PREFECT_HOME={home} cannot be made: {error.strerror}", fix) from None
    if not os.access(home, os.W_OK | os.X_OK):
        fix = "name another directory as PREFECT_HOME, or add orchestrator=none"
        raise MissingInput(f"PREFECT_HOME={home} may not be written by you", fix)
    for name, value in {
        "PREFECT_HOME": str(home),
        "PREFECT_LOCAL_STORAGE_PATH": str(home / "storage"),
        "PREFECT_MEMO_STORE_PATH": str(home / "memo_store.toml"),
        "PREFECT_LOGGING_SETTINGS_PATH": str(home / "logging.yml"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_CLI_COLORS": "false",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",  # what its threads say while a server is away
    }.items():
        os.environ.setdefault(name, value)


# the embedded server of this process, if it has one: one for all jobs of a sweep, as Prefect reads its address once
_SERVER: list[subprocess.Popen] = []


def start(runs_dir: Path) -> None:
    """Makes a server reachable: the user's own, or an embedded one, which is started once."""
    prepare_environment(runs_dir)
    # each waits twice as long as the one before: with 5, a run takes minutes to see that its server was killed
    os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "2")
    if has_own_server():
        if not is_deployed():  # a worker's server was there; that it is away by now ends nothing
            require_own_server()
        return
    if _SERVER:
        return
    port = _free_port()
    home = Path(os.environ["PREFECT_HOME"]).expanduser()
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
