"""The report: one page that says what was built, what its numbers mean, and how far to trust the words."""

from nlae.report.build import build_report

__all__ = ["build_report"]
