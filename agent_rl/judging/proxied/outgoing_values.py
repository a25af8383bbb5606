"""What the tests pass to the candidate (tier `proxied`): plain values, functions and iterators.

Functions and iterators stay here. The candidate gets a number for each, and asks with it for a call.

This file is standard library only, Python 3.9: its source also runs inside the sandboxes.
"""

from collections.abc import Iterator
from typing import Any

from agent_rl.judging.proxied.proxies import NUMBER, RemoteClass, RemoteIterator, Unexpected, number_of
from agent_rl.judging.proxied.proxy_messages import BUILTINS, to_wire, write_frame
from agent_rl.vocabulary.canonical import NotCanonical, Record


class OutgoingValues:
    """Puts values into wire form, and keeps the functions and iterators that the tests have passed so far."""

    def __init__(self) -> None:
        self._functions: list[Any] = []
        self._numbers: dict[int, int] = {}

    def has(self, number: int) -> bool:
        """Whether `number` stands for a function or iterator that was handed over."""
        return 0 <= number < len(self._functions)

    def function(self, number: int) -> Any:
        """The function or iterator that `number` stands for."""
        return self._functions[number]

    def outgoing(self, value: Any) -> Any:
        """`value` in wire form. Raises TypeError if it cannot be handed over."""
        try:
            return to_wire(value, self._refer)
        except NotCanonical as error:
            raise TypeError(f"this cannot be handed to the solution: {error}") from None

    def answer(self, number: int, operation: str, args: "tuple[Any, ...]", kwargs: "dict[str, Any]") -> str:
        """The frame with what a function returned or raised, or ("next") what an iterator gave."""
        function = self._functions[number]
        try:
            value = next(function) if operation == "next" else function(*args, **kwargs)
            return write_frame(["return", self.outgoing(value), []])
        except Exception as error:
            return write_frame(self._failure(error))

    def _refer(self, value: Any) -> Any:
        kind = type(value)
        if isinstance(kind, RemoteClass) or kind is RemoteIterator or kind is Unexpected:
            return Record("object", (("id", number_of(value)),))
        if isinstance(value, RemoteClass):
            return Record("object", (("id", value.__dict__[NUMBER]),))
        if isinstance(value, type) or not (callable(value) or isinstance(value, Iterator)):
            raise TypeError(
                f"tests of this tier can hand plain values, functions, iterators and the solution's own objects to the "
                f"solution, not {value if isinstance(value, type) else kind!r}"
            )
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._functions)
            self._functions.append(value)
        return Record("callback", (("id", number),))

    def _failure(self, error: Exception) -> "list[Any]":
        if isinstance(type(error), RemoteClass):
            return ["raise", None, None, str(error), self._refer(error)]
        kind = next(base for base in type(error).__mro__ if BUILTINS.get(base.__name__) is base)
        try:
            args = self.outgoing(error.args)
        except TypeError:
            args = None
        return ["raise", Record("builtin", (("name", kind.__name__),)), args, str(error)[:5000], None]


def assign(old: Any, new: Any) -> None:
    """Gives `old` the content of `new`; containers that remain in it stay the same objects."""
    if type(old) is not type(new):
        return
    if type(old) is list:
        kept = [_merged(a, b) for a, b in zip(old, new)]  # noqa: B905
        old[:] = kept + new[len(kept) :]
    elif type(old) is dict:
        merged = {key: _merged(old.get(key), value) for key, value in new.items()}
        old.clear()
        old.update(merged)
    elif type(old) is set:
        old.clear()
        old.update(new)
    elif type(old) is bytearray:
        old[:] = new


def _merged(old: Any, new: Any) -> Any:
    if type(old) is type(new) and type(old) in (list, dict, set, bytearray):
        assign(old, new)
        return old
    return new
