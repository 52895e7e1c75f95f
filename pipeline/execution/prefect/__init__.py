"""Prefect: the flow that shows a run, and the embedded server."""
