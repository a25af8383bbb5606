"""The tests' side of tier `proxied`: `solution`, as the tests import it, is a module of proxies to another process.

What the candidate can and cannot do to the tests:

- The candidate sends plain values and references, never code. They are decoded here into plain Python values and
  proxies. Names that it sends are looked up only in a short table of built-in types.
- A proxy stands for an object of the candidate. A test may use one only where the oracle solution gives an object too
  (`admitted`, found when the task is loaded). Anywhere else, the test fails as soon as it uses the proxy. So a value
  that only claims to be equal, greater or divisible never reaches an assertion. Iterators are allowed everywhere; the
  test sees their items.
- An instance of a built-in's subclass (a named tuple, an IntEnum) comes in everywhere, as its plain content.
- Any other proxy and a plain value are never equal. If two proxies are compared, the candidate's own class answers, as
  for all its methods and operators. So a class under test can lie about itself. A test that compares two of its objects
  believes it, unless the class also claims to be equal to an unknown object. Tests should compare plain values.
- An exception of the candidate becomes one of the same class, if that is Python's own, or a proxy class derived from
  its bases. Some fail the test that sees them, even if it catches them: whatever is not an Exception (SystemExit,
  KeyboardInterrupt) and StopIteration from anything but `next`, unless the oracle solution raises it there too. (It
  would end a `map` or `zip` of the tests as if all items had been seen.)
- What only this machinery cannot do (hand over an object of the tests, derive from a proxy, hold a value that is too
  large or too deep) fails the test too, whatever the test catches.

Lists, dicts and other containers are shared (`shared_containers`): what the candidate changes in place changes here
too. So it is if the function returns None, or if the oracle solution changes something there as well. Otherwise the
change is only recorded (`HiddenTestsSession.seen`), because the test may compare the result with an argument that the
candidate has emptied. The judge then runs the tests both ways.

Several threads of the tests may use the solution at a time: each has a lane (`lanes`).

This file is standard library only, Python 3.9: its source also runs inside the sandboxes.
"""

import concurrent.futures
import inspect
import threading
import types
from collections.abc import Callable
from typing import Any

from agent_rl.judging.proxied.lanes import Lanes, Speakers
from agent_rl.judging.proxied.outgoing_values import OutgoingValues
from agent_rl.judging.proxied.process_effects import TestsEffects
from agent_rl.judging.proxied.proxies import PATH, Restoring, fields_of, number_of
from agent_rl.judging.proxied.proxy_exceptions import class_of_library
from agent_rl.judging.proxied.proxy_messages import ANY_NAME, MalformedMessage, WireForm, write_frame
from agent_rl.judging.proxied.remote_objects import CLASS_SITE, MAX_OBJECTS, RemoteModule, RemoteObjects
from agent_rl.judging.proxied.shared_containers import SharedContainers
from agent_rl.vocabulary.canonical import NotCanonical, Record

MODIFIED = "(modified)"
"""Suffix of a value's access path: the request that returned the value modified containers that the tests hold."""
_STRANGER = "what no honest object is equal to"
_ENDING = (("op", "next"), ("op", "anext"), ("op", "send"), ("op", "throw"))
"""Requests that may end an iteration."""
_MAX_AT_A_TIME = 64


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
    reduced: the classes of what was handed over as a plain function and may be more.
    effects: does what the candidate did beside returning values, such as printing, here too.
    """

    def __init__(
        self,
        send: "Callable[[str], None]",
        receive: "Callable[[], str | None]",
        admitted: "frozenset[str] | None" = None,
    ) -> None:
        self.admitted = admitted
        self.seen: set[str] = set()
        self.spoiled: list[str] = []
        self.tampered: str | None = None
        self.effects = TestsEffects([])
        self._objects = RemoteObjects(self)
        self._outgoing = OutgoingValues()
        self.reduced = self._outgoing.reduced
        self._lanes = Lanes(send, receive)
        self._changing = threading.RLock()
        """Held while a message is read or written."""
        self._containers = SharedContainers(0, self._changing)
        self._speakers = Speakers(self._changing)
        self._loose: set[int] = set()
        self._waiters: concurrent.futures.ThreadPoolExecutor | None = None
        self._loop: Any = None
        Restoring.session = self

    # Requests

    def get(self, site: str, verb: str, *head: Any, values: "tuple[Any, ...]" = ()) -> Any:
        """The candidate's answer to a request; raises what it raises. `site` is the answer's access path."""
        if self.tampered is not None:
            raise CandidateGone(self.tampered)
        with self._speakers.speaking() as lane:
            self._say(lane, verb, list(head), (*values, tuple(map(tuple, self.effects.state.changes()))))
            while True:
                content = self._hear(lane)
                if content[0] != "callback":
                    break
                self._answer(lane, content)
            if content[0] == "unheld":
                raise self.spoil(f"solution.{site} gave a value that cannot be held: {str(content[1])[:200]}")
            if content[0] not in ("return", "raise") or not content[2]:
                raise self._broken("an answer of unknown form")
            return self._answered(content, site, verb, head, values)

    async def get_later(self, site: str, verb: str, *head: Any, values: "tuple[Any, ...]" = ()) -> Any:
        """The same, while the tests' event loop goes on."""
        import asyncio

        self._loop = asyncio.get_running_loop()
        if self._waiters is None:
            self._waiters = concurrent.futures.ThreadPoolExecutor(_MAX_AT_A_TIME)
        return await self._loop.run_in_executor(self._waiters, lambda: self.get(site, verb, *head, values=values))

    def call(self, number: int, site: str, args: "tuple[Any, ...]", kwargs: "dict[str, Any]") -> Any:
        """The value of a call."""
        return self.get(site, "call", number, values=(args, tuple(kwargs.items())))

    def module(self, name: str, watched: "list[str]", *, concurrent: bool = False) -> types.ModuleType:
        """The solution's module, loaded by the candidate's process. Raises what loading it raises.

        watched: what tests see of it beside its values (`process_effects`).
        concurrent: the tests may use the solution from several threads.
        """
        self.effects = TestsEffects(watched)
        self.effects.state.changes()
        self.get("", "load", concurrent, watched)
        return RemoteModule(name, self)

    def patch(self, module: str, name: str, value: Any) -> None:
        """`name` of a module is `value` in the candidate's process, until `undo`."""
        self.get("", "patch", module, name, values=(value,))

    def undo(self) -> None:
        """The last patch is taken back."""
        self.get("", "undo")

    def starred(self, number: int) -> "list[str]":
        """The names that `from solution import *` imports: those of the oracle solution, so that it hides no others."""
        if self.admitted is not None:
            return sorted(path[1:] for path in self.admitted if path.startswith("*"))
        names = self.get("__all__", "get", number, "__all__")
        if type(names) is not tuple:
            raise self._broken("a list of names that is not a list")
        names = [name for name in names if type(name) is str and name.isidentifier() and not name.startswith("_")]
        self.seen.update("*" + name for name in names)
        return names

    # Messages

    def _say(self, lane: int, verb: str, head: "list[Any]", values: "tuple[Any, ...]") -> None:
        """A frame has been sent. No other is written meanwhile: what one says of containers is true when it is sent."""
        try:
            with self._changing:
                self._lanes.say(self._written(lane, verb, head, values))
        except (NotCanonical, RecursionError) as error:
            raise self.spoil(f"this cannot be handed to the solution: {error}") from None

    def _written(self, lane: int, verb: str, head: "list[Any]", values: "tuple[Any, ...]") -> str:
        # While nothing is under way on another lane, nothing can name what is given up.
        unused = sorted({*self._containers.unused(), *self._loose}) if self._speakers.busy <= 1 else []
        if self._loose:
            used = self._containers.within(values)
            unused = [number for number in unused if number not in used]
        text = self._containers.write(
            values,
            self._outgoing.refer,
            lambda wires, shared: write_frame([lane, verb, head, wires, shared, unused]),
        )
        self._containers.give_up(unused)
        self._loose.difference_update(unused)
        return text

    def _hear(self, lane: int) -> "list[Any]":
        content = self._lanes.hear(lane)
        if content is None:
            raise self._broken(self._lanes.malformed or "the program has ended")
        return content

    def _read(self, content: "list[Any]", site: str, plain: "Callable[[set[int]], bool]") -> "list[Any]":
        """The values of a message, which came in on access path `site`.

        `plain(numbers)`: whether the containers of those numbers may be changed here without more ado.
        """
        _, _, wires, shared, loose = content
        here = site + "[]" if shared or type(wires[0]) in (tuple, frozenset) else site
        for entry in shared:
            # What makes a defaultdict's values is no value, and only the dict calls it.
            if type(entry) is list and len(entry) == 3 and entry[1] == "defaultdict" and type(entry[2]) is list:
                parts = entry[2]
                if parts and type(parts[0]) is Record and parts[0].name == "object":
                    parts[0] = Record("factory", parts[0].fields)
        with self._changing:
            self._loose.update(loose)
            try:
                return self._containers.read(
                    wires,
                    shared,
                    lambda name, fields, inner: self._resolve(name, fields, inner, here),
                    lambda numbers: not plain(numbers) and not self._modifies(site),
                )
            except MalformedMessage as error:
                raise self._broken(str(error)) from None
            except (TypeError, RecursionError, NotCanonical) as error:
                raise self.spoil(f"a value that cannot be held here: {error}") from None

    def _answered(
        self, content: "list[Any]", site: str, verb: str, head: "tuple[Any, ...]", values: "tuple[Any, ...]"
    ) -> Any:
        verb_of_answer, effects, wires = content[:3]
        nothing = verb_of_answer == "raise" or wires[0] is None
        value, *warned = self._read(
            content, site, lambda numbers: nothing and verb == "call" and numbers <= self._containers.within(values)
        )
        try:
            self.effects.do(effects, warned, lambda: self._modifies(f"{site}environ"))
        except MalformedMessage as error:
            raise self._broken(str(error)) from None
        if verb_of_answer == "return":
            return value
        if not isinstance(value, BaseException):
            raise self._broken("an exception of unknown form")
        raise self._of_its_place(value, site, (verb, *head[:1]))

    def _modifies(self, site: str) -> bool:
        """Records that a request on `site` modified what the tests hold. Returns whether it is to be modified here."""
        self.seen.add(site + MODIFIED)
        return self.admitted is None or site + MODIFIED in self.admitted

    def doubt(self, proxy: Any) -> None:
        """Raises Spoiled if `proxy`, which claims to be equal to another object, is equal to any object.

        Asked once for each class, so that a class that lies with more care is believed.
        """
        if not self._objects.first_doubt(proxy):
            return
        path = fields_of(proxy)[PATH]
        try:
            answer = self.get(path, "op", "eq", number_of(proxy), values=((_STRANGER,),))
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

    def _resolve(self, name: str, fields: "dict[str, Any]", inner: WireForm, site: str) -> Any:
        if name == "library":
            return class_of_library(fields)
        if name == "raised":
            return self._objects.raised(fields, inner)
        number, kind = fields.get("id"), fields.get("kind")
        if type(number) is not int or not 0 <= number < MAX_OBJECTS:
            raise MalformedMessage("a reference without a number")
        if name in ("callback", "theirs"):
            if not self._outgoing.has(number):
                raise MalformedMessage("a function that was never handed over")
            return self._outgoing.function(number)
        if name == "factory":
            factory = lambda: self.call(number, site + "factory", (), {})  # noqa: E731
            return self._outgoing.stands_for(factory, number)
        if name != "object" or type(kind) is not str:
            raise MalformedMessage("a reference of unknown kind")
        if kind == "class" and site == CLASS_SITE + "[]":
            return self._objects.class_of(number, CLASS_SITE)
        if kind == "generator":
            return self._generator(number, site)
        if kind == "iterator" and self.admitted is not None:
            return self._objects.instead(fields, site, inner, lambda: None)
        known = self._objects.known(number)
        if self.admitted is None:
            self.seen.add(site)
        elif site not in self.admitted and not (ANY_NAME in self.admitted and site.isidentifier()):
            told = f"solution.{site}" if site else "the solution"
            return self._objects.instead(
                fields, site, inner, lambda: self.spoil(f"{told} gave an object where a plain value is expected")
            )
        if kind == "class":
            return self._objects.class_of(number, site)
        if kind == "coroutine":
            return self._coroutine(number, site)
        if kind == "iterator":
            return self._objects.instead(fields, site, inner, lambda: None)
        return self._objects.instance(fields, site, inner) if known is None else known

    def _coroutine(self, number: int, site: str) -> Any:
        later = self.get_later(site + "()", "op", "await", number, values=((),))
        return self._outgoing.stands_for(later, number)

    def _generator(self, number: int, site: str) -> Any:
        def remote() -> Any:
            operation, args = "next", ()
            while True:
                try:
                    value = self.get(site + "[]", "op", operation, number, values=(args,))
                except StopIteration as end:
                    return end.value
                try:
                    sent = yield value
                    operation, args = ("next", ()) if sent is None else ("send", (sent,))
                except GeneratorExit:
                    self.get(site, "op", "close", number, values=((),))
                    raise
                except Exception as error:
                    operation, args = "throw", (error,)

        return self._outgoing.stands_for(remote(), number)

    def _answer(self, lane: int, content: "list[Any]") -> None:
        """The candidate's call of a function that belongs to the tests has been made, and answered."""
        _, head, wires, *_ = content
        if len(head) != 2 or not self._outgoing.has(head[0]) or head[1] not in ("call", "next") or len(wires) != 2:
            raise self._broken("a call of a function that was never handed over")
        args, pairs = self._read(content, "callback", lambda numbers: False)
        if type(args) is not tuple or type(pairs) is not tuple:
            raise self._broken("a call of unknown form")
        if not all(type(pair) is tuple and len(pair) == 2 and type(pair[0]) is str for pair in pairs):
            raise self._broken("a call of unknown form")
        try:
            value = self._outgoing.answer(head[0], head[1], args, dict(pairs))
            verb, value = "return", self._awaited(value) if inspect.iscoroutine(value) else value
        except Exception as error:
            verb, value = "raise", error
        self._say(lane, verb, [], (value,))

    def _awaited(self, coroutine: Any) -> Any:
        """The result of a coroutine of the tests that the candidate waits for."""
        import asyncio

        if self._loop is not None and self._loop.is_running() and self._speakers.lane != 0:
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
        return asyncio.run(coroutine)

    # Exceptions

    def _of_its_place(self, error: BaseException, site: str, request: "tuple[Any, ...]") -> BaseException:
        """`error`, or the Spoiled to raise instead if only the oracle solution could raise it there."""
        ends = isinstance(error, (StopIteration, StopAsyncIteration)) and request not in _ENDING
        if ends or not isinstance(error, Exception):
            try:
                self._let_in(f"{site}!{'' if ends else type(error).__name__}", f"raised {type(error).__name__}", site)
            except Spoiled as spoiled:
                return spoiled
        return error
