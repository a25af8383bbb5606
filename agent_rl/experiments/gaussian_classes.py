"""Classification with sampled classes as latent answers: the likelihood is known exactly, so MaxRL can be compared.

The MaxRL paper's experiment (arXiv 2602.02710) on images, with Gaussians in their place. An input x comes from one of C
classes. A reinforcement learner samples N classes from its own softmax; a sample passes if it is the true class. So
p = softmax(x)_true, and maximum likelihood of passing is cross-entropy. Needs torch.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from agent_rl.experiments.likelihood_config import LikelihoodConfig
from agent_rl.experiments.outcome_tables import advantages_by_count

_PROBLEM_SEED = 2602
"""Of the classes' means and of the held-out inputs."""


class LikelihoodOutcome(NamedTuple):
    """Of the held-out inputs: the mean -log p of the true class, the accuracy, and (step, -log p) along the way."""

    negative_log_likelihood: float
    accuracy: float
    curve: list[tuple[int, float]]


def train_classifier(config: LikelihoodConfig) -> LikelihoodOutcome:
    """The outcome of one run; equal for equal settings on one machine. A likelihood that overflowed is infinite."""
    problem = torch.Generator().manual_seed(_PROBLEM_SEED)
    means_C_D = config.spread * torch.randn(config.classes, config.dimensions, generator=problem)
    held_out = _draw(means_C_D, config.held_out, problem)
    draws, samples = torch.Generator().manual_seed(config.seed), np.random.default_rng(config.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = nn.Sequential(
            nn.Linear(config.dimensions, config.width), nn.ReLU(), nn.Linear(config.width, config.classes)
        )
    optimizer = torch.optim.SGD(network.parameters(), lr=config.learning_rate)
    tables = None
    if config.method != "cross_entropy":
        success, failure = advantages_by_count(config.method, config.samples)
        tables = torch.from_numpy(success), torch.from_numpy(failure)
    curve: list[tuple[int, float]] = []
    for step in range(config.steps):
        if step % config.every == 0:
            curve.append((step, _measured(network, *held_out)[0]))
        inputs_B_D, labels_B = _draw(means_C_D, config.batch_size, draws)
        logprobs_B_C = torch.log_softmax(network(inputs_B_D), dim=-1)
        if tables is None:
            loss = -logprobs_B_C.gather(1, labels_B[:, None]).mean()
        else:
            counts_B_C = _sampled_counts(logprobs_B_C, config.samples, samples)
            weights_B_C = sample_weights(counts_B_C, labels_B, *tables)
            loss = -(weights_B_C.to(logprobs_B_C) * logprobs_B_C).sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    likelihood, accuracy = _measured(network, *held_out)
    return LikelihoodOutcome(likelihood, accuracy, [*curve, (config.steps, likelihood)])


def sample_weights(counts_B_C: Tensor, labels_B: Tensor, success: Tensor, failure: Tensor) -> Tensor:
    """w[B, C] with (1/N) sum_i A_i grad log p(y_i) = sum_c w_c grad log p(c), for the N = `success.numel()` - 1 samples
    of each input, counted by class in `counts_B_C`.
    """
    passed_B = counts_B_C.gather(1, labels_B[:, None]).squeeze(1).long()
    weights_B_C = failure[passed_B][:, None] * counts_B_C
    weights_B_C.scatter_(1, labels_B[:, None], (success[passed_B] * passed_B)[:, None])
    return weights_B_C / (success.numel() - 1)


def _sampled_counts(logprobs_B_C: Tensor, samples: int, generator: np.random.Generator) -> Tensor:
    """How often each class was drawn in `samples` draws for each input: float64 [B, C]."""
    p_B_C = logprobs_B_C.detach().double().exp()
    p_B_C /= p_B_C.sum(1, keepdim=True)
    return torch.from_numpy(generator.multinomial(samples, p_B_C.numpy()).astype(np.float64))


def _draw(means_C_D: Tensor, number: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(inputs [number, D], labels [number]) of classes that are equally likely."""
    labels = torch.randint(0, len(means_C_D), (number,), generator=generator)
    return means_C_D[labels] + torch.randn(number, means_C_D.shape[1], generator=generator), labels


@torch.no_grad()
def _measured(network: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[float, float]:
    """(mean -log p of the labels, share of inputs whose most probable class is the label)."""
    logprobs = torch.log_softmax(network(inputs), dim=-1)
    likelihood = float(-logprobs.gather(1, labels[:, None]).mean())
    return (
        likelihood if math.isfinite(likelihood) else math.inf,
        float((logprobs.argmax(1) == labels).float().mean()),
    )
