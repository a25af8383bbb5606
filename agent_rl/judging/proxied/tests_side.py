"""The tests' side of tier `proxied`: `solution`, as the tests import it, is a module of proxies to another process.

What the candidate can and cannot do to the tests:

- The candidate sends plain values and references, never code. They are decoded here into plain Python values and
  proxies. Names that it sends are looked up only in a short table of built-in types.
- A proxy stands for an object of the candidate. A test may use one only where the oracle solution gives an object too
  (`admitted`, found when the task is loaded). Anywhere else, the test fails as soon as it uses the proxy. So a value
  that only claims to be equal, greater or divisible never reaches an assertion. Iterators are allowed everywhere; the
  test sees their items.
- A proxy and a plain value are never equal. If two proxies are compared, the candidate's own class answers, as for all
  its methods and operators. So a class under test can lie about itself. A test that compares two of its objects
  believes it, unless the class also claims to be equal to an unknown object. Tests should compare plain values.
- An exception of the candidate becomes the built-in exception of that name, or a proxy class derived from its built-in
  base. Some fail the test that sees them, even if it catches them: whatever is not an Exception (SystemExit,
  KeyboardInterrupt); a malformed frame; and StopIteration from anything but `next`, unless the oracle solution raises
  it there too. (It would end a `map` or `zip` of the tests as if all items had been seen.)

A function may modify an argument in place. The test's own argument is then modified too, if the function returns None
or if the oracle solution modifies it as well. Otherwise the change is only recorded (`HiddenTestsSession.seen`),
because the test may compare the result with an argument that the candidate has emptied. The judge then runs the tests
both ways.

This file is standard library only, Python 3.9: its source also runs inside the sandboxes.
"""

import types
from collections.abc import Callable
from typing import Any

from agent_rl.judging.proxied.outgoing_values import OutgoingValues, assign
from agent_rl.judging.proxied.proxies import (
    NUMBER,
    PATH,
    SESSION,
    TEXT,
    Handle,
    RemoteClass,
    RemoteException,
    RemoteIterator,
    RemoteModule,
    Unexpected,
    number_of,
)
from agent_rl.judging.proxied.proxy_messages import (
    ANY_NAME,
    BUILTINS,
    MalformedMessage,
    built_in_exception,
    from_wire,
    plain_args,
    read_frame,
    write_frame,
)
from agent_rl.vocabulary.canonical import NotCanonical, Record

_MAX_OBJECTS = 1 << 20
_CLASS_SITE = "<class>"
"""Access path of classes that only describe an object: always let in, never recorded."""
_NATIVE_METHODS = tuple(
    f"__{name}__"
    for name in (
        *("eq", "ne", "lt", "le", "gt", "ge", "hash", "len", "iter", "getitem", "contains"),
        *("bool", "int", "float", "complex", "index", "bytes", "trunc"),
    )
)
"""Operations that are answered from an object's plain content, if it has one."""
MODIFIED = "(modified)"
"""Suffix of a value's access path: the call that returned the value modified its arguments."""
_STRANGER = "what no honest object is equal to"
_NEXT = (("op", "next"), ("op", "anext"))
"""Requests that may end an iteration."""
_IMMUTABLE = ("int", "float", "complex", "str", "bytes", "tuple", "frozenset")


class Spoiled(BaseException):
    """The candidate did what no honest program does, or gave what tests may not see: the test has failed."""


class CandidateGone(Spoiled):
    """The candidate has ended or sent a malformed frame: nothing more can be tested."""


class HiddenTestsSession:
    """One conversation with the candidate's process.

    admitted: the access paths (`Stack()`, `make().items[]`) on which objects may come in; None admits all.
    seen: access paths of calls that returned a value and modified their arguments; if `admitted` is None, also
        everything that candidates may do as well, such as the access paths on which objects came in.
    spoiled: everything that went wrong, even if the tests caught it.
    """

    def __init__(
        self,
        send: "Callable[[str], None]",
        receive: "Callable[[], str | None]",
        admitted: "frozenset[str] | None" = None,
    ) -> None:
        self._send = send
        self._receive = receive
        self.admitted = admitted
        self.seen: set[str] = set()
        self.spoiled: list[str] = []
        self.tampered: str | None = None
        self._objects: dict[int, Any] = {}
        self._classes: dict[int, type] = {}
        self._named: set[type] = set()
        self._doubted: set[Any] = set()
        self._outgoing = OutgoingValues()

    def ask(self, site: str, *request: Any) -> Any:
        """The candidate's answer to a request; raises what it raises. `site` is the answer's access path."""
        if self.tampered is not None:
            raise CandidateGone(self.tampered)
        try:
            text = write_frame(list(request))
        except (NotCanonical, RecursionError) as error:
            raise TypeError(f"this cannot be handed to the solution: {error}") from None
        self._send(text)
        while True:
            content = self._hear()
            if content[0] != "callback":
                break
            self._send(self._called_back(content))
        if content[0] == "raise" and len(content) == 5:
            raise self._of_its_place(self._exception(content), site, request)
        if content[0] != "return" or len(content) != 3 or type(content[2]) is not list:
            raise self._broken("an answer of unknown form")
        return self.value(content[1], site), content[2]

    def get(self, site: str, *request: Any) -> Any:
        """The value in the candidate's answer."""
        return self.ask(site, *request)[0]

    def value(self, wire: Any, site: str) -> Any:
        """The value that came in on access path `site`."""
        here = site
        if type(wire) in (list, tuple, set, frozenset, dict):
            here = site + "[]"
        try:
            return from_wire(wire, lambda name, fields: self._resolve(name, fields, here))
        except MalformedMessage as error:
            raise self._broken(str(error)) from None
        except (TypeError, RecursionError) as error:
            raise self.spoil(f"a value that cannot be held here: {error}") from None

    def outgoing(self, value: Any) -> Any:
        """`value` in wire form. Raises TypeError if it cannot be handed over."""
        return self._outgoing.outgoing(value)

    def call(self, number: int, site: str, args: "tuple[Any, ...]", kwargs: "dict[str, Any]") -> Any:
        """The value of a call. Arguments that it modified are modified here too, as the module's docstring says."""
        value, modified = self.ask(site, "call", number, self.outgoing(args), self.outgoing(kwargs))
        if modified and value is not None and not self._modifies(site):
            return value
        for change in modified:
            if type(change) is not list or len(change) != 2:
                raise self._broken("a modified argument of unknown form")
            key, content = change
            if type(key) is int and 0 <= key < len(args):
                assign(args[key], self.value(content, site + "(argument)"))
            elif type(key) is str and key in kwargs:
                assign(kwargs[key], self.value(content, site + "(argument)"))
            else:
                raise self._broken("a modified argument that was not given")
        return value

    def _modifies(self, site: str) -> bool:
        """Records that a call on `site` modified its arguments. Returns whether they are to be modified here too."""
        self.seen.add(site + MODIFIED)
        return self.admitted is None or site + MODIFIED in self.admitted

    def module(self, name: str) -> types.ModuleType:
        """The solution's module, loaded by the candidate's process. Raises what loading it raises."""
        self.get("", "load")
        return RemoteModule(name, self)

    def starred(self, number: int) -> "list[str]":
        """The names that `from solution import *` imports: those of the oracle solution, so that it hides no others."""
        if self.admitted is not None:
            return sorted(path[1:] for path in self.admitted if path.startswith("*"))
        names = self.get("__all__", "get", number, "__all__")
        if type(names) is not list:
            raise self._broken("a list of names that is not a list")
        names = [name for name in names if type(name) is str and name.isidentifier() and not name.startswith("_")]
        self.seen.update("*" + name for name in names)
        return names

    def _hear(self) -> "list[Any]":
        text = self._receive()
        if text is None:
            raise self._broken("the program has ended")
        try:
            return read_frame(text)
        except MalformedMessage as error:
            raise self._broken(str(error)) from None

    def doubt(self, proxy: Any) -> None:
        """Raises Spoiled if `proxy`, which claims to be equal to another object, is equal to any object.

        Asked once for each class, so that a class that lies with more care is believed.
        """
        kind, number, path = type(proxy), number_of(proxy), proxy.__dict__[PATH]
        asked = number if kind is Handle else kind
        if asked in self._doubted:
            return
        self._doubted.add(asked)
        try:
            answer = self.get(path, "op", "eq", number, (_STRANGER,))
        except Exception:
            return
        if answer is True:
            self._let_in(f"{path}==", "is equal to everything", path)

    def _broken(self, why: str) -> CandidateGone:
        self.tampered = why
        self.spoiled.append(why)
        return CandidateGone(why)

    def spoil(self, why: str) -> Spoiled:
        """The exception to raise now. The running test has failed, even if it catches the exception."""
        self.spoiled.append(why)
        return Spoiled(why)

    def _let_in(self, oddity: str, told: str, site: str) -> None:
        """Records `oddity` of the oracle solution; for a candidate, raises Spoiled if the oracle has no such oddity."""
        if self.admitted is None:
            self.seen.add(oddity)
        elif oddity not in self.admitted:
            raise self.spoil(f"solution.{site} {told}")

    # Objects of the candidate

    def _resolve(self, name: str, fields: "dict[str, Any]", site: str) -> Any:
        number, kind = fields.get("id"), fields.get("kind")
        if type(number) is not int or not 0 <= number < _MAX_OBJECTS:
            raise MalformedMessage("a reference without a number")
        if name == "callback":
            if not self._outgoing.has(number):
                raise MalformedMessage("a function that was never handed over")
            return self._outgoing.function(number)
        if name != "object" or type(kind) is not str:
            raise MalformedMessage("a reference of unknown kind")
        if kind == "class" and site == _CLASS_SITE + "[]":
            return self.class_of(number, _CLASS_SITE)
        if self.admitted is None:
            self.seen.add(site)
        elif site not in self.admitted and not (ANY_NAME in self.admitted and site.isidentifier()):
            return self._instead(number, kind, site)
        if kind == "class":
            return self.class_of(number, site)
        if kind == "coroutine":
            return self._coroutine(number, site)
        known = self._objects.get(number)
        if known is None:
            known = self._objects[number] = self._instance(number, fields, site)
        return known

    def _instead(self, number: int, kind: str, site: str) -> Any:
        """The stand-in for an object where the oracle solution gives none."""
        if kind == "iterator":
            return RemoteIterator(self, number, site)
        told = f"solution.{site}" if site else "the solution"
        return Unexpected(number, lambda: self.spoil(f"{told} gave an object where a plain value is expected"))

    def _content(self, base: Any, site: str) -> Any:
        """The plain content of an instance of a built-in's subclass."""
        if type(base) is not tuple or len(base) != 2 or type(base[0]) is not str:
            raise MalformedMessage("a content of unknown form")
        content = self.value(base[1], site)
        if type(content).__name__ != base[0]:
            raise MalformedMessage(f"a content that is not a {base[0]}")
        return content

    def _instance(self, number: int, fields: "dict[str, Any]", site: str) -> Any:
        class_number, base = fields.get("class"), fields.get("base")
        made: type = Handle
        path = site
        if class_number is not None:
            if type(class_number) is not int:
                raise MalformedMessage("a class without a number")
            made = self.class_of(class_number, _CLASS_SITE)
            # If the tests know a class by name, all objects of it and of its subclasses share one access path.
            known = [base for base in made.__mro__ if base in self._named]
            path = getattr(known[0], PATH) + "()" if known else site
        if base is not None and issubclass(made, (int, float, complex, str, bytes, tuple, frozenset)):
            content = self._content(base, site)
            native: Any = made.__mro__[-2]
            if not isinstance(content, native):
                raise MalformedMessage("a content of another type than its class")
            instance: Any = native.__new__(made, content)
        elif issubclass(made, BaseException):
            instance = made.__new__(made)
            instance.__dict__[TEXT] = ""
        else:
            instance = object.__new__(made)
        instance.__dict__.update({NUMBER: number, PATH: path, SESSION: self})
        return instance

    def class_of(self, number: int, site: str) -> Any:
        """The class of proxies that stands for the candidate's class."""
        made = self._classes.get(number)
        if made is None:
            description = self.get(_CLASS_SITE, "describe", number)
            made = self._classes[number] = self._new_class(number, description, site)
        if site != _CLASS_SITE and made not in self._named:
            self._named.add(made)
            type.__setattr__(made, PATH, site)
        return made

    def _new_class(self, number: int, description: Any, site: str) -> Any:
        if type(description) is not list or len(description) != 4:
            raise self._broken("a class of unknown form")
        name, bases, native, doc = description
        if type(name) is not str or type(bases) is not list or type(native) not in (str, type(None)):
            raise self._broken("a class of unknown form")
        parents = [base for base in bases if isinstance(base, type)]
        exceptional = any(issubclass(base, BaseException) for base in parents)
        if not any(isinstance(base, RemoteClass) for base in parents):
            parents.insert(0, RemoteException if exceptional else Handle)
        body: dict[str, Any] = {"__doc__": doc, "__module__": "solution"}
        body.update({NUMBER: number, PATH: site, SESSION: self})
        if native in _IMMUTABLE and not exceptional:
            base = BUILTINS[native]
            if not any(issubclass(parent, base) for parent in parents):
                parents.append(base)
            body.update({method: getattr(base, method) for method in _NATIVE_METHODS if hasattr(base, method)})
        try:
            return type.__new__(RemoteClass, name, tuple(parents), body)
        except (TypeError, ValueError):
            return type.__new__(RemoteClass, "Class", (Handle,), body)

    def _coroutine(self, number: int, site: str) -> Any:
        async def remote() -> Any:
            return self.get(site + "()", "op", "await", number, ())

        return remote()

    def _called_back(self, content: "list[Any]") -> str:
        """The frame that answers the candidate's call of a function that belongs to the tests."""
        if len(content) != 5 or type(content[1]) is not int or not self._outgoing.has(content[1]):
            raise self._broken("a call of a function that was never handed over")
        _, number, operation, args, kwargs = content
        if operation not in ("call", "next") or type(args) is not tuple or type(kwargs) is not dict:
            raise self._broken("a call of unknown form")
        args = self.value(args, "callback")
        kwargs = self.value(kwargs, "callback")
        return self._outgoing.answer(number, operation, args, kwargs)

    # Exceptions

    def _of_its_place(self, error: BaseException, site: str, request: "tuple[Any, ...]") -> BaseException:
        """`error`, or the Spoiled to raise instead if `error` would end an iteration that is not the candidate's."""
        if isinstance(error, (StopIteration, StopAsyncIteration)) and request[:2] not in _NEXT:
            try:
                self._let_in(f"{site}!", f"raised {type(error).__name__}", site)
            except Spoiled as spoiled:
                return spoiled
        return error

    def _exception(self, content: "list[Any]") -> BaseException:
        """The exception to raise here for one that the candidate's process raised."""
        _, named, args, text, instance = content
        if type(text) is not str or type(named) is not Record or (args is not None and type(args) is not tuple):
            return self._broken("an exception of unknown form")
        fields = dict(named.fields)
        if named.name == "builtin":
            name = fields.get("name")
            kind = BUILTINS.get(name) if type(name) is str else None
            if kind is None or not issubclass(kind, Exception):
                return self.spoil(f"raised {name if type(name) is str else '?'}: {text[:200]}")
            return built_in_exception(kind, plain_args(args), text)
        try:
            kind = self._class_of_exception(fields)
            if not issubclass(kind, Exception):
                return self.spoil(f"raised what is not an Exception: {text[:200]}")
            number = dict(instance.fields).get("id") if type(instance) is Record else None
            if type(number) is not int or not 0 <= number < _MAX_OBJECTS:
                return self._broken("an exception of unknown form")
        except MalformedMessage as error:
            return self._broken(str(error))
        made = kind.__new__(kind)
        made.__dict__.update({NUMBER: number, PATH: "exception", SESSION: self, TEXT: text})
        BaseException.__init__(made, *plain_args(args) or (text,))
        self._objects.setdefault(number, made)
        return made

    def _class_of_exception(self, fields: "dict[str, Any]") -> Any:
        number = fields.get("id")
        if type(number) is not int or not 0 <= number < _MAX_OBJECTS or fields.get("kind") != "class":
            raise MalformedMessage("an exception of unknown class")
        return self.class_of(number, _CLASS_SITE)
