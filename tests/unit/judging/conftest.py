"""What several test modules of verdicts share."""

from __future__ import annotations

import pytest


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is to blame is found out without waiting."""
    monkeypatch.setattr("agent_rl.judging.blame._PAUSE_SECONDS", 0.001)
    monkeypatch.setattr("agent_rl.judging.blame._GRACE_SECONDS", 0.01)
