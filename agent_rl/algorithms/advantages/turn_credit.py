"""Credit for each turn by potential-based process rewards (Ng, Harada and Russell 1999)."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from agent_rl.algorithms.advantages.rewards import mean, scalars
from agent_rl.contracts import AdvantageEstimator, PartOptions, TrainingSample
from agent_rl.vocabulary import Group, Trajectory


class TurnCreditOptions(PartOptions):
    """Which score of a turn is the potential, and what it weighs against the rollout's own reward."""

    key: str = "tests_passed"
    weight: float = Field(default=1.0, ge=0)
    gamma: float = Field(default=1.0, ge=0, le=1)


class TurnCredit(AdvantageEstimator):
    """RLOO for the rollout, plus for each turn what the process rewards from there on exceed those of the others:

        F_t = gamma Phi_t - Phi_(t-1), Phi_t the score after turn t, Phi_0 = 0 before the first
        R_t = F_t + gamma F_(t+1) + ...
        A_t = N/(N-1) (r - rbar) + weight (R_t - mean R_t of the other rollouts that have a turn t)

    A score that is missing is that of the turn before. A turn that no other rollout has gets the rollout's advantage
    alone. Potential-based rewards change no optimal policy: over a rollout they add up to its last potential.
    """

    name = "turn_credit"
    options_class = TurnCreditOptions
    options: TurnCreditOptions

    def advantages(self, rewards_N: Sequence[float]) -> list[float]:
        """RLOO's. Raises ValueError for N < 2 or a reward that is not finite."""
        rewards = scalars(rewards_N, self)
        n, centre = len(rewards), mean(rewards)
        return [n / (n - 1) * (r - centre) for r in rewards]

    def assign(self, group: Group, rewards_N: Sequence[float]) -> list[TrainingSample]:
        """The samples, with an advantage for the segment of each turn."""
        returns_N = [self._returns(trajectory) for trajectory in group.trajectories]
        samples: list[TrainingSample] = []
        for index, (trajectory, own) in enumerate(zip(group.trajectories, self.advantages(rewards_N), strict=True)):
            credit: dict[int, float] = {}
            for t, turn in enumerate(trajectory.turns):
                others = [r[t] for other, r in enumerate(returns_N) if other != index and t < len(r)]
                exceeds = returns_N[index][t] - mean(others) if others else 0.0
                credit[turn.segment] = own + self.options.weight * exceeds
            samples.append(TrainingSample(trajectory, own, credit))
        return samples

    def _returns(self, trajectory: Trajectory) -> list[float]:
        """R_t of each turn."""
        gamma, before, rewards = self.options.gamma, 0.0, list[float]()
        for turn in trajectory.turns:
            potential = float(turn.scores.get(self.options.key, before))
            rewards.append(gamma * potential - before)
            before = potential
        following, returns = 0.0, list[float]()
        for reward in reversed(rewards):
            following = reward + gamma * following
            returns.append(following)
        return returns[::-1]
