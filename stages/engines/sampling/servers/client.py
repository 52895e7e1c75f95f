"""The routes of a vLLM server that a trainer needs, with errors that name the server."""

import re
from typing import Any

import httpx

CONNECT_S = 10.0  # to reach a server on a network
COUNTER = re.compile(r"^vllm:generation_tokens_total(?:\{[^}]*\})? ([0-9.e+]+)$", re.M)
SAID = 300  # characters of what a server says that a message quotes


class ServerLost(RuntimeError):
    """A server does not answer, or its engine has ended."""


class ServerRefuses(RuntimeError):
    """A server answers with an error; the message has what it says."""


class Client:
    """A server at an address. Every call may come from any thread.

    Args:
        url: http://HOST:PORT.
        limit_s: Longest that a call may take which does work: a transfer, a pause.
        answer_s: Longest that a question may take.
    """

    def __init__(self, url: str, limit_s: float, answer_s: float):
        self.url, self.limit_s, self.answer_s = url.rstrip("/"), limit_s, answer_s
        # A server ends a connection that waits for 5 s, at times with the next request on its way; so each call
        # has one of its own.
        self.http = httpx.Client(base_url=self.url, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))

    def is_healthy(self) -> bool:
        """Whether the server answers, and its engine runs."""
        try:
            return self.http.get("/health", timeout=self.answer_s).status_code == 200
        except httpx.HTTPError:
            return False

    def world_size(self) -> int:
        """Processes that hold the model."""
        return int(self._call("GET", "/get_world_size", self.answer_s)["world_size"])

    def weight_version(self) -> str:
        """The label of the weights that it has."""
        return str(self._call("GET", "/weight_info", self.answer_s)["weight_version"])

    def pause(self) -> None:
        """Ends what is being drawn, keeps new requests waiting, and forgets cached prefixes."""
        self._call("POST", "/pause?mode=abort&clear_cache=true", self.limit_s)

    def resume(self) -> None:
        """Draws again."""
        self._call("POST", "/resume", self.limit_s)

    def connect(self, init_info: dict[str, Any], limit_s: float) -> None:
        """Joins the trainer's end of a transfer, once that is made."""
        self._call("POST", "/init_weight_transfer_engine", limit_s, {"init_info": init_info})

    def disconnect(self) -> None:
        """Leaves the trainer's end."""
        self._call("POST", "/shutdown_weight_transfer_engine", self.limit_s)

    def start_update(self) -> None:
        """Begins to take weights."""
        self._call("POST", "/start_weight_update", self.limit_s)

    def update(self, update_info: dict[str, Any]) -> None:
        """Takes a chunk of them; returns when they have arrived."""
        self._call("POST", "/update_weights", self.limit_s, {"update_info": update_info})

    def finish_update(self, version: str | None = None) -> None:
        """Puts what has come in place, under this label."""
        self._call("POST", "/finish_weight_update", self.limit_s, {"weight_version": version})

    def begin_anew(self) -> None:
        """Ends an update that an earlier trainer, or an earlier try, left unfinished.

        vLLM counts what has come of each layer, and would take the rest of an unfinished layer for the whole of it.
        """
        try:
            self.start_update()
        except ServerRefuses as error:
            if "already" not in str(error):
                raise
        self.finish_update()

    def _call(self, method: str, path: str, limit_s: float, body: Any = None) -> Any:
        timeout = httpx.Timeout(limit_s, connect=min(CONNECT_S, limit_s))
        try:
            reply = self.http.request(method, path, json=body, timeout=timeout)
        except httpx.TimeoutException as error:
            raise ServerLost(f"{self.url} does not answer {path} within {limit_s:g} s") from error
        except httpx.HTTPError as error:
            raise ServerLost(f"{self.url} does not answer {path} ({error!r})") from error
        if reply.status_code != 200:
            raise ServerRefuses(f"{self.url} answers {reply.status_code} to {path}: {said(reply)}")
        return reply.json() if reply.content else {}


def tokens_drawn(figures: str) -> float | None:
    """Tokens that a server has drawn since it started, by its /metrics; None where it keeps no figures.

    >>> tokens_drawn('vllm:generation_tokens_total{engine="0",model_name="m"} 12.0')
    12.0
    """
    found = COUNTER.findall(figures)
    return sum(map(float, found)) if found else None


def said(reply: httpx.Response) -> str:
    """The message in an answer that is an error, in one line."""
    try:
        message = str(reply.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = reply.text
    return " ".join(message.split())[:SAID]
