"""`train_model`: trains a model on conversations, with all ranks."""

from __future__ import annotations

from pathlib import Path

import torch

from agent_rl.errors import LearnerError
from agent_rl.sft.rank_processes import Ranks
from agent_rl.sft.sft_plan import SftPlan
from agent_rl.sft.sft_trainer import OnProgress, train


def train_model(plan: SftPlan, out: Path, report: OnProgress, ranks: Ranks) -> None:
    """`out` holds the model of `plan` after `plan.settings.steps` steps, with its tokenizer.

    Raises LearnerError when another rank died or the loss is no longer finite.
    """
    if torch.cuda.is_available():
        train(plan, ranks.alone(), out, report)
        return
    ranks.go(plan)
    try:
        train(plan, ranks.first, out, report)
    except RuntimeError as error:
        code = ranks.failure()
        if code is None:
            raise
        raise LearnerError(f"a process of SFT ended with code {code}") from error
