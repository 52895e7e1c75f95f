"""One module for each tracker. It is imported, with its library, only in the process of that tracker."""

import importlib

from pipeline.execution.tracking.sink import Sink


def make_sink(name: str) -> Sink:
    """The sink of a tracker. Raises ImportError where its library is not installed."""
    module = importlib.import_module(f"pipeline.execution.tracking.sinks.{name}_sink")
    return module.make()
