"""Messages between a role process and the one that started it: pickled frames over a socket pair.

Both ends are our own processes of the same user, so pickle is safe here. This module must never read anything from a
sandbox, a user's data or a network.

All messages sent in one tick of the event loop form one frame: an 8-byte length and the pickled list of messages.
"""

from __future__ import annotations

import asyncio
import io
import pickle
import struct
import traceback
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from operator import attrgetter
from typing import Any

_LENGTH = struct.Struct("<Q")
_CARRIED = ("agent_rl.", "builtins", "asyncio.")


@dataclass(frozen=True, slots=True)
class Start:
    """The first message to a role process: which class to make, and how."""

    target: str
    kwargs: dict[str, Any]
    error: type[Exception]


@dataclass(frozen=True, slots=True)
class Started:
    """The object exists."""


@dataclass(frozen=True, slots=True)
class StartFailed:
    """The object could not be made."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Call:
    """A method call; answered by a `Result`, `Failure` or `Cancelled` of the same id."""

    id: int
    method: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cancel:
    """The caller no longer waits for call `id`."""

    id: int


@dataclass(frozen=True, slots=True)
class Result:
    id: int
    value: Any


@dataclass(frozen=True, slots=True)
class Failure:
    id: int
    error: BaseException


@dataclass(frozen=True, slots=True)
class Cancelled:
    id: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Close the object and exit."""


RoleMessage = Start | Started | StartFailed | Call | Cancel | Result | Failure | Cancelled | Stop


class _Pickler(pickle.Pickler):
    """Pickles a dataclass as a call of its class with its field values.

    Python's own way, for a dataclass with slots, looks up the fields anew for each object, both on writing and on
    reading.
    """

    def reducer_override(self, obj: Any) -> Any:
        """How `obj` is rebuilt, or NotImplemented to let pickle decide."""
        kind = type(obj)
        values = _values_of(kind)
        return NotImplemented if values is None else (kind, values(obj))


@cache
def _values_of(kind: type) -> Callable[[Any], tuple[Any, ...]] | None:
    """A function that returns the constructor arguments of an instance of `kind`; None unless it is a plain frozen
    dataclass."""
    if not is_dataclass(kind) or getattr(kind.__dict__.get("__getstate__"), "__module__", "") != "dataclasses":
        return None  # dataclasses add this method only to frozen classes with slots that do not define it themselves
    own = fields(kind)
    if not own or not all(field.init and not field.kw_only for field in own):
        return None
    names = [field.name for field in own]
    get = attrgetter(*names)
    return get if len(names) > 1 else lambda obj: (get(obj),)


def pickled(messages: list[RoleMessage]) -> bytes:
    """`messages` as bytes for `pickle.loads`."""
    file = io.BytesIO()
    _Pickler(file, protocol=5).dump(messages)
    return file.getvalue()


def carried(error: BaseException, otherwise: type[Exception]) -> BaseException:
    """`error` in a form that a process without this process's modules can load.

    Our own errors and Python's are kept, with the remote traceback as a note; others (such as torch's) become
    `otherwise`, whose message names them.
    """
    trace = "".join(traceback.format_exception(error))
    module = type(error).__module__
    if module.startswith(_CARRIED):
        error.add_note(f"in the role process:\n{trace}")
        error.__traceback__ = error.__cause__ = error.__context__ = None
        try:
            pickle.loads(pickle.dumps(error))
            return error
        except Exception as unpicklable:
            trace += f"\n(not carried as it is: {unpicklable})"
    wrapped = otherwise(f"{type(error).__qualname__}: {error}")
    wrapped.add_note(f"in the role process:\n{trace}")
    return wrapped


class Wire(asyncio.Protocol):
    """One end of the socket. `received` is called with every message, `lost` once when the other end has gone."""

    def __init__(self, received: Callable[[RoleMessage], None], lost: Callable[[], None]) -> None:
        self._received = received
        self._lost = lost
        self._buffer = bytearray()
        self._out: list[RoleMessage] = []
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()

    def send(self, message: RoleMessage) -> None:
        """`message` goes out at the end of this tick, in order."""
        if not self._out:
            self._loop.call_soon(self.flush)
        self._out.append(message)

    def flush(self) -> None:
        """Hands all pending messages to the transport now."""
        messages, self._out = self._out, []
        if not messages or self._transport is None or self._transport.is_closing():
            return
        try:
            body = pickled(messages)
        except Exception:
            body = pickled(self._picklable(messages))
        self._transport.writelines((_LENGTH.pack(len(body)), body))

    def _picklable(self, messages: list[RoleMessage]) -> list[RoleMessage]:
        """Those of `messages` that can be pickled; each of the others fails its call, here or at the other end."""
        good: list[RoleMessage] = []
        for message in messages:
            try:
                pickled([message])
                good.append(message)
            except Exception as error:
                failure = TypeError(f"{type(message).__name__} cannot be sent between processes: {error}")
                if isinstance(message, Result):
                    good.append(Failure(message.id, failure))
                elif isinstance(message, Call):
                    self._loop.call_soon(self._received, Failure(message.id, failure))
                else:
                    raise
        return good

    def close(self) -> None:
        """Sends all pending messages, then closes the socket. Idempotent."""
        self.flush()
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, start)
            end = start + _LENGTH.size + length
            if len(buffer) < end:
                break
            with memoryview(buffer) as view:
                messages = pickle.loads(view[start + _LENGTH.size : end])
            start = end
            for message in messages:
                self._received(message)
        if start:
            del buffer[:start]

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost()
