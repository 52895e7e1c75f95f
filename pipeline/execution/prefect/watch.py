"""Cancel in Prefect's page, heard by a run: a thread looks at the flow run's state, and asks for a stop.

Prefect itself ends a flow run only where one of its workers has started it, and then by signals. A run that somebody
has typed is started by nobody, so its Cancel would be ignored.
"""

import threading
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.states import State

from pipeline.execution.stop import StopRequest

POLL_S = 3.0
UNREACHABLE = (httpx.HTTPError, OSError, PrefectException)


class CancelWatch:
    """Inside the `with` block, Cancel in the page asks for a checkpoint and an end.

    A server that does not answer is asked again and ends nothing.

    Args:
        flow_run: The id of the flow run.
        stop: What is asked for the end.
        is_deployed: Whether a worker has started the run: it sends a SIGTERM besides, which says the same.
    """

    def __init__(self, flow_run: UUID, stop: StopRequest, is_deployed: bool):
        self.flow_run, self.stop, self.is_deployed = flow_run, stop, is_deployed
        self.is_cancelled = False  # whether somebody has pressed Cancel
        self._is_over = threading.Event()

    def __enter__(self) -> "CancelWatch":
        threading.Thread(target=self._watch, name="cancel-watch", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()

    def look(self) -> None:
        """Asks the server now, where nothing is known of a Cancel yet."""
        if not self.is_cancelled:
            self.is_cancelled = is_cancel(state_of_flow_run(self.flow_run))

    def _watch(self) -> None:
        while not self._is_over.wait(POLL_S):
            try:
                self.look()
            except ObjectNotFound:  # somebody has deleted the flow run: nobody can cancel it any more
                return
            except UNREACHABLE:
                continue
            if self.is_cancelled and not self._is_over.is_set():
                self.stop.ask("cancelled in Prefect's page", is_repeated=self.is_deployed)
                return


def state_of_flow_run(flow_run: UUID) -> State | None:
    """The state that the server holds of a flow run. Raises one of `UNREACHABLE` where the server cannot be asked."""
    with get_client(sync_client=True) as client:
        return client.read_flow_run(flow_run).state


def is_cancel(state: State | None) -> bool:
    """Whether somebody has cancelled a flow run that is in this state."""
    return state is not None and (state.is_cancelling() or state.is_cancelled())
