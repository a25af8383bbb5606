"""Turns an oracle solution into a variant that differs from it in one thing that a return value does not show.

`vary(space, kind, patched, variables)` replaces the functions and the methods of a module. Each variant calls the
original and then does what its kind says: it prints, returns its argument where the original returned a copy, ...

This module also runs inside the sandboxes: standard library only, Python 3.9.
"""

import collections
import copy
import functools
import inspect
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

from agent_rl.judging.blind_spots.variant_effects import EFFECTS, TAKES_LONG, VARIABLES, move_clocks

_MUTABLE = (list, dict, set, bytearray, collections.deque)


# Kinds that return something else that is equal, or nearly so


def _arguments(args: "tuple[Any, ...]", kwargs: "dict[str, Any]") -> "list[Any]":
    return [a for a in (*args, *kwargs.values()) if isinstance(a, _MUTABLE)]


def _returns_argument(value: Any, given: "list[Any]") -> Any:
    """An argument itself where the original returned an equal object of its own."""
    return next((a for a in given if type(a) is type(value) and a == value), value)


def _returns_copy(value: Any, given: "list[Any]") -> Any:
    """A copy where the original returned its argument."""
    return copy.deepcopy(value) if any(value is a for a in given) else value


def _shares_elements(value: Any, given: "list[Any]") -> Any:
    """A container of its own whose elements are those of an argument: a shallow copy for a deep one."""
    known = [e for a in given for e in (a.values() if isinstance(a, dict) else a) if isinstance(e, _MUTABLE)]

    def shared(item: Any) -> Any:
        return next((e for e in known if type(e) is type(item) and e == item), item)

    if type(value) is list:
        return [shared(item) for item in value]
    if type(value) is dict:
        return {key: shared(item) for key, item in value.items()}
    return value


def _repeats_rows(value: Any, given: "list[Any]") -> Any:
    """Equal rows of a list are one object."""
    if type(value) is not list:
        return value
    rows: list[Any] = []
    for item in value:
        same = (r for r in rows if type(r) is type(item) and isinstance(item, _MUTABLE) and r == item)
        rows.append(next(same, item))
    return rows


def _separates_rows(value: Any, given: "list[Any]") -> Any:
    """Rows of a list are objects of their own, also where they were one."""
    return [copy.deepcopy(item) for item in value] if type(value) is list else value


def _reverses_mapping(value: Any, given: "list[Any]") -> Any:
    if not isinstance(value, dict):
        return value
    made = value.copy()
    made.clear()
    for key in reversed(list(value)):
        made[key] = value[key]
    return made


def _plain_mapping(value: Any, given: "list[Any]") -> Any:
    return dict(value) if isinstance(value, dict) else value


def _ordered_mapping(value: Any, given: "list[Any]") -> Any:
    return collections.OrderedDict(value) if type(value) is dict else value


def _default_mapping(value: Any, given: "list[Any]") -> Any:
    return collections.defaultdict(int, value) if type(value) is dict else value


def _counter(value: Any, given: "list[Any]") -> Any:
    return collections.Counter(value) if type(value) is dict else value


def _iterator(value: Any, given: "list[Any]") -> Any:
    return iter(value) if type(value) in (list, tuple, set, frozenset, dict) else value


def _generator(value: Any, given: "list[Any]") -> Any:
    return (item for item in value) if type(value) in (list, tuple, set, frozenset, dict) else value


class _IntSubclass(int):
    pass


class _FloatSubclass(float):
    pass


class _StrSubclass(str):
    pass


class _ListSubclass(list):  # type: ignore[type-arg]
    pass


class _TupleSubclass(tuple):  # type: ignore[type-arg]
    pass


class _DictSubclass(dict):  # type: ignore[type-arg]
    pass


class _SetSubclass(set):  # type: ignore[type-arg]
    pass


_SUBCLASSES: "dict[type, type]" = {
    int: _IntSubclass,
    float: _FloatSubclass,
    str: _StrSubclass,
    list: _ListSubclass,
    tuple: _TupleSubclass,
    dict: _DictSubclass,
    set: _SetSubclass,
}


def _subclass(value: Any, given: "list[Any]") -> Any:
    kind = _SUBCLASSES.get(type(value))
    return value if kind is None else kind(value)


VALUES: "dict[str, Callable[[Any, list[Any]], Any]]" = {
    "returns an argument": _returns_argument,
    "returns a copy of an argument": _returns_copy,
    "shares elements with an argument": _shares_elements,
    "repeats one row": _repeats_rows,
    "separates equal rows": _separates_rows,
    "returns a mapping in another order": _reverses_mapping,
    "returns a plain dict": _plain_mapping,
    "returns an OrderedDict": _ordered_mapping,
    "returns a defaultdict": _default_mapping,
    "returns a Counter": _counter,
    "returns an iterator": _iterator,
    "returns a generator": _generator,
    "returns an object of a subclass": _subclass,
}
ALL_EFFECTS = "does all of this"
LOOKS = "notes what applies"
CALLS_PATCHED = "calls what the tests replaced"
RETURNS_SAME = "returns one object for equal calls"
KINDS = (*EFFECTS, *VALUES, CALLS_PATCHED, RETURNS_SAME)
"""Every kind of variant, in words that follow `a solution that`. Two more save runs: `ALL_EFFECTS` has all of EFFECTS;
`LOOKS` behaves as the original and puts the kinds of VALUES that would return something else into `applies`."""


class _OracleVariant:
    """One kind of variant. Only the outermost call of the module's functions differs from the original."""

    def __init__(self, kind: str, patched: "list[str]", built_in: Any) -> None:
        self._kind = kind
        self._built_in = built_in
        self._inside = threading.local()
        self._known: dict[str, Any] = {}
        self._originals = {name: self._found(name) for name in patched}
        self.applies: set[str] = set()
        if kind in (TAKES_LONG, ALL_EFFECTS):
            move_clocks()

    def of(self, function: "Callable[..., Any]") -> "Callable[..., Any]":
        """A function that behaves as `function` but for the kind."""

        @functools.wraps(function)
        def varied(*args: Any, **kwargs: Any) -> Any:
            if getattr(self._inside, "on", False):
                return function(*args, **kwargs)
            self._inside.on = True
            try:
                return self._call(function, args, kwargs)
            finally:
                self._inside.on = False

        return varied

    def _call(self, function: "Callable[..., Any]", args: "tuple[Any, ...]", kwargs: "dict[str, Any]") -> Any:
        for effect in EFFECTS if self._kind == ALL_EFFECTS else (self._kind,):
            if effect in EFFECTS:
                EFFECTS[effect]()
        if self._kind == CALLS_PATCHED:
            self._call_patched()
        if self._kind != RETURNS_SAME:
            value, given = function(*args, **kwargs), _arguments(args, kwargs)
            if self._kind == LOOKS:
                self._look(value, given)
            return VALUES[self._kind](value, given) if self._kind in VALUES else value
        asked = f"{function.__name__} {args!r} {kwargs!r}"
        if asked not in self._known:
            # The arguments are kept: the text of a later object could else be theirs, by the same address.
            self._known[asked] = function(*args, **kwargs), args, kwargs
        return self._known[asked][0]

    def _look(self, value: Any, given: "list[Any]") -> None:
        for kind, change in VALUES.items():
            if kind not in self.applies:
                made = change(value, given)
                rows = zip(made, value) if type(made) is list and type(value) is list else ()  # noqa: B905
                if not (made is value or (rows and type(made) is type(value) and all(a is b for a, b in rows))):
                    self.applies.add(kind)

    def _call_patched(self) -> None:
        """Calls what stands where the tests have put something of theirs. What that raises goes on to the tests."""
        for name, original in self._originals.items():
            now = self._found(name)
            if now is not original and callable(now):
                try:
                    now()
                except TypeError:
                    # It takes arguments. A mock takes none, or any.
                    continue

    def _found(self, name: str) -> Any:
        """The object with this dotted name; None if there is none, or its module has not been imported.

        At tier `proxied`, the solution has built-ins of its own, and those are replaced.
        """
        parts = name.split(".")
        for end in range(len(parts), 0, -1):
            value = self._built_in if parts[:end] == ["builtins"] else sys.modules.get(".".join(parts[:end]))
            if value is not None:
                for part in parts[end:]:
                    value = value.get(part) if isinstance(value, dict) else getattr(value, part, None)
                return value
        return None


def vary(space: "dict[str, Any]", kind: str, patched: "list[str]", variables: "list[str]") -> "set[str]":
    """From now on the functions and methods that the module with the globals `space` defines behave as `kind` says.

    `patched`: dotted names of what the tests may replace in their own process. `variables`: what they may look up in
    the environment. Returns the set that `LOOKS` fills.
    """
    VARIABLES.extend(variables)
    variant = _OracleVariant(kind, patched, space["__builtins__"])
    own = space["__name__"]
    for name, value in list(space.items()):
        if _plain(value) and value.__module__ == own:
            space[name] = variant.of(value)
        elif isinstance(value, type) and value.__module__ == own and not issubclass(value, BaseException):
            for attribute, member in list(vars(value).items()):
                if _plain(member) and not attribute.startswith("__"):
                    setattr(value, attribute, variant.of(member))
    return variant.applies


def _plain(value: Any) -> bool:
    return isinstance(value, types.FunctionType) and not (
        inspect.iscoroutinefunction(value) or inspect.isgeneratorfunction(value) or inspect.isasyncgenfunction(value)
    )
