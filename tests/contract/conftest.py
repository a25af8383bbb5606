"""Assertions in the suites are explained as those in test modules are."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    "tests.contract.episode_isolation_contract",
    "tests.contract.learner_contract",
    "tests.contract.pair_isolation_contract",
    "tests.contract.policy_contract",
    "tests.contract.sandbox_contract",
    "tests.contract.sandbox_isolation_contract",
)
