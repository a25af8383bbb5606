"""Conformance suites: tests that every implementation of a contract must pass.

    from agent_rl.testing.contracts.policy_contract import *

A test module imports a suite in this way and defines the suite's fixtures. pytest then runs the suite's tests as tests
of that module. This project's own implementations pass the same suites.

| suite                         | of                                      | fixtures                     |
| ----------------------------- | --------------------------------------- | ---------------------------- |
| `policy_contract`             | `Policy`                                | `subject`                    |
| `learner_contract`            | `Learner`                               | `subject`                    |
| `verifier_contract`           | `Verifier`                              | `verifier`                   |
| `sandbox_contract`            | `SandboxProvider`                       | `provider`, `fresh_provider` |
| `sandbox_isolation_contract`  | runs of a provider that isolates        | `provider`                   |
| `pair_isolation_contract`     | pairs of runs of one that isolates      | `provider`                   |
| `episode_isolation_contract`  | sandboxes of one that isolates          | `provider`                   |

The tests are async functions: set `asyncio_mode = "auto"` for pytest-asyncio, or mark the module with
`pytestmark = pytest.mark.asyncio`. This subpackage needs pytest and pytest-asyncio; nothing else in `agent_rl` does.
"""

from importlib.util import find_spec

_missing = [package for package in ("pytest", "pytest_asyncio") if find_spec(package) is None]
if _missing:
    _names = " and ".join(name.replace("_", "-") for name in _missing)
    raise ImportError(f"the conformance suites need {_names}: pip install pytest pytest-asyncio")

import pytest  # noqa: E402

SUITES = (
    "episode_isolation_contract",
    "learner_contract",
    "pair_isolation_contract",
    "policy_contract",
    "sandbox_contract",
    "sandbox_isolation_contract",
    "verifier_contract",
)
"""The modules of this package, each of which is one suite."""

# pytest explains failed assertions in the suites as it does in test modules.
pytest.register_assert_rewrite(*(f"{__name__}.{suite}" for suite in SUITES))
