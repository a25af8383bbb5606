"""The candidate's side of tier `proxied`: loads the program as a module and serves what the tests do with it.

This module runs in the candidate's process: the candidate can read and change everything here. So nothing here is
secret, and nothing here decides a verdict. The tests' side (`agent_rl.judging.proxied.tests_side`) believes a frame
only as far as it can check it.

Requests of each lane are served in a thread of its own, those of the first one in the main thread. A function of the
tests may be called from any thread of the program: it is called on a lane on which the tests wait for an answer.

This file is standard library only, Python 3.9: its source also runs inside the sandboxes.
"""

import builtins
import functools
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

from agent_rl.judging.proxied.candidate_callbacks import Callbacks
from agent_rl.judging.proxied.candidate_operations import (
    ITERATORS,
    OPERATIONS,
    CandidateLoop,
    content,
    description,
    special_methods,
)
from agent_rl.judging.proxied.lanes import Lanes
from agent_rl.judging.proxied.process_effects import CandidateEffects, Patches
from agent_rl.judging.proxied.proxy_exceptions import class_of_library, class_record, exception_from, exception_record
from agent_rl.judging.proxied.proxy_messages import (
    SCALARS,
    VALUES,
    MalformedMessage,
    WireForm,
    from_wire,
    native_base,
    wrapper_base,
    write_frame,
)
from agent_rl.judging.proxied.shared_containers import KINDS, SharedContainers
from agent_rl.vocabulary.canonical import NotCanonical, Record


class _OpenRequest:
    """A request that is being served. The tests wait for its answer, on its lane."""

    def __init__(self, lane: int, outer: "_OpenRequest | None") -> None:
        self.lane, self.outer = lane, outer


class CandidateServer:
    """Serves one program's module. `send` and `receive` carry frames; `receive` returns None at the end.

    alone: this process is the program's own, so that what it does beside returning values can be noticed.
    """

    def __init__(
        self,
        program: str,
        module: types.ModuleType,
        send: "Callable[[str], None]",
        receive: "Callable[[], str | None]",
        *,
        alone: bool = False,
    ) -> None:
        """`module` is empty, and has a `__file__`."""
        self._program = program
        self._lanes = Lanes(send, receive, self._opened)
        self._effects = CandidateEffects() if alone else None
        self.module = module
        self.module.__dict__["__builtins__"] = _builtins_of_its_own()
        self._patches = Patches(self.module.__dict__["__builtins__"])
        self._objects: list[Any] = [self.module]
        self._numbers: dict[int, int] = {id(self.module): 0}
        self._callbacks = Callbacks(self.call_back)
        self._loop = CandidateLoop()
        self._operations = {**OPERATIONS, **self._loop.operations()}
        self._own = threading.local()
        self._changing = threading.RLock()
        """Held while a message is read or written."""
        self._containers = SharedContainers(1, self._changing)
        self._turns = threading.Condition()
        self._asked: dict[int, _OpenRequest | None] = {}
        """The innermost request of each lane."""
        self._due: set[int] = set()
        """Lanes on which the tests wait for a frame."""
        self._ended = False

    def serve(self, lane: int = 0) -> None:
        """Answers the requests on `lane` until there are no more frames."""
        while True:
            content = self._lanes.hear(lane)
            if content is None:
                break
            self._serve(lane, content)
        self._end()
        if not lane:
            self._loop.close()

    def _end(self) -> None:
        """Nobody waits for the tests any more."""
        with self._turns:
            self._ended = True
            self._turns.notify_all()

    def _opened(self, lane: int) -> None:
        if lane:
            threading.Thread(target=self.serve, args=(lane,), name=f"tests-{lane}", daemon=True).start()

    def _serve(self, lane: int, content: "list[Any]") -> None:
        """One request has been answered. Meanwhile the lane's turn is the candidate's."""
        with self._turns:
            request = self._asked[lane] = _OpenRequest(lane, self._asked.get(lane))
            self._due.add(lane)
            self._turns.notify_all()
        before, self._own.lane = getattr(self._own, "lane", None), lane
        try:
            written = self._answer(lane, content)
        finally:
            self._own.lane = before
        with self._turns:
            # Threads of the program may be calling the tests on this lane.
            while (self._asked[lane] is not request or lane not in self._due) and not self._ended:
                self._turns.wait()
            self._due.discard(lane)
            self._asked[lane] = request.outer
        # What a frame says of containers is true when it is sent: those after it build on that.
        with self._changing:
            self._lanes.say(written())

    def call_back(self, number: int, operation: str, args: "tuple[Any, ...]", kwargs: "dict[str, Any]") -> Any:
        """What the tests' function returns or raises. The tests may use the solution meanwhile."""
        pairs = tuple(kwargs.items())
        own = getattr(self._own, "lane", None)
        with self._turns:
            while (not self._due or (own is not None and own not in self._due)) and not self._ended:
                self._turns.wait()
            if self._ended:
                raise SystemExit
            lane = min(self._due) if own is None else own
            self._due.discard(lane)
        with self._changing:
            try:
                text = self._written(lane, "callback", [number, operation], (args, pairs))
            except Exception as error:
                text = self._unheld(lane, error)
            self._lanes.say(text)
        while True:
            content = self._lanes.hear(lane)
            if content is None:
                self._end()
                raise SystemExit
            if content[0] in ("return", "raise"):
                break
            self._serve(lane, content)
        (value,) = self._read(content)
        with self._turns:
            self._due.add(lane)
            self._turns.notify_all()
        if content[0] == "raise":
            raise value
        return value

    # Messages

    def _answer(self, lane: int, content: "list[Any]") -> "Callable[[], str]":
        """What writes the frame that answers a request, which has been done."""
        try:
            value = self._do(content)
        except MemoryError:
            # Nothing in this process is reliable any more; the way it ends shows the cause.
            raise
        except BaseException as error:
            return functools.partial(self._failure, lane, error)
        return functools.partial(self._success, lane, value)

    def _success(self, lane: int, value: Any) -> str:
        """The frame for a returned `value`."""
        try:
            done, warned = self._seen()
            return self._written(lane, "return", done, (value, *warned))
        except MemoryError:
            raise
        except BaseException as error:
            return self._unheld(lane, error)

    def _failure(self, lane: int, error: BaseException) -> str:
        """The frame for a raised `error`. The methods of `error` may raise too."""
        for bare in (False, True):
            try:
                done, warned = self._seen()
                return self._written(lane, "raise", done, (_ErrorToSend(error, bare), *warned))
            except Exception as why:
                unheld = why
        return self._unheld(lane, unheld)

    def _seen(self) -> "tuple[list[Any], tuple[Any, ...]]":
        return ([], ()) if self._effects is None else self._effects.seen()

    def _unheld(self, lane: int, error: BaseException) -> str:
        """The frame that says that what the program gave has no wire form, because of `error`."""
        if isinstance(error, RecursionError):
            why = "nested too deep"
        else:
            why = str(error)[:200] if type(error) is NotCanonical else f"{type(error).__name__} while it is looked at"
        return write_frame([lane, "unheld", [why], [], [], []])

    def _written(self, lane: int, verb: str, head: "list[Any]", values: "tuple[Any, ...]") -> str:
        with self._changing:
            unused = self._containers.unused()
            return self._containers.write(
                values, self._refer, lambda wires, shared: write_frame([lane, verb, head, wires, shared, unused])
            )

    def _read(self, content: "list[Any]") -> "list[Any]":
        _, _, wires, shared, given_up = content
        with self._changing:
            values = self._containers.read(wires, shared, self._resolve)
            self._containers.give_up(given_up)
            return values

    def _do(self, content: "list[Any]") -> Any:
        verb, head = content[0], content[1]
        *values, state = self._read(content)
        if self._effects is not None:
            self._effects.take(state)
        if verb == "load":
            return self._load(*head)
        if verb == "another":
            return self._another()
        if verb == "execute":
            return self._execute(self._objects[head[0]])
        if verb == "patch":
            module, name = head
            return self._patches.set(module, name, values[0])
        if verb == "undo":
            return self._patches.undo()
        if verb == "op":
            return self._operations[head[0]](self._objects[head[1]], *values[0])
        target = self._objects[head[0]]
        if verb == "get":
            return self._names(target) if head[1] == "__all__" else getattr(target, head[1])
        if verb == "set":
            return setattr(target, head[1], values[0])
        if verb == "del":
            return delattr(target, head[1])
        if verb == "describe":
            return description(target, special_methods)
        args, pairs = values
        del values, state
        return target(*args, **dict(pairs))

    def _load(self, concurrent: bool, watched: "list[str]") -> None:
        if self._effects is not None:
            self._effects.watch(watched)
        if concurrent:
            self._loop.concurrent = True
            threading.Thread(target=self._lanes.read_on, name="tests", daemon=True).start()
        self._execute(self.module)

    def _execute(self, module: types.ModuleType) -> None:
        exec(compile(self._program, str(self.module.__file__), "exec", dont_inherit=True), module.__dict__)

    def _another(self) -> int:
        """The number of one more module of the program, not executed yet."""
        made = types.ModuleType(self.module.__name__)
        for name in ("__file__", "__loader__", "__spec__", "__package__", "__builtins__"):
            made.__dict__[name] = self.module.__dict__.get(name)
        if self._effects is not None:
            sys.modules[made.__name__] = made
        return self._number(made)

    def _names(self, target: Any) -> "tuple[str, ...]":
        if hasattr(target, "__all__"):
            return tuple(target.__all__)
        return tuple(name for name in vars(target) if not name.startswith("_"))

    # Objects

    def _number(self, value: Any) -> int:
        number = self._numbers.get(id(value))
        if number is None:
            # Objects are kept for ever, so that Python never reuses their ids.
            number = self._numbers[id(value)] = len(self._objects)
            self._objects.append(value)
        return number

    def _refer(self, value: Any, wire: WireForm) -> Any:
        kind = type(value)
        if kind is _ErrorToSend:
            return self._exception(value.error, wire, bare=value.bare)
        known = self._callbacks.number_of(value)
        if known is not None:
            return Record("callback", (("id", known),))
        if isinstance(value, BaseException):
            return self._exception(value, wire)
        if kind.__module__ == "numpy" and getattr(value, "shape", None) == ():
            item = value.item()
            if type(item) in SCALARS:
                return item
        if isinstance(value, type):
            return class_record(value) or self._object(value, "class", None, None)
        if kind is types.GeneratorType:
            return self._object(value, "generator", None, None)
        if kind in ITERATORS:
            return self._object(value, "iterator", None, None)
        if kind is types.CoroutineType:
            return self._object(value, "coroutine", None, None)
        native = native_base(kind)
        base: Any = None
        if native is not None:
            base = native.__name__, wire(tuple(KINDS[native].content(value)) if native in KINDS else content(value))
        elif wrapper := wrapper_base(kind):
            (held,) = VALUES[wrapper].take(value)
            base = wrapper, wire(tuple(KINDS[type(held)].content(held)) if type(held) in KINDS else held)
        return self._object(value, "object", self._number(kind), base)

    def _object(self, value: Any, what: str, described: "int | None", base: Any) -> Record:
        return Record("object", (("id", self._number(value)), ("class", described), ("kind", what), ("base", base)))

    def _exception(self, error: BaseException, wire: WireForm, *, bare: bool = False) -> Record:
        theirs = self._callbacks.exception_of(error)
        if theirs is not None:
            return Record("theirs", (("id", theirs),))
        own = class_record(type(error)) is None
        return exception_record(error, wire, self._class_of, self._number(error) if own else None, bare=bare)

    def _class_of(self, kind: type) -> Record:
        return class_record(kind) or self._object(kind, "class", None, None)

    def _resolve(self, name: str, fields: "dict[str, Any]", inner: WireForm) -> Any:
        if name == "object":
            return self._objects[fields["id"]]
        if name == "callback":
            return self._callbacks.function(*(fields[part] for part in ("id", "kind", "name", "doc", "signature")))
        if name == "library":
            return class_of_library(fields)
        if name != "raised":
            raise MalformedMessage(f"a reference of kind {name!r}")
        made = exception_from(fields, from_wire(fields["class"], self._resolve), inner, lambda kind, *args: kind(*args))
        if fields["id"] is not None:
            self._callbacks.raised(fields["id"], made)
        return made


def _builtins_of_its_own() -> "dict[str, Any]":
    """The program's built-ins, also where it imports them: what is patched in them changes nothing for this code."""
    own = types.ModuleType("builtins")
    own.__dict__.update(vars(builtins))

    def imported(name: str, space: Any = None, local: Any = None, wanted: Any = (), level: int = 0) -> Any:
        return own if name == "builtins" and not level else builtins.__import__(name, space, local, wanted, level)

    own.__dict__["__import__"] = imported
    return own.__dict__


class _ErrorToSend:
    """An exception that the program raised."""

    def __init__(self, error: BaseException, bare: bool) -> None:
        self.error, self.bare = error, bare
