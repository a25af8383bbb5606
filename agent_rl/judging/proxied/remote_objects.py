"""Makes the proxies of a `HiddenTestsSession`: classes as the candidate describes them, instances, exceptions.

This file is standard library only, Python 3.9: its source also runs inside the sandboxes.
"""

import contextlib
import json
import types
from collections import deque
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from typing import Any

from agent_rl.judging.proxied.proxies import (
    NUMBER,
    PATH,
    SESSION,
    SPECIAL,
    TEXT,
    Documentation,
    Handle,
    PlainInstance,
    RemoteClass,
    RemoteException,
    RemoteIterator,
    fields_of,
    number_of,
)
from agent_rl.judging.proxied.proxy_exceptions import class_of_library, exception_from
from agent_rl.judging.proxied.proxy_messages import NATIVE, VALUES, WRAPPERS, MalformedMessage, WireForm, from_wire
from agent_rl.judging.proxied.shared_containers import KINDS
from agent_rl.judging.proxied.unexpected_objects import Unexpected, UnexpectedIterable

CLASS_SITE = "<class>"
"""Access path of classes that only describe an object: always let in, never recorded."""
MAX_OBJECTS = 1 << 20
_NATIVES = {kind.__name__: kind for kind in NATIVE}
_NATIVE_METHODS = tuple(
    f"__{name}__"
    for name in (
        *("eq", "ne", "lt", "le", "gt", "ge", "hash", "len", "iter", "getitem", "contains"),
        *("bool", "int", "float", "complex", "index", "bytes", "trunc"),
    )
)
"""Operations that are answered from an object's plain content, if it has one."""
_COUNTED = frozenset({"__len__", "__length_hint__", "__bool__"})
"""Operations by which an object could claim items that its loop does not give."""
_IMMUTABLE: Any = (int, float, complex, str, bytes, tuple, frozenset)


_IN_JSON = ("dict", "list", "OrderedDict", "defaultdict", "Counter")
_IMPORTS = ("__path__", "__spec__", "__loader__", "__file__", "__package__", "__warningregistry__", "__wrapped__")
"""Names that Python's import system looks for."""


class RemoteModule(types.ModuleType):
    """The solution's module; `number` is not 0 once the tests have imported it anew."""

    def __init__(self, name: str, session: Any, number: int = 0) -> None:
        super().__init__(name)
        types.ModuleType.__getattribute__(self, "__dict__").update({SESSION: session, NUMBER: number, PATH: ""})
        self.__spec__ = ModuleSpec(name, RemoteLoader(session))  # pyright: ignore[reportArgumentType]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_agent_rl_") or name in _IMPORTS:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        fields = types.ModuleType.__getattribute__(self, "__dict__")
        if name == "__all__":
            return fields[SESSION].starred(fields[NUMBER])
        return fields[SESSION].get(name, "get", fields[NUMBER], name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__"):
            # The import system sets this.
            super().__setattr__(name, value)
            return
        fields = types.ModuleType.__getattribute__(self, "__dict__")
        fields[SESSION].get("", "set", fields[NUMBER], name, values=(value,))

    def __delattr__(self, name: str) -> None:
        fields = types.ModuleType.__getattribute__(self, "__dict__")
        fields[SESSION].get("", "del", fields[NUMBER], name)

    def __dir__(self) -> Any:
        fields = types.ModuleType.__getattribute__(self, "__dict__")
        return fields[SESSION].get("dir", "op", "dir", fields[NUMBER], values=((),))


class RemoteLoader:
    """Executes the program again in its process: for `importlib.reload`, or once it is out of `sys.modules`."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def create_module(self, spec: ModuleSpec) -> RemoteModule:
        number = self._session.get("", "another")
        if type(number) is not int or not 0 <= number < MAX_OBJECTS:
            raise self._session.spoil("the solution's module cannot be made again")
        return RemoteModule(spec.name, self._session, number)

    def exec_module(self, module: types.ModuleType) -> None:
        self._session.get("", "execute", types.ModuleType.__getattribute__(module, "__dict__")[NUMBER])


@contextlib.contextmanager
def written_as_json() -> "Iterator[None]":
    """While it is entered: the solution's own kinds of dicts and lists are written as JSON, as in one process."""
    plain: Any = json.JSONEncoder.default

    def default(encoder: Any, value: Any) -> Any:
        kind = type(value)
        if isinstance(kind, RemoteClass) and fields_of(kind).get("_agent_rl_native") in _IN_JSON:
            fields = fields_of(value)
            return fields[SESSION].get(f"{fields[PATH]}.content", "op", "content", fields[NUMBER], values=((),))
        return plain(encoder, value)

    json.JSONEncoder.default = default  # type: ignore[method-assign]
    try:
        yield
    finally:
        json.JSONEncoder.default = plain  # type: ignore[method-assign]


class RemoteObjects:
    """The proxies of one session."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._objects: dict[int, Any] = {}
        self._classes: dict[int, type] = {}
        self._plain: dict[int, type] = {}
        self._named: set[type] = set()
        self._doubted: set[Any] = set()

    def first_doubt(self, proxy: Any) -> bool:
        """Whether this is the first time that a claim of the proxy's class to be equal is doubted."""
        kind, number = type(proxy), number_of(proxy)
        asked = number if kind is Handle else kind
        if asked in self._doubted:
            return False
        self._doubted.add(asked)
        return True

    def known(self, number: int) -> Any:
        return self._objects.get(number)

    # Instead of objects that the oracle solution does not give

    def instead(self, fields: "dict[str, Any]", site: str, inner: WireForm, refuse: "Callable[[], Any]") -> Any:
        """The stand-in for an object where the oracle solution gives none: its plain content, or what can be ignored.

        `refuse` makes the exception that any other use raises.
        """
        number, kind = fields["id"], fields["kind"]
        if kind == "iterator":
            return RemoteIterator(self._session, number, site)
        if kind == "object":
            if fields.get("base") is not None:
                wrapped = self._wrapped(fields["base"], inner)
                if wrapped is not None:
                    return wrapped
                native, content = self._content(fields, inner)
                return self._plain_instance(number, fields, native, content, site)
            described = self._described_class(fields)
            methods = fields_of(described)
            if "__next__" in methods and "__iter__" in methods:
                return RemoteIterator(self._session, number, site)
            if "__iter__" in methods and not _COUNTED.intersection(methods):
                return UnexpectedIterable(self._session, number, site, refuse)
        return Unexpected(number, refuse)

    @staticmethod
    def _wrapped(base: Any, inner: WireForm) -> Any:
        """The container for an instance of a subclass of one of `WRAPPERS`; None for any other."""
        if type(base) is not tuple or len(base) != 2 or base[0] not in WRAPPERS:
            return None
        parts = inner(base[1])
        held: Any = parts
        if type(parts) is tuple:
            held = {} if base[0] == "collections.UserDict" else []
            KINDS[type(held)].fill(held, list(parts))
        try:
            return VALUES[base[0]].make(held)
        except TypeError:
            raise MalformedMessage("a content of unknown form") from None

    @staticmethod
    def _content(fields: "dict[str, Any]", inner: WireForm) -> Any:
        """(built-in, content) of an instance of a built-in's subclass; the content of a container is its parts."""
        base = fields.get("base")
        if type(base) is not tuple or len(base) != 2 or type(base[0]) is not str or base[0] not in _NATIVES:
            raise MalformedMessage("a content of unknown form")
        content = inner(base[1])
        native = _NATIVES[base[0]]
        if type(content) is not (tuple if native in KINDS else native):
            raise MalformedMessage(f"a content that is not a {base[0]}")
        return native, content

    def _plain_instance(self, number: int, fields: "dict[str, Any]", native: Any, content: Any, site: str) -> Any:
        described = self._described_class(fields)
        class_number = fields["class"]
        made: Any = self._plain.get(class_number)
        if made is None or not issubclass(made, native):
            body = {"__module__": "solution", "__qualname__": described.__qualname__}
            made = self._plain[class_number] = type(described.__name__, (PlainInstance, native), body)
        if native in KINDS:
            value = made((), content[0]) if native is deque and content else made()
            KINDS[native].fill(value, list(content))
        elif native in _IMMUTABLE:
            value = native.__new__(made, content)
        else:
            value = native.__new__(made, *content.__reduce__()[1])
        fields_of(value).update({NUMBER: number, PATH: site, SESSION: self._session})
        return value

    # Objects

    def instance(self, fields: "dict[str, Any]", site: str, inner: WireForm) -> Any:
        """The proxy of an object that is let in."""
        number = fields["id"]
        if number not in self._objects:
            made = self._described_class(fields)
            # If the tests know a class by name, all objects of it and of its subclasses share one access path.
            known = [base for base in made.__mro__ if base in self._named]
            path = fields_of(known[0])[PATH] + "()" if known else site
            self._objects[number] = self._new(made, fields, inner, {NUMBER: number, PATH: path, SESSION: self._session})
        return self._objects[number]

    def _new(self, made: Any, fields: "dict[str, Any]", inner: WireForm, own: "dict[str, Any]") -> Any:
        if issubclass(made, BaseException):
            raise MalformedMessage("an exception that is an object")
        if fields.get("base") is not None and issubclass(made, _IMMUTABLE):
            native, content = self._content(fields, inner)
            if native is not made.__mro__[-2]:
                raise MalformedMessage("a content of another type than its class")
            instance: Any = native.__new__(made, content)
        else:
            instance = object.__new__(made)
        fields_of(instance).update(own)
        return instance

    # Exceptions

    def raised(self, fields: "dict[str, Any]", inner: WireForm) -> BaseException:
        """The exception to raise here for one that the candidate's process raised."""
        kind = from_wire(fields.get("class"), self._class_of_exception)
        number = fields.get("id")
        if not isinstance(kind, type) or not issubclass(kind, BaseException):
            raise MalformedMessage("an exception of unknown class")
        if number is None:
            return exception_from(fields, kind, inner, lambda kind, *args: kind(*args))
        if type(number) is not int or not 0 <= number < MAX_OBJECTS:
            raise MalformedMessage("an exception of unknown form")
        known = self.known(number)
        if isinstance(known, BaseException):
            return known
        text = fields.get("text")
        return exception_from(fields, kind, inner, lambda kind, *args: self._exception(kind, number, str(text), args))

    def _class_of_exception(self, name: str, fields: "dict[str, Any]", inner: WireForm) -> Any:
        if name == "library":
            return class_of_library(fields)
        number = fields.get("id")
        if type(number) is not int or not 0 <= number < MAX_OBJECTS or fields.get("kind") != "class":
            raise MalformedMessage("an exception of unknown class")
        return self.class_of(number, CLASS_SITE)

    def _exception(self, kind: Any, number: int, text: str, args: "tuple[Any, ...]") -> BaseException:
        """The proxy of an exception of one of the candidate's classes."""
        made = kind.__new__(kind, *args)
        fields_of(made).update({NUMBER: number, PATH: "exception", SESSION: self._session, TEXT: text})
        made.args = args
        self._objects[number] = made
        return made

    # Classes

    def _described_class(self, fields: "dict[str, Any]") -> Any:
        number = fields.get("class")
        if type(number) is not int or not 0 <= number < MAX_OBJECTS:
            raise MalformedMessage("an object without a class")
        return self.class_of(number, CLASS_SITE)

    def class_of(self, number: int, site: str) -> Any:
        """The class of proxies that stands for the candidate's class."""
        made = self._classes.get(number)
        if made is None:
            description = self._session.get(CLASS_SITE, "describe", number)
            made = self._classes[number] = self._new_class(number, description, site)
        if site != CLASS_SITE and made not in self._named:
            self._named.add(made)
            type.__setattr__(made, PATH, site)
        return made

    def _new_class(self, number: int, description: Any, site: str) -> Any:
        kinds = (str, str, tuple, (str, type(None)), (str, type(None)), tuple)
        if type(description) is not tuple or len(description) != len(kinds):
            raise MalformedMessage("a class of unknown form")
        if not all(isinstance(part, kind) for part, kind in zip(description, kinds)):  # noqa: B905
            raise MalformedMessage("a class of unknown form")
        name, qualified, bases, native, doc, methods = description
        parents = [base for base in bases if isinstance(base, type)]
        exceptional = any(issubclass(base, BaseException) for base in parents)
        if not any(isinstance(base, RemoteClass) for base in parents):
            parents.insert(0, RemoteException if exceptional else Handle)
        documentation = doc if exceptional else Documentation(doc)
        body: dict[str, Any] = {"__doc__": documentation, "__module__": "solution", "__qualname__": qualified}
        body.update({NUMBER: number, PATH: site, SESSION: self._session})
        if not exceptional:
            body.update({method: SPECIAL[method] for method in methods if method in SPECIAL})
        base: Any = _NATIVES.get(native or "")
        if base is not None and not exceptional:
            if base in _IMMUTABLE:
                if not any(issubclass(parent, base) for parent in parents):
                    parents.append(base)
                body.update({method: getattr(base, method) for method in _NATIVE_METHODS if hasattr(base, method)})
            else:
                body["_agent_rl_native"] = native
        elif native in WRAPPERS and not exceptional:
            body["_agent_rl_native"] = native
        try:
            return type.__new__(RemoteClass, name, tuple(parents), body)
        except (TypeError, ValueError):
            return type.__new__(RemoteClass, "Class", (Handle,), {NUMBER: number, PATH: site, SESSION: self._session})
