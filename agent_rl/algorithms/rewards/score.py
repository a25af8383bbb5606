"""A graded score of the verdict, such as the share of hidden tests that passed."""

from __future__ import annotations

from pydantic import Field

from agent_rl.algorithms.rewards.outcome import OutcomeReward
from agent_rl.contracts import PartOptions, RewardPart
from agent_rl.vocabulary import Group, Trajectory


class ScoreOptions(PartOptions):
    """Which score, and what counts where a verdict has none of that name (it crashed, or was never judged)."""

    key: str = "tests_passed"
    missing: float = 0.0
    threshold: float | None = None
    """With it, 1 for a score of at least the threshold, else 0: then binary estimators take it."""


class Score(RewardPart):
    """`Verdict.scores[key]`."""

    name = "score"
    options_class = ScoreOptions
    options: ScoreOptions

    @property
    def is_binary(self) -> bool:
        """With a threshold it is."""
        return self.options.threshold is not None

    async def values(self, group: Group, step: int, steps: int) -> list[float]:
        """The score of each trajectory."""
        found = [score_of(t, self.options.key, self.options.missing) for t in group.trajectories]
        least = self.options.threshold
        return found if least is None else [float(score >= least) for score in found]


class DenseThenBinaryOptions(PartOptions):
    """The score of the first phase, and the share of the run's steps after which only the outcome counts."""

    key: str = "tests_passed"
    missing: float = 0.0
    dense_share: float = Field(default=0.5, ge=0, le=1)


class DenseThenBinary(RewardPart):
    """A graded score first, then the outcome (RL grokking, arXiv 2509.21016): a task whose pass rate is 0 for ever can
    begin to be learned. The authors switch where the score saturates; here the step decides, so that a resumed run is
    the same run. Binary estimators cannot take it, since its first phase is graded.
    """

    name = "dense_then_binary"
    options_class = DenseThenBinaryOptions
    options: DenseThenBinaryOptions

    async def values(self, group: Group, step: int, steps: int) -> list[float]:
        """The score, or the outcome, of each trajectory."""
        if step > self.options.dense_share * steps:
            return await OutcomeReward().values(group, step, steps)
        return [score_of(t, self.options.key, self.options.missing) for t in group.trajectories]


def score_of(trajectory: Trajectory, key: str, missing: float) -> float:
    """The score `key` of the trajectory's verdict, or `missing`."""
    return missing if trajectory.verdict is None else float(trajectory.verdict.scores.get(key, missing))
