"""Proxies: stand-ins in the tests' process for objects of the candidate (tier `proxied`).

The `HiddenTestsSession` (`agent_rl.judging.proxied.tests_side`) that made a proxy decides what it lets through.

This file is standard library only, Python 3.9: its source also runs inside the sandboxes.
"""

import types
from typing import Any

from agent_rl.judging.proxied.proxy_messages import BUILTINS

NUMBER = "_agent_rl_number"
PATH = "_agent_rl_path"
SESSION = "_agent_rl_session"
TEXT = "_agent_rl_text"
"""Keys in the `__dict__` of each proxy: its object's number, its access path, its session, an exception's message."""
_ITEMS = "_agent_rl_items"
"""Key in the `__dict__` of an iterator whose length was asked for: its items."""


def _session(proxy: Any) -> "tuple[Any, int, str]":
    fields = proxy.__dict__
    return fields[SESSION], fields[NUMBER], fields[PATH]


def _operate(proxy: Any, name: str, *args: Any) -> Any:
    session, number, path = _session(proxy)
    wire = session.outgoing(args)
    return session.get(f"{path}.{name}", "op", name, number, wire)


def _exact(proxy: Any, name: str, kind: type, *args: Any) -> Any:
    """The plain result of an operation whose result Python itself requires to be of `kind`."""
    value = _operate(proxy, name, *args)
    if type(value) is not kind:
        raise TypeError(f"__{name}__ returned no {kind.__name__}")
    return value


class RemoteIterator:
    """An iterator or view of the candidate: gives its items and nothing else. Its length is the number of items."""

    def __init__(self, session: Any, number: int, path: str) -> None:
        self.__dict__.update({SESSION: session, NUMBER: number, PATH: path})

    def __iter__(self) -> Any:
        session, number, path = _session(self)
        if _ITEMS in self.__dict__:
            return iter(self.__dict__[_ITEMS])
        value = session.get(path, "op", "iter", number, ())
        if type(value) not in (RemoteIterator, Handle):
            raise TypeError("iter() gave no iterator")
        return value

    def __next__(self) -> Any:
        session, number, path = _session(self)
        return session.get(path + "[]", "op", "next", number, ())

    def __aiter__(self) -> "RemoteIterator":
        return self

    async def __anext__(self) -> Any:
        session, number, path = _session(self)
        return session.get(path + "[]", "op", "anext", number, ())

    def __len__(self) -> int:
        length = _exact(self, "len", int)
        if _ITEMS not in self.__dict__:
            items: list[Any] = []
            for item in self.__iter__():
                items.append(item)
                if len(items) > length:
                    break
            if len(items) != length:
                session, _, path = _session(self)
                raise session.spoil(f"solution.{path} gave an iterator of another length than it says")
            self.__dict__[_ITEMS] = items
        return length

    def __bool__(self) -> bool:
        try:
            return len(self) > 0
        except TypeError:
            return True


class RemoteClass(type):
    """Stands for a class of the candidate: calling it makes an instance in the candidate's process."""

    def __new__(cls, name: str, bases: "tuple[type, ...]", body: "dict[str, Any]") -> Any:
        if bases:
            raise TypeError(f"tests of this tier cannot derive a class from the solution's {bases[0].__name__}")
        return super().__new__(cls, name, bases, body)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        session, number, path = _session(cls)
        return session.call(number, path + "()", args, kwargs)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("_agent_rl_") or SESSION not in cls.__dict__:
            raise AttributeError(name)
        session, number, path = _session(cls)
        return session.get(f"{path}.{name}", "get", number, name)

    def __setattr__(cls, name: str, value: Any) -> None:
        session, number, path = _session(cls)
        session.get(path, "set", number, name, session.outgoing(value))

    def __iter__(cls) -> Any:
        return _items(cls)

    def __len__(cls) -> int:
        return _exact(cls, "len", int)

    def __bool__(cls) -> bool:
        return True

    def __contains__(cls, item: Any) -> bool:
        return _exact(cls, "contains", bool, item)

    def __getitem__(cls, key: Any) -> Any:
        session, number, path = _session(cls)
        return session.get(path + "[]", "op", "getitem", number, session.outgoing((key,)))


def _items(proxy: Any) -> Any:
    session, number, path = _session(proxy)
    iterator = session.get(path + ".iter", "op", "iter", number, ())
    if type(iterator) is not RemoteIterator and not isinstance(type(iterator), RemoteClass):
        raise TypeError("iter() returned no iterator")
    return iterator


class Handle(metaclass=RemoteClass):
    """Stands for an object of the candidate. An attribute that is not defined here is looked up there."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_agent_rl_"):
            raise AttributeError(name)
        session, number, path = _session(self)
        return session.get(f"{path}.{name}", "get", number, name)

    def __setattr__(self, name: str, value: Any) -> None:
        session, number, path = _session(self)
        session.get(path, "set", number, name, session.outgoing(value))

    def __delattr__(self, name: str) -> None:
        session, number, path = _session(self)
        session.get(path, "del", number, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        session, number, path = _session(self)
        return session.call(number, path + "()", args, kwargs)

    def __eq__(self, other: Any) -> Any:
        if self is other:
            return True
        if isinstance(type(other), RemoteClass):
            return self.__equal(_exact(self, "eq", bool, other))
        return NotImplemented

    def __ne__(self, other: Any) -> Any:
        if isinstance(type(other), RemoteClass):
            return self is not other and not self.__equal(not _exact(self, "ne", bool, other))
        return NotImplemented

    def __equal(self, equal: bool) -> bool:
        if equal:
            _session(self)[0].doubt(self)
        return equal

    def __hash__(self) -> int:
        return _exact(self, "hash", int)

    def __iter__(self) -> Any:
        return _items(self)

    def __next__(self) -> Any:
        session, number, path = _session(self)
        return session.get(path + "[]", "op", "next", number, ())

    def __getitem__(self, key: Any) -> Any:
        session, number, path = _session(self)
        return session.get(path + "[]", "op", "getitem", number, session.outgoing((key,)))

    def __exit__(self, kind: Any, error: Any, trace: Any) -> Any:
        return self.__leave("exit", kind, error)

    async def __aenter__(self) -> Any:
        return _operate(self, "aenter")

    def __aiter__(self) -> Any:
        return _operate(self, "aiter")

    async def __anext__(self) -> Any:
        session, number, path = _session(self)
        return session.get(path + "[]", "op", "anext", number, ())

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> Any:
        return self.__leave("aexit", kind, error)

    def __leave(self, operation: str, kind: Any, error: Any) -> bool:
        if kind is None:
            return bool(_operate(self, operation, None, None, None))
        if isinstance(kind, RemoteClass):
            return bool(_operate(self, operation, kind, error, None))
        plain = next((base for base in kind.__mro__ if BUILTINS.get(base.__name__) is base), None)
        if plain is None:
            # An exception of pytest or an exit: hidden from the solution, which only closes what it opened.
            _operate(self, operation, None, None, None)
            return False
        return bool(_operate(self, operation, plain, None, None))

    def __dir__(self) -> Any:
        return _operate(self, "dir")

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("an object of the solution's cannot be copied or pickled by tests of this tier")


def _forward(name: str, operation: str, kind: "type | None") -> None:
    if kind is None:

        def method(self: Any, *args: Any) -> Any:
            return _operate(self, operation, *args)
    else:

        def method(self: Any, *args: Any) -> Any:
            return _exact(self, operation, kind, *args)

    method.__name__ = name
    type.__setattr__(Handle, name, method)


_EXACT: "dict[str, type]" = {
    **dict.fromkeys(("len", "int", "index", "trunc"), int),
    **dict.fromkeys(("str", "repr", "format"), str),
    **dict.fromkeys(("bool", "contains"), bool),
    "float": float,
    "complex": complex,
    "bytes": bytes,
}
for _name in _EXACT:
    _forward(f"__{_name}__", _name, _EXACT[_name])
for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "matmul", "and_", "or_", "xor", "lshift", "rshift"):
    for _prefix in ("", "r", "i"):
        _forward(f"__{_prefix}{_name.strip('_')}__", _prefix + _name, None)
for _name in ("lt", "le", "gt", "ge", "abs", "neg", "pos", "invert", "round", "reversed", "divmod", "pow", "rpow"):
    _forward(f"__{_name}__", _name, None)
for _name in ("enter", "setitem", "delitem"):
    _forward(f"__{_name}__", _name, None)
del _name, _prefix  # pyright: ignore[reportPossiblyUnbound]


class RemoteException(metaclass=RemoteClass):
    """Mixed into the classes that stand for the candidate's exceptions."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        session, number, path = _session(self)
        return session.get(f"{path}.{name}", "get", number, name)

    def __str__(self) -> str:
        return self.__dict__[TEXT]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.__dict__[TEXT]!r})"


class Unexpected:
    """An object of the candidate where the oracle solution gives none: tests may only ignore it or hand it back."""

    def __init__(self, number: int, refuse: Any) -> None:
        object.__setattr__(self, NUMBER, number)
        object.__setattr__(self, "refuse", refuse)

    def __getattribute__(self, name: str) -> Any:
        raise object.__getattribute__(self, "refuse")()


def _refuse(self: Any, *args: Any, **kwargs: Any) -> Any:
    raise object.__getattribute__(self, "refuse")()


for _name in (
    *("eq", "ne", "lt", "le", "gt", "ge", "hash", "bool", "len", "iter", "next", "getitem", "setitem", "delitem"),
    *("contains", "call", "enter", "exit", "aenter", "aexit", "await", "aiter", "anext", "reversed", "dir", "str"),
    *("repr", "format", "bytes", "int", "float", "complex", "index", "round", "trunc", "floor", "ceil", "abs", "neg"),
    *("pos", "invert", "divmod", "rdivmod", "pow", "rpow", "ipow", "setattr", "delattr", "length_hint", "fspath"),
):
    setattr(Unexpected, f"__{_name}__", _refuse)
for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "matmul", "and", "or", "xor", "lshift", "rshift"):
    for _prefix in ("", "r", "i"):
        setattr(Unexpected, f"__{_prefix}{_name}__", _refuse)
del _name, _prefix  # pyright: ignore[reportPossiblyUnbound]


def number_of(proxy: Any) -> int:
    """The number by which the candidate's process knows the object that `proxy` stands for."""
    return object.__getattribute__(proxy, "__dict__")[NUMBER]


class RemoteModule(types.ModuleType):
    """The solution's module."""

    def __init__(self, name: str, session: Any) -> None:
        super().__init__(name)
        self.__dict__.update({SESSION: session, NUMBER: 0, PATH: ""})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_agent_rl_") or (name.startswith("__") and name not in ("__all__", "__version__")):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        session, number, _ = _session(self)
        if name == "__all__":
            return session.starred(number)
        return session.get(name, "get", number, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__"):
            # The import system sets this.
            super().__setattr__(name, value)
            return
        session, number, _ = _session(self)
        session.get("", "set", number, name, session.outgoing(value))

    def __delattr__(self, name: str) -> None:
        session, number, _ = _session(self)
        session.get("", "del", number, name)
