"""A server that speaks as vLLM's does, without an engine: for tests of what asks it."""

import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FakeServer:
    """Answers at `url`. A request's tokens are [prompt's first token, seed] + its number among the group's.

    Attributes:
        answers: path -> what it answers; None: 404.
        version: the label that it stamps on tokens.
        delay_s: for each request.
        asked: how many requests it has answered.
        breaks: it closes the connection of a request instead of an answer.
        finish: why its completions end.
    """

    def __init__(self, **answers: Any):
        self.answers: dict[str, Any] = {
            "/version": {"version": "0.32.0"},
            "/weight_info": {"weight_version": "default"},
            "/health": {},
            "/metrics": 'vllm:generation_tokens_total{engine="0"} 5.0\n',
            **answers,
        }
        self.version, self.delay_s, self.asked, self.breaks, self.finish = "w", 0.0, 0, False, "stop"
        self.most_at_once = self.at_once = 0
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_GET(self) -> None:
                self.reply(outer.answers.get(self.path.split("?")[0]))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                with outer.lock:
                    outer.at_once += 1
                    outer.most_at_once = max(outer.most_at_once, outer.at_once)
                time.sleep(outer.delay_s)
                with outer.lock:
                    outer.at_once -= 1
                    outer.asked += 1
                if outer.breaks:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.reply(outer.group(body))

            def reply(self, content: Any) -> None:
                text = content.encode() if isinstance(content, str) else json.dumps(content).encode()
                self.send_response(404 if content is None else 200)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def group(self, body: dict[str, Any]) -> dict[str, Any]:
        settings = body["sampling_params"]
        return {
            "choices": [
                {
                    "index": i,
                    "token_ids": [body["token_ids"][0], settings["seed"] + i],
                    "logprobs": {"content": [{"logprob": -0.5}, {"logprob": -0.25}]},
                    "finish_reason": self.finish,
                    "weight_versions": [{"version": self.version, "start": 0, "end": 2}],
                }
                for i in range(settings["n"])
            ]
        }

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
