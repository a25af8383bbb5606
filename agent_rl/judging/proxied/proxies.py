"""Proxies: stand-ins in the tests' process for objects of the candidate (tier `proxied`).

The `HiddenTestsSession` (`agent_rl.judging.proxied.tests_side`) that made a proxy decides what it lets through. The
class of a proxy has those operations that the candidate's class has. So what Python itself refuses, it refuses here
too; what only a proxy cannot do fails the test (`spoil`), even if the test expects an exception.

This file is standard library only, Python 3.9: its source also runs inside the sandboxes.
"""

import types
from collections.abc import Callable
from typing import Any

from agent_rl.judging.proxied.proxy_exceptions import nearest
from agent_rl.judging.proxied.proxy_messages import native_base

NUMBER = "_agent_rl_number"
PATH = "_agent_rl_path"
SESSION = "_agent_rl_session"
TEXT = "_agent_rl_text"
"""Keys in the fields of each proxy: its object's number, its access path, its session, an exception's message."""


class Fielded:
    """Has fields of its own that no attribute shows."""


_of_object: "Callable[[Any], dict[str, Any]]" = Fielded.__dict__["__dict__"].__get__
_of_class: "Callable[[Any], Any]" = type.__dict__["__dict__"].__get__


def fields_of(proxy: Any) -> Any:
    """The proxy's own fields; of a class, to be read only."""
    # Nothing is asked of the proxy itself: an `Unexpected` answers to nothing.
    return _of_class(proxy) if issubclass(type(proxy), type) else _of_object(proxy)


def number_of(proxy: Any) -> int:
    """The number by which the candidate's process knows the object that `proxy` stands for."""
    return fields_of(proxy)[NUMBER]


def _session(proxy: Any) -> "tuple[Any, int, str]":
    fields = fields_of(proxy)
    return fields[SESSION], fields[NUMBER], fields[PATH]


def _operate(proxy: Any, name: str, *args: Any) -> Any:
    session, number, path = _session(proxy)
    return session.get(f"{path}.{name}", "op", name, number, values=(args,))


def _exact(proxy: Any, name: str, kind: Any, *args: Any) -> Any:
    """The plain result of an operation whose result Python itself requires to be of `kind`."""
    value = _operate(proxy, name, *args)
    if type(value) is not kind:
        session, _, path = _session(proxy)
        if not isinstance(value, kind):
            raise session.spoil(f"solution.{path}: {name} gave no {kind.__name__}")
        # Of a subclass: its plain content.
        return kind.__str__(value) if kind is str else kind(value)
    return value


def _attribute(proxy: Any, name: str) -> Any:
    if name.startswith("_agent_rl_"):
        raise AttributeError(name)
    session, number, path = _session(proxy)
    return session.get(f"{path}.{name}", "get", number, name)


def _set_attribute(proxy: Any, name: str, value: Any) -> None:
    session, number, path = _session(proxy)
    session.get(path, "set", number, name, values=(value,))


def _delete_attribute(proxy: Any, name: str) -> None:
    session, number, path = _session(proxy)
    session.get(path, "del", number, name)


def _attributes(proxy: Any) -> Any:
    session, number, path = _session(proxy)
    return session.get(f"{path}.__dict__", "op", "fields", number, values=((),))


def _item(proxy: Any, key: Any) -> Any:
    session, number, path = _session(proxy)
    return session.get(path + "[]", "op", "getitem", number, values=((key,),))


def items_of_proxy(proxy: Any) -> Any:
    session, number, path = _session(proxy)
    iterator = session.get(path + ".iter", "op", "iter", number, values=((),))
    if not isinstance(iterator, (RemoteIterator, types.GeneratorType)) and not isinstance(type(iterator), RemoteClass):
        raise session.spoil(f"solution.{path}: iter() gave no iterator")
    return iterator


def _next(proxy: Any, operation: str = "next") -> Any:
    session, number, path = _session(proxy)
    return session.get(path + "[]", "op", operation, number, values=((),))


async def _later(proxy: Any, operation: str, *args: Any) -> Any:
    session, number, path = _session(proxy)
    site = path + "[]" if operation == "anext" else f"{path}.{operation}"
    return await session.get_later(site, "op", operation, number, values=(args,))


class RemoteIterator(Fielded):
    """An iterator of the candidate: gives its items and nothing else."""

    def __init__(self, session: Any, number: int, path: str) -> None:
        _of_object(self).update({SESSION: session, NUMBER: number, PATH: path})

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return _next(self)

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> Any:
        return await _later(self, "anext")

    def __getattr__(self, name: str) -> Any:
        session, _, path = _session(self)
        if name.startswith("__"):
            raise AttributeError(name)
        raise session.spoil(f"solution.{path} gave an iterator, whose {name} cannot be had by tests of this tier")

    def __reduce_ex__(self, protocol: Any) -> Any:
        session, _, path = _session(self)
        raise session.spoil(f"solution.{path} gave an iterator, which cannot be copied by tests of this tier")


class RemoteClass(type):
    """Stands for a class of the candidate: calling it makes an instance in the candidate's process."""

    def __new__(cls, name: str, bases: "tuple[type, ...]", body: "dict[str, Any]") -> Any:
        for base in bases:
            if SESSION in _of_class(base):
                told = f"tests of this tier cannot derive a class from the solution's {base.__name__}"
                raise _of_class(base)[SESSION].spoil(told)
        return super().__new__(cls, name, bases, body)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        session, number, path = _session(cls)
        return session.call(number, path + "()", args, kwargs)

    def __getattr__(cls, name: str) -> Any:
        if SESSION not in _of_class(cls):
            raise AttributeError(name)
        return _attribute(cls, name)

    __setattr__ = _set_attribute
    __delattr__ = _delete_attribute

    def __iter__(cls) -> Any:
        return items_of_proxy(cls)

    def __len__(cls) -> int:
        return _exact(cls, "len", int)

    def __bool__(cls) -> bool:
        return True

    def __contains__(cls, item: Any) -> bool:
        return _exact(cls, "contains", bool, item)

    def __getitem__(cls, key: Any) -> Any:
        return _item(cls, key)

    def __dir__(cls) -> Any:
        return _operate(cls, "dir")

    @property
    def __signature__(cls) -> Any:
        return _signature(cls)

    @property
    def __dict__(cls) -> Any:  # type: ignore[override]
        if SESSION not in _of_class(cls):
            return _of_class(cls)
        return _attributes(cls)


def _signature(proxy: Any) -> Any:
    import inspect

    parameters = _operate(proxy, "signature")
    try:
        return inspect.Signature(
            [
                inspect.Parameter(n, inspect._ParameterKind(kind), default=plain if has else inspect.Parameter.empty)
                for n, kind, has, plain in parameters
            ]
        )
    except (TypeError, ValueError):
        session, _, path = _session(proxy)
        raise session.spoil(f"solution.{path} has a signature that cannot be held") from None


class Documentation:
    """`__doc__` of a class of proxies: the class's own, and that of each instance, as functions have one."""

    def __init__(self, doc: Any) -> None:
        self._doc = doc

    def __get__(self, instance: Any, owner: Any) -> Any:
        if instance is None:
            return self._doc
        return _attribute(instance, "__doc__")


class ShownAsThere(Fielded):
    """Its text is what the candidate's class makes of it."""

    def __str__(self) -> str:
        return _exact(self, "str", str)

    def __repr__(self) -> str:
        return _exact(self, "repr", str)

    def __format__(self, form: str) -> str:
        return _exact(self, "format", str, form)


class Handle(ShownAsThere, metaclass=RemoteClass):
    """Stands for an object of the candidate. An attribute that is not defined here is looked up there."""

    def __getattr__(self, name: str) -> Any:
        return _signature(self) if name == "__signature__" else _attribute(self, name)

    __setattr__ = _set_attribute
    __delattr__ = _delete_attribute

    @property
    def __dict__(self) -> Any:  # type: ignore[override]
        return _attributes(self)

    def __eq__(self, other: Any) -> Any:
        if self is other:
            return True
        if isinstance(type(other), RemoteClass):
            return self.__equal(_exact(self, "eq", bool, other))
        content = self.__content()
        return NotImplemented if content is None else content == other

    def __ne__(self, other: Any) -> Any:
        if isinstance(type(other), RemoteClass):
            return self is not other and not self.__equal(not _exact(self, "ne", bool, other))
        content = self.__content()
        return NotImplemented if content is None else content != other

    def __equal(self, equal: bool) -> bool:
        if equal:
            _session(self)[0].doubt(self)
        return equal

    def __content(self) -> Any:
        """The plain content of an instance of a built-in's subclass: with it, and not with its class, is compared."""
        return _operate(self, "content") if "_agent_rl_native" in _of_class(type(self)) else None

    def __hash__(self) -> int:
        return _exact(self, "hash", int)

    def __dir__(self) -> Any:
        return _operate(self, "dir")

    def __copy__(self) -> Any:
        return _operate(self, "copy")

    def __deepcopy__(self, memo: Any) -> Any:
        return _operate(self, "deepcopy")

    def __reduce_ex__(self, protocol: Any) -> Any:
        Restoring.session, _, path = _session(self)
        return restored, (path, _exact(self, "pickle", bytes, protocol))


class Restoring:
    """The session in which pickled objects of the solution's come back."""

    session: Any = None


def restored(path: str, data: bytes) -> Any:
    """The object of the candidate that its process has written as `data`."""
    return Restoring.session.get(path, "op", "unpickle", 0, values=((data,),))


def _leave(proxy: Any, kind: Any, error: Any) -> "tuple[bool, tuple[Any, ...]]":
    """(whether the solution may decide about the exception, what its `__exit__` is told)."""
    if kind is None:
        return True, (None, None, None)
    if isinstance(kind, RemoteClass):
        return True, (kind, error, None)
    if not issubclass(kind, Exception):
        # An exception of pytest or an exit: hidden from the solution, which only closes what it opened.
        return False, (None, None, None)
    return True, (nearest(kind), error, None)


def _exit(self: Any, kind: Any, error: Any, trace: Any) -> bool:
    decides, told = _leave(self, kind, error)
    return bool(_operate(self, "exit", *told)) and decides


async def _aexit(self: Any, kind: Any, error: Any, trace: Any) -> bool:
    decides, told = _leave(self, kind, error)
    return bool(await _later(self, "aexit", *told)) and decides


def _call(self: Any, *args: Any, **kwargs: Any) -> Any:
    session, number, path = _session(self)
    return session.call(number, path + "()", args, kwargs)


async def _anext(self: Any) -> Any:
    return await _later(self, "anext")


async def _aenter(self: Any) -> Any:
    return await _later(self, "aenter")


def _await(self: Any) -> Any:
    return _later(self, "await").__await__()


def _forwarded(operation: str, kind: "type | None") -> Any:
    if kind is None:
        return lambda self, *args: _operate(self, operation, *args)
    return lambda self, *args: _exact(self, operation, kind, *args)


SPECIAL: "dict[str, Any]" = {
    "__call__": _call,
    "__iter__": items_of_proxy,
    "__next__": _next,
    "__getitem__": _item,
    "__exit__": _exit,
    "__aexit__": _aexit,
    "__aenter__": _aenter,
    "__anext__": _anext,
    "__await__": _await,
}
"""The operations that only objects of some classes have."""
_EXACT: "dict[str, type]" = {
    **dict.fromkeys(("len", "int", "index"), int),
    **dict.fromkeys(("bool", "contains"), bool),
    **{"float": float, "complex": complex, "bytes": bytes, "fspath": str},
}
for _name in _EXACT:
    SPECIAL[f"__{_name}__"] = _forwarded(_name, _EXACT[_name])
for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "matmul", "and", "or", "xor", "lshift", "rshift"):
    for _prefix in ("", "r", "i"):
        SPECIAL[f"__{_prefix}{_name}__"] = _forwarded(_prefix + _name, None)
for _name in ("lt", "le", "gt", "ge", "abs", "neg", "pos", "invert", "round", "floor", "ceil", "trunc", "reversed"):
    SPECIAL[f"__{_name}__"] = _forwarded(_name, None)
for _name in ("divmod", "rdivmod", "pow", "rpow", "ipow", "enter", "aiter", "setitem", "delitem"):
    SPECIAL[f"__{_name}__"] = _forwarded(_name, None)
del _name, _prefix  # pyright: ignore[reportPossiblyUnbound]


class RemoteException(Fielded, metaclass=RemoteClass):
    """Mixed into the classes that stand for the candidate's exceptions."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _attribute(self, name)

    def __str__(self) -> str:
        return fields_of(self)[TEXT]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({fields_of(self)[TEXT]!r})"

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise _session(self)[0].spoil("an exception of the solution's cannot be copied by tests of this tier")


class PlainInstance(ShownAsThere):
    """Mixed into the classes of plain values that the candidate gives as instances of a class of its own.

    All operations are those of the built-in class, on the value's content. Only text and attributes are the class's.
    """

    __getattr__ = _attribute

    def __reduce_ex__(self, protocol: Any) -> Any:
        native: Any = native_base(type(self))
        return native, (str.__str__(self) if isinstance(self, str) else native.__new__(native, self),)
