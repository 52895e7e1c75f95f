"""The report of a run: one HTML file that needs no network, written from what the stages have left on disk so far."""

from pipeline.report.page import write_report

__all__ = ["write_report"]
