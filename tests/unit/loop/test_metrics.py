"""A step's line of metrics.jsonl: what its verdicts say."""

from __future__ import annotations

import dataclasses

from agent_rl.algorithms.advantages import MaxRL
from agent_rl.contracts import StepReport
from agent_rl.loop.dropped_rollouts import DroppedRollouts
from agent_rl.loop.sampler import SampledTask
from agent_rl.loop.step_metrics import StepTimings, step_row
from agent_rl.vocabulary import Group, Verdict
from agent_rl.vocabulary.verdict import VerdictStatus
from tests.unit.loop.fakes import group, source

TIMINGS = StepTimings(
    total=1.0,
    waiting=0.0,
    learner=0.5,
    publishing=0.0,
    event_loop_lag=0.0,
    sampled_tokens=1,
    policy_busy=0.0,
    policy_busy_while_learning=0.0,
    busy_core_seconds=1.0,
    verdicts=4,
)


def judged(environment: str, *statuses: VerdictStatus | None) -> Group:
    """A group whose trajectories were judged so; None: not at all."""
    made = source(name=environment)
    plain = group(SampledTask(0, made, made.tasks[0]), version=0, size=len(statuses))
    verdicts = [None if s is None else Verdict(s == "passed", s, "values", "namespaces") for s in statuses]
    trajectories = (
        dataclasses.replace(t, verdict=verdict) for t, verdict in zip(plain.trajectories, verdicts, strict=True)
    )
    return dataclasses.replace(plain, trajectories=tuple(trajectories))


def test_tampered_verdicts_are_a_share_of_all_and_of_each_environments() -> None:
    groups = [
        judged("code", "passed", "tampered", "failed", None),
        judged("code", "tampered"),
        judged("math", "failed", "passed"),
        judged("none", None),
    ]
    report = StepReport(1, 1, 0.5, 1.0, 1e-3, 8, 0.01)
    row = step_row(groups, report, DroppedRollouts(), MaxRL(), TIMINGS, 0)
    # 2 of the 6 verdicts; of code's 2 of 4.
    assert row["tampered_share"] == 2 / 6
    assert (row["env/code/tampered_share"], row["env/math/tampered_share"]) == (0.5, 0.0)
    assert row["env/none/tampered_share"] == 0.0
    assert row["statuses"]["tampered"] == 2
