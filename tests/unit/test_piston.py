"""The remote backend against a server of this test that speaks Piston's HTTP API version 2 and runs what it is sent in
bubblewrap.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from stages.config import ConfigError, SandboxConfig
from stages.rewards.grading import GraderAway
from stages.rewards.verifiers.code import CodeGrader
from stages.sandbox import Limits, SandboxError, executor
from stages.sandbox.piston import Piston
from tests.support.sandboxes import answer, code_prompt, needs_bubblewrap, needs_compiler, stdin_prompt

pytestmark = pytest.mark.slow  # waits for a server

RUNTIMES = [
    {"language": "python", "version": "3.12.0", "aliases": ["py"]},
    {"language": "c++", "version": "10.2.0", "aliases": ["cpp"], "runtime": "gcc"},
]
NAMES = {"python": "python", "c++": "cpp"}
MAX_RUN_MS = 20_000


class Server(ThreadingHTTPServer):
    """`busy`: how many requests are answered with 429 first; `seen`: what was asked."""

    daemon_threads = True

    def __init__(self, runtimes=RUNTIMES):
        super().__init__(("127.0.0.1", 0), Handler)
        self.runtimes, self.busy, self.seen = runtimes, 0, []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self.reply(200, self.server.runtimes) if self.path == "/api/v2/runtimes" else self.reply(
            404, {"message": "no such path"}
        )

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((request, self.headers.get("Authorization")))
        if self.server.busy:
            self.server.busy -= 1
            return self.reply(429, {"message": "Requests limited to 1 per 200ms"})
        if self.path != "/api/v2/execute" or (request["language"], request["version"]) not in [
            (r["language"], r["version"]) for r in self.server.runtimes
        ]:
            return self.reply(400, {"message": f"{request['language']}-{request['version']} runtime is unknown"})
        if request["run_timeout"] > MAX_RUN_MS:
            return self.reply(400, {"message": f"run_timeout cannot exceed the configured limit of {MAX_RUN_MS}"})
        return self.reply(200, self.execute(request))

    def execute(self, request: dict) -> dict:
        sandbox, language = executor("bubblewrap"), NAMES[request["language"]]
        main, *others = request["files"]
        program = sandbox.build(language, main["content"], {file["name"]: file["content"].encode() for file in others})
        answer = {"language": request["language"], "version": request["version"]}
        if language == "cpp":
            error = program.compile_error
            answer["compile"] = {
                "stdout": "",
                "stderr": error,
                "output": error,
                "code": 1 if error else 0,
                "signal": None,
            }
            if error:
                return answer
        limits = Limits(
            cpu_s=request["run_timeout"] / 1000,
            wall_s=request["run_timeout"] / 1000,
            memory_mib=request["run_memory_limit"] >> 20,
        )
        result = sandbox.run(program, request["stdin"].encode(), limits)
        stdout, stderr, killed = (
            result.stdout.decode(errors="replace"),
            result.stderr.decode(errors="replace"),
            result.status in ("time", "memory", "output"),
        )
        return {
            **answer,
            "run": {
                "stdout": stdout,
                "stderr": stderr,
                "output": stdout + stderr,
                "code": None if killed else result.exit_code,
                "signal": "SIGKILL" if killed else None,
            },
        }

    def reply(self, status: int, body) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def grader_of(server) -> CodeGrader:
    return CodeGrader(SandboxConfig(backend="piston", url=server.url, time_limit_s=2))


@needs_bubblewrap
def test_programs_calls_and_unit_tests_run_there(server):
    grader = grader_of(server)
    assert grader.sandbox_problem is None
    double = stdin_prompt(("21", "42"), ("1", "2"))
    assert grader.grade(answer("print(2 * int(input()))"), double) == (1.0, "")
    assert grader.grade(answer("print(42)"), double) == (0.0, "")
    assert grader.grade(answer("while True: pass"), stdin_prompt(("21", "42"), time_limit_s=0.5)) == (0.0, "")
    assert grader.grade(
        answer("def add(a, b):\n    print(7)\n    return a + b"),
        code_prompt(type="call", fn_name="add", tests=[{"args": [1, 2], "expected": 3}]),
    ) == (1.0, "")
    unit = code_prompt(type="unit", tests=[{"code": "from solution import add\nassert add(1, 2) == 3"}])
    assert grader.grade(answer("def add(a, b): return a + b"), unit) == (1.0, "")
    assert grader.grade(answer("import os\nos._exit(0)"), unit) == (0.0, "")


@needs_bubblewrap
@needs_compiler
def test_cpp_and_its_compile_errors(server):
    grader = grader_of(server)
    source = "#include <iostream>\nint main() { int n; std::cin >> n; std::cout << 2 * n; }"
    assert grader.grade(answer(source, "cpp"), stdin_prompt(("21", "42"))) == (1.0, "")
    assert grader.grade(answer("int main() { return x; }", "cpp"), stdin_prompt(("21", "42"))) == (0.0, "")
    assert "was not declared" in grader.executor.build("cpp", "int main() { return x; }").compile_error


@needs_bubblewrap
def test_what_is_asked_is_the_published_form(server, monkeypatch):
    monkeypatch.setenv("PISTON_TOKEN", "secret")
    Piston(server.url).run(
        Piston(server.url).build("python", "print(1)"), b"in", Limits(cpu_s=1, wall_s=2, memory_mib=128)
    )
    request, token = server.seen[-1]
    assert token == "secret" and request == {
        "language": "python",
        "version": "3.12.0",
        "stdin": "in",
        "files": [{"name": "main.py", "content": "print(1)"}],
        "run_timeout": 2000,
        "compile_timeout": 10000,
        "run_memory_limit": 128 << 20,
    }


@needs_bubblewrap
def test_a_busy_server_is_asked_again(server):
    server.busy = 2
    assert grader_of(server).grade(answer("print(1)"), stdin_prompt(("", "1"))) == (1.0, "")


def test_what_is_wrong_with_a_server_is_said(server):
    server.runtimes = RUNTIMES[:1]
    assert "no runtime for c++" in Piston(server.url).setup_problem(Limits())
    assert "sandbox.url" in Piston("").setup_problem(Limits())
    with Server() as gone:
        url = gone.url
    assert "cannot be used" in Piston(url).setup_problem(Limits())


def test_a_limit_that_the_server_does_not_allow(server):
    grader = CodeGrader(SandboxConfig(backend="piston", url=server.url, time_limit_s=50))
    assert "run_timeout cannot exceed the configured limit of 20000" in grader.sandbox_problem
    with pytest.raises(GraderAway, match="400: run_timeout"):
        grader.grade(answer("print(1)"), stdin_prompt(("", "1")))


@needs_bubblewrap
def test_a_server_that_goes_away_is_no_grade_at_all(server):
    grader = grader_of(server)
    assert grader.sandbox_problem is None and grader.grade(answer("print(1)"), stdin_prompt(("", "1"))) == (1.0, "")
    server.runtimes = []
    with pytest.raises(GraderAway, match="has no runtime|cannot be used"):
        grader.grade(answer("print(1)"), stdin_prompt(("", "1")))


def test_an_answer_without_a_run(server, monkeypatch):
    monkeypatch.setattr(Handler, "execute", lambda self, request: {})
    with pytest.raises(SandboxError, match="has no `run`"):
        Piston(server.url).run(Piston(server.url).build("python", "print(1)"), b"", Limits(cpu_s=1, wall_s=2))


def test_the_address_is_asked_for():
    with pytest.raises(ConfigError, match="url is empty"):
        SandboxConfig(backend="piston")
