"""A chat model behind an OpenAI-compatible endpoint.

Pauses and retries on 408, 409, 429, 5xx, time-outs and lost connections are the client library's, with its exponential
back-off and the server's Retry-After; a body that is no JSON is asked for again here.

The calls of all threads share one event loop, one client and one limit: several groups of completions are graded at
once.
"""

import asyncio
import json
import os
import threading
import time
from typing import Any

from stages.config import JudgeConfig
from stages.judges.calls import Call, JudgeUnavailable, OnFailure, OnReply, Reply
from stages.runtime.errors import InputError

CHECK_S = 10.0  # how long the endpoint may take to list its models
PAUSE_S = 0.5  # before an unreadable body is asked for again; doubles each time, as the library's pauses do
ABOUT_THE_CALL = (400, 413, 422)  # statuses that blame the call: too long, or against the provider's rules


class Endpoint:
    """See `stages.judges.calls.ChatModel`."""

    def __init__(self, config: JudgeConfig):
        self.config = config
        self.key = os.environ.get(config.api_key_env, "") if config.api_key_env else "none"
        if not self.key:
            raise InputError(
                f"judge.api_key_env: the environment variable {config.api_key_env} is not set; "
                "export it where the stage runs "
                "(launcher.environment can pass it on), or set judge.api_key_env=null for an endpoint without keys"
            )
        self.lock = threading.Lock()
        self.loop: asyncio.AbstractEventLoop | None = None  # with its client and its limit, made by the first call

    def check(self) -> None:
        """Raises InputError unless the endpoint answers and lists the model."""
        import openai

        client = openai.OpenAI(base_url=self.config.url, api_key=self.key, timeout=CHECK_S, max_retries=1)
        try:
            with client:
                known = [model.id for model in client.models.list().data]
        except (openai.OpenAIError, ValueError, AttributeError, TypeError) as error:
            raise InputError(
                f"judge.url={self.config.url} was asked for its models and did not list them within {CHECK_S:g} s "
                f"({_said(error)}): start the server, or set judge.url"
            ) from error
        if self.config.model not in known:
            raise InputError(
                f"judge.model={self.config.model} is not served by {self.config.url}; "
                f"it has {', '.join(known) or 'none'}"
            )

    def complete(self, calls: list[Call], on_reply: OnReply, on_failure: OnFailure | None = None) -> None:
        """See `ChatModel.complete`; the functions are called in the thread of the event loop."""
        asyncio.run_coroutine_threadsafe(self._complete(calls, on_reply, on_failure), self._running_loop()).result()

    def close(self) -> None:
        """There is nothing to give back."""

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of all calls, which runs in a thread of its own."""
        import openai

        with self.lock:
            if self.loop is None:
                self.client = openai.AsyncOpenAI(
                    base_url=self.config.url,
                    api_key=self.key,
                    timeout=self.config.timeout_s,
                    max_retries=self.config.retries,
                )
                self.limit = asyncio.Semaphore(self.config.concurrency)
                self.loop = asyncio.new_event_loop()
                threading.Thread(target=self.loop.run_forever, name="judge", daemon=True).start()
            return self.loop

    async def _complete(self, calls: list[Call], on_reply: OnReply, on_failure: OnFailure | None) -> None:
        """Asks all calls at once, up to the limit.

        The first failure stops the others: an endpoint that is down is not asked ten thousand times.
        """

        async def one(i: int) -> None:
            async with self.limit:
                try:
                    reply = await self._ask(calls[i])
                except JudgeUnavailable as error:
                    if on_failure is None:
                        raise
                    await self._check_after(error)
                    on_failure(i, error)
                else:
                    on_reply(i, reply)

        try:
            async with asyncio.TaskGroup() as group:
                for i in range(len(calls)):
                    group.create_task(one(i))
        except* JudgeUnavailable as several:
            raise several.exceptions[0] from None

    async def _check_after(self, failure: JudgeUnavailable) -> None:
        """Raises JudgeUnavailable if the endpoint cannot be asked at all, and not only one call failed."""
        try:
            await asyncio.to_thread(self.check)
        except InputError as error:
            raise JudgeUnavailable(f"{failure}; then {error}") from None

    async def _ask(self, call: Call) -> Reply:
        """The reply to a call, after as many retries as it takes and may take."""
        import openai

        config = self.config
        started = time.monotonic()
        last = "nothing"
        try:
            async with asyncio.timeout(config.deadline_s):
                for attempt in range(config.retries + 1):
                    try:
                        response = await self.client.chat.completions.with_raw_response.create(**self._request(call))
                        return _reply(json.loads(response.text), response.retries_taken + attempt)
                    except openai.APIStatusError as error:
                        if error.status_code in ABOUT_THE_CALL:
                            return Reply(None, problem=_said(error))
                        raise
                    except _Unreadable as error:
                        last = str(error)
                    except ValueError as error:
                        last = f"a body that is no JSON ({error})"
                    await asyncio.sleep(min(PAUSE_S * 2**attempt, 8.0))
        except openai.OpenAIError as error:
            last = _said(error)
        except TimeoutError:
            last = f"{last}, then nothing until the deadline"
        raise JudgeUnavailable(
            f"judge {config.model} at {config.url}: no usable reply in {time.monotonic() - started:.0f} s and up to "
            f"{config.retries} "
            f"retries (judge.timeout_s={config.timeout_s:g}, judge.deadline_s={config.deadline_s:g}); last: {last}"
        )

    def _request(self, call: Call) -> dict[str, Any]:
        """The arguments of the client's function for a chat completion."""
        config = self.config
        request: dict[str, Any] = {
            "model": config.model,
            "temperature": config.temperature,
            "max_tokens": config.max_tokens,
            "messages": [{"role": "system", "content": call.system}, {"role": "user", "content": call.user}],
        }
        if config.temperature > 0:
            request["seed"] = call.seed % 2**31
        if call.schema and config.structured:
            request["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": call.job, "schema": call.schema, "strict": True},
            }
        return request


class _Unreadable(ValueError):
    """A body of another form than a chat completion's."""


def _reply(body: dict[str, Any], retries: int) -> Reply:
    """A chat completion as a reply; raises _Unreadable for any other body."""
    try:
        choice, usage = body["choices"][0], body.get("usage") or {}
        return Reply(
            choice["message"].get("content") or "",
            int(usage.get("prompt_tokens") or 0),
            int(usage.get("completion_tokens") or 0),
            retries,
            is_cut=choice.get("finish_reason") == "length",
        )
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise _Unreadable(f"a body that is no chat completion: {json.dumps(body)[:200]}") from error


def _said(error: Exception) -> str:
    """An error of a library in a few words."""
    return f"{type(error).__name__}: {str(error)[:300]}" if str(error) else type(error).__name__
