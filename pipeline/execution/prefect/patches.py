"""What the driver uses of Prefect that Prefect does not document, in one place.

Prefect collects log lines and events in queues and sends them from threads of its own. It has public settings for how
often one request is tried (`PREFECT_CLIENT_MAX_RETRIES`, which `server.py` sets) and a public way to wait for the log
lines (`APILogHandler.flush`). It has no public way to wait for the events, nor to give up what is queued.

`tests/unit/test_prefect_patches.py` fails with the name of the patch whose private part has moved.
"""

from prefect._internal.concurrency import services
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker


def send_queued_messages(timeout_s: float) -> None:
    """Sends the queued log lines and events, and returns when they are sent or `timeout_s` seconds are over.

    Reason: Prefect sends what is still queued when the interpreter exits. By then the embedded server has ended, so
    every request would be tried again and again, and the last lines would be lost. `APILogHandler.flush` does this for
    the log lines only, and waits 5 s at most.
    Private part: `drain_all` of `APILogWorker` and `EventsWorker`, which they inherit from `prefect._internal`.
    Versions: Prefect 3.7.7, the one that pyproject.toml asks for.
    Remove when: Prefect documents a call that sends queued events and log lines and waits for it.
    """
    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=timeout_s, at_exit=False)


def drop_queued_messages() -> None:
    """Gives up the queued log lines and events, whose server has ended.

    Reason: At exit Prefect waits until every queue is sent. With the server gone, each request is tried
    `PREFECT_CLIENT_MAX_RETRIES` times with growing pauses and each event reconnects ten times: the driver would hang
    for minutes after its work is done. No retries at all are no way out: the same setting is for the busy server that
    answers "try again".
    Private part: `services._active_services`, and of each service `_loop` and `_done_event`, which says "done".
    Versions: Prefect 3.7.7, the one that pyproject.toml asks for.
    Remove when: Prefect has a call that drops what is queued, or a setting that bounds the wait at exit.
    """
    for service in list(services._active_services):
        if service._loop is not None:
            service._loop.call_soon_threadsafe(service._done_event.set)
