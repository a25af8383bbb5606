"""`GrowingTemplate`: renders only what new messages add to a conversation.

A chat template is a program over all messages. Most consist of a head, one loop over the messages, and an end. If an
iteration of the loop reads nothing but its own message, earlier messages, its index and values that the head computed,
then more messages change none of the earlier iterations. `GrowingTemplate` shows this for a template's source, and
watches the rest while it renders:

- The source is refused if an iteration may leave something for the next (an assignment to a namespace, a macro, a
  `break`), or if it reads the loop or a list in a way that is not watched.
- The head is rendered every time. The earlier iterations are kept only if its text, and the values in it that the loop
  reads, are the same as before.
- An iteration that looked behind the last message is rendered again, and so is the last one: it could see that it was
  the last.

Where one of these fails, everything is rendered: the text is always that of the template itself.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import jinja2
import jinja2.meta
import jinja2.nodes as n
import jinja2.runtime
import jinja2.utils
import jinja2.visitor

_ITEMS, _AT, _INDEX, _LOOK = (f"agent_rl_{name}" for name in ("items", "at", "index", "look"))
_LOOP_READS = {"first", "last", "index", "index0", "nextitem"}
_REFUSED = (n.NSRef, n.Macro, n.CallBlock, n.Block, n.Extends, n.Include, n.Import, n.FromImport)


@dataclass(frozen=True, slots=True)
class Progress:
    """What a rendering must still be true of, for the next one to go on from it at message `resume` of the loop."""

    resume: int
    items: list[Any]
    head: str
    sequences: tuple[Any, ...]
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Growth:
    """The text from the start (`continued` false) or from where the last rendering may be resumed.

    resume_at: where in `text` the next rendering may resume; its `progress` is None if it must start anew.
    """

    text: str
    continued: bool
    resume_at: int
    progress: Progress | None


class GrowingTemplate:
    """A compiled template whose loop over the messages can be resumed."""

    def __init__(self, environment: jinja2.Environment, parsed: n.Template, loop: n.For) -> None:
        self._environment = environment
        _instrument(parsed, loop)
        code = environment.compile(parsed)
        self._template = jinja2.Template.from_code(environment, code, environment.make_globals(None))

    @classmethod
    def of(cls, environment: jinja2.Environment, source: str) -> GrowingTemplate | None:
        """None if later messages could change what `source` writes for earlier ones in a way that is not watched."""
        parsed = environment.parse(source)
        loops = [node for node in parsed.body if isinstance(node, n.For)]
        if not loops or not _resumable(parsed, loops[-1]):
            return None
        return cls(environment, parsed, loops[-1])

    def render(self, variables: Mapping[str, Any], before: Progress | None) -> Growth:
        """The text of the conversation in `variables`. `before`: the last rendering's, of a part of its messages.

        Raises what the template raises.
        """
        watch = _Watch(self._environment, before)
        hooks = {_ITEMS: watch.items, _AT: watch.at, _INDEX: watch.index, _LOOK: watch.look}
        for piece in self._template.generate(**variables, **hooks):
            watch.pieces.append(piece)
        return watch.growth()


class _Watch:
    """Sees one rendering: what the loop reads, and where each iteration begins."""

    def __init__(self, environment: jinja2.Environment, before: Progress | None) -> None:
        self.pieces: list[str] = []
        self._environment = environment
        self._before = before
        self._skipped = 0
        self._first = 0
        """The piece with which the text begins."""
        self._starts: list[int] = []
        self._open: int | None = None
        """The first iteration that looked behind the last message."""
        self._seen: tuple[list[Any], str, tuple[Any, ...], tuple[Any, ...]] | None = None

    def items(self, items: Any, sequences: Sequence[Any], values: Sequence[Any]) -> Any:
        """The messages that the loop goes through: those of `items` that are not yet rendered, or that may change."""
        if not isinstance(items, list):
            return items
        found = cast("list[Any]", items)
        head = "".join(self.pieces)
        self._seen = found, head, tuple(sequences), tuple(_frozen(value) for value in values)
        before = self._before
        if before is not None and self._goes_on(before):
            self._skipped, self._first = before.resume, len(self.pieces)
            return found[before.resume :]
        return found

    def _goes_on(self, before: Progress) -> bool:
        assert self._seen is not None
        items, head, sequences, values = self._seen
        return (
            before.resume > 0
            and len(items) >= len(before.items)
            and head == before.head
            and items[: before.resume] == before.items[: before.resume]
            and all(_begins(now, then) for now, then in zip(sequences, before.sequences, strict=True))
            and values == before.values
        )

    def at(self, index: int) -> str:
        """An iteration begins; nothing is written."""
        self._starts.append(len(self.pieces))
        return ""

    def index(self, index: int) -> int:
        """The index in the whole loop."""
        return index + self._skipped

    def look(self, sequence: Any, index: Any) -> Any:
        """`sequence[index]`, as the template's own expression gives it."""
        inside = isinstance(sequence, list) and type(index) is int and 0 <= index < len(cast("list[Any]", sequence))
        if not inside:
            here = self._skipped + len(self._starts) - 1
            self._open = here if self._open is None else min(self._open, here)
        return self._environment.getitem(sequence, index)

    def growth(self) -> Growth:
        """What was rendered."""
        pieces = self.pieces[self._first :]
        continued = self._skipped > 0
        if self._seen is None or len(self._starts) != len(self._seen[0]) - self._skipped or not self._starts:
            return Growth("".join(pieces), continued, 0, None)
        last = self._skipped + len(self._starts) - 1
        resume = last if self._open is None else min(last, self._open)
        cut = self._starts[resume - self._skipped] - self._first
        kept = "".join(pieces[:cut])
        items, head, sequences, values = self._seen
        return Growth(
            kept + "".join(pieces[cut:]), continued, len(kept), Progress(resume, items, head, sequences, values)
        )


def _resumable(parsed: n.Template, loop: n.For) -> bool:
    """Whether nothing goes unwatched from one iteration to another, or from later messages to earlier ones."""
    if not isinstance(loop.target, n.Name) or loop.test is not None or loop.recursive or loop.else_:
        return False
    if any(name.name.startswith("agent_rl_") for name in parsed.find_all(n.Name)):
        return False
    if any(isinstance(node, _REFUSED) for top in loop.body for node in _all(top)):
        return False
    if any(_kind(node) == "Break" for top in loop.body for node in _all(top)):
        return False
    macros = list(parsed.find_all(n.Macro))
    if any(macro not in parsed.body or next(macro.find_all(n.NSRef), None) for macro in macros):
        return False
    if next(parsed.find_all((n.Block, n.Extends, n.Include, n.Import, n.FromImport)), None):
        return False
    return all(_loop_is_watched(top) for top in loop.body)


def _loop_is_watched(node: n.Node) -> bool:
    """Whether `loop` is read in `node` only for what does not depend on where the iterations began."""
    if isinstance(node, n.Getattr) and _is_loop(node.node):
        return node.attr in _LOOP_READS
    if _is_loop(node):
        return False
    return all(_loop_is_watched(child) for child in _outside_inner_loops(node))


def _is_loop(node: n.Node) -> bool:
    return isinstance(node, n.Name) and node.name == "loop"


def _outside_inner_loops(node: n.Node) -> list[n.Node]:
    """The children of `node`; of a loop only what it goes through, since `loop` is another one inside."""
    return [node.iter] if isinstance(node, n.For) else list(node.iter_child_nodes())


def _all(node: n.Node) -> list[n.Node]:
    """`node` and everything inside it."""
    return [node, *node.find_all(n.Node)]


def _kind(node: n.Node) -> str:
    return type(node).__name__


def _instrument(parsed: n.Template, loop: n.For) -> None:
    """The template's loop calls the hooks of `_Watch`."""
    assert isinstance(loop.target, n.Name)
    own = {loop.target.name, "loop"}
    macros = [top for top in parsed.body if isinstance(top, n.Macro)]
    in_macros = _free(macros)
    free = _free(loop.body) - own
    lists = {name for name in free - in_macros if _only_looked_at(loop.body, name)}
    hooks = _Hooks(lists)
    body = [hooks.visit(top) for top in loop.body]
    names = _names(lists), _names((free | in_macros) - own - lists)
    loop.iter = _call(_ITEMS, loop.iter, *names)
    loop.body = [n.Output([_call(_AT, _index())]), *body]
    parsed.set_environment(cast("jinja2.Environment", parsed.environment))
    parsed.set_lineno(1)


class _Hooks(jinja2.visitor.NodeTransformer):
    """Reads of the loop's index and of `lists` become calls of the hooks."""

    def __init__(self, lists: set[str]) -> None:
        self._lists = lists
        self._inner = 0

    def visit_For(self, node: n.For) -> n.Node:
        """A loop inside an iteration: `loop` is another one there."""
        node.iter = self.visit(node.iter)
        self._inner += 1
        node.body = [self.visit(child) for child in node.body]
        node.else_ = [self.visit(child) for child in node.else_]
        if node.test is not None:
            node.test = self.visit(node.test)
        self._inner -= 1
        return node

    def visit_Getattr(self, node: n.Getattr) -> n.Node:
        """`loop.index0`, `loop.index` and `loop.first` count from the first message of all."""
        if not _is_loop(node.node) or self._inner:
            return self.generic_visit(node)
        whole = _call(_INDEX, _index())
        if node.attr == "index0":
            return whole
        if node.attr == "index":
            return n.Add(whole, n.Const(1))
        return n.Compare(whole, [n.Operand("eq", n.Const(0))]) if node.attr == "first" else node

    def visit_Getitem(self, node: n.Getitem) -> n.Node:
        """`messages[i]` is watched."""
        if not isinstance(node.node, n.Name) or node.node.name not in self._lists:
            return self.generic_visit(node)
        return _call(_LOOK, node.node, self.visit(node.arg))


def _only_looked_at(body: Sequence[n.Node], name: str) -> bool:
    """Whether `body` reads the value `name` only as `name[index]`."""
    every = [node for top in body for node in _all(top)]
    reads = sum(isinstance(node, n.Name) and node.name == name for node in every)
    looks = sum(
        isinstance(node, n.Getitem)
        and isinstance(node.node, n.Name)
        and node.node.name == name
        and not isinstance(node.arg, n.Slice)
        for node in every
    )
    return reads == looks


def _free(body: Sequence[n.Node]) -> set[str]:
    """The names that the statements `body` of a loop take from outside, those that every template has included."""
    whole = n.Template([n.For(n.Name("agent_rl_none", "store"), n.List([]), list(body), [], None, False)])
    whole.set_environment(cast("jinja2.Environment", body[0].environment)) if body else None
    return jinja2.meta.find_undeclared_variables(whole) if body else set()


def _index() -> n.Getattr:
    return n.Getattr(n.Name("loop", "load"), "index0", "load")


def _names(names: set[str]) -> n.List:
    return n.List([n.Name(name, "load") for name in sorted(names)])


def _call(name: str, *arguments: n.Node) -> n.Call:
    return n.Call(n.Name(name, "load"), list(arguments), [], None, None)  # pyright: ignore[reportArgumentType]


def _frozen(value: Any) -> Any:
    """A form of `value` that equals another one only if a template cannot tell the two apart."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return type(value), value
    if isinstance(value, jinja2.Undefined):
        return "undefined"
    if isinstance(value, jinja2.utils.Namespace):
        return "namespace", _frozen(object.__getattribute__(value, "_Namespace__attrs"))
    if isinstance(value, jinja2.runtime.Macro):
        return "macro", value.name, value.arguments
    if isinstance(value, Mapping):
        mapping = cast("Mapping[Any, Any]", value)
        return "mapping", tuple((_frozen(k), _frozen(v)) for k, v in mapping.items())
    if isinstance(value, (list, tuple)):
        values = cast("Sequence[Any]", value)
        if values and isinstance(values[0], Mapping) and "role" in values[0]:
            return object()  # messages: with more of them it is another list
        return isinstance(value, list), tuple(_frozen(v) for v in values)
    if isinstance(value, (types.FunctionType, types.BuiltinFunctionType, types.MethodType, type)):
        return "callable", id(value)
    return object()


def _begins(now: Any, then: Any) -> bool:
    """Whether the list `now` begins with the list `then`."""
    if not isinstance(now, list) or not isinstance(then, list):
        return False
    return cast("list[Any]", now)[: len(cast("list[Any]", then))] == then
