"""A penalty for long rollouts."""

from __future__ import annotations

from pydantic import Field, PositiveInt, model_validator

from agent_rl.contracts import PartOptions, RewardPart
from agent_rl.vocabulary import Group


class LengthPenaltyOptions(PartOptions):
    """Sampled tokens of the whole rollout: up to `free` cost nothing, `longest` and more cost all."""

    free: int = Field(ge=0)
    longest: PositiveInt

    @model_validator(mode="after")
    def _in_order(self) -> LengthPenaltyOptions:
        if self.longest <= self.free:
            raise ValueError(f"longest = {self.longest} must exceed free = {self.free}")
        return self


class LengthPenalty(RewardPart):
    """0 up to `free` sampled tokens, then falling linearly to -1 at `longest` (the soft overlong punishment of DAPO,
    arXiv 2503.14476). It must never reach MaxRL's denominator: binary estimators refuse it.
    """

    name = "length_penalty"
    options_class = LengthPenaltyOptions
    options: LengthPenaltyOptions

    async def values(self, group: Group, step: int, steps: int) -> list[float]:
        """The penalty of each trajectory, between -1 and 0."""
        free, longest = self.options.free, self.options.longest
        return [-min(1.0, max(0.0, (t.sampled_tokens - free) / (longest - free))) for t in group.trajectories]
