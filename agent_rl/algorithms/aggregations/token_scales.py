"""The three aggregations: see `agent_rl.algorithms.aggregations` for their formulas."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from agent_rl.contracts import Aggregation, PartOptions


class ConstantOptions(PartOptions):
    """A constant by which sums over a rollout's tokens are divided, such as the longest answer allowed (Dr.GRPO)."""

    length: float = Field(default=1.0, gt=0)


class Constant(Aggregation):
    """1 / (N G length): constants only, so that what is trained is what was proven."""

    name = "constant"
    options_class = ConstantOptions
    options: ConstantOptions

    def scales(self, tokens_G_N: Sequence[Sequence[int]]) -> list[list[float]]:
        """The factor of each rollout's tokens."""
        length, groups = self.options.length, len(tokens_G_N)
        return [[1.0 / (len(tokens_N) * groups * length)] * len(tokens_N) for tokens_N in tokens_G_N]


class TokenMean(Aggregation):
    """1 / (all trained tokens of the batch); biased, since the token count correlates with K."""

    name = "token_mean"

    def scales(self, tokens_G_N: Sequence[Sequence[int]]) -> list[list[float]]:
        """The factor of each rollout's tokens."""
        scale = 1.0 / max(1, sum(map(sum, tokens_G_N)))
        return [[scale] * len(tokens_N) for tokens_N in tokens_G_N]


class SequenceMean(Aggregation):
    """1 / (N G tokens of the rollout); biased: a long failure counts less per token than a short one."""

    name = "sequence_mean"

    def scales(self, tokens_G_N: Sequence[Sequence[int]]) -> list[list[float]]:
        """The factor of each rollout's tokens."""
        groups = len(tokens_G_N)
        return [[1.0 / (len(tokens_N) * groups * max(1, t)) for t in tokens_N] for tokens_N in tokens_G_N]
