"""The state of torch that the learner's tests begin with."""

from tests.component.learner.conftest import _fresh_torch

__all__ = ["_fresh_torch"]
