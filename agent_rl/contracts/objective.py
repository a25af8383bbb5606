"""`Objective`: how verdicts become advantages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal


class Objective(ABC):
    """Turns the outcomes of one group into advantages, and says what it needs and what it estimates."""

    name: str
    requires: Literal["binary", "scalar"]
    smallest_group: int = 2
    """With fewer survivors than this a group is dropped. Two where there is a baseline."""

    @abstractmethod
    def advantages(self, outcomes_N: Sequence[float]) -> list[float]:
        """A_i of each of the N surviving rollouts; the gradient is (1/N) sum_i A_i grad log pi(y_i).

        Raises ValueError for N < `smallest_group` or for an outcome that `requires` refuses.
        """

    @abstractmethod
    def order(self, n: int) -> int:
        """T such that the expected gradient is that of J_T (see `agent_rl.algorithms`), for N = `n` survivors.

        0 where it is the gradient of no J_T.
        """
