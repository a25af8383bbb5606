"""`Objective`: how verdicts become advantages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal


class Objective(ABC):
    """An advantage estimator: turns the outcomes of one group into advantages. `order` says what it estimates."""

    name: str
    requires: Literal["binary", "scalar"]
    smallest_group: int = 2
    """A group with fewer surviving rollouts is dropped. An estimator with a baseline needs two."""

    @abstractmethod
    def advantages(self, outcomes_N: Sequence[float]) -> list[float]:
        """A_i of each of the N surviving rollouts; the gradient is (1/N) sum_i A_i grad log pi(y_i).

        Raises ValueError for N < `smallest_group`, or for an outcome that is not of the kind named by `requires`.
        """

    @abstractmethod
    def order(self, n: int) -> int:
        """The T whose J_T has the expected gradient (see `agent_rl.algorithms`), for N = `n` surviving rollouts.

        0 if the expected gradient is not the gradient of any J_T.
        """
