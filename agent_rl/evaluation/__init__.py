"""pass@k on held-out suites, with intervals that can be trusted, from exactly one policy version."""

from agent_rl.evaluation.evaluate import GroupRunner, evaluate
from agent_rl.evaluation.pass_at_k import bootstrap_mean, pass_at_k
from agent_rl.records.eval_file import append_row, cut_back, read_rows
from agent_rl.records.eval_row import Estimate, EvalRow

__all__ = [
    "Estimate",
    "EvalRow",
    "GroupRunner",
    "append_row",
    "bootstrap_mean",
    "cut_back",
    "evaluate",
    "pass_at_k",
    "read_rows",
]
