"""`side_by_side`: runs several coroutines at a time; the first failure ends all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def side_by_side(work: Iterable[Coroutine[Any, Any, T]], most: int | None = None) -> list[T]:
    """The result of each coroutine in `work`, in order. At most `most` run at a time (None: all at once).

    Raises the first plain error itself, never an exception group. Nothing is left running then.
    """
    coroutines = list(work)
    places = asyncio.Semaphore(most or max(1, len(coroutines)))

    async def one(coroutine: Coroutine[Any, Any, T]) -> T:
        async with places:
            return await coroutine

    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(one(c)) for c in coroutines]
    except BaseExceptionGroup as errors:
        raise _first(errors) from None
    finally:
        for coroutine in coroutines:
            coroutine.close()  # for a coroutine that never started
    return [r.result() for r in running]


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first plain exception in an exception group."""
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
