"""Who follows the stages of a run besides the live view: trackers, notifications, the pruner of a sweep."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # the processes of trackers, which need only the names of outcomes, start quickly
    from pipeline.planning.plan import Plan, Step


class Observer(Protocol):
    """Is told of the stages that are made. Nothing of it may block or raise: the run does not wait for it."""

    def begin(self, step: "Step", plan: "Plan") -> None:
        """A stage begins or goes on; its directory is prepared."""
        ...

    def poll(self) -> None:
        """Called several times a second while a stage runs."""
        ...

    def end(self, step: "Step", outcome: str) -> None:
        """A stage has ended: DONE, FAILED or INTERRUPTED."""
        ...


DONE, FAILED, INTERRUPTED = "done", "failed", "interrupted"


class Observers:
    """Several observers as one."""

    def __init__(self, *observers: Observer):
        self.observers = observers

    def begin(self, step: "Step", plan: "Plan") -> None:
        """A stage begins or goes on."""
        for observer in self.observers:
            observer.begin(step, plan)

    def poll(self) -> None:
        """Called several times a second while a stage runs."""
        for observer in self.observers:
            observer.poll()

    def end(self, step: "Step", outcome: str) -> None:
        """A stage has ended."""
        for observer in self.observers:
            observer.end(step, outcome)


NOBODY = Observers()
