"""A way to a real server that a test can close: every request is handed on, or its connection is dropped as where
nobody is any more.
"""

import http.client
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Gateway(ThreadingHTTPServer):
    """`closes_after`: the number of POSTs after which it closes by itself, None for never. `most_open`: POSTs that were
    being answered at once.
    """

    daemon_threads = True

    def __init__(self, port: int):
        super().__init__(("127.0.0.1", 0), Handler)
        self.port, self.lock = port, threading.Lock()
        self.is_closed, self.closes_after = False, None
        self.num_posts = self.num_open = self.most_open = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self._hand_on(None)

    def do_POST(self):
        server, body = self.server, self.rfile.read(int(self.headers["Content-Length"]))
        with server.lock:
            server.is_closed = server.is_closed or server.num_posts == server.closes_after
            server.num_posts += not server.is_closed
            server.num_open += 1
            server.most_open = max(server.most_open, server.num_open)
        try:
            self._hand_on(body)
        finally:
            with server.lock:
                server.num_open -= 1

    def _hand_on(self, body: bytes | None) -> None:
        self.close_connection = self.server.is_closed
        if self.server.is_closed:
            return
        behind = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=120)
        behind.request(self.command, self.path, body, {"Content-Type": "application/json"})
        reply = behind.getresponse()
        text = reply.read()
        behind.close()
        self.send_response(reply.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@contextmanager
def gateway(port: int):
    server = Gateway(port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
