"""The share of rollouts dropped, per task and per version, and when it is said."""

from __future__ import annotations

from agent_rl.loop.dropped_rollouts import DroppedRollouts


def test_shares_are_of_all_rollouts_since_the_run_began() -> None:
    losses = DroppedRollouts()
    losses.tasks.count("a", 16, 4)
    losses.tasks.count("a", 16, 0)
    losses.tasks.count("b", 16, 0)
    losses.versions.count(3, 48, 4)
    after = losses.since()
    assert after.tasks.shares() == {"a": 0.125}  # 4 of 32; b lost none
    assert after.versions.shares() == {"3": 0.0833}  # 4 of 48
    assert not after.reasons


def test_each_task_and_version_is_alarming_once() -> None:
    losses = DroppedRollouts(last_error="sandbox: gone")
    losses.tasks.count("a", 16, 8)
    assert losses.alarms(0.5) == []  # half is not more than half
    losses.tasks.count("a", 16, 9)
    losses.versions.count(2, 4, 3)
    assert losses.alarms(0.5) == [
        "task a lost 53% of its rollouts to infrastructure failures; the last: sandbox: gone",  # 17 of 32
        "version 2 lost 75% of its rollouts to infrastructure failures; the last: sandbox: gone",
    ]
    assert losses.alarms(0.5) == []
