"""`evaluate`: makes one row of `eval.json` from rollouts of held-out tasks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from agent_rl.concurrency import side_by_side
from agent_rl.errors import PolicyError
from agent_rl.evaluation.pass_at_k import pass_at_k
from agent_rl.records.bootstrap import bootstrap_mean
from agent_rl.records.eval_row import Estimate, EvalRow
from agent_rl.vocabulary import Group, Task, Trajectory


class GroupRunner(Protocol):
    """Runs `samples` rollouts of `task`, with greedy decoding if asked. Infrastructure failures are dropped."""

    async def __call__(self, task: Task, *, index: int, samples: int, greedy: bool) -> Group: ...


@dataclass(frozen=True, slots=True)
class _Counts:
    """Counts of one task: surviving samples, passed samples, the greedy outcome, and dropped rollouts."""

    survived: int
    passed: int
    greedy: bool | None
    excluded: int
    error: str
    """Why a rollout was dropped; empty if none was."""


async def evaluate(
    *,
    environment: str,
    split: str,
    tasks: Sequence[Task],
    run_group: GroupRunner,
    num_samples: int,
    k: Sequence[int],
    greedy: bool,
    policy_version: int | None,
    concurrency: int = 64,
    on_task: Callable[[int, int], None] | None = None,
) -> EvalRow:
    """The row of `tasks`, with `num_samples` rollouts per task, and one greedy rollout more if `greedy` is true.

    At most `concurrency` groups run at a time, started in the order of the tasks. `on_task(done, of)` is called after
    each. Rollouts with infrastructure failures are excluded from every mean and counted.

    Raises ValueError for no tasks or a k above `num_samples`, and PolicyError if a sample's tokens come from another
    version than `policy_version` or if no rollout survived.
    """
    if not tasks:
        raise ValueError(f"{environment}: no tasks in split {split!r}")
    if not k or min(k) < 1 or max(k) > num_samples:
        raise ValueError(f"pass@k for k in {list(k)} cannot be estimated from {num_samples} samples a task")

    async def one(index: int, task: Task) -> _Counts:
        sampled = await run_group(task, index=index, samples=num_samples, greedy=False)
        _check_versions(sampled, policy_version)
        greedily = await run_group(task, index=index, samples=1, greedy=True) if greedy else None
        if greedily is not None:
            _check_versions(greedily, policy_version)
        return _count(sampled, greedily)

    counts = await _of_each(tasks, one, concurrency, on_task)
    if not any(c.survived for c in counts):
        errors = [c.error for c in counts if c.error]
        raise PolicyError(
            "no rollout of the evaluation survived: every one was dropped for infrastructure reasons"
            + (f"; the last: {errors[-1]}" if errors else "")
        )
    return EvalRow(
        policy_version=policy_version,
        split=split,
        environment=environment,
        num_tasks=len(tasks),
        num_samples=num_samples,
        num_excluded=sum(c.excluded for c in counts),
        greedy=_mean([float(c.greedy) for c in counts if c.greedy is not None]) if greedy else None,
        pass_at_k={
            size: _mean([pass_at_k(c.survived, c.passed, size) for c in counts if c.survived >= size])
            for size in sorted(set(k))
        },
    )


async def _of_each(
    tasks: Sequence[Task],
    one: Callable[[int, Task], Awaitable[_Counts]],
    concurrency: int,
    on_task: Callable[[int, int], None] | None,
) -> list[_Counts]:
    """The result of `one(index, task)` for each task, at most `concurrency` at a time. Raises the first plain error."""
    done = 0

    async def told(index: int, task: Task) -> _Counts:
        nonlocal done
        counts = await one(index, task)
        done += 1
        if on_task is not None:
            on_task(done, len(tasks))
        return counts

    return await side_by_side((told(index, task) for index, task in enumerate(tasks)), concurrency)


def _count(sampled: Group, greedily: Group | None) -> _Counts:
    """The counts of one task's rollouts."""
    survivors = [t for t in sampled.trajectories if not _failed(t)]
    greedy = [t for t in greedily.trajectories if not _failed(t)] if greedily is not None else []
    asked = sampled.asked + (greedily.asked if greedily is not None else 0)
    return _Counts(
        survived=len(survivors),
        passed=sum(_passed(t) for t in survivors),
        greedy=_passed(greedy[0]) if greedy else None,
        excluded=asked - len(survivors) - len(greedy),
        error=sampled.dropped[-1].error if sampled.dropped else "",
    )


def _passed(trajectory: Trajectory) -> bool:
    return trajectory.verdict is not None and trajectory.verdict.passed


def _failed(trajectory: Trajectory) -> bool:
    return trajectory.ended == "infrastructure" or trajectory.verdict is None


def _check_versions(group: Group, expected: int | None) -> None:
    """Raises PolicyError unless every sampled token of `group` is of version `expected`."""
    versions = {v for t in group.trajectories for s in t.segments for v in s.versions}
    if versions - {expected}:
        listed = ", ".join(str(v) for v in sorted(versions))
        raise PolicyError(
            f"the evaluation of policy version {expected} got tokens of version {listed} (task {group.task.id}), but "
            "an evaluation measures one version only"
        )


def _mean(values: Sequence[float]) -> Estimate:
    if not values:
        raise PolicyError("nothing can be estimated: too few rollouts of the evaluation survived")
    return bootstrap_mean(values)
