"""What the tests pass to the candidate (tier `proxied`) beside plain values: functions, iterators and exceptions.

Functions and iterators stay here. The candidate gets a number for each, and asks with it for a call.

This file is standard library only, Python 3.9: its source also runs inside the sandboxes.
"""

import functools
import inspect
import io
import types
from collections.abc import Iterator
from typing import Any

from agent_rl.judging.proxied.proxies import PlainInstance, RemoteClass, RemoteIterator, number_of
from agent_rl.judging.proxied.proxy_exceptions import class_record, exception_record, nearest
from agent_rl.judging.proxied.proxy_messages import SCALARS, WireForm
from agent_rl.judging.proxied.unexpected_objects import Unexpected, UnexpectedIterable
from agent_rl.vocabulary.canonical import NotCanonical, Record

_PLAIN = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, functools.partial)
_EMPTY = inspect.Parameter.empty


class OutgoingValues:
    """Makes the records of what the tests pass, and keeps the functions, iterators and exceptions passed so far."""

    def __init__(self) -> None:
        self._functions: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._candidates: dict[int, tuple[Any, int]] = {}
        self.reduced: list[str] = []
        """The classes of objects passed as functions, which may be more than functions here."""

    def stands_for(self, value: Any, number: int) -> Any:
        """`value`; where it is handed back, the candidate gets its object `number`."""
        self._candidates[id(value)] = value, number
        return value

    def has(self, number: Any) -> bool:
        """Whether `number` stands for something that was handed over."""
        return type(number) is int and 0 <= number < len(self._functions)

    def function(self, number: int) -> Any:
        """The function, iterator or exception that `number` stands for."""
        return self._functions[number]

    def answer(self, number: int, operation: str, args: "tuple[Any, ...]", kwargs: "dict[str, Any]") -> Any:
        """What a function returns, or ("next") what an iterator gives. Raises what it raises."""
        function = self._functions[number]
        return next(function) if operation == "next" else function(*args, **kwargs)

    def refer(self, value: Any, wire: WireForm) -> Any:
        """The record of an object. Raises NotCanonical if it cannot be handed over."""
        kind = type(value)
        # Nothing but its class may be looked at before: an `Unexpected` answers to nothing.
        if kind in (Unexpected, UnexpectedIterable, RemoteIterator) or issubclass(kind, PlainInstance):
            return Record("object", (("id", number_of(value)),))
        if isinstance(kind, RemoteClass) or isinstance(value, RemoteClass):
            return Record("object", (("id", number_of(value)),))
        if id(value) in self._candidates:
            return Record("object", (("id", self._candidates[id(value)][1]),))
        if isinstance(value, BaseException):
            own = self._number(value)
            return exception_record(value, wire, lambda kind: class_record(nearest(kind)), own)
        if isinstance(value, type) and issubclass(value, BaseException) and class_record(value) is not None:
            return class_record(value)
        # A stream is an iterator too, but a program may as well read or write it.
        carried = callable(value) or (isinstance(value, Iterator) and not isinstance(value, io.IOBase))
        if isinstance(value, type) or not carried:
            raise NotCanonical(
                "tests of this tier can hand plain values, functions, iterators and the solution's own objects to the "
                f"solution, not {value if isinstance(value, type) else kind!r}"
            )
        if callable(value) and not isinstance(value, _PLAIN) and kind.__name__ not in self.reduced:
            self.reduced.append(kind.__name__)
        number = self._number(value)
        what, name, doc, signature = _described(value)
        described = ("kind", what), ("name", name), ("doc", doc), ("signature", signature)
        return Record("callback", (("id", number), *described))

    def _number(self, value: Any) -> int:
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._functions)
            self._functions.append(value)
        return number


def _described(value: Any) -> "tuple[str, str, str | None, Any]":
    """(kind, name, documentation, signature) of a function or iterator, as the candidate's stand-in has them."""
    if isinstance(value, types.GeneratorType):
        return "generator", "", None, None
    if not callable(value):
        return "iterator", "", None, None
    what = "async" if inspect.iscoroutinefunction(value) else "function"
    name, doc = getattr(value, "__name__", ""), getattr(value, "__doc__", None)
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        parameters = None
    signature = tuple(
        (p.name, int(p.kind), p.default is not _EMPTY, p.default if type(p.default) in SCALARS else None)
        for p in parameters or ()
    )
    name = name if type(name) is str and name else "function"
    return what, name, doc if type(doc) is str else None, None if parameters is None else signature
