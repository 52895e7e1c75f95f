"""A small HTTP server that speaks OpenAI's protocol and misbehaves as told, for the client's retries."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class JudgeServer(ThreadingHTTPServer):
    """`script`: what the next requests get, in order; then every request gets `answer(user text)`. `asked`: the bodies
    of all requests. `is_away`: all, also who asks for the models, get a 503, as from a gateway whose server is down.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[str] = []
        self.asked: list[dict] = []
        self.answer = lambda user: '{"correctness": "correct"}'
        self.lock, self.ended = threading.Lock(), threading.Event()
        self.num_open = self.most_open = 0
        self.is_away = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        if self.server.is_away:
            return self._send(503, {"error": {"message": "away"}})
        return self._send(
            200, {"object": "list", "data": [{"id": "judge", "object": "model", "created": 0, "owned_by": "us"}]}
        )

    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.asked.append(body)
            act = "503" if server.is_away else server.script.pop(0) if server.script else "ok"
            server.num_open += 1
            server.most_open = max(server.most_open, server.num_open)
        try:
            self._act(act, body)
        finally:
            with server.lock:
                server.num_open -= 1

    def _act(self, act: str, body: dict) -> None:
        if act in ("400", "401", "429", "500", "503"):
            return self._send(int(act), {"error": {"message": f"told to say {act}"}})
        if act == "hang":
            self.server.ended.wait(30)
            self.close_connection = True
            return None
        if act == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"choices"')
            self.close_connection = True
            return None
        if act == "no json":
            return self._send_bytes(200, b'{"choices": [{"mess')
        if act == "no completion":
            return self._send(200, {"choices": []})
        if act == "slow":
            time.sleep(0.1)
        text = self.server.answer(body["messages"][-1]["content"])
        return self._send(
            200,
            {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": "judge",
                "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "length" if act == "length" else "stop",
                        "message": {"role": "assistant", "content": text},
                    }
                ],
            },
        )

    def _send(self, status: int, body: dict) -> None:
        self._send_bytes(status, json.dumps(body).encode())

    def _send_bytes(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def judge_server():
    server = JudgeServer()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
