"""The remote backend: programs run on a Piston server, by its HTTP API version 2.

Piston: https://github.com/engineer-man/piston
The server must allow what is asked of it: its run_timeout (3 s as shipped), memory and output limits (1,024 bytes as
shipped) are its own settings. A token for servers that want one is read from the environment variable PISTON_TOKEN.
"""

import json
import os
import threading
import time
from functools import cache
from typing import TYPE_CHECKING, Any

from stages.sandbox.interface import MIB, Limits, Program, Result, SandboxError
from stages.sandbox.languages import LANGUAGES

if TYPE_CHECKING:
    import urllib3

COMPILE_LIMIT_S = 10.0
_SPARE_S = 60.0  # for the server's queue


class Piston:
    """A server and its runtimes.

    Args:
        url: Its address, with or without /api/v2.
        token: For servers that want one; empty: that of the environment.
    """

    def __init__(self, url: str, token: str = ""):
        self.url = url.rstrip("/").removesuffix("/api/v2")
        self._token = token or os.environ.get("PISTON_TOKEN", "")
        self._lock = threading.Lock()
        self._versions: dict[str, str] | None = None  # of the runtimes, once they were asked for

    def setup_problem(self, limits: Limits) -> str | None:
        """See `Executor.setup_problem`."""
        if not self.url:
            return "sandbox.backend=piston needs the address of the server: sandbox.url=http://HOST:2000"
        try:
            missing = [rules.piston for rules in LANGUAGES.values() if rules.piston not in self._runtimes()]
            if missing:
                return (
                    f"the Piston server {self.url} has no runtime for {', '.join(missing)}: "
                    "install them there (POST /api/v2/packages)"
                )
            result = self.run(self.build("python", "print(input())"), b"hello", limits)
        except SandboxError as error:
            return f"the Piston server of sandbox.url={self.url} cannot be used: {error}"
        if result.stdout.strip() == b"hello":
            return None
        return f"the Piston server {self.url} does not run programs: {result}"

    def build(self, language: str, source: str, companions: dict[str, bytes] | None = None) -> Program:
        """See `Executor.build`. The server compiles before each run: one run here says whether that works."""
        program = Program(language, {LANGUAGES[language].source: source.encode(errors="replace"), **(companions or {})})
        if not LANGUAGES[language].compile:
            return program
        compiled = self._execute(program, b"", Limits(cpu_s=1, wall_s=1)).get("compile") or {}
        if compiled.get("code") == 0:
            return program
        return Program(language, compile_error=str(compiled.get("output") or compiled)[:2000])

    def run(self, program: Program, stdin: bytes, limits: Limits) -> Result:
        """See `Executor.run`."""
        started = time.monotonic()
        ran = self._execute(program, stdin, limits).get("run")
        if not isinstance(ran, dict):
            raise SandboxError("the answer has no `run`")
        stdout, stderr = (str(ran.get(name) or "").encode() for name in ("stdout", "stderr"))
        code, end = ran.get("code"), ran.get("signal")
        if code == 0 and not end:
            status = "ok"
        else:
            status = "time" if end == "SIGKILL" else "error"  # the server kills what runs too long
        return Result(status, code, stdout, stderr, time.monotonic() - started)

    def _execute(self, program: Program, stdin: bytes, limits: Limits) -> dict[str, Any]:
        """The server's answer about one run, its compilation included."""
        name = LANGUAGES[program.language].piston
        if name not in self._runtimes():
            raise SandboxError(f"no runtime for {name}")
        return self._ask(
            "POST",
            "execute",
            {
                "language": name,
                "version": self._runtimes()[name],
                "stdin": stdin.decode(errors="replace"),
                "files": [
                    {"name": file, "content": content.decode(errors="replace")}
                    for file, content in program.files.items()
                ],
                "run_timeout": int(limits.wall_s * 1000),
                "compile_timeout": int(COMPILE_LIMIT_S * 1000),
                "run_memory_limit": limits.memory_mib * MIB,
            },
        )

    def _runtimes(self) -> dict[str, str]:
        """The version that is installed of each language; asked once."""
        with self._lock:
            if self._versions is None:
                self._versions = {item["language"]: item["version"] for item in self._ask("GET", "runtimes")}
            return self._versions

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The JSON of an answer; raises SandboxError for any failure."""
        import urllib3

        headers = {"Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = self._token
        try:
            answer = _connections().request(
                method, f"{self.url}/api/v2/{path}", body=json.dumps(body) if body else None, headers=headers
            )
            data = json.loads(answer.data)
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise SandboxError(f"{type(error).__name__}: {error}") from error
        if answer.status != 200:
            raise SandboxError(f"{answer.status}: {data.get('message', data) if isinstance(data, dict) else data}")
        return data


@cache
def _connections() -> "urllib3.PoolManager":
    """The pool of connections of this process; a server that is busy or has just restarted is asked again."""
    import urllib3

    retry = urllib3.Retry(
        total=4,
        connect=1,
        backoff_factor=0.5,
        status_forcelist=(429, 502, 503, 504),
        allowed_methods=None,
        raise_on_status=False,
    )
    return urllib3.PoolManager(
        maxsize=16, retries=retry, timeout=urllib3.Timeout(connect=10, read=COMPILE_LIMIT_S + _SPARE_S)
    )
