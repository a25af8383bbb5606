"""The candidate's side of tier `proxied`: loads the program as a module and serves what the tests do with it.

This module runs in the candidate's process: the candidate can read and change everything here. So nothing here is
secret, and nothing here decides a verdict. The tests' side (`agent_rl.judging.proxied.tests_side`) believes a frame
only as far as it can check it.

This file is standard library only, Python 3.9: its source also runs inside the sandboxes.
"""

import builtins
import operator
import types
from collections.abc import Callable
from typing import Any

from agent_rl.judging.proxied.proxy_messages import (
    NATIVE,
    SCALARS,
    MalformedMessage,
    from_wire,
    native_base,
    read_frame,
    to_wire,
    write_frame,
)
from agent_rl.vocabulary.canonical import NotCanonical, Record

_MODIFIABLE = (list, dict, set, bytearray)
_ITERATORS = frozenset(
    type(made)
    for made in (
        (n for n in ()),
        iter(()),
        iter([]),
        iter({}),
        iter(set()),
        iter(""),
        iter(range(0)),
        iter({}.items()),
        iter({}.values()),
        {}.keys(),
        {}.values(),
        {}.items(),
        map(len, ()),
        filter(None, ()),
        zip(),
        enumerate(()),
        reversed([]),
        reversed(()),
    )
) | {types.AsyncGeneratorType}
_CONTENT: "dict[type, Callable[[Any], Any]]" = {
    bool: bool,
    int: int.__int__,
    float: float.__float__,
    complex: lambda v: complex(v.real, v.imag),
    str: str.__str__,
    bytes: lambda v: bytes.__getitem__(v, slice(None)),
    tuple: lambda v: tuple(tuple.__iter__(v)),
    frozenset: lambda v: frozenset(frozenset.__iter__(v)),
    list: lambda v: list(list.__iter__(v)),
    dict: lambda v: dict(dict.items(v)),
    set: lambda v: set(set.__iter__(v)),
}


_loop: Any = None


def _await(value: Any) -> Any:
    """The result of awaiting `value`, in one event loop that lives as long as the process."""
    global _loop
    import asyncio

    async def wait() -> Any:
        return await value

    if _loop is None:
        _loop = asyncio.new_event_loop()
    return _loop.run_until_complete(wait())


def _anext(value: Any) -> Any:
    async def wait() -> Any:
        return await value.__anext__()

    return _await(wait())


def _swapped(operate: "Callable[[Any, Any], Any]") -> "Callable[[Any, Any], Any]":
    return lambda right, left: operate(left, right)


_OPERATIONS: "dict[str, Callable[..., Any]]" = {
    "len": len,
    "iter": iter,
    "next": next,
    "str": str,
    "repr": repr,
    "hash": hash,
    "bool": bool,
    "int": int,
    "float": float,
    "complex": complex,
    "bytes": bytes,
    "index": operator.index,
    "round": round,
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
    "pow": pow,
    "eq": operator.eq,
    "ne": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "enter": lambda v: type(v).__enter__(v),
    "exit": lambda v, *args: type(v).__exit__(v, *args),
    "trunc": lambda v: type(v).__trunc__(v),
    "await": _await,
    "aiter": lambda v: type(v).__aiter__(v),
    "anext": _anext,
    "aenter": lambda v: _await(type(v).__aenter__(v)),
    "aexit": lambda v, *args: _await(type(v).__aexit__(v, *args)),
    "content": lambda v: _CONTENT[native_base(type(v)) or object](v),
}
for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "matmul", "and_", "or_", "xor", "lshift", "rshift"):
    _OPERATIONS[_name] = getattr(operator, _name)
    _OPERATIONS["r" + _name] = _swapped(_OPERATIONS[_name])
    _OPERATIONS["i" + _name] = getattr(operator, "i" + _name.strip("_"))
_OPERATIONS["rpow"] = lambda right, left: pow(left, right)


class Callback:
    """A function or an iterator that belongs to the tests, as the candidate sees it."""

    def __init__(self, server: "CandidateServer", number: int) -> None:
        self._server = server
        self._number = number

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._server.call_back(self._number, "call", args, kwargs)

    def __iter__(self) -> "Callback":
        return self

    def __next__(self) -> Any:
        return self._server.call_back(self._number, "next", (), {})


class CandidateServer:
    """Serves one program's module. `send` and `receive` carry frames; `receive` returns None at the end."""

    def __init__(
        self, program: str, module: types.ModuleType, send: "Callable[[str], None]", receive: "Callable[[], str | None]"
    ) -> None:
        """`module` is empty, and has a `__file__`."""
        self._program = program
        self._send = send
        self._receive = receive
        self.module = module
        self._objects: list[Any] = [self.module]
        self._numbers: dict[int, int] = {id(self.module): 0}
        self._callbacks: dict[int, Callback] = {}

    def serve(self) -> None:
        """Answers requests until there are no more frames."""
        while True:
            text = self._receive()
            if text is None:
                return
            self._send(self._answer(read_frame(text)))

    def call_back(self, number: int, operation: str, args: "tuple[Any, ...]", kwargs: "dict[str, Any]") -> Any:
        """What the tests' function returns or raises. The tests may use the solution meanwhile."""
        self._send(
            write_frame(["callback", number, operation, to_wire(args, self._refer), to_wire(kwargs, self._refer)])
        )
        while True:
            text = self._receive()
            if text is None:
                raise SystemExit
            content = read_frame(text)
            if content[0] == "return":
                return from_wire(content[1], self._resolve)
            if content[0] == "raise":
                raise self._raised(content)
            self._send(self._answer(content))

    def _answer(self, content: "list[Any]") -> str:
        """The frame that answers a request."""
        modified: list[Any] = []
        try:
            value = self._do(content, modified)
            try:
                return write_frame(["return", to_wire(value, self._refer), modified])
            except RecursionError:
                raise NotCanonical("nested too deep") from None
        except MemoryError:
            # Nothing in this process is reliable any more; the way it ends shows the cause.
            raise
        except BaseException as error:
            return self._failure(error)

    def _do(self, content: "list[Any]", modified: "list[Any]") -> Any:
        what = content[0]
        if what == "load":
            return self._load()
        if what == "op":
            _, name, number, args = content
            return _OPERATIONS[name](self._objects[number], *from_wire(args, self._resolve))
        target = self._objects[content[1]]
        if what == "get":
            return self._names(target) if content[2] == "__all__" else getattr(target, content[2])
        if what == "set":
            return setattr(target, content[2], from_wire(content[3], self._resolve))
        if what == "del":
            return delattr(target, content[2])
        if what == "describe":
            return self._describe(target)
        args = from_wire(content[2], self._resolve)
        kwargs = from_wire(content[3], self._resolve)
        given = [(k, a, self._content(a)) for k, a in (*enumerate(args), *kwargs.items()) if type(a) in _MODIFIABLE]
        value = target(*args, **kwargs)
        # The caller sees what was changed in place.
        changed = [(key, before, self._content(a)) for key, a, before in given]
        modified += [[key, now] for key, before, now in changed if now is not None and now != before]
        return value

    def _content(self, value: Any) -> Any:
        """The wire form of an argument, as the tests will see it; None if it has none."""
        try:
            return to_wire(value, self._refer)
        except Exception:
            return None

    def _load(self) -> None:
        path = str(self.module.__file__)
        exec(compile(self._program, path, "exec", dont_inherit=True), self.module.__dict__)

    def _names(self, target: Any) -> "list[str]":
        if hasattr(target, "__all__"):
            return list(target.__all__)
        return [name for name in vars(target) if not name.startswith("_")]

    def _describe(self, kind: Any) -> "list[Any]":
        """[name, direct bases, the built-in whose content instances hold, documentation, whether it is abstract]."""
        bases = [base for base in kind.__bases__ if base is not object and base not in NATIVE]
        native = native_base(kind)
        doc = kind.__doc__
        return [
            str(kind.__name__),
            bases,
            None if native is None else native.__name__,
            doc if type(doc) is str else None,
        ]

    def _number(self, value: Any) -> int:
        number = self._numbers.get(id(value))
        if number is None:
            # Objects are kept for ever, so that Python never reuses their ids.
            number = self._numbers[id(value)] = len(self._objects)
            self._objects.append(value)
        return number

    def _refer(self, value: Any) -> Any:
        kind = type(value)
        if kind is Callback:
            return Record("callback", (("id", value._number),))
        if kind.__module__ == "numpy" and getattr(value, "shape", None) == ():
            item = value.item()
            if type(item) in SCALARS:
                return item
        what = "object"
        base: Any = None
        if isinstance(value, type):
            what = "class"
        elif kind in _ITERATORS:
            what = "iterator"
        elif kind is types.CoroutineType:
            what = "coroutine"
        else:
            native = native_base(kind)
            if native is not None:
                base = (native.__name__, to_wire(_CONTENT[native](value), self._refer))
        described = None if what != "object" or kind.__module__ == "builtins" else self._number(kind)
        return Record("object", (("id", self._number(value)), ("class", described), ("kind", what), ("base", base)))

    def _resolve(self, name: str, fields: "dict[str, Any]") -> Any:
        number = fields["id"]
        if name == "object":
            return self._objects[number]
        if name != "callback":
            raise MalformedMessage(f"a reference of kind {name!r}")
        if number not in self._callbacks:
            self._callbacks[number] = Callback(self, number)
        return self._callbacks[number]

    def _failure(self, error: BaseException) -> str:
        """The frame for a raised `error`. The methods of `error` may raise too."""
        kind = type(error)
        try:
            text = str(error)
        except BaseException:
            text = "(its message could not be had)"
        plain = getattr(builtins, kind.__name__, None) is kind
        try:
            named = Record("builtin", (("name", kind.__name__),)) if plain else to_wire(kind, self._refer)
            args = error.args if type(error.args) is tuple else None
            instance = None if plain else Record("object", (("id", self._number(error)),))
            return write_frame(["raise", named, to_wire(args, self._refer), text[:5000], instance])
        except BaseException:
            return write_frame(
                ["raise", Record("builtin", (("name", "Exception"),)), None, "(it cannot be held)", None]
            )

    def _raised(self, content: "list[Any]") -> BaseException:
        _, kind, args, text, instance = content
        if instance is not None:
            return from_wire(instance, self._resolve)
        made = from_wire(kind, self._resolve)
        try:
            return made(*from_wire(args, self._resolve)) if args is not None else made(text)
        except Exception:
            return RuntimeError(text)
