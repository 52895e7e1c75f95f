"""The report of a run: one HTML file that needs no network, written from what the stages left on disk, complete or not."""

from pipeline.report.page import write_report

__all__ = ["write_report"]
