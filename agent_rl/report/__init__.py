"""`write_report`: a run as one self-contained page."""

from agent_rl.report.page import write_report

__all__ = ["write_report"]
