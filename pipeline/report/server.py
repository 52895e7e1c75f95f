"""Serves the report of a run on this machine, and follows the run: a page is made anew when its files have changed."""

import hashlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from pipeline.report.page import render
from pipeline.report.read import find_stage_dirs, read_run

HOST = "127.0.0.1"  # nobody else may read what models write here
MIN_S = 2.0  # between two pages
PATIENCE = 10  # a page is made at most once in so many times of what it takes: a tenth of one core
HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class LivePage:
    """The page of a run as its files are now, remade at most every few seconds and only while somebody asks."""

    def __init__(self, run_dir: Path):
        self.run_dir = run_dir
        self._lock = threading.Lock()
        self._version, self._text = "", b""
        self._looked, self._took = float("-inf"), 0.0

    def latest(self) -> tuple[str, bytes]:
        """(version, page): the version changes with the files."""
        with self._lock:
            started = time.monotonic()
            if started - self._looked >= max(MIN_S, PATIENCE * self._took):
                self._looked = started
                version = version_of(self.run_dir)
                if version != self._version:
                    self._text = render(read_run(self.run_dir), version).encode()
                    self._version, self._took = version, time.monotonic() - started
            return self._version, self._text


def version_of(run_dir: Path) -> str:
    """A name for the state of all files that the report reads: it changes when one of them does."""
    digest = hashlib.sha256()
    for path in _files(run_dir):
        try:
            stat = path.stat()
        except OSError:  # removed in between, or never there
            continue
        digest.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ino}\n".encode())
    return digest.hexdigest()[:16]


def _files(run_dir: Path) -> Iterator[Path]:
    yield run_dir / "config.yaml"
    yield from sorted(run_dir.glob("sweeps/*/leaderboard.csv"))
    for _, directory in sorted(find_stage_dirs(run_dir).items()):
        yield from sorted(path for path in directory.iterdir() if path.suffix in (".json", ".jsonl"))


def make_server(run_dir: Path, port: int) -> ThreadingHTTPServer:
    """A server of the run's report that listens already; `serve_forever` answers.

    Args:
        run_dir: runs/<run>.
        port: Where it listens; 0: at any port that is free.

    Raises:
        OSError: The port cannot be had.
    """
    server = ThreadingHTTPServer((HOST, port), _handler(LivePage(run_dir)))
    server.daemon_threads = True
    return server


def _handler(page: LivePage) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers GET / with the page, or with 304 where the browser has it."""

        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if not self._is_asked_here():
                self._send(403, b"ask for 127.0.0.1 or localhost\n")
            elif self.path.partition("?")[0] != "/":
                self._send(404, b"there is only /\n")
            else:
                version, text = page.latest()
                has_it = self.headers.get("If-None-Match") == f'"{version}"'
                self._send(304 if has_it else 200, b"" if has_it else text, {"ETag": f'"{version}"'})

        def _is_asked_here(self) -> bool:
            """Whether the address in the browser is this machine's: a foreign name that leads here is refused."""
            host = self.headers.get("Host", "").rpartition(":")[0]
            return host in (HOST, "localhost")

        def _send(self, status: int, text: bytes, more: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {**HEADERS, **(more or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing: a line every two seconds would hide what matters."""

    return Handler
