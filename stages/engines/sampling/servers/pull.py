"""Requests that servers take when they have room: none is dealt out before, so a slow server holds nobody up.

One thread with an event loop speaks to all servers. A request that a server loses goes back to the front of the queue.
An answer counts once, and only where every token of it was drawn with the weights that were asked for.
"""

import asyncio
import collections
import math
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from stages.engines.sampling import Completion, OnGroup
from stages.engines.sampling.servers.client import CONNECT_S, Client, said, tokens_drawn

LOOK_S = 2.0  # between two looks at a server that draws
KEPT_S = 2.0  # a connection waits for its next request; a server ends one that waits for 5 s
GENERATE = "/inference/v1/generate"
TRIES = 5  # of a request that is answered with an error; failures in a row that make a server a lost one
NO_NUMBER = -9999.0  # what vLLM's server writes for a log-probability that is NaN or minus infinity

Label = tuple[str, int]  # (what a server calls its weights, the step that they are of)


class Refused(RuntimeError):
    """Servers answer a request with errors; the message quotes one."""


@dataclass
class Batch:
    """Requests that are drawn together: prompt i, and what has come of it."""

    prompts: list[list[int]]
    seeds: list[int]
    settings: dict[str, Any]  # of all requests, as vLLM's SamplingParams have them
    on_group: OnGroup | None
    waiting: collections.deque[int] = field(default_factory=collections.deque)
    groups: list[list[Completion] | None] = field(default_factory=list)
    redone: int = 0  # requests that were asked for once more
    error: BaseException | None = None  # of `on_group`, or of a request that no server takes

    def __post_init__(self) -> None:
        self.waiting.extend(range(len(self.prompts)))
        self.groups = [None] * len(self.prompts)

    @property
    def missing(self) -> list[int]:
        """Numbers of the prompts without completions."""
        return [i for i, group in enumerate(self.groups) if group is None]


@dataclass
class Source:
    """A server, as one who draws."""

    client: Client
    label: str  # of the weights that it has
    step: int  # whose weights they are
    room: int  # most requests at once
    has_ended: Callable[[], bool]  # whether its process is known to be gone
    lost: str | None = None  # why it is taken for lost
    failures: int = 0  # requests in a row that it has broken off, or drawn with other weights


class Puller:
    """Draws batches from servers, on a thread of its own.

    Args:
        lost_after_s: Time without an answer after which a server is lost.
        limit_s: Longest that a server which has requests may draw no token, by its own figures.
    """

    def __init__(self, lost_after_s: float, limit_s: float):
        self.lost_after_s, self.limit_s = lost_after_s, limit_s
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, name="requests", daemon=True).start()

    def begin(self, batch: Batch, sources: list[Source]) -> "Pulling":
        """Starts to draw the batch; does not wait."""
        return Pulling(self.loop, self._draw(batch, sources))

    async def _draw(self, batch: Batch, sources: list[Source]) -> None:
        """Returns when everything is drawn, or no server is left."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=KEPT_S)
        timeout = httpx.Timeout(None, connect=CONNECT_S)
        async with httpx.AsyncClient(limits=limits, timeout=timeout, trust_env=False) as http:
            drawing = [asyncio.create_task(self._serve(http, batch, source)) for source in sources]
            try:
                await asyncio.gather(*drawing)
            finally:
                for task in drawing:
                    task.cancel()
                await asyncio.gather(*drawing, return_exceptions=True)
        if batch.error is not None:
            raise batch.error

    async def _serve(self, http: httpx.AsyncClient, batch: Batch, source: Source) -> None:
        """One server takes requests as it has room, until nothing is left to take or it is lost."""
        running: dict[asyncio.Task, int] = {}
        watch = asyncio.create_task(self._watch(http, source, running))
        try:
            while batch.error is None and source.lost is None and batch.missing:
                while batch.waiting and len(running) < source.room:
                    i = batch.waiting.popleft()
                    running[asyncio.create_task(self._request(http, batch, source, i))] = i
                # wakes up too when another server has given a request back
                done, _ = await asyncio.wait([watch, *running], timeout=0.1, return_when=asyncio.FIRST_COMPLETED)
                for task in done - {watch}:
                    self._take(batch, source, running.pop(task), task)
                if watch.done() and source.lost is None:
                    source.lost = f"cannot be looked at ({watch.exception()})"
        finally:
            watch.cancel()
            for task, i in running.items():
                task.cancel()
                if batch.groups[i] is None:
                    batch.waiting.appendleft(i)
                    batch.redone += 1

    def _take(self, batch: Batch, source: Source, i: int, task: asyncio.Task) -> None:
        """What a request came to: completions, or another try."""
        try:
            group = task.result()
            why = "draws with other weights than those it was given: another trainer may use it"
        except httpx.HTTPError as error:
            group, why = None, f"broke off requests ({error!r})"
            if isinstance(error, httpx.ConnectError):
                source.lost = source.lost or f"does not answer ({error})"
        except Refused as error:
            batch.error, group, why = error, None, ""
        if group is None:
            batch.waiting.appendleft(i)
            batch.redone += 1
            source.failures += 1
            if source.failures >= TRIES:
                source.lost = source.lost or why
            return
        source.failures = 0
        batch.groups[i] = group
        if batch.on_group is not None:
            try:
                batch.on_group(i, group)
            except BaseException as error:  # raised in the thread that waits for the batch
                batch.error = error

    async def _request(self, http: httpx.AsyncClient, batch: Batch, source: Source, i: int) -> list[Completion] | None:
        """The completions of prompt i; None where they have to be drawn again."""
        body = {"token_ids": batch.prompts[i], "sampling_params": {**batch.settings, "seed": batch.seeds[i]}}
        for attempt in range(TRIES):
            reply = await http.post(f"{source.client.url}{GENERATE}", json=body)
            if reply.status_code == 200:
                return completions(reply.json()["choices"], (source.label, source.step))
            if 400 <= reply.status_code < 500:
                raise Refused(f"{source.client.url} refuses a request ({reply.status_code}): {said(reply)}")
            await asyncio.sleep(0.2 * 2**attempt)
        source.lost = source.lost or f"answers {reply.status_code} to requests: {said(reply)}"
        return None

    async def _watch(self, http: httpx.AsyncClient, source: Source, running: dict[asyncio.Task, int]) -> None:
        """Ends when the server is lost, and says why in `source.lost`."""
        answered = moved = time.monotonic()
        drawn: float | None = None
        while source.lost is None:
            await asyncio.sleep(min(LOOK_S, self.lost_after_s / 3))
            if source.has_ended():
                source.lost = "has ended"
                return
            now = time.monotonic()
            try:
                health = await http.get(f"{source.client.url}/health", timeout=self.lost_after_s)
                if health.status_code == 200:
                    answered = now
                figures = await http.get(f"{source.client.url}/metrics", timeout=self.lost_after_s)
            except httpx.HTTPError:
                if now - answered > self.lost_after_s:
                    source.lost = f"has not answered for {self.lost_after_s:g} s"
                continue
            if health.status_code == 503:
                source.lost = "says that its engine has ended"
                return
            counted = tokens_drawn(figures.text)
            if counted is None or counted != drawn or not running:
                drawn, moved = counted, now
            elif now - moved > self.limit_s:
                source.lost = f"has drawn no token for {self.limit_s:g} s"


class Pulling:
    """A batch that is being drawn."""

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None]):
        self.future = asyncio.run_coroutine_threadsafe(work, loop)

    def wait(self) -> None:
        """Returns when everything is drawn or no server is left; raises what `on_group` raised, or `Refused`."""
        self.future.result()

    def cancel(self) -> None:
        """Gives the batch up; servers end what they draw of it."""
        self.future.cancel()


def completions(choices: list[dict[str, Any]], label: Label) -> list[Completion] | None:
    """What a server has drawn, in order; None where it was broken off, or has tokens of other weights than wanted."""
    version, step = label
    drawn = []
    for choice in sorted(choices, key=lambda choice: choice["index"]):
        spans = choice.get("weight_versions") or []
        if choice["finish_reason"] == "abort" or any(span["version"] != version for span in spans):
            return None
        token_ids = choice["token_ids"]
        if sum(span["end"] - span["start"] for span in spans) != len(token_ids):
            return None
        content = (choice.get("logprobs") or {}).get("content") or []
        logprobs = [entry["logprob"] if entry["logprob"] > NO_NUMBER else math.nan for entry in content]
        is_cut = choice["finish_reason"] == "length"
        drawn.append(
            Completion(
                np.asarray(token_ids, np.int32),
                np.asarray(logprobs, np.float32),
                is_cut,
                np.full(len(token_ids), step, np.int32),
            )
        )
    return drawn
