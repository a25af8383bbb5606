"""What every `Policy` must do. A module that imports these functions and has a fixture `subject` runs them.

Only ids below `PolicySubject.vocabulary` are used. Some tests must interrupt a running request. If the request has
already ended, they try again: on a busy machine an engine's answers may stay unread until all have arrived.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace

import pytest

from agent_rl.contracts import GenerateRequest, Generation, Policy, SamplingParams, SessionLost, WeightManifest
from agent_rl.errors import PolicyError


@dataclass(frozen=True, slots=True)
class PolicySubject:
    """A policy that has just started at version 0, and a source of weights for it: `publish(version)`."""

    policy: Policy
    publish: Callable[[int], Awaitable[WeightManifest]]
    vocabulary: int = 64
    long: int = 400
    """Tokens of a completion that a test interrupts. They fit into the context together with the prompt."""


ROUNDS = 10
PROMPT = (5, 9, 3, 7, 7, 2, 11, 30, 8, 4)


def ask(key: int = 0, prompt: tuple[int, ...] = PROMPT, *, session: str = "", **sampling: object) -> GenerateRequest:
    """A request for up to 12 tokens, keyed by `key`."""
    params = SamplingParams(**{"max_tokens": 12, **sampling})  # pyright: ignore[reportArgumentType]
    return GenerateRequest(prompt, params, (1, key), session)


def check(generation: Generation, subject: PolicySubject) -> None:
    """Checks what is true of every generation."""
    count = len(generation.token_ids)
    assert len(generation.logprobs) == len(generation.versions) == count
    assert all(0 <= token < subject.vocabulary for token in generation.token_ids)
    assert all(math.isfinite(value) and value <= 1e-6 for value in generation.logprobs)
    assert list(generation.versions) == sorted(generation.versions), "versions never go back"


async def update(subject: PolicySubject, version: int) -> None:
    """`version` serves."""
    await subject.policy.prepare_update(await subject.publish(version))
    await subject.policy.finish_update(version)


async def sampled(subject: PolicySubject) -> int:
    """Tokens sampled so far."""
    return (await subject.policy.status()).sampled_tokens


async def until_sampled(subject: PolicySubject, goal: int) -> None:
    """Returns when `goal` tokens have been sampled since the policy began."""
    async with asyncio.timeout(30):
        while await sampled(subject) < goal:
            await asyncio.sleep(0.001)


def at_once(subject: PolicySubject, keys: Iterable[int]) -> list[asyncio.Task[Generation]]:
    """The tasks of long requests, one per key."""
    requests = [ask(key, max_tokens=subject.long) for key in keys]
    return [asyncio.create_task(subject.policy.generate(request)) for request in requests]


async def test_the_length_limit_ends_a_generation(subject: PolicySubject) -> None:
    generation = await subject.policy.generate(ask())
    check(generation, subject)
    assert generation.finish_reason == "length"
    assert len(generation.token_ids) == 12
    assert set(generation.versions) == {0}
    assert generation.top_logprobs == ()


async def test_a_stop_token_ends_a_generation_and_is_its_last(subject: PolicySubject) -> None:
    free = await subject.policy.generate(ask(key=3))
    stop = free.token_ids[5]
    first = free.token_ids.index(stop)
    stopped = await subject.policy.generate(ask(key=3, stop_token_ids=(stop,)))
    check(stopped, subject)
    assert stopped.finish_reason == "stop"
    assert stopped.token_ids == free.token_ids[: first + 1], "a stop token changes no draw before it"
    everything = tuple(range(subject.vocabulary))
    at_once = await subject.policy.generate(ask(key=3, stop_token_ids=everything, max_tokens=1))
    assert (at_once.finish_reason, len(at_once.token_ids)) == ("stop", 1), "where both hold it is a stop"


async def test_draws_depend_on_the_key_alone(subject: PolicySubject) -> None:
    requests = [ask(key) for key in range(6)]
    together = await asyncio.gather(*(subject.policy.generate(request) for request in requests))
    alone = [await subject.policy.generate(request) for request in reversed(requests)][::-1]
    batch = await subject.policy.generate_batch(requests)
    assert [g.token_ids for g in together] == [g.token_ids for g in alone] == [g.token_ids for g in batch]
    for a, b, c in zip(together, alone, batch, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)
        assert a.logprobs == pytest.approx(c.logprobs, abs=1e-4)
    assert len({g.token_ids for g in together}) > 1, "another key draws another completion"


async def test_logprobs_are_those_of_score(subject: PolicySubject) -> None:
    generation = await subject.policy.generate(ask(key=8))
    scores = await subject.policy.score((*PROMPT, *generation.token_ids))
    assert len(scores) == len(PROMPT) + len(generation.token_ids) - 1
    assert generation.logprobs == pytest.approx(scores[len(PROMPT) - 1 :], abs=1e-4)


async def test_temperature_zero_is_greedy_with_logprobs_of_temperature_one(subject: PolicySubject) -> None:
    greedy = await subject.policy.generate(ask(key=1, temperature=0.0))
    again = await subject.policy.generate(ask(key=2, temperature=0.0))
    assert greedy.token_ids == again.token_ids
    scores = await subject.policy.score((*PROMPT, *greedy.token_ids))
    assert greedy.logprobs == pytest.approx(scores[len(PROMPT) - 1 :], abs=1e-4)
    wide = replace(ask(key=1, temperature=0.0), top_logprobs=3)
    best = await subject.policy.generate(wide)
    assert best.token_ids == tuple(ranked[0][0] for ranked in best.top_logprobs)


async def test_temperature_sharpens_the_distribution_that_logprobs_are_of(subject: PolicySubject) -> None:
    everything = subject.vocabulary
    cold = await subject.policy.generate(replace(ask(key=4, temperature=0.5, max_tokens=1), top_logprobs=everything))
    warm = await subject.policy.generate(replace(ask(key=4, max_tokens=1), top_logprobs=everything))
    # p_0.5(t) is proportional to p_1(t)^2
    squares = {token: 2 * value for token, value in warm.top_logprobs[0]}
    total = math.log(sum(math.exp(value) for value in squares.values()))
    for token, value in cold.top_logprobs[0]:
        assert value == pytest.approx(squares[token] - total, abs=1e-3)
    assert cold.logprobs[0] == pytest.approx(dict(cold.top_logprobs[0])[cold.token_ids[0]], abs=1e-5)


async def test_top_logprobs_are_the_likeliest_in_order(subject: PolicySubject) -> None:
    generation = await subject.policy.generate(replace(ask(key=5), top_logprobs=4))
    assert len(generation.top_logprobs) == len(generation.token_ids)
    for token, value, ranked in zip(generation.token_ids, generation.logprobs, generation.top_logprobs, strict=True):
        values = [v for _, v in ranked]
        assert len(ranked) == 4
        assert values == sorted(values, reverse=True)
        assert value <= values[0] + 1e-6
        if token in dict(ranked):
            assert dict(ranked)[token] == pytest.approx(value, abs=1e-5)


async def test_a_deadline_gives_back_what_was_sampled(subject: PolicySubject) -> None:
    request = replace(ask(key=6, max_tokens=200), deadline=0.0)
    generation = await subject.policy.generate(request)
    check(generation, subject)
    assert generation.finish_reason == "cancelled"
    assert len(generation.token_ids) < 200
    assert (await subject.policy.generate(ask())).finish_reason == "length", "the policy goes on"


async def test_a_deadline_ends_a_request_that_is_running(subject: PolicySubject) -> None:
    long = ask(key=6, max_tokens=subject.long)
    whole = await subject.policy.generate(long)
    cut = whole
    for _ in range(ROUNDS):
        running = asyncio.create_task(subject.policy.generate(replace(long, deadline=0.06)))
        cut, *rest = await asyncio.gather(running, *at_once(subject, range(7, 15)))
        check(cut, subject)
        assert all(generation.finish_reason == "length" for generation in rest), "nobody else is cut"
        if cut.finish_reason == "cancelled":
            break
    assert cut.finish_reason == "cancelled"
    assert len(cut.token_ids) < subject.long
    assert cut.token_ids == whole.token_ids[: len(cut.token_ids)], "what it has sampled is what it would have"


async def test_cancelling_a_call_frees_what_it_held(subject: PolicySubject) -> None:
    start = 0
    for _ in range(ROUNDS):
        start = await sampled(subject)
        tasks = at_once(subject, range(4))
        await until_sampled(subject, start + 8)
        late = any(task.done() for task in tasks)
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        if not late:
            break
    else:
        pytest.fail("the subject is too fast to be caught in the middle of a request")
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    async with asyncio.timeout(10):
        while (status := await subject.policy.status()).running or status.waiting:
            await asyncio.sleep(0.005)
    async with asyncio.timeout(10):  # the engine itself has stopped, not only the request's bookkeeping
        before = -1
        while (after := await sampled(subject)) != before:
            before = after
            await asyncio.sleep(0.1)
    assert after - start < 4 * subject.long, "what was cancelled was not sampled to its end"
    check(await subject.policy.generate(ask()), subject)


async def test_sessions_change_no_draw_and_may_end_at_any_time(subject: PolicySubject) -> None:
    first = await subject.policy.generate(ask(0, session="a"))
    history = (*PROMPT, *first.token_ids, 6, 1, 4)
    with_session = await subject.policy.generate(ask(1, history, session="a"))
    without = await subject.policy.generate(ask(1, history))
    assert with_session.token_ids == without.token_ids
    assert with_session.logprobs == pytest.approx(without.logprobs, abs=1e-4)
    rewritten = (*PROMPT[:4], 12, 13, *first.token_ids)  # a template that rewrites history
    forked = await subject.policy.generate(ask(2, rewritten, session="a"))
    assert forked.token_ids == (await subject.policy.generate(ask(2, rewritten))).token_ids
    await subject.policy.end_session("a")
    await subject.policy.end_session("a")
    await subject.policy.end_session("never seen")
    again = await subject.policy.generate(ask(1, history, session="a"))
    assert again.token_ids == without.token_ids


def after(follows: int, request: GenerateRequest) -> GenerateRequest:
    """`request`, of which the first `follows` ids are not sent: its session has them."""
    return replace(request, prompt_ids=request.prompt_ids[follows:], follows=follows)


async def test_a_known_session_is_sent_only_what_is_new(subject: PolicySubject) -> None:
    async def same(follows: int, request: GenerateRequest) -> tuple[int, ...]:
        """The ids of the session after `request`, which samples what it samples as a whole and without a session."""
        new, whole = await subject.policy.generate(after(follows, request)), replace(request, session="")
        expected = await subject.policy.generate(whole)
        assert new.token_ids == expected.token_ids
        assert new.logprobs == pytest.approx(expected.logprobs, abs=1e-4)
        return (*request.prompt_ids, *new.token_ids)

    history = await same(0, ask(0, session="a"))
    history = await same(len(history), ask(1, (*history, 6, 1, 4), session="a"))
    history = await same(len(history), ask(2, history, session="a"))  # nothing new: it goes on
    history = await same(len(history) - 3, ask(3, (*history[:-3], 12), session="a"))  # history is rewritten
    rewritten = (*PROMPT[:4], 12, 13)
    history = await same(4, ask(4, rewritten, session="a"))
    history = await same(0, ask(5, session="a"))  # a new attempt begins anew
    await same(len(history), ask(6, (*history, 2), session="a"))
    await subject.policy.end_session("a")


async def test_a_lost_session_is_told_before_anything_is_sampled(subject: PolicySubject) -> None:
    policy = subject.policy
    first = await policy.generate(ask(0, session="a"))
    history = (*PROMPT, *first.token_ids, 6)
    start = await sampled(subject)
    with pytest.raises(SessionLost, match="'b'"):
        await policy.generate(after(3, ask(1, history, session="b")))
    with pytest.raises(SessionLost):
        await policy.generate(after(3, ask(1, history, session="")))
    with pytest.raises(SessionLost, match="'a'"):
        await policy.generate(after(len(history), ask(1, (*history, 1), session="a")))  # one more than it has
    with pytest.raises(SessionLost):
        await policy.generate_batch([after(0, ask(1, session="c")), after(3, ask(1, history, session="b"))])
    assert await sampled(subject) == start
    again = await policy.generate(after(len(history) - 1, ask(1, history, session="a")))
    assert again.token_ids == (await policy.generate(ask(1, history))).token_ids, "a refusal loses nothing"
    await policy.end_session("a")
    with pytest.raises(SessionLost):
        await policy.generate(after(3, ask(2, history, session="a")))
    whole = await policy.generate(ask(2, history, session="a"))
    assert whole.token_ids == (await policy.generate(ask(2, history))).token_ids
    await policy.end_session("a")
    await policy.end_session("c")


async def test_a_session_is_lost_with_a_request_that_has_no_answer(subject: PolicySubject) -> None:
    long = ask(1, session="a", max_tokens=subject.long)
    for _ in range(ROUNDS):
        start = await sampled(subject)
        running = asyncio.create_task(subject.policy.generate(long))
        await until_sampled(subject, start + 2)
        if not running.done():
            break
    else:
        pytest.fail("the subject is too fast to be caught in the middle of a request")
    with pytest.raises(SessionLost):  # what it will have sampled is not known yet
        await subject.policy.generate(after(3, ask(2, session="a")))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    with pytest.raises(SessionLost):
        await subject.policy.generate(after(3, ask(2, session="a")))
    check(await subject.policy.generate(ask(2, session="a")), subject)
    await subject.policy.end_session("a")


async def test_a_shared_prefix_changes_no_draw(subject: PolicySubject) -> None:
    def grouped(key: int, prompt: tuple[int, ...], shared: int) -> GenerateRequest:
        return replace(ask(key, prompt, session=f"s{key}"), prefix_group="g", shared_prefix=shared)

    prompts = [PROMPT, PROMPT, (*PROMPT, 1, 2), (*PROMPT, 3)]
    requests = [grouped(key, prompt, len(PROMPT)) for key, prompt in enumerate(prompts)]
    shared = await asyncio.gather(*(subject.policy.generate(request) for request in requests))
    for key, (prompt, generation) in enumerate(zip(prompts, shared, strict=True)):
        alone = await subject.policy.generate(ask(key, prompt))
        assert generation.token_ids == alone.token_ids
        assert generation.logprobs == pytest.approx(alone.logprobs, abs=1e-4)
        await subject.policy.end_session(f"s{key}")


async def test_an_update_serves_from_the_next_token_on(subject: PolicySubject) -> None:
    for version in range(1, ROUNDS + 1):
        start = await sampled(subject)
        running = at_once(subject, range(4))
        await until_sampled(subject, start + 8)
        await subject.policy.prepare_update(await subject.publish(version))
        assert (await subject.policy.status()).version == version - 1, "the old weights serve until the update is done"
        await subject.policy.finish_update(version)
        assert (await subject.policy.status()).version == version
        later = await subject.policy.generate(ask(9))
        assert set(later.versions) == {version}
        generations = await asyncio.gather(*running)
        for generation in generations:
            check(generation, subject)
            assert len(generation.token_ids) == subject.long, "running requests go on"
            assert set(generation.versions) <= {version - 1, version}
        if all(set(generation.versions) == {version - 1, version} for generation in generations):
            return
    pytest.fail("no update fell into the middle of all requests")


async def test_an_update_that_was_not_prepared_is_refused(subject: PolicySubject) -> None:
    with pytest.raises(PolicyError, match="version 3"):
        await subject.policy.finish_update(3)
    await subject.policy.prepare_update(await subject.publish(1))
    with pytest.raises(PolicyError, match="version 2"):
        await subject.policy.finish_update(2)
    await subject.policy.finish_update(1)
    check(await subject.policy.generate(ask()), subject)


async def asleep_in_the_middle(subject: PolicySubject, request: GenerateRequest) -> asyncio.Task[Generation]:
    """The task of `request`, which the policy has started but not finished. The policy is asleep."""
    for _ in range(ROUNDS):
        start = await sampled(subject)
        running = asyncio.create_task(subject.policy.generate(request))
        await until_sampled(subject, start + 2)
        await subject.policy.sleep()
        if not running.done():
            return running
        await subject.policy.wake()
    pytest.fail("the subject is too fast to be caught in the middle of a request")


async def test_requests_wait_while_the_policy_sleeps(subject: PolicySubject) -> None:
    long = ask(1, max_tokens=subject.long)
    before = await subject.policy.generate(long)
    running = await asleep_in_the_middle(subject, long)
    waiting = asyncio.create_task(subject.policy.generate(ask(2)))
    await asyncio.sleep(0.05)
    stopped = (await subject.policy.status()).sampled_tokens
    await asyncio.sleep(0.1)
    assert (await subject.policy.status()).sampled_tokens == stopped
    assert not running.done()
    assert not waiting.done()
    await subject.policy.wake()
    check(await waiting, subject)
    after = await running
    assert after.token_ids == before.token_ids, "what slept goes on where it was"
    assert after.logprobs == pytest.approx(before.logprobs, abs=1e-4)


async def test_status_counts(subject: PolicySubject) -> None:
    before = await subject.policy.status()
    assert (before.version, before.running, before.waiting) == (0, 0, 0)
    await asyncio.gather(*(subject.policy.generate(ask(key)) for key in range(3)))
    after = await subject.policy.status()
    assert after.sampled_tokens - before.sampled_tokens == 36  # 3 requests of 12 tokens
    assert after.busy_seconds > before.busy_seconds
    assert (after.running, after.waiting) == (0, 0)
