"""What a call returned or raised, as a frame: values of any type are put into the canonical form if they can be.

The frames of a run's result channel are JSON objects, one call each, written with no spaces and with canonical text in
place, not as a string of JSON: {"id":"3f","value":{"t":[1,2]}}, {"id":"3f","error":{"x":[...]}}, or
{"id":"3f","unheld":"type function"} for a call whose value has no canonical form: it neither returned nor raised.

This runs in the candidate's process, and decides nothing: a candidate that changes what is here only answers something
else. A built-in type's subclass is read by the built-in type's own methods, so that a method that lies is not asked.

Standard library, `stand_ins` and `canonical` only, Python 3.9: this source also runs inside the sandboxes.
"""

# pyright: standard

import builtins
import dataclasses
import sys
import types
from collections import Counter, OrderedDict, UserDict, UserList, UserString, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Set
from decimal import Decimal
from enum import Enum, Flag
from fractions import Fraction
from itertools import islice
from json.encoder import encode_basestring_ascii as _quote
from typing import Any

from agent_rl.vocabulary.canonical import FACTORIES, MAX_DEPTH, MAX_NODES, NotCanonical, decode, encode
from agent_rl.vocabulary.stand_ins import Derived, EnumMember, HeldException, Items, Record

MAX_TEXT = 1 << 16
"""Characters of an exception's text."""
_MOST_ATTRIBUTES, _MOST_CAUSES = 20, 5
_OWN_MODULES = frozenset({"solution", "__main__"})
_FINAL = frozenset({type(None), bool, int, float, complex, str, bytes, bytearray, Decimal, Fraction, range})
"""Exact types that hold no other values."""
_SAFE = frozenset({type(None), bool, int, float, str})
"""Of these, what can be encoded can be decoded."""


def _whole(kind: Any) -> "Callable[[Any], Any]":
    return lambda value: kind(kind.__iter__(value))


def _pairs(kind: Any, made: Any) -> "Callable[[Any], Any]":
    return lambda value: made(kind.items(value))


def _fraction(value: Any) -> Fraction:
    parts: Any = [vars(Fraction)[name].__get__(value) for name in ("_numerator", "_denominator")]
    return Fraction(*parts)


_CONTENT: "dict[Any, Callable[[Any], Any]]" = {
    int: int.__int__,
    float: float.__float__,
    complex: complex.__pos__,
    str: str.__str__,
    bytes: lambda value: bytes.__getitem__(value, slice(None)),
    bytearray: lambda value: bytearray.__getitem__(value, slice(None)),
    Decimal: Decimal,
    Fraction: _fraction,
    tuple: _whole(tuple),
    list: _whole(list),
    set: _whole(set),
    frozenset: _whole(frozenset),
    deque: lambda value: deque(deque.__iter__(value), vars(deque)["maxlen"].__get__(value)),
    OrderedDict: _pairs(OrderedDict, OrderedDict),
    Counter: lambda value: Counter(dict(dict.items(value))),
    dict: _pairs(dict, dict),
    UserDict: lambda value: dict(vars(value)["data"]),
    UserList: lambda value: list(vars(value)["data"]),
    UserString: lambda value: str.__str__(vars(value)["data"]),
}
"""The built-in part of an instance of a subclass. The nearest base counts, so `OrderedDict` comes before `dict`."""
_WITHOUT_SUBCLASS = (UserDict, UserList, UserString)
"""These have no form of their own: their instances are derived from the built-in type that they are compared as. So are
those of other mappings (as a UserDict) and of other sets (as a Set)."""
_VIEWS = {
    type(made): kind
    for kind in ("keys", "values", "items")
    for made in (getattr({}, kind)(), getattr(OrderedDict(), kind)())
}
_BUILT_IN = {
    id(kind): name
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, BaseException) and kind.__name__ == name
}
_mro = vars(type)["__mro__"].__get__
_args = vars(BaseException)["args"].__get__


def value_frame(call_id: str, value: object) -> str:
    """The frame of a call that returned `value`. Raises only SystemExit and MemoryError, of iterators that end so."""
    try:
        return f'{{"id":{_quote(call_id)},"value":{encode(value)}}}'
    except NotCanonical:
        pass
    try:
        text = encode(held(value))
        decode(text)  # an honest frame is one that can be read
        return f'{{"id":{_quote(call_id)},"value":{text}}}'
    except (SystemExit, MemoryError):
        raise
    except NotCanonical as error:
        why = str(error)
    except BaseException as error:  # a hostile value may raise anything while it is walked
        why = f"{type(error).__name__} while it was read"
    return f'{{"id":{_quote(call_id)},"unheld":{_quote(why[:2000])}}}'


def error_frame(call_id: str, error: BaseException) -> str:
    """The frame of a call that raised `error`, with as much of it as can be held."""
    failure = failure_of(error)
    try:
        text = encode(failure)
        if failure.attributes or failure.cause is not None or not _SAFE.issuperset(map(type, failure.args or ())):
            decode(text)  # an honest frame is one that can be read
    except NotCanonical:
        text = encode(HeldException(failure.name, failure.kinds, failure.text))
    return f'{{"id":{_quote(call_id)},"error":{text}}}'


def held(value: object) -> Any:
    """`value` made of types that have a canonical form, with stand-ins for the others. Raises NotCanonical.

    An iterator is read to its end, which may raise what the program raises.
    """
    return _Reader().read(value, MAX_DEPTH)


def equal_as_built_in(value: Any) -> bool:
    """Whether `value` is compared as the values are that it holds: by no method of its class, regardless of its kind.

    If so, what equals `value` equals all that `value` equals. Of an OrderedDict, a Counter or a view that is not true.
    """
    waiting: list[Any] = [value]
    for _ in range(MAX_NODES):
        if not waiting:
            return True
        value = waiting.pop()
        kind = type(value)
        if kind in _FINAL:
            continue
        if kind is dict or kind is defaultdict:
            waiting += [*dict.keys(value), *dict.values(value)]
        elif kind in (list, tuple, set, frozenset, deque):
            waiting += value
        elif dataclasses.is_dataclass(kind):
            code = getattr(kind.__dict__.get("__eq__"), "__code__", None)
            if code is None or code.co_filename != "<string>":  # not the one that `dataclass` wrote
                return False
            waiting += [getattr(value, f.name) for f in dataclasses.fields(kind)]
        else:
            base = next((base for base in _mro(kind) if base in _CONTENT or base is Enum), None)
            if base in (None, OrderedDict, Counter, *_WITHOUT_SUBCLASS):
                return False
            if (kind.__eq__, kind.__ne__) != (base.__eq__, base.__ne__):
                return False
            waiting += [] if base is Enum else [_CONTENT[base](value)]
    return False


def failure_of(error: BaseException) -> HeldException:
    """What is held of an exception. Methods of its class that raise count as if they were not there."""
    return _Reader().failure(error, MAX_DEPTH, _MOST_CAUSES)


class _Reader:
    """One reading. It counts values, so that an iterator without an end is left."""

    def __init__(self) -> None:
        self._left = MAX_NODES

    def read(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if self._left < 0:
            raise NotCanonical(f"more than {MAX_NODES} values")
        kind = type(value)
        if kind in _FINAL:
            return value
        if depth <= 0:
            raise NotCanonical(f"nested deeper than {MAX_DEPTH}")
        if kind in _CONTENT and kind not in _WITHOUT_SUBCLASS:
            return self._container(value, kind, depth - 1)
        if kind is defaultdict:
            pairs = self._container(value, dict, depth - 1)
            known = value.default_factory is None or value.default_factory in FACTORIES.values()
            return defaultdict(value.default_factory, pairs) if known else Derived("defaultdict", pairs)
        return self._other(value, kind, depth - 1)

    def _container(self, value: Any, kind: Any, depth: int) -> Any:
        if kind is deque:
            return deque((self.read(item, depth) for item in value), value.maxlen)
        if issubclass(kind, dict):
            pairs = [(self.read(k, depth), self.read(v, depth)) for k, v in kind.items(value)]
            return self._whole(kind(dict(pairs)), len(pairs))
        items = [self.read(item, depth) for item in value]
        return self._whole(kind(items), len(items))

    def _whole(self, made: Any, size: int) -> Any:
        if len(made) != size:
            raise NotCanonical("elements that are equal by their built-in part")
        return made

    def _other(self, value: Any, kind: Any, depth: int) -> Any:
        """The stand-in of an instance of a class that has no form."""
        bases = _mro(kind)
        name = str(kind.__name__)
        if dataclasses.is_dataclass(kind) and kind is not type:
            fields = tuple((f.name, self.read(getattr(value, f.name), depth)) for f in dataclasses.fields(kind))
            return Record(name, fields, tuple(f.name for f in dataclasses.fields(kind) if not f.compare))
        for base in bases:
            if base in _CONTENT:
                wrapped = base.__name__ if base in _WITHOUT_SUBCLASS else name
                return Derived(wrapped, self._bare(self.read(_CONTENT[base](value), depth)))
            if base is defaultdict:
                return Derived(name, self._container(value, dict, depth))
        if Enum in bases:
            return EnumMember(name, value._value_ if Flag in bases else value._name_)
        if BaseException in bases:
            return self.failure(value, depth, _MOST_CAUSES)
        if kind.__module__ == "numpy" and getattr(value, "shape", None) == () and type(value.item()) in _FINAL:
            return Derived(name, value.item())
        if kind is memoryview:
            return Derived(name, value.tobytes())
        return self._iterable(value, kind, bases, name, depth)

    def _bare(self, content: Any) -> Any:
        return content.content if type(content) is Derived else content

    def _iterable(self, value: Any, kind: Any, bases: "tuple[type, ...]", name: str, depth: int) -> Any:
        if kind in _VIEWS:
            return Items(_VIEWS[kind], [self.read(item, depth) for item in value])
        if Mapping in bases or kind is types.MappingProxyType:
            keys = self._all(value, depth)
            wrapped = "UserDict" if Mapping in bases else name
            return Derived(wrapped, self._whole({k: self.read(value[k], depth) for k in keys}, len(keys)))
        if Set in bases:
            items = self._all(value, depth)
            return Derived("Set", self._whole(set(items), len(items)))
        if type in bases or not (hasattr(kind, "__iter__") or hasattr(kind, "__getitem__")):
            raise NotCanonical(f"type {name[:60]}")
        if hasattr(kind, "__next__"):
            what = "generator" if kind is types.GeneratorType else "iterator"
        else:
            what = "sized" if hasattr(kind, "__len__") else "iterable"
            what = "sequence" if what == "sized" and hasattr(kind, "__getitem__") else what
        try:
            iterator = islice(iter(value), self._left + 1)
        except Exception:
            raise NotCanonical(f"type {name[:60]}") from None
        items: list[Any] = []
        try:
            for item in iterator:
                items.append(self.read(item, depth))
        except (SystemExit, MemoryError, NotCanonical):
            raise
        except BaseException as error:
            return Items(what, items, self.failure(error, depth, _MOST_CAUSES))
        return Items(what, items)

    def _all(self, value: "Iterable[Any]", depth: int) -> "list[Any]":
        return [self.read(item, depth) for item in islice(value, self._left + 1)]

    def failure(self, error: BaseException, depth: int, causes: int) -> HeldException:
        kind = type(error)
        try:
            name = str(kind.__name__)[:200]
            encode(name)
        except BaseException:
            name = "Exception"
        try:
            text = str(error)[:MAX_TEXT]
            text = str.__str__(text)
            encode(text)
        except BaseException:
            text = "(its message could not be had)"
        kinds = tuple(found for base in _mro(kind) if (found := _exception_name(base)))
        try:
            args = tuple(self.read(item, depth - 1) for item in _args(error))
            encode(args)
        except BaseException:
            args = None
        cause = BaseException.__dict__["__cause__"].__get__(error)
        found = None if cause is None or causes <= 0 else self.failure(cause, depth - 1, causes - 1)
        return HeldException(name, kinds, text, args, self._attributes(error, depth), found)

    def _attributes(self, error: BaseException, depth: int) -> "tuple[tuple[str, Any], ...]":
        kept: list[tuple[str, Any]] = []
        try:
            attributes = list(BaseException.__dict__["__dict__"].__get__(error).items())
        except BaseException:
            return ()
        for name, value in attributes[:_MOST_ATTRIBUTES]:
            try:
                pair = (name, self.read(value, depth - 1))
                encode(pair)
            except BaseException:
                continue
            if type(name) is str:
                kept.append(pair)
        return tuple(kept)


def _exception_name(kind: type) -> str:
    """How an exception class that no program defined is found again; empty for all others. A name proves nothing."""
    if id(kind) in _BUILT_IN:
        return _BUILT_IN[id(kind)]
    try:
        module, name = kind.__module__, kind.__qualname__
        if BaseException not in _mro(kind) or module in _OWN_MODULES:
            return ""
        known = getattr(sys.modules.get(module), name, None) is kind
    except BaseException:
        return ""
    return f"{module}:{name}" if known else ""
