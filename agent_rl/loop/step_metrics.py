"""A step as one line of metrics.jsonl, and a trajectory as one line of rollouts/step_*.jsonl."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from agent_rl.contracts import AdvantageEstimator, RolloutReward, StepReport, TrainingSample
from agent_rl.loop.buffer import staleness
from agent_rl.loop.dropped_rollouts import DroppedRollouts
from agent_rl.records.json_lines import segments_json
from agent_rl.vocabulary import Group, Trajectory


@dataclass(frozen=True, slots=True)
class StepTimings:
    """Wall-clock seconds. Rates are per second of the whole step, except the learner's: per second of the learner."""

    total: float
    waiting: float
    learner: float
    publishing: float
    event_loop_lag: float
    sampled_tokens: int
    policy_busy: float
    policy_busy_while_learning: float
    """Seconds in which the policy generated while the learner stepped: the overlap of the two."""
    busy_core_seconds: float
    """Over all cores of this machine and all processes on it."""
    verdicts: int

    def row(self, report: StepReport) -> dict[str, float]:
        """The `timings` of the line."""
        return {
            "total": round(self.total, 4),
            "waiting": round(self.waiting, 4),
            "learner": round(self.learner, 4),
            "publishing": round(self.publishing, 4),
            "event_loop_lag": round(self.event_loop_lag, 4),
            "policy_busy": round(self.policy_busy, 4),
            "policy_busy_while_learning": round(self.policy_busy_while_learning, 4),
            "busy_core_seconds": round(self.busy_core_seconds, 2),
            "sampled_tokens_per_second": round(self.sampled_tokens / self.total, 1),
            "trained_tokens_per_second": round(report.trained_tokens / max(report.seconds, 1e-9), 1),
            "verdicts_per_second": round(self.verdicts / self.total, 1),
        }


def step_row(
    groups: Sequence[Group],
    report: StepReport,
    dropped: DroppedRollouts,
    estimator: AdvantageEstimator,
    timings: StepTimings,
    buffered: int,
) -> dict[str, Any]:
    """One line of metrics.jsonl: `step` counts from 1, `version` is that of the new weights."""
    ages = [staleness(g, report.version - 1) for g in groups]
    trajectories = [t for g in groups for t in g.trajectories]
    survivors = [len(g.trajectories) for g in groups]
    row: dict[str, Any] = {
        "schema_version": 1,
        "step": report.step,
        "version": report.version,
        **_outcomes(groups),
        "groups": len(groups),
        "rollouts": len(trajectories),
        "survivors_min": min(survivors),
        "order_min": estimator.order(min(survivors)),
        "staleness_mean": fmean(ages),
        "staleness_max": max(ages),
        "dropped": dict(dropped.reasons),
        "dropped_share": round(dropped.share, 4),
        "dropped_share_by_task": dropped.tasks.shares(),
        "dropped_share_by_version": dropped.versions.shares(),
        "straggler_wait": round(dropped.straggler_wait, 3),
        "buffered_groups": buffered,
        "statuses": dict(Counter(t.verdict.status if t.verdict else t.ended for t in trajectories)),
        "ended": dict(Counter(t.ended for t in trajectories)),
        "turns_mean": fmean(len(t.turns) for t in trajectories),
        "sampled_tokens_mean": fmean(t.sampled_tokens for t in trajectories),
        "forks": sum(t.forks for t in trajectories),
        "loss": report.loss,
        "gradient_norm": report.gradient_norm,
        "learning_rate": report.learning_rate,
        "trained_tokens": report.trained_tokens,
        "mean_ratio": report.mean_ratio,
        "max_ratio": report.max_ratio,
        "mismatch": report.mismatch,
        "entropy": report.entropy,
        **report.shares,
    }
    for name in sorted({g.environment for g in groups}):
        outcomes = _outcomes([g for g in groups if g.environment == name])
        row.update({f"env/{name}/{key}": value for key, value in outcomes.items()})
    row["timings"] = timings.row(report)
    return row


def _outcomes(groups: Sequence[Group]) -> dict[str, float | int]:
    outcomes = [g.outcomes for g in groups]
    flat = [passed for group in outcomes for passed in group]
    verdicts = [t.verdict for g in groups for t in g.trajectories if t.verdict is not None]
    return {
        "pass_rate": fmean(flat),
        "groups_all_failed": sum(not any(o) for o in outcomes),
        "groups_all_passed": sum(all(o) for o in outcomes),
        # The share of verdicts on programs that were caught interfering with their judging.
        "tampered_share": sum(v.status == "tampered" for v in verdicts) / max(len(verdicts), 1),
    }


def reward_means(rewards_G: Sequence[Sequence[RolloutReward]]) -> dict[str, float]:
    """The mean reward of a batch's rollouts, and of each of its parts."""
    rewards = [reward for own in rewards_G for reward in own]
    means = {"reward": fmean(reward.total for reward in rewards)}
    return means | {f"reward/{name}": fmean(r.parts[name] for r in rewards) for name in rewards[0].parts}


def trajectory_row(group: Group, sample: TrainingSample, reward: RolloutReward) -> dict[str, Any]:
    """One rollout with its verdict; for each token, its sampler log-probability and policy version. For `json_line`."""
    trajectory, own = sample.trajectory, sample.segment_advantages
    verdict = trajectory.verdict
    return {
        "schema_version": 1,
        "group": group.index,
        "rollout": trajectory.rollout,
        "environment": group.environment,
        "task": group.task.id,
        "prompt": [{"role": m.role, "content": m.content} for m in group.task.prompt],
        "advantage": sample.advantage,
        "reward": reward.total,
        "reward_parts": dict(reward.parts),
        **({} if own is None else {"segment_advantages": {str(index): a for index, a in own.items()}}),
        "ended": trajectory.ended,
        "turns": [
            {
                "text": t.text,
                "finish_reason": t.finish_reason,
                "observation": [{"role": m.role, "content": m.content} for m in t.observation],
                "scores": dict(t.scores),
            }
            for t in trajectory.turns
        ],
        "segments": segments_json(trajectory.segments),
        "leaves": trajectory.leaves,
        "forks": trajectory.forks,
        "verdict": None
        if verdict is None
        else {
            "passed": verdict.passed,
            "status": verdict.status,
            "tier": verdict.tier,
            "isolation": verdict.isolation,
            "seconds": round(verdict.seconds, 5),
            "scores": dict(verdict.scores),
            "tests": [{"name": t.name, "passed": t.passed, "detail": t.detail} for t in verdict.tests],
        },
        "timings": _timings(trajectory),
    }


def dropped_rows(group: Group) -> list[dict[str, Any]]:
    """The rollouts of `group` that were dropped, and why."""
    return [
        {
            "schema_version": 1,
            "group": group.index,
            "rollout": dropped.rollout,
            "environment": group.environment,
            "task": group.task.id,
            "dropped": dropped.reason,
            "boundary": dropped.boundary,
            "error": dropped.error,
        }
        for dropped in group.dropped
    ]


def _timings(trajectory: Trajectory) -> Mapping[str, float]:
    t = trajectory.timings
    return {
        "started": round(t.started, 4),
        "total": round(t.total, 4),
        "generation": round(t.generation, 4),
        "sandbox": round(t.sandbox, 4),
        "judging": round(t.judging, 4),
    }
