"""Reports of runs: one HTML file that needs nothing else, to keep or to send."""

from dino_rl.report.write import write_report

__all__ = ["write_report"]
