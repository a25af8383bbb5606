"""`SessionIds`: the ids of each session, for engines that take whole prompts."""

from __future__ import annotations

from dataclasses import replace

from agent_rl.contracts.policy import GenerateRequest, Generation, SessionLost


class SessionIds:
    """Keeps the ids of sessions from their first request to `end`."""

    def __init__(self) -> None:
        self._ids: dict[str, tuple[int, ...] | None] = {}
        """None while a request of the session runs, and after it has failed."""

    def begin(self, request: GenerateRequest) -> GenerateRequest:
        """`request` with its whole prompt. Raises SessionLost if it follows ids that are not here."""
        known = self._ids.get(request.session) if request.session else None
        if request.follows and (known is None or len(known) < request.follows):
            raise SessionLost(f"the session {request.session!r} has no {request.follows} ids here")
        if request.session:
            self._ids[request.session] = None
        if not request.follows or known is None:
            return request
        return replace(request, prompt_ids=known[: request.follows] + request.prompt_ids, follows=0)

    def answered(self, whole: GenerateRequest, generation: Generation) -> None:
        """The session has the prompt of `whole` and the tokens of the answer, unless it has ended meanwhile."""
        if whole.session in self._ids:
            self._ids[whole.session] = whole.prompt_ids + generation.token_ids

    def end(self, session: str) -> None:
        """Nothing is kept for the session; an unknown one is not an error."""
        self._ids.pop(session, None)
