"""Clients that give a role's process the interface of its object: `PolicyClient`, `LearnerClient`.

Requests issued in one tick of the event loop are sent as one frame, and so are completions (see `role_messages`).
"""

from __future__ import annotations

from collections.abc import Sequence

from agent_rl.contracts.algorithm import LossPlan
from agent_rl.contracts.learner import Batch, Learner, LossFigures, OptimizerStep, StepReport, Wanted
from agent_rl.contracts.policy import GenerateRequest, Generation, Policy, PolicyStatus, WeightManifest
from agent_rl.launch.local_launcher import RoleProcess


class PolicyClient(Policy):
    """A `Policy` in another process. Calls raise PolicyError when it has died.

    `timeout` (seconds) applies to the calls that do not generate; a generation has its own deadline.
    """

    def __init__(self, role: RoleProcess, *, timeout: float | None = None) -> None:
        self.role = role
        self._timeout = timeout

    async def generate(self, request: GenerateRequest) -> Generation:
        return await self.role.call("generate", request)

    async def generate_batch(self, requests: Sequence[GenerateRequest]) -> list[Generation]:
        return await self.role.call("generate_batch", list(requests))

    async def score(self, ids: Sequence[int]) -> list[float]:
        return await self.role.call("score", tuple(ids), timeout=self._timeout)

    async def end_session(self, session: str) -> None:
        await self.role.call("end_session", session, timeout=self._timeout)

    async def prepare_update(self, manifest: WeightManifest) -> None:
        await self.role.call("prepare_update", manifest, timeout=self._timeout)

    async def finish_update(self, version: int) -> None:
        await self.role.call("finish_update", version, timeout=self._timeout)

    async def sleep(self) -> None:
        await self.role.call("sleep", timeout=self._timeout)

    async def wake(self) -> None:
        await self.role.call("wake", timeout=self._timeout)

    async def status(self) -> PolicyStatus:
        return await self.role.call("status", timeout=self._timeout)


class LearnerClient(Learner):
    """A `Learner` in another process. Calls raise LearnerError if it has died or not answered in `timeout` seconds."""

    def __init__(self, role: RoleProcess, *, timeout: float | None = None) -> None:
        self.role = role
        self._timeout = timeout

    async def forward(self, batch: Batch, wanted: Wanted = "logprobs") -> list[list[list[float]]]:
        return await self.role.call("forward", batch, wanted, timeout=self._timeout)

    async def forward_backward(self, batch: Batch, plan: LossPlan) -> LossFigures:
        return await self.role.call("forward_backward", batch, plan, timeout=self._timeout)

    async def optim_step(self, *, last: bool = True) -> OptimizerStep:
        return await self.role.call("optim_step", last=last, timeout=self._timeout)

    async def step(self, batch: Batch, plan: LossPlan) -> StepReport:
        """Taken over there: the batch is sent once."""
        return await self.role.call("step", batch, plan, timeout=self._timeout)

    async def publish(self, version: int) -> WeightManifest:
        return await self.role.call("publish", version, timeout=self._timeout)

    async def save(self, path: str) -> None:
        await self.role.call("save", path, timeout=self._timeout)

    async def load(self, path: str) -> None:
        await self.role.call("load", path, timeout=self._timeout)

    async def sleep(self) -> None:
        await self.role.call("sleep", timeout=self._timeout)

    async def wake(self) -> None:
        await self.role.call("wake", timeout=self._timeout)
