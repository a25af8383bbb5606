"""The policy gradient: REINFORCE's loss (Williams 1992)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_rl.contracts import LossTokens, PolicyLoss

if TYPE_CHECKING:
    from torch import Tensor


class PolicyGradient(PolicyLoss):
    """- A_t w_t log pi_t, w the correction's weight, without gradient. With TIS that is truncated importance sampling:

        loss = - sum_t A_t sg(min(pi_t / mu_t, cap)) log pi_t

    Truncating bounds the variance, but biases the gradient towards tokens to which the sampler gave a higher
    probability. It matters most for MaxRL, whose advantages reach N - 1.
    """

    name = "policy_gradient"

    def terms(self, tokens: LossTokens) -> Tensor:
        """The loss of each token [n]."""
        return -(tokens.advantages * tokens.logprobs)
