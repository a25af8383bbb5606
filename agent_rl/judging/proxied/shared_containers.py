"""Lists, dicts, sets and other containers that can be modified, as the tests' process and the candidate's share them.

Each side holds a copy of its own under one number. A message carries the contents of those containers that the sender
has changed since the other side last knew them. So it is in both processes as in one: what is passed and what is
returned may be one object, two rows of a list may be one list, and a change is seen by all who hold the container.

A container is shared as long as both sides use it. The tests' side says which numbers are given up.

This file is standard library only, Python 3.9: its source also runs inside the sandboxes.
"""

import array
import collections
import sys
import threading
from collections.abc import Callable, Iterable
from operator import is_
from typing import Any

from agent_rl.judging.proxied.proxy_messages import (
    MalformedMessage,
    Refer,
    Resolve,
    WireForm,
    check_hashes,
    from_wire,
    to_wire,
)
from agent_rl.vocabulary.canonical import Record

_PATIENCE = 0.5
"""Seconds without any message that is read."""
MAX_SHARED = 1 << 11
"""So many containers stay shared from one message to the next; of more, the oldest are given up."""
_TYPECODES = "bBhHiIlLqQfd"


class At:
    """A shared container, as its number."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


def _flat(value: Any) -> "list[Any]":
    return [part for pair in list(dict.items(value)) for part in pair]


def _fill_mapping(value: Any, parts: "list[Any]") -> None:
    if len(parts) % 2:
        raise MalformedMessage("a mapping of unknown form")
    check_hashes(parts[::2])
    pairs = dict(zip(parts[::2], parts[1::2]))  # noqa: B905
    value.clear()
    value.update(pairs) if isinstance(value, collections.OrderedDict) else dict.update(value, pairs)


def _fill_defaults(value: Any, parts: "list[Any]") -> None:
    factory = parts[0] if parts else 0
    if factory is not None and not callable(factory):
        raise MalformedMessage("a defaultdict of unknown form")
    _fill_mapping(value, parts[1:])
    value.default_factory = factory


def _fill_list(value: Any, parts: "list[Any]") -> None:
    value[:] = parts


def _fill_set(value: Any, parts: "list[Any]") -> None:
    check_hashes(parts)
    items = set(parts)
    value.clear()
    value.update(items)


def _fill_bytes(value: Any, parts: "list[Any]") -> None:
    if len(parts) != 1 or type(parts[0]) is not bytes:
        raise MalformedMessage("a bytearray of unknown form")
    value[:] = parts[0]


def _fill_deque(value: Any, parts: "list[Any]") -> None:
    value.clear()
    value.extend(parts[1:])


def _fill_array(value: Any, parts: "list[Any]") -> None:
    try:
        value[:] = array.array(value.typecode, parts[1:])
    except (TypeError, ValueError, OverflowError):
        raise MalformedMessage("an array of unknown form") from None


def _new_deque(parts: "list[Any]") -> Any:
    if not parts or type(parts[0]) not in (int, type(None)) or (parts[0] or 0) < 0:
        raise MalformedMessage("a deque of unknown form")
    return collections.deque(maxlen=parts[0])


def _new_array(parts: "list[Any]") -> Any:
    if not parts or type(parts[0]) is not str or parts[0] not in _TYPECODES or len(parts[0]) != 1:
        raise MalformedMessage("an array of unknown form")
    return array.array(parts[0])


class _Kind:
    def __init__(self, kind: type, content: "Callable[[Any], list[Any]]", fill: Any, new: Any = None) -> None:
        self.name, self.kind, self.content, self.fill = kind.__name__, kind, content, fill
        self.new: Callable[[list[Any]], Any] = new or (lambda parts: kind())


KINDS: "dict[type, _Kind]" = {
    kind.kind: kind
    for kind in (
        _Kind(list, lambda v: list(list.__iter__(v)), _fill_list),
        _Kind(dict, _flat, _fill_mapping),
        _Kind(collections.OrderedDict, lambda v: [p for pair in list(v.items()) for p in pair], _fill_mapping),
        _Kind(collections.Counter, _flat, _fill_mapping),
        _Kind(collections.defaultdict, lambda v: [v.default_factory, *_flat(v)], _fill_defaults),
        _Kind(set, lambda v: list(set.__iter__(v)), _fill_set),
        _Kind(bytearray, lambda v: [bytes(v)], _fill_bytes),
        _Kind(collections.deque, lambda v: [v.maxlen, *v], _fill_deque, _new_deque),
        _Kind(array.array, lambda v: [v.typecode, *v], _fill_array, _new_array),
    )
}
"""Exact types only: the methods of a subclass could lie."""
_BY_NAME = {kind.name: kind for kind in KINDS.values()}


class NeverShared(MalformedMessage):
    """A message names a container that none has shared."""


class SharedContainers:
    """One side's containers. `first` is the first number that this side gives: 0 or 1, and then each second one.

    `changing` is held by whoever reads or writes.
    """

    def __init__(self, first: int, changing: Any = None) -> None:
        self._news = threading.Condition(changing)
        self._parity = first
        self._next = first
        self._objects: dict[int, Any] = {}
        self._numbers: dict[int, int] = {}
        self._told: dict[int, list[Any]] = {}

    # Writing

    def write(self, values: "Iterable[Any]", refer: Refer, encode: "Callable[[list[Any], list[Any]], str]") -> str:
        """encode(values in wire form, containers). If it raises, the other side knows what it has known before."""
        told: dict[int, list[Any]] = {}
        added: list[int] = []
        waiting: collections.deque[int] = collections.deque()

        def at(value: Any) -> "Record | None":
            if type(value) not in KINDS:
                return None
            number = self._numbers.get(id(value))
            if number is None:
                number = self._next
                self._next += 2
                self._enter(number, value)
                added.append(number)
                waiting.append(number)
            return Record("at", (("n", number),))

        try:
            wires = [to_wire(value, at, refer) for value in values]
            waiting.extend(number for number, known in list(self._told.items()) if not self._is_as(number, known))
            contents: list[Any] = []
            while waiting:
                number = waiting.popleft()
                value = self._objects[number]
                kind = KINDS[type(value)]
                parts = kind.content(value)
                if type(value) not in (list, collections.deque, array.array, bytearray):
                    check_hashes(value)
                contents.append([number, kind.name, [to_wire(part, at, refer) for part in parts]])
                told[number] = self._as_told(parts)
            text = encode(wires, contents)
        except BaseException:
            for number in added:
                self.give_up([number])
            raise
        self._told.update(told)
        return text

    def _enter(self, number: int, value: Any) -> None:
        self._objects[number] = value
        self._numbers[id(value)] = number

    def _as_told(self, parts: "list[Any]") -> "list[Any]":
        return [At(self._numbers[id(p)]) if type(p) in KINDS and id(p) in self._numbers else p for p in parts]

    def _is_as(self, number: int, known: "list[Any]") -> bool:
        """Whether the container still has the content that the other side knows."""
        value = self._objects[number]
        parts = KINDS[type(value)].content(value)
        if len(parts) != len(known):
            return False
        if type(value) is bytearray:
            return parts == known
        if all(map(is_, parts, known)):
            return True
        for part, old in zip(parts, known):  # noqa: B905
            if part is not old and not (type(old) is At and self._numbers.get(id(part)) == old.number):
                # Numbers of an array are made anew each time.
                if type(value) is array.array and type(part) is type(old) and part == old:
                    continue
                return False
        return True

    # Reading

    def read(
        self,
        wires: "list[Any]",
        containers: "list[Any]",
        resolve: Resolve,
        apart: "Callable[[set[int]], bool] | None" = None,
    ) -> "list[Any]":
        """The values. Containers that the other side has changed are changed here too.

        If `apart(numbers)` is true of them, what holds them here stays as it is, and the message's values are made of
        new containers. Raises MalformedMessage, TypeError or NotCanonical.
        """
        with self._news:
            while True:
                try:
                    values = self._read(wires, containers, resolve, apart)
                except NeverShared:
                    # Another thread may have heard the frame that shares it, and have yet to read that.
                    if not self._news.wait(_PATIENCE):
                        raise
                else:
                    self._news.notify_all()
                    return values

    def _read(
        self,
        wires: "list[Any]",
        containers: "list[Any]",
        resolve: Resolve,
        apart: "Callable[[set[int]], bool] | None",
    ) -> "list[Any]":
        entries: dict[int, tuple[_Kind, list[Any]]] = {}
        for entry in containers:
            if type(entry) is not list or [type(part) for part in entry] != [int, str, list]:
                raise MalformedMessage("a container of unknown form")
            number, name, parts = entry
            if name not in _BY_NAME or number in entries:
                raise MalformedMessage("a container of unknown kind")
            if number not in self._objects and (number < 0 or number % 2 == self._parity):
                raise MalformedMessage("a container that was never shared")
            if number in self._objects and type(self._objects[number]) is not _BY_NAME[name].kind:
                raise MalformedMessage("a container that has become another")
            entries[number] = _BY_NAME[name], parts
        changed = {number for number in entries if number in self._objects}
        into: dict[int, Any] = {}
        copied: dict[int, list[Any]] = {}
        if changed and apart is not None and apart(changed):
            for number in self._holders(changed):
                if number not in entries:
                    copied[number] = self._told[number]
                into[number] = self._like(self._objects[number])
        for number, (kind, parts) in entries.items():
            if number not in into:
                into[number] = self._objects[number] if number in changed else kind.new(parts)

        def known(name: str, fields: "dict[str, Any]", inner: WireForm) -> Any:
            if name != "at":
                return resolve(name, fields, inner)
            number = fields.get("n")
            if type(number) is not int or (number not in into and number not in self._objects):
                raise NeverShared("a container that was never shared")
            return into[number] if number in into else self._objects[number]

        # All parts are resolved before anything is filled, since resolving may ask the other side.
        filled = {n: (kind, [from_wire(part, known) for part in parts]) for n, (kind, parts) in entries.items()}
        for number, parts in copied.items():
            found = [self._there(part, into) for part in parts]
            filled[number] = KINDS[type(into[number])], found
        values = [from_wire(wire, known) for wire in wires]
        for number, (kind, parts) in filled.items():
            kind.fill(into[number], parts)
        for number, value in into.items():
            if self._objects.get(number) is not value:
                self.give_up([number])
                self._enter(number, value)
        for number in filled:
            value = self._objects[number]
            self._told[number] = self._as_told(KINDS[type(value)].content(value))
        return values

    def _there(self, part: Any, into: "dict[int, Any]") -> Any:
        """A part of a told content, with the new containers in it."""
        if type(part) is tuple:
            return tuple([self._there(item, into) for item in part])
        number = part.number if type(part) is At else self._numbers.get(id(part)) if type(part) in KINDS else None
        if number is None:
            return part
        return into[number] if number in into else self._objects[number]

    @staticmethod
    def _like(value: Any) -> Any:
        kind = KINDS[type(value)]
        return kind.new(kind.content(value))

    def _holders(self, numbers: "set[int]") -> "set[int]":
        """`numbers`, and those of all containers that hold one of them, however deep."""
        found = set(numbers)
        grew = True
        while grew:
            grew = False
            for number, known in self._told.items():
                if number not in found and any(self._holds(part, found) for part in known):
                    found.add(number)
                    grew = True
        return found

    def _holds(self, part: Any, numbers: "set[int]") -> bool:
        if type(part) is tuple:
            return any(self._holds(item, numbers) for item in part)
        return (type(part) is At and part.number in numbers) or self._numbers.get(id(part), -1) in numbers

    def within(self, values: Any) -> "set[int]":
        """The numbers of the containers that `values` (containers, tuples) hold, however deep."""
        found: set[int] = set()
        waiting = [values]
        while waiting:
            value = waiting.pop()
            kind = KINDS.get(type(value))
            if kind is not None:
                number = self._numbers.get(id(value))
                if number is None or number in found:
                    continue
                found.add(number)
                waiting += kind.content(value)
            elif type(value) is tuple:
                waiting += value
        return found

    # Giving up

    def unused(self) -> "list[int]":
        """The numbers of containers that nothing but this object holds, and of the oldest ones beyond `MAX_SHARED`."""
        numbers = list(self._objects)
        found = {n for n in numbers if sys.getrefcount(self._objects[n]) <= 2}
        found.update(numbers[: max(0, len(numbers) - MAX_SHARED)])
        return sorted(found)

    def give_up(self, numbers: "Iterable[int]") -> None:
        """Those of `numbers` that are shared are shared no more."""
        for number in numbers:
            value = self._objects.pop(number, None)
            if value is not None:
                self._told.pop(number, None)
                if self._numbers.get(id(value)) == number:
                    del self._numbers[id(value)]
