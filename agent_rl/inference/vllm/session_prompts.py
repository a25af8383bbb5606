"""`SessionPrompts`: the ids of each session as JSON, so that a request writes only its new ids.

vLLM takes whole prompts. A token is written as text once; after that, each request copies its bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent_rl.contracts.policy import GenerateRequest, SessionLost


class JsonIds:
    """Token ids as JSON, in parts that are added at the end."""

    def __init__(self) -> None:
        self.count = 0
        self._parts: list[bytes] = []
        """Each ends with a comma."""
        self._counts: list[int] = []

    def add(self, ids: Sequence[int]) -> None:
        """`ids` follow."""
        if ids:
            self._parts.append(",".join(map(str, ids)).encode() + b",")
            self._counts.append(len(ids))
            self.count += len(ids)

    def cut(self, count: int) -> None:
        """Only the first `count` ids are left."""
        while self.count > count:
            text, length = self._parts.pop(), self._counts.pop()
            self.count -= length
            left = count - self.count
            if left > 0:
                self._parts.append(b",".join(text.split(b",", left)[:left]) + b",")
                self._counts.append(left)
                self.count = count

    def array(self, before: bytes, after: bytes) -> bytes:
        """`before`, the JSON array of all ids, and `after`."""
        if not self._parts:
            return before + b"[]" + after
        return b"".join((before, b"[", *self._parts[:-1], self._parts[-1][:-1], b"]", after))


class SessionPrompts:
    """Keeps the ids of sessions from their first request to `end`."""

    def __init__(self) -> None:
        self._ids: dict[str, JsonIds | None] = {}
        """None while a request of the session runs, and after it has failed."""

    def begin(self, request: GenerateRequest) -> JsonIds:
        """The whole prompt of `request`. Raises SessionLost if it follows ids that are not here."""
        known = self._ids.get(request.session) if request.session else None
        if request.follows and (known is None or known.count < request.follows):
            raise SessionLost(f"the session {request.session!r} has no {request.follows} ids here")
        if request.session:
            self._ids[request.session] = None
        ids = JsonIds() if known is None else known
        ids.cut(request.follows)
        ids.add(request.prompt_ids)
        return ids

    def answered(self, session: str, ids: JsonIds, sampled: Sequence[int]) -> None:
        """The session has the prompt `ids`, which `begin` gave, and the sampled tokens, unless it has ended."""
        if session in self._ids:
            ids.add(sampled)
            self._ids[session] = ids

    def end(self, session: str) -> None:
        """Nothing is kept for the session; an unknown one is not an error."""
        self._ids.pop(session, None)
