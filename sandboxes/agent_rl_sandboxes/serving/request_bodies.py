"""Bodies of requests, in memory and within bounds; and refusals, as bodies of answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from aiohttp import web

from agent_rl_sandboxes.serving.host_json import MalformedBody
from agent_rl_sandboxes.serving.host_limits import Budget
from agent_rl_sandboxes.serving.host_protocol import DEADLINE_HEADER, STATUS, ErrorKind

_MESSAGE_CHARACTERS = 2000
_LARGE_BODY = 1 << 20
"""Bytes from which on a body is parsed in a thread."""
_R = TypeVar("_R")


class Refusal(Exception):
    """An error to answer with."""

    def __init__(self, kind: ErrorKind, message: str) -> None:
        self.kind: ErrorKind = kind
        super().__init__(message)


@contextlib.asynccontextmanager
async def held_body(request: web.Request, most: int, budget: Budget, seconds: float) -> AsyncIterator[bytearray]:
    """The request's body, of at most `most` bytes, counted in `budget` while the context lasts.

    Raises Refusal, or Busy if too much is in memory already.
    """
    if "Content-Encoding" in request.headers:
        raise Refusal("malformed", "bodies are not compressed")
    if (request.content_length or 0) > most:
        raise Refusal("too_large", f"a body of {request.content_length} bytes, and {most} are allowed")
    body = bytearray()
    with contextlib.ExitStack() as held:
        held.enter_context(budget.take(request.content_length or 0))
        counted = request.content_length or 0
        try:
            async with asyncio.timeout(seconds):
                async for part in request.content.iter_any():
                    if len(body) + len(part) > most:
                        raise Refusal("too_large", f"a body of more than {most} bytes")
                    if len(body) + len(part) > counted:
                        held.enter_context(budget.take(len(body) + len(part) - counted))
                        counted = len(body) + len(part)
                    body += part
        except TimeoutError:
            raise Refusal("malformed", f"the body did not arrive in {seconds:g} s") from None
        yield body


async def taken_apart(body: bytearray, read: Callable[[bytes], _R]) -> _R:
    """What `read` returns for the body; a large body does not make other clients wait. Raises what `read` raises."""
    if len(body) < _LARGE_BODY:
        return read(bytes(body))
    reading = asyncio.ensure_future(asyncio.to_thread(read, bytes(body)))
    try:
        return await asyncio.shield(reading)
    finally:
        # A thread cannot be stopped: what it holds stays counted until it is done, even if the client has gone away.
        await asyncio.gather(reading, return_exceptions=True)


def deadline_of(request: web.Request, most: float) -> float:
    """Seconds that the client will wait, at most `most`. Raises MalformedBody."""
    text = request.headers.get(DEADLINE_HEADER)
    if text is None:
        return most
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise MalformedBody(f"{DEADLINE_HEADER} should be a number of seconds, got {text[:40]!r}")
    return min(seconds, most)


def refusal(
    kind: ErrorKind,
    message: str,
    *,
    status: int | None = None,
    number: int | None = None,
    retry_after: float | None = None,
) -> web.Response:
    """The response that reports an error."""
    error: dict[str, str | int] = {"kind": kind, "message": message[:_MESSAGE_CHARACTERS]}
    if number is not None:
        error["errno"] = number
    response = web.Response(
        status=status or STATUS[kind], body=json.dumps({"error": error}).encode(), content_type="application/json"
    )
    if retry_after is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(retry_after)))
    if kind == "unauthorized":
        response.headers["WWW-Authenticate"] = "Bearer"
    return response
