"""What the tests do with an object of the candidate, in the candidate's process: operators, iteration, await and so on.

This file is standard library only, Python 3.9: its source also runs inside the sandboxes.
"""

import asyncio
import copy
import inspect
import math
import operator
import os
import threading
import types
from collections.abc import Callable
from typing import Any

from agent_rl.judging.proxied.proxy_messages import NATIVE, VALUES, native_base, wrapper_base
from agent_rl.judging.proxied.shared_containers import KINDS

ITERATORS = frozenset(
    type(made)
    for made in (
        *(iter(()), iter([]), iter({}), iter(set()), iter(""), iter(range(0)), iter({}.items()), iter({}.values())),
        *(map(len, ()), filter(None, ()), zip(), enumerate(()), reversed([]), reversed(()), iter(int, 1)),
    )
) | {types.AsyncGeneratorType}


class CandidateLoop:
    """The event loop of the program's coroutines. It lives as long as the process.

    concurrent: several threads may wait for coroutines at a time; the loop then runs in a thread of its own.
    """

    def __init__(self) -> None:
        self.concurrent = False
        self._loop: Any = None
        self._making = threading.Lock()

    def run(self, value: Any) -> Any:
        """The result of awaiting `value`."""
        with self._making:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                if self.concurrent:
                    threading.Thread(target=self._loop.run_forever, daemon=True).start()
        if self.concurrent:
            return asyncio.run_coroutine_threadsafe(_awaited(value), self._loop).result()
        return self._loop.run_until_complete(_awaited(value))

    def close(self) -> None:
        if self._loop is not None and not self.concurrent:
            self._loop.close()

    def operations(self) -> "dict[str, Callable[..., Any]]":
        """The operations that wait for a coroutine."""
        return {
            "await": self.run,
            "anext": lambda v: self.run(_awaited(type(v).__anext__(v))),
            "aenter": lambda v: self.run(type(v).__aenter__(v)),
            "aexit": lambda v, *args: self.run(type(v).__aexit__(v, *args)),
        }


async def _awaited(value: Any) -> Any:
    return await value


def _swapped(operate: "Callable[[Any, Any], Any]") -> "Callable[[Any, Any], Any]":
    return lambda right, left: operate(left, right)


def _pickled(value: Any, protocol: Any) -> bytes:
    import pickle

    return pickle.dumps(value, protocol)


def _unpickled(_: Any, data: bytes) -> Any:
    import pickle

    return pickle.loads(data)  # of this process: the tests only keep it


def _signature(function: Any) -> "tuple[Any, ...]":
    """(name, kind, whether it has a default, a plain default) of each parameter."""
    plain = (int, float, str, bytes, bool, type(None), tuple)
    return tuple(
        (p.name, int(p.kind), p.default is not p.empty, p.default if type(p.default) in plain else None)
        for p in inspect.signature(function).parameters.values()
    )


OPERATIONS: "dict[str, Callable[..., Any]]" = {
    "len": len,
    "iter": iter,
    "next": next,
    "send": lambda v, sent: v.send(sent),
    "throw": lambda v, error: v.throw(error),
    "close": lambda v: v.close(),
    "str": str,
    "repr": repr,
    "hash": hash,
    "bool": bool,
    "int": int,
    "float": float,
    "complex": complex,
    "bytes": bytes,
    "index": operator.index,
    "fspath": os.fspath,
    "round": round,
    "floor": math.floor,
    "ceil": math.ceil,
    "trunc": math.trunc,
    "abs": abs,
    "neg": operator.neg,
    "pos": operator.pos,
    "invert": operator.invert,
    "reversed": reversed,
    "dir": dir,
    "format": format,
    "contains": operator.contains,
    "getitem": operator.getitem,
    "setitem": operator.setitem,
    "delitem": operator.delitem,
    "divmod": divmod,
    "rdivmod": _swapped(divmod),
    "pow": pow,
    "rpow": _swapped(pow),
    "ipow": operator.ipow,
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "enter": lambda v: type(v).__enter__(v),
    "exit": lambda v, *args: type(v).__exit__(v, *args),
    "aiter": lambda v: type(v).__aiter__(v),
    "content": lambda v: content(v),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": _pickled,
    "unpickle": _unpickled,
    "signature": _signature,
    "fields": lambda v: vars(v),
}
for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "matmul", "and_", "or_", "xor", "lshift", "rshift"):
    OPERATIONS[_name.strip("_")] = getattr(operator, _name)
    OPERATIONS["r" + _name.strip("_")] = _swapped(getattr(operator, _name))
    OPERATIONS["i" + _name.strip("_")] = getattr(operator, "i" + _name.strip("_"))

_CONTENT: "dict[type, Callable[[Any], Any]]" = {
    bool: bool,
    int: int.__int__,
    float: float.__float__,
    complex: lambda v: complex(v.real, v.imag),
    str: str.__str__,
    bytes: lambda v: bytes.__getitem__(v, slice(None)),
    tuple: lambda v: tuple(tuple.__iter__(v)),
    frozenset: lambda v: frozenset(frozenset.__iter__(v)),
}


def content(value: Any) -> Any:
    """The plain content of an instance of a built-in's subclass, as a new object; None if it has none."""
    native: Any = native_base(type(value))
    if native is None:
        wrapper = wrapper_base(type(value))
        return VALUES[wrapper].make(*VALUES[wrapper].take(value)) if wrapper else None
    if native in _CONTENT:
        return _CONTENT[native](value)
    if native in KINDS:
        kind = KINDS[native]
        parts = kind.content(value)
        made = kind.new(parts)
        kind.fill(made, parts)
        return made
    plain = getattr(native, "__copy__", None)
    if plain is not None:
        made = plain(value)
        if type(made) is native:
            return made
    if native.__name__ == "timedelta":
        return native(value.days, value.seconds, value.microseconds)
    if native.__name__ in ("date", "datetime", "time"):
        return native.fromisoformat(native.isoformat(value))
    return native(value)


def description(kind: Any, special: "Callable[[type], list[str]]") -> "tuple[Any, ...]":
    """(name, qualified name, direct bases, the class whose content instances hold, documentation, methods)."""
    bases = tuple(base for base in kind.__bases__ if base is not object and base not in NATIVE)
    native = native_base(kind)
    doc = kind.__doc__
    return (
        str(kind.__name__),
        str(kind.__qualname__),
        bases,
        (wrapper_base(kind) or None) if native is None else native.__name__,
        doc if type(doc) is str else None,
        tuple(special(kind)),
    )


def special_methods(kind: type) -> "list[str]":
    """The operations, as `__names__`, that instances of `kind` have beyond those of every object."""
    found: list[str] = []
    for name in dir(kind):
        if name.startswith("__") and name.endswith("__"):
            method = next((base.__dict__[name] for base in type.mro(kind) if name in base.__dict__), None)
            if method is not None and method is not object.__dict__.get(name):
                found.append(name)
    return found
