"""Continuous batching: every step reads new tokens of waiting requests and decodes one token per running request.

A step is one forward pass over the new tokens of all sequences. The engine is not thread-safe; it is driven by
`transformers_policy`, one step after another.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from agent_rl.contracts.policy import Generation, PolicyStatus
from agent_rl.errors import PolicyError
from agent_rl.inference.batching import Admitted, ForwardPass, by_size, padded
from agent_rl.inference.cached_conversations import CachedConversation, CachedConversations, Prefix
from agent_rl.inference.forward import Forward
from agent_rl.inference.kv_cache import Arena, Arenas
from agent_rl.inference.request_rows import Job, Rows
from agent_rl.inference.sampling import sample, top, uniforms
from agent_rl.vocabulary.trajectory import FinishReason

_HEADROOM = 8
"""The least number of tokens that a row can grow by after it enters an arena, before it moves to a larger one."""


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """max_batch: requests that run at once. max_prefill: new tokens read in one step, beside the decoded ones.

    kv_bytes: bytes for the keys and values of running requests (counted up to their last possible token), of shared
    prefixes, and of idle sessions. Idle sessions are evicted when the others need room. Arenas round up, and may
    allocate up to three times as much. None: 2 GiB, or on a GPU a quarter of its free memory.
    min_shared_prefix: shorter prefixes are not shared. renew_after: a conversation's keys and values are computed anew
    for its next turn if their version is older than the current version minus this number (None: never).
    """

    max_batch: int = 512
    max_prefill: int = 4096
    kv_bytes: int | None = None
    min_shared_prefix: int = 8
    renew_after: int | None = None


class BatchingEngine:
    """Requests in, generations out. `version` names the weights that sample now.

    Call every method under `torch.inference_mode`.
    """

    def __init__(self, forward: Forward, limits: EngineLimits, version: int) -> None:
        self.version = version
        self._forward = forward
        self._limits = limits
        self._rows = Rows(limits.max_batch, forward.vocabulary, forward.context)
        self._arenas = Arenas(forward.kv_shape)
        self._prefix_arenas = Arenas(forward.kv_shape)
        self._sessions = CachedConversations(
            self._prefix_arenas,
            budget=max(1, _kv_bytes(limits, forward.kv_shape.device) // forward.kv_shape.token_bytes),
            min_shared_prefix=limits.min_shared_prefix,
            renew_after=limits.renew_after,
        )
        self._waiting: deque[Job] = deque()
        self._reserved: dict[Job, int] = {}
        """The most tokens that each running request may hold, its shared prefix not counted."""
        self._finished: list[tuple[Job, Generation]] = []
        self._next_deadline = math.inf
        self._asleep = False
        self._busy_seconds = 0.0
        self._steps = self._sampled_tokens = self._read_tokens = 0

    @property
    def idle(self) -> bool:
        """Whether a step has nothing to do until a new request arrives or `next_deadline` passes."""
        return self._asleep or (not self._waiting and not len(self._rows))

    @property
    def next_deadline(self) -> float:
        """The earliest deadline of a request, on the monotonic clock; infinity if no request has one."""
        return self._next_deadline

    def check(self, job: Job, new_ids: Sequence[int]) -> None:
        """Raises ValueError for a request that cannot be served. `new_ids`: those of its prompt to look at."""
        ids, vocabulary = job.request.prompt_ids, self._forward.vocabulary
        if not ids:
            raise ValueError("prompt_ids is empty")
        if new_ids and (min(new_ids) < 0 or max(new_ids) >= vocabulary):
            raise ValueError(f"prompt_ids holds an id outside the vocabulary of {vocabulary}")
        if any(not 0 <= i < vocabulary for i in job.request.sampling.stop_token_ids):
            raise ValueError(f"stop_token_ids holds an id outside the vocabulary of {vocabulary}")
        if job.request.sampling.max_tokens < 1:
            raise ValueError("max_tokens must be at least 1")
        if self._rows.limit(job.request) < 1:
            raise ValueError(f"the prompt of {len(ids)} tokens fills the model's context of {self._forward.context}")

    def submit(self, job: Job) -> None:
        """`job` is at the end of the waiting queue."""
        self._waiting.append(job)
        self._next_deadline = min(self._next_deadline, job.deadline)

    def cancel(self, job: Job) -> None:
        """`job` is dropped: its keys and values are freed, and `step` never returns it."""
        if job.over:
            return
        if job.slot >= 0:
            self._finish([(job.slot, "cancelled")])
            self._finished.pop()
        else:
            self._waiting.remove(job)
            self._give_up(job)

    def end_session(self, session: str) -> None:
        """The session's keys and values are freed."""
        self._sessions.end(session)

    def swap(self, prepared: object, version: int) -> None:
        """`version` samples from the next step on; running requests continue and keep their keys and values."""
        self._forward.swap(prepared)
        self.version = version

    def sleep(self) -> None:
        """Running requests wait and will be recomputed; keys and values are freed, weights have left the device."""
        if self._asleep:
            return
        running = self._rows.running()
        self._leave([job.slot for job in running])
        self._waiting.extendleft(reversed(running))
        for job in self._waiting:
            if job.conversation is not None:
                self._sessions.abandon(job.conversation)
                job.conversation = None
        self._sessions.forget_all()
        self._arenas.release()
        self._prefix_arenas.release()
        if self._forward.kv_shape.device.type != "cpu":
            self._forward.to("cpu")
            torch.cuda.empty_cache()
        self._asleep = True

    def wake(self) -> None:
        """Requests run again."""
        if self._asleep and self._forward.kv_shape.device.type != "cpu":
            self._forward.to(self._forward.kv_shape.device)
        self._asleep = False

    def score(self, ids: Sequence[int]) -> list[float]:
        """log p(ids[t] | ids[:t]) for t >= 1."""
        tokens = torch.tensor(ids, dtype=torch.long)
        logits = self._forward.logits(tokens)[:-1].float()
        following = tokens[1:].to(logits.device)
        return logits.log_softmax(-1).gather(1, following[:, None])[:, 0].tolist()

    def status(self) -> PolicyStatus:
        """The served version, the running requests and the engine's counters."""
        details = {
            "steps": self._steps,
            "read_tokens": self._read_tokens,
            "idle_sessions": self._sessions.idle,
            "prefixes": self._sessions.prefixes,
            "evictions": self._sessions.evictions,
            "kept_tokens": self._sessions.kept_tokens,
            "kv_bytes": self._arenas.allocated_bytes + self._prefix_arenas.allocated_bytes,
        }
        return PolicyStatus(
            version=self.version,
            running=len(self._rows),
            waiting=len(self._waiting),
            sampled_tokens=self._sampled_tokens,
            busy_seconds=self._busy_seconds,
            details={name: float(value) for name, value in details.items()},
        )

    def step(self) -> list[tuple[Job, Generation]]:
        """The requests that ended in this step, which sampled one token for each running request.

        Raises PolicyError if the weights give no finite log-probabilities.
        """
        started = time.monotonic()
        if started >= self._next_deadline:
            self._expire(started)
        if not self.idle:
            self._advance()
            self._busy_seconds += time.monotonic() - started
        finished, self._finished = self._finished, []
        return finished

    def _advance(self) -> None:
        """One forward pass, and a draw for each sequence that is complete."""
        rows = self._rows
        self._widen()
        running = {arena: len(arena) for arena in self._arenas.used()}
        admitted = self._admit()
        fresh = self._place(admitted)
        work = self._gather(running, admitted, fresh)
        slots = np.concatenate([*work.slots, np.empty(0, np.int64)])
        at_prefix = np.array([a.job.slot for a in admitted if a.new == 0], np.int64)
        logits: list[torch.Tensor] = []
        if work.size:
            computed = self._run(work)
            logits.append(computed[: len(slots)])
            for prefix, row in zip(work.ended, computed[len(slots) : len(slots) + len(work.ended)], strict=True):
                prefix.logits = row.clone()
        for number in rows.prefix[at_prefix].tolist():
            stored = self._sessions.prefix(number).logits
            assert stored is not None
            logits.append(stored[None])
        slots = np.concatenate([slots, at_prefix])
        decoded = [decode.arena.owners[: len(decode.lengths)] for decode in work.decodes]
        for owners in decoded:
            rows.own[owners] += 1
            rows.position[owners] += 1
        self._suspend([a for a in admitted if not a.complete])
        if len(slots):
            self._draw(slots, torch.cat(logits) if len(logits) > 1 else logits[0])

    def _widen(self) -> None:
        """Rows that had no room for one more token are now in the next larger arena."""
        for arena in self._arenas.used():
            lengths = self._rows.own[arena.owners[: len(arena)]]
            full = np.flatnonzero(lengths + 2 > arena.capacity)
            if len(full):
                arena.move(full.tolist(), self._arenas.fitting(arena.capacity))

    def _admit(self) -> list[Admitted]:
        """The waiting requests that fit, in order; each with the tokens that it reads in this step."""
        admitted: list[Admitted] = []
        left = self._limits.max_prefill
        reserved = sum(self._reserved.values())
        while self._waiting and len(admitted) < self._rows.free and left > 0:
            job = self._waiting[0]
            ids = job.ids
            conversation = job.conversation or self._sessions.open(job.request, ids, self.version)
            new = len(ids) - len(conversation.ids)
            unread = _unread(conversation, admitted)
            own = conversation.stretch.length + new + self._rows.limit(job.request) - len(job.sampled)
            alone = not len(self._rows) and not admitted
            fits = self._sessions.make_room(reserved + own) or alone
            if not fits or (new + unread > left and admitted):
                if job.conversation is None:  # the job opens it again later, at the version that serves then
                    self._sessions.rest(conversation)
                break
            new = min(new, max(1, left - unread))
            left -= new + unread
            reserved += own
            self._reserved[job] = own
            job.conversation = conversation
            self._waiting.popleft()
            admitted.append(Admitted(job, conversation, ids, len(conversation.ids), new))
        return admitted

    def _place(self, admitted: list[Admitted]) -> list[Prefix]:
        """The prefixes to compute. They and the admitted requests are now the last rows of their arenas."""
        fresh: list[Prefix] = []
        for a in admitted:
            prefix = a.conversation.prefix
            if prefix is not None and prefix.stretch.arena is None:
                self._prefix_arenas.fitting(len(prefix.ids)).add(prefix.stretch, prefix.number)
                prefix.stretch.length = len(prefix.ids)
                fresh.append(prefix)
        admitted.sort(key=lambda a: a.new)  # stable: the order of arrival decides among equals
        rows = self._rows
        for a in admitted:
            stretch = a.conversation.stretch
            slot = rows.enter(a.job) if a.complete else -1
            self._arenas.fitting(a.own + a.new + _HEADROOM).add(stretch, slot)
            stretch.length = a.own + a.new
            if a.complete:
                rows.own[slot], rows.position[slot] = stretch.length, len(a.ids)
                rows.prefix[slot] = -1 if a.conversation.prefix is None else a.conversation.prefix.number
            self._read_tokens += a.new
        self._read_tokens += sum(len(prefix.ids) for prefix in fresh)
        return fresh

    def _gather(self, running: dict[Arena, int], admitted: list[Admitted], fresh: list[Prefix]) -> ForwardPass:
        """The pass over one token of each running row, the new tokens of `admitted`, and the prefixes `fresh`."""
        work = ForwardPass()
        for arena in self._arenas.used():
            if running.get(arena):
                work.add_running(arena, running[arena], self._rows)
            entering = [a for a in admitted if a.new and a.conversation.stretch.arena is arena]
            for part in by_size(entering):
                work.add_entering(arena, part)
        for arena in self._prefix_arenas.used():
            prefixes = [prefix for prefix in fresh if prefix.stretch.arena is arena]
            if prefixes:
                work.add_prefixes(arena, prefixes)
        return work

    def _run(self, work: ForwardPass) -> torch.Tensor:
        """Logits [wanted, vocabulary], followed by padding rows."""
        device = self._forward.kv_shape.device
        tokens, positions, wanted = (
            torch.from_numpy(padded(arrays)).to(device) for arrays in (work.tokens, work.positions, work.wanted)
        )
        attention = work.attention(self._sessions, self._forward.groups)
        return self._forward(tokens, positions, attention, wanted)

    def _suspend(self, incomplete: list[Admitted]) -> None:
        """Requests that have read only a part of their prompt are at the head of the waiting queue."""
        for a in reversed(incomplete):
            stretch = a.conversation.stretch
            arena, row = stretch.arena, stretch.row
            assert arena is not None
            stretch.park()
            arena.remove([row])
            a.conversation.ids = a.ids[: a.at_hand + a.new]
            del self._reserved[a.job]
            self._waiting.appendleft(a.job)

    def _draw(self, slots: np.ndarray, logits: torch.Tensor) -> None:
        """Each of `slots` has one more token, from `logits` [slots, vocabulary]; ended requests are finished."""
        rows = self._rows
        keys, positions, temperatures = rows.draws(slots)
        drawn = sample(logits, uniforms(keys, positions), temperatures, rows.filters(slots))
        if not np.isfinite(drawn.logprobs).all():
            raise PolicyError(f"the weights of version {self.version} give no finite log-probabilities")
        for i, count in rows.tops(slots).items():
            job = rows.jobs[slots[i]]
            assert job is not None
            job.top.append(tuple(top(drawn.probabilities[i : i + 1], count)[0]))
        self._sampled_tokens += len(slots)
        self._steps += 1
        over = rows.record(slots, drawn.tokens, drawn.logprobs, self.version)
        if over:
            self._finish(over)

    def _finish(self, over: Sequence[tuple[int, FinishReason]]) -> None:
        """The requests of these slots are over; named sessions keep their keys and values, parked."""
        for slot, _ in over:
            job = self._rows.jobs[slot]
            assert job is not None
            assert job.conversation is not None
            stretch = job.conversation.stretch
            stretch.length = int(self._rows.own[slot])
        jobs = self._leave([slot for slot, _ in over], park=True)
        for job, (_, reason) in zip(jobs, over, strict=True):
            conversation = job.conversation
            assert conversation is not None
            conversation.ids = job.ids[: conversation.prefix_length + conversation.stretch.length]
            self._sessions.rest(conversation)
            job.over, job.conversation = True, None
            self._finished.append((job, job.generation(reason)))

    def _leave(self, slots: Sequence[int], *, park: bool = False) -> list[Job]:
        """The jobs of `slots`, whose rows are free again; with `park`, their sessions keep the keys and values."""
        jobs: list[Job] = []
        rows: dict[Arena, list[int]] = {}
        for slot in slots:
            job = self._rows.leave(slot)
            assert job.conversation is not None
            stretch = job.conversation.stretch
            assert stretch.arena is not None
            rows.setdefault(stretch.arena, []).append(stretch.row)
            if park and job.conversation.name and not job.conversation.ended:
                stretch.park()
            del self._reserved[job]
            jobs.append(job)
        for arena, numbers in rows.items():
            arena.remove(numbers)
        return jobs

    def _give_up(self, job: Job) -> None:
        """A waiting job is over; keys and values that it has computed are kept for its session."""
        job.over = True
        if job.conversation is not None:
            self._sessions.rest(job.conversation)
            job.conversation = None

    def _expire(self, now: float) -> None:
        """Requests past their deadline are over; they return the tokens sampled so far."""
        late = np.flatnonzero(self._rows.deadline <= now).tolist()
        if late:
            self._finish([(slot, "cancelled") for slot in late])
        for job in [job for job in self._waiting if job.deadline <= now]:
            self._waiting.remove(job)
            self._give_up(job)
            self._finished.append((job, job.generation("cancelled")))
        waiting = min((job.deadline for job in self._waiting), default=math.inf)
        self._next_deadline = min(waiting, float(self._rows.deadline.min()))


def _unread(conversation: CachedConversation, admitted: Sequence[Admitted]) -> int:
    """How many tokens of the conversation's prefix are still to compute; 0 if one of `admitted` computes the prefix."""
    prefix = conversation.prefix
    if prefix is None or prefix.stretch.arena is not None or any(a.conversation.prefix is prefix for a in admitted):
        return 0
    return len(prefix.ids)


def _kv_bytes(limits: EngineLimits, device: torch.device) -> int:
    if limits.kv_bytes is not None:
        return limits.kv_bytes
    return torch.cuda.mem_get_info(device)[0] // 4 if device.type == "cuda" else 2 * 2**30
