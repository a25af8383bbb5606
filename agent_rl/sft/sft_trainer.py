"""Supervised fine-tuning (SFT) on demonstrations, on all cores: one process per rank, gradients summed once per step.

The loss of a step is the mean of -log p over all learned tokens of all ranks' batches. In models this small, most
operations are too short to be worth splitting among threads. Every rank therefore has one thread, unless there are
more cores than ranks.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as distributed
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from agent_rl.config import Optimizer, Precision, SftConfig
from agent_rl.contracts import PackedGroup
from agent_rl.errors import LearnerError
from agent_rl.learner.causal_model import load_model, micro_batch_limit, model_logprobs
from agent_rl.learner.micro_batches import micro_batches
from agent_rl.learner.model_folder import copy_tokenizer
from agent_rl.learner.torch_learner import make_accelerator, make_optimizer
from agent_rl.sft.batches_ahead import BatchesAhead
from agent_rl.sft.rank import MOST_RANKS, Rank
from agent_rl.sft.sft_plan import SftPlan

CLIP_NORM = 1.0
BETAS = (0.9, 0.95)
LAST_RATE = 0.05
"""The learning rate at the end, as a share of the full one; it falls along a cosine until then."""


@dataclass(frozen=True, slots=True)
class SftProgress:
    """The progress of the training: `loss` in nats per learned token, `tokens` and `seconds` since its start."""

    step: int
    steps: int
    loss: float
    tokens: int
    seconds: float


OnProgress = Callable[[SftProgress], None]


def train(plan: SftPlan, rank: Rank, out: Path | None, report: OnProgress) -> None:
    """Runs one rank's part of the training. All ranks hold the same weights at every step; the first writes them to
    `out`."""
    settings = plan.settings
    torch.set_num_threads(rank.threads)
    _meet(rank)
    accelerator = make_accelerator("auto", _best_precision())
    model = load_model(plan.model_folder, accelerator.device)
    optimizer = make_optimizer(model, _optimizer_settings(settings))
    schedule = make_cosine_schedule(optimizer, settings.steps)
    parameters = [p for p in model.parameters() if p.requires_grad]
    seed = plan.seed * MOST_RANKS + rank.index  # no two ranks draw the same
    limit = micro_batch_limit(model, 16384)
    started, seen = time.monotonic(), 0
    with BatchesAhead(plan.source, seed, settings.batch_size // rank.world) as ahead:
        for step in range(settings.steps):
            groups = ahead.next()
            loss = 0.0
            for batch in micro_batches(
                groups, max_tokens=limit, tokens="trained", device=model.device, dtype=model.dtype
            ):
                with accelerator.autocast():
                    part = -model_logprobs(model, batch, 1.0).sum()
                accelerator.backward(part)
                loss += part.item()
            learned = sum(sum(row.loss_mask) for group in groups for row in group.rows)
            tokens = _share_gradients(parameters, [loss, learned, _tokens(groups)])
            mean = tokens[0] / tokens[1]
            if not math.isfinite(mean):
                raise LearnerError(f"the loss of SFT step {step} is {mean}: try a lower learning_rate")
            torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            seen += int(tokens[2])
            report(SftProgress(step + 1, settings.steps, mean, seen, time.monotonic() - started))
    if out is not None:
        model.save_pretrained(out)
        copy_tokenizer(plan.model_folder, out)


def _meet(rank: Rank) -> None:
    """Connects the ranks, so that they can sum tensors from now on."""
    if rank.world == 1:
        return
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    distributed.init_process_group(
        "gloo",
        init_method=rank.rendezvous.as_uri(),
        rank=rank.index,
        world_size=rank.world,
        timeout=timedelta(seconds=300),
    )


def _optimizer_settings(settings: SftConfig) -> Optimizer:
    """The optimizer's settings; `make_cosine_schedule` changes the learning rate at every step."""
    chosen = {"learning_rate": settings.learning_rate, "weight_decay": settings.weight_decay, "betas": BETAS}
    return Optimizer.model_validate(chosen)


def _share_gradients(parameters: Sequence[Tensor], sums: list[float]) -> list[float]:
    """`sums` summed over all ranks; gradients are summed too, and divided by the second of these sums."""
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    flat = torch.cat([g.flatten() for g in gradients] + [torch.tensor(sums, device=gradients[0].device)])
    if distributed.is_initialized():
        distributed.all_reduce(flat)
    totals = flat[-len(sums) :].tolist()
    flat.div_(totals[1])
    pieces = flat[: -len(sums)].split([p.numel() for p in parameters])
    for parameter, piece in zip(parameters, pieces, strict=True):
        parameter.grad = piece.view_as(parameter)
    return totals


def _tokens(groups: tuple[PackedGroup, ...]) -> int:
    """The number of tokens of the batch; shared prefixes are counted once."""
    return sum(len(g.prefix_ids) + sum(len(r.token_ids) for r in g.rows) for g in groups)


def make_cosine_schedule(optimizer: torch.optim.Optimizer, steps: int) -> LambdaLR:
    """The learning rate of each of `steps` steps: it rises linearly over the first steps, then falls along a cosine."""
    rise = max(1, min(50, steps // 10))

    def share(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        done = (step - rise) / max(1, steps - rise)
        return LAST_RATE + (1 - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * done))

    return LambdaLR(optimizer, share)


def _best_precision() -> Precision:
    """bfloat16 if the hardware multiplies it natively, else float32."""
    if torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return "bfloat16" if any(getattr(torch.cpu, n, bool)() for n in names) else "float32"
