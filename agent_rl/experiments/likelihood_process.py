"""Runs of the exact-likelihood experiment: `python -m agent_rl.experiments.likelihood_process`, in a child process.

It reads settings from standard input, a JSON object a line, and answers each with a line. Needs torch.
"""

from __future__ import annotations

import json
import sys
import time

import torch

from agent_rl.experiments.gaussian_classes import train_classifier
from agent_rl.experiments.likelihood_config import LikelihoodConfig


def answer(line: str) -> str:
    """The outcome of the settings in `line` as JSON."""
    started = time.monotonic()
    outcome = train_classifier(LikelihoodConfig.model_validate_json(line))
    return json.dumps({**outcome._asdict(), "seconds": time.monotonic() - started})


if __name__ == "__main__":
    torch.set_num_threads(1)  # matrices are so small that threads would only wait for each other
    for asked in sys.stdin:
        print(answer(asked), flush=True)
