"""A real Prefect server and a real process worker for tests, ended by their process ids."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import urllib3

from tests.support.paths import REPOSITORY
from tests.support.waiting import wait_for

# The server answers 503 where its database was busy and it wrote nothing; Prefect's own client asks again as well.
WHILE_BUSY = urllib3.Retry(
    connect=0, read=0, other=0, status=6, status_forcelist=[503], allowed_methods=None, backoff_factor=0.5
)


class PrefectPlace:
    """A server on a port of its own with its files in a directory, and what a user does with it."""

    def __init__(self, home: Path, port: int):
        self.home, self.port, self.api = home, port, f"http://127.0.0.1:{port}/api"
        self.environment = {
            **os.environ,
            "PREFECT_HOME": str(home),
            "PREFECT_API_URL": self.api,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "PYTHONPATH": str(REPOSITORY),
            "COLUMNS": "200",
        }
        self.started: dict[str, psutil.Process] = {}

    def start_server(self) -> None:
        words = ["-m", "uvicorn", "--factory", "prefect.server.api.server:create_app", "--host", "127.0.0.1"]
        self._start("server", [sys.executable, *words, "--port", str(self.port), "--log-level", "warning"])
        assert wait_for(self.is_there, 120), (self.home / "server.log").read_text()

    def start_worker(self, name: str = "worker") -> None:
        prefect = str(Path(sys.executable).with_name("prefect"))
        self._start(name, [prefect, "worker", "start", "--pool", "r1", "--type", "process", "--name", name])

    def _start(self, name: str, words: list[str]) -> None:
        # under the driver's guard, so that nothing outlives the tests, however they end
        words = [sys.executable, "-m", "pipeline.execution.guard", str(os.getpid()), *words]
        with open(self.home / f"{name}.log", "ab") as log:
            process = subprocess.Popen(
                words, cwd=self.home, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        self.started[name] = psutil.Process(process.pid)

    def kill(self, name: str) -> None:
        """SIGKILL to a process that was started here."""
        self.started[name].kill()
        self.started.pop(name).wait()

    def end(self) -> None:
        """Ends the worker with the flow runs that it has started, and the server."""
        family = [child for process in self.started.values() for child in process.children(recursive=True)]
        for process in [*self.started.values(), *family]:
            if process.is_running():
                process.kill()
        psutil.wait_procs([*self.started.values(), *family], timeout=10)

    def is_there(self) -> bool:
        try:
            self.ask("GET", "/health")
            return True
        except urllib3.exceptions.HTTPError:
            return False

    def ask(self, method: str, path: str, body: dict | None = None) -> dict | list | bool:
        """A request as the page makes it."""
        answer = urllib3.request(method, self.api + path, json=body, timeout=20, retries=WHILE_BUSY)
        assert answer.status < 400, f"{method} {path}: {answer.status} {answer.data!r}"
        return json.loads(answer.data or "null")

    def r1(self, *words: str, **environment: str) -> subprocess.CompletedProcess:
        """Types an r1 command with this server named."""
        return subprocess.run(
            [sys.executable, "-m", "pipeline", *words],
            cwd=REPOSITORY,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=200,
        )

    def press_run(self, deployment: str, *overrides: str) -> str:
        """Run in the page, with overrides typed into the form. Returns the flow run's id."""
        number = self.ask("GET", f"/deployments/name/{deployment}")["id"]
        body = {"parameters": {"overrides": list(overrides)}, "state": {"type": "SCHEDULED"}}
        return self.ask("POST", f"/deployments/{number}/create_flow_run", body)["id"]

    def press_cancel(self, flow_run: str) -> None:
        """Cancel in the page."""
        self.ask("POST", f"/flow_runs/{flow_run}/set_state", {"state": {"type": "CANCELLING"}, "force": False})

    def state(self, flow_run: str) -> dict:
        """The state of a flow run: type, name, message."""
        return self.ask("GET", f"/flow_runs/{flow_run}")["state"]

    def wait_until(self, flow_run: str, reached: Callable[[dict], bool], seconds: float = 150) -> dict:
        """Waits until the state of a flow run is such; returns it."""
        deadline = time.monotonic() + seconds
        while not reached(state := self.state(flow_run)):
            logs = "\n".join(path.read_text(errors="replace")[-3000:] for path in self.home.glob("worker*.log"))
            assert time.monotonic() < deadline, f"{state}\n{logs}"
            time.sleep(0.3)
        return state

    def supervisor_of(self, flow_run: str) -> psutil.Process:
        """The process that the worker has started for a flow run."""
        for process in psutil.process_iter():
            try:
                is_ours = "pipeline.execution.prefect.supervise" in process.cmdline()
                if is_ours and process.environ().get("PREFECT__FLOW_RUN_ID") == flow_run:
                    return process
            except psutil.Error:
                continue
        raise AssertionError(f"no process of the flow run {flow_run}")

    def terminate_supervisor(self, flow_run: str) -> None:
        """What a worker does that is being stopped."""
        self.supervisor_of(flow_run).send_signal(signal.SIGTERM)
