"""`write_report`: writes a run's report as one self-contained page."""

from agent_rl.report.page import write_report

__all__ = ["write_report"]
