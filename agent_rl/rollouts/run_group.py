"""`run_rollout` runs one episode and returns its trajectory; `run_group` runs a task's episodes and returns a group.

    run_group ──> Environment.rollout <──> PolicyAgent <──> Policy.generate
                       ├──> Submission ──> Verifier.judge ───┬──> Verdict
                       └──> Verdict ─────> Verifier.accept ──┘

An episode ends in one of these ways:
- The environment returns a submission, which is judged here, or a verdict if the environment judges itself. Either goes
  through the verifier, which counts it and holds it to the minimum tier. The trajectory gets the verdict; `ended` says
  whether the model's last turn was complete.
- Context, turns or deadline are used up (`RolloutEnded`). `Environment.submission` makes a submission from the replies
  so far. If there is no reply, or if `InvalidSubmission` is raised, the verdict is `invalid_submission`.
- The files of its sandbox cannot be taken. If they can be taken from one that no agent has touched, the agent is to
  blame: `invalid_submission`. Otherwise it is an infrastructure failure.
- Infrastructure failure: the rollout is run again with the same random draws, at most `retries` times. Then it is
  dropped from its group, with the boundary that the failure crossed. It never gets a verdict.
- The user's mistake (`ConfigError`) and cancellation are raised, after everything has been closed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from agent_rl.contracts import Environment, InvalidSubmission, RolloutEnded, Sandbox, Sandboxes
from agent_rl.errors import (
    Boundary,
    ConfigError,
    EnvironmentFailure,
    FilesNotTaken,
    InfrastructureError,
    SandboxError,
)
from agent_rl.rollouts.policy_agent import (
    AgentMaker,
    PolicyAgents,
    RecordingAgent,
    RolloutName,
    RolloutSettings,
    empty_agent,
    oracle_agent,
)
from agent_rl.rollouts.time_spent import MissingSandbox, Stopwatch, TimedSandbox, TimedVerifier, measuring
from agent_rl.vocabulary import DroppedRollout, Group, Submission, Task, Timings, Trajectory, Verdict
from agent_rl.vocabulary.trajectory import Ended, FinishReason

__all__ = [
    "AgentMaker",
    "PolicyAgents",
    "RolloutName",
    "RolloutSettings",
    "TimedVerifier",
    "empty_agent",
    "oracle_agent",
    "run_group",
    "run_rollout",
]

_E = TypeVar("_E", bound=BaseException)
_log = logging.getLogger(__name__)

_ENDED_BY: dict[FinishReason, Ended] = {"stop": "answered", "length": "length", "cancelled": "deadline"}

HUNG_AFTER = 3600.0
"""Seconds after which an episode counts as hung, judging included. It is far longer than all deadlines within it."""


@dataclass(frozen=True, slots=True)
class _EpisodeFailure:
    """An infrastructure failure of an episode."""

    boundary: Boundary
    error: str


async def run_group(
    environment: Environment,
    name: str,
    task: Task,
    agents: AgentMaker,
    provider: Sandboxes | None,
    *,
    index: int,
    group_size: int,
    retries: int = 0,
    retry_delay: float = 0.5,
) -> Group:
    """The group of `group_size` concurrent rollouts of `task`. Rollouts with infrastructure failures are in `dropped`.

    Raises ConfigError for the user's mistake. However it ends, nothing is left running.
    """
    try:
        async with asyncio.TaskGroup() as running:
            rollouts = [
                running.create_task(
                    run_rollout(
                        environment,
                        name,
                        task,
                        agents,
                        provider,
                        group=index,
                        rollout=rollout,
                        retries=retries,
                        retry_delay=retry_delay,
                    ),
                    name=f"{name}/{index}/{rollout}",
                )
                for rollout in range(group_size)
            ]
    except BaseExceptionGroup as errors:
        raise next(_leaves(errors)) from None
    trajectories = [rollout.result() for rollout in rollouts]
    return Group(
        index=index,
        environment=name,
        task=task,
        asked=group_size,
        trajectories=tuple(t for t in trajectories if t.ended != "infrastructure"),
        dropped=tuple(
            DroppedRollout(t.rollout, "infrastructure", t.boundary, t.error)
            for t in trajectories
            if t.ended == "infrastructure"
        ),
    )


async def run_rollout(
    environment: Environment,
    name: str,
    task: Task,
    agents: AgentMaker,
    provider: Sandboxes | None,
    *,
    group: int = 0,
    rollout: int = 0,
    retries: int = 0,
    retry_delay: float = 0.5,
    hung_after: float = HUNG_AFTER,
) -> Trajectory:
    """The trajectory of one episode: that of the last attempt, if earlier attempts had infrastructure failures.

    The delay before a retry starts at `retry_delay` seconds and doubles with each attempt. The policy's session ends
    once, after the last attempt.
    Raises ConfigError for the user's mistake.
    """
    of = RolloutName(name, task.id, group, rollout)
    attempt = 0
    agent = agents(task, of)
    try:
        while True:
            trajectory = await _attempt(environment, task, agent, of, provider, hung_after)
            if trajectory.ended != "infrastructure" or attempt >= retries:
                return trajectory
            why = f"{trajectory.boundary}: {_in_one_line(trajectory.error)}"
            _log.warning("%s: attempt %d at task %s failed: %s", of.session, attempt, task.id, why)
            await asyncio.sleep(retry_delay * 2**attempt)
            attempt += 1
            agent = agents(task, of)
    finally:
        await _completed(_closed(agent.close(), of))


async def _attempt(
    environment: Environment,
    task: Task,
    agent: RecordingAgent,
    of: RolloutName,
    provider: Sandboxes | None,
    hung_after: float,
) -> Trajectory:
    started = time.monotonic()
    with measuring() as watch:
        sandbox = _sandbox(task, provider, watch)
        try:
            outcome = await _episode(environment, task, agent, sandbox, provider, watch, hung_after)
        finally:
            if task.sandbox is not None:
                await _completed(_closed(sandbox.close(), of))
    record = agent.record()
    verdict, ended = outcome if isinstance(outcome, tuple) else (None, "infrastructure")
    failure = outcome if isinstance(outcome, _EpisodeFailure) else None
    timings = Timings(
        started=started,
        total=time.monotonic() - started,
        generation=record.generation_seconds,
        sandbox=watch.sandbox,
        judging=watch.judging,
    )
    return Trajectory(
        task_id=task.id,
        environment=of.environment,
        group=of.group,
        rollout=of.rollout,
        segments=record.segments,
        leaves=record.leaves,
        turns=record.turns,
        verdict=verdict,
        ended=ended,
        error=failure.error if failure else "",
        boundary=failure.boundary if failure else None,
        forks=record.forks,
        timings=timings,
    )


async def _episode(
    environment: Environment,
    task: Task,
    agent: RecordingAgent,
    sandbox: Sandbox,
    provider: Sandboxes | None,
    watch: Stopwatch,
    hung_after: float,
) -> tuple[Verdict, Ended] | _EpisodeFailure:
    """The verdict and how the episode ended, or its infrastructure failure."""
    hanging = asyncio.timeout(hung_after)
    try:
        async with hanging:
            try:
                submitted, ended = await _submitted(environment, task, agent, sandbox)
            except FilesNotTaken as error:
                await _blame_the_agent(task, provider, error)
                submitted, ended = Verdict.invalid_submission(task.tier, str(error)), _ended(agent)
            return await _judged(environment, task, submitted, watch), ended
    except asyncio.CancelledError:
        running = asyncio.current_task()
        if running is not None and running.cancelling():
            raise
        return _EpisodeFailure("environment", "its code was cancelled from within")
    except TimeoutError as error:
        if hanging.expired():
            return _EpisodeFailure("environment", f"the episode has not ended within {hung_after:g} seconds")
        return _EpisodeFailure("environment", f"TimeoutError: {error}")
    except Exception as error:
        if (mistake := _first(error, ConfigError)) is not None:
            raise mistake from error
        failure = _first(error, InfrastructureError)
        if failure is not None:
            return _EpisodeFailure(failure.boundary, str(failure) or type(failure).__name__)
        _log.warning("the environment's code failed on %s", task.id, exc_info=error)
        return _EpisodeFailure("environment", f"{type(error).__name__}: {error}")


async def _blame_the_agent(task: Task, provider: Sandboxes | None, error: FilesNotTaken) -> None:
    """The agent is to blame that its sandbox did not give its files: an untouched one gives those of the task.

    Raises SandboxError if it does not either.
    """
    if task.sandbox is None or provider is None:
        raise error
    untouched = provider.sandbox(task.sandbox)
    try:
        await untouched.write_files(task.files)
        await error.again(untouched)
    except (SandboxError, OSError) as other:
        raise SandboxError(f"{error}; nor from one that no agent has touched: {other}") from other
    finally:
        await untouched.close()


async def _submitted(
    environment: Environment, task: Task, agent: RecordingAgent, sandbox: Sandbox
) -> tuple[Submission | Verdict, Ended]:
    """The submission or verdict of an episode, complete or cut short, and how the episode ended."""
    early: RolloutEnded | None = None
    try:
        try:
            submitted = await environment.rollout(task, agent, sandbox)
        except (RolloutEnded, BaseExceptionGroup) as error:
            early = _first(error, RolloutEnded)
            if early is None:
                raise
            if agent.replies:
                submitted = await environment.submission(task, list(agent.replies), sandbox)
            else:  # no reply: there is nothing to take a submission from
                submitted = Verdict.invalid_submission(task.tier)
    except InvalidSubmission as error:
        submitted = Verdict.invalid_submission(task.tier, str(error))
    return submitted, _ended(agent) if early is None else early.ended


async def _judged(environment: Environment, task: Task, submitted: Submission | Verdict, watch: Stopwatch) -> Verdict:
    """The verdict of `submitted`. Raises EnvironmentFailure if it is neither a submission nor a verdict."""
    if isinstance(submitted, Verdict):
        watch.judging += submitted.seconds
        return await environment.verifier.accept(task, submitted)
    if not isinstance(submitted, Submission):  # pyright: ignore[reportUnnecessaryIsInstance]  (a user's own class)
        kind = type(submitted).__name__
        raise EnvironmentFailure(f"the environment returned {kind}, which is neither a Submission nor a Verdict")
    with watch.judging_time():
        return await environment.verifier.judge(task, submitted)


def _ended(agent: RecordingAgent) -> Ended:
    """How an episode that was not cut short ended; the model's last turn decides."""
    reason = agent.turns[-1].finish_reason if agent.turns else "stop"
    return _ENDED_BY[reason]


def _sandbox(task: Task, provider: Sandboxes | None, watch: Stopwatch) -> Sandbox:
    if task.sandbox is None:
        return MissingSandbox(task)
    if provider is None:
        raise ConfigError(f"the task {task.id} needs a sandbox, and there is no provider of any", key="sandbox")
    return TimedSandbox(provider.sandbox(task.sandbox), watch)


def _in_one_line(error: str) -> str:
    """The first line, and the last, where the output of what failed ends."""
    lines = error.splitlines() or [""]
    return lines[0] if len(lines) == 1 else f"{lines[0]} ... {lines[-1]}"


def _first(error: BaseException, kind: type[_E]) -> _E | None:
    """The first exception of `kind`: `error` itself, or one inside it if it is a group; else None."""
    return next((e for e in _leaves(error) if isinstance(e, kind)), None)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _leaves(inner)
    else:
        yield error


async def _closed(closing: Coroutine[Any, Any, None], of: RolloutName) -> None:
    """`closing` has been awaited. If it fails, the failure is logged and changes no verdict."""
    try:
        await closing
    except Exception as error:
        _log.warning("closing after %s failed: %s: %s", of.session, type(error).__name__, error)


async def _completed(work: Coroutine[Any, Any, None]) -> None:
    """`work` has run to its end, even if this task was cancelled meanwhile. The cancellation is raised after it."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if task.cancelled():
                break
            cancelled = error
        except Exception:
            break
    if cancelled is not None:
        raise cancelled
    task.result()
