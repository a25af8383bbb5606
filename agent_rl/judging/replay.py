"""Replays recorded outcomes to a check, in a sandbox run of its own: `replay`, and `follows_answers` at load.

A value is replayed as it was, as far as it is held: with the check's own classes where it knows one of that name, else
with a bare subclass of the same built-in type. What a class of the program would do instead is not replayed.

Standard library and `stand_ins` only, Python 3.9: this source also runs inside the sandboxes, where checker programs
import it.
"""

# pyright: standard

import ast
import builtins
import copy
import dataclasses
import random
import sys
import types
from collections import Counter, OrderedDict, UserDict, UserList, UserString, defaultdict, deque
from collections.abc import Callable, Set
from enum import Enum
from typing import Any

from agent_rl.vocabulary.stand_ins import Derived, EnumMember, HeldException, Items, Record

_SCALARS = frozenset({type(None), bool, int, float, complex, str, bytes})
_SEEDS = range(8)
_made: "dict[Any, type]" = {}


class _Enough(BaseException):
    """Ends a check."""


def replay(check: "Callable[[Any], Any]", space: "dict[str, Any]", recorded: "list[Any]") -> bool:
    """True. Raises what `check` raises, and AssertionError if a call had no outcome that can be replayed.

    So it does even where the check swallows every exception.

    `space` is the module of the check, whose classes the answers get; each of `recorded` is (args, kwargs, failure,
    value).
    """
    answers = _by_call(recorded)
    wrong: list[str] = []

    def candidate(*args: Any, **kwargs: Any) -> Any:
        queue = answers.get(_key((args, kwargs)))
        if not queue:
            wrong.append("a call that was not recorded")
            raise AssertionError(wrong[0])
        failure, value = queue.pop(0) if len(queue) > 1 else queue[0]
        wrong.append("an outcome that cannot be replayed")
        made = revived(value, space) if failure is None else exception_of(failure, space)
        wrong.pop()
        if failure is not None:
            raise made
        return made

    check(candidate)
    if wrong:
        raise AssertionError(wrong[0])
    return True


def follows_answers(source: str, space: "dict[str, Any]", recorded: "list[Any]") -> bool:
    """Whether the check in `source` makes calls that were not recorded once it gets other answers.

    Its asserts are evaluated, and their outcome ignored.
    """
    tree = ast.fix_missing_locations(_Unasserted().visit(ast.parse(source)))
    code = compile(tree, "tests.py", "exec", dont_inherit=True)
    begun = random.getstate()
    for seed in _SEEDS:
        random.setstate(begun)
        own = dict(space)
        others = _OtherAnswers(recorded, own, seed)
        try:
            exec(code, own)
            own["check"](others.answer)
        except BaseException:
            pass
        if others.unknown:
            return True
    return False


class _OtherAnswers:
    """Answers the calls of a check otherwise than was recorded: all of them, or each second one."""

    def __init__(self, recorded: "list[Any]", space: "dict[str, Any]", seed: int) -> None:
        self.unknown = False
        self._answers = _by_call(recorded)
        self._values = [value for _, _, failure, value in recorded if failure is None]
        self._space = space
        self._draw = random.Random(seed)
        self._share = 1.0 if seed < 2 else 0.5
        self._left = 2 * len(recorded) + 100

    def answer(self, *args: Any, **kwargs: Any) -> Any:
        self._left -= 1
        outcomes = self._answers.get(_key((args, kwargs)))
        self.unknown = self.unknown or not outcomes
        if self._left < 0 or not outcomes:
            raise _Enough
        failure, value = outcomes[0]
        if failure is not None:
            raise exception_of(failure, self._space)
        if self._draw.random() < self._share:
            alike = [other for other in self._values if type(other) is type(value)]
            value = self._draw.choice(alike) if self._draw.random() < 0.3 else _another(value, self._draw)
        return revived(value, self._space)


class _Unasserted(ast.NodeTransformer):
    """Replaces each assert by the evaluation of its condition, whose outcome and exceptions do not count."""

    def visit_Assert(self, node: ast.Assert) -> ast.Try:
        tried = ast.Expr(ast.Call(ast.Name("bool", ast.Load()), [node.test], []))
        return ast.Try([tried], [ast.ExceptHandler(ast.Name("Exception", ast.Load()), None, [ast.Pass()])], [], [])


def _another(value: Any, draw: random.Random) -> Any:
    """A value of the same type that is not `value`, if one can be thought of."""
    kind = type(value)
    if kind is bool:
        return not value
    if kind in (int, float):
        return draw.choice((value + 1, value - 1, 2 * value + 1, -value - 1))
    if value is None:
        return 0
    if kind in (str, bytes, list, tuple):
        end = {str: "a", bytes: b"a"}.get(kind) or kind(value[:1] or (0,))
        return draw.choice((value + end, value[:-1] if value else end, value[::-1] + end))
    if kind in (set, frozenset):
        return kind([*value][1:]) if value else kind([0])
    if isinstance(value, dict):
        return dict([*value.items()][1:]) if value else {0: 0}
    return value


def _by_call(recorded: "list[Any]") -> "dict[Any, list[tuple[Any, Any]]]":
    answers: dict[Any, list[tuple[Any, Any]]] = {}
    for args, kwargs, failure, value in recorded:
        answers.setdefault(_key((args, kwargs)), []).append((failure, value))
    return answers


def _key(value: Any) -> Any:
    name = type(value).__name__
    if isinstance(value, (list, tuple)):
        return (name, tuple(map(_key, value)))
    if isinstance(value, (set, frozenset)):
        return (name, frozenset(map(_key, value)))
    if isinstance(value, dict):
        return (name, frozenset((_key(k), _key(v)) for k, v in value.items()))
    return (name, repr(value))


def revived(value: Any, space: "dict[str, Any]") -> Any:
    """`value` as the check sees it, made anew."""
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind in (list, tuple, set, frozenset):
        return kind([revived(item, space) for item in value])
    if kind in (dict, OrderedDict, Counter):
        return kind({revived(k, space): revived(v, space) for k, v in value.items()})
    if kind is defaultdict:
        return defaultdict(value.default_factory, {k: revived(v, space) for k, v in value.items()})
    if kind is deque:
        return deque([revived(item, space) for item in value], value.maxlen)
    if kind is Derived:
        return _derived(value.name, revived(value.content, space), space)
    if kind is EnumMember:
        return _member(value, space)
    if kind is Items:
        return _iterated(value, space)
    if kind is HeldException:
        return exception_of(value, space)
    if dataclasses.is_dataclass(kind) and not space:
        # The run has made it of the program's own class, which must not be used here.
        value = Record(kind.__name__, tuple((f.name, getattr(value, f.name)) for f in dataclasses.fields(kind)))
        kind = Record
    if kind is Record:
        return _record(value, space)
    return copy.deepcopy(value)


class _Set(Set):
    def __init__(self, content: "set[Any]") -> None:
        self._content = content

    def __contains__(self, value: object) -> bool:
        return value in self._content

    def __iter__(self) -> Any:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)


_WRAPPERS: "dict[tuple[str, type], Any]" = {
    ("UserDict", dict): UserDict,
    ("UserList", list): UserList,
    ("UserString", str): UserString,
    ("mappingproxy", dict): types.MappingProxyType,
    ("memoryview", bytes): memoryview,
    ("Set", set): _Set,
}
"""Classes that are compared as a built-in type and are no subclasses of it."""


def _derived(name: str, content: Any, space: "dict[str, Any]") -> Any:
    base: Any = int if type(content) is bool else type(content)
    if (name, base) in _WRAPPERS:
        return _WRAPPERS[name, base](content)
    found = space.get(name)
    if isinstance(found, type) and issubclass(found, base) and found is not base:
        try:
            return found(content) if issubclass(found, Enum) else _instance(found, base, content)
        except Exception:
            pass
    return _instance(_class(name, (base,)), base, content)


def _instance(kind: Any, base: Any, content: Any) -> Any:
    if base in (list, set, dict, OrderedDict, Counter, deque, bytearray):
        made = base.__new__(kind)
        base.__init__(made, content, *([content.maxlen] if base is deque else []))
        return made
    if base is defaultdict:
        made = base.__new__(kind)
        base.__init__(made, content.default_factory, content)
        return made
    return base.__new__(kind, content)


def _class(name: str, bases: "tuple[type, ...]") -> Any:
    """A class of this name with no methods of its own; the same one each time."""
    if (name, bases) not in _made:
        try:
            _made[name, bases] = type(name, bases, {})
        except (ValueError, UnicodeError):
            _made[name, bases] = type("Derived", bases, {})
    return _made[name, bases]


def _member(value: EnumMember, space: "dict[str, Any]") -> Any:
    found: Any = space.get(value.name)
    if not (isinstance(found, type) and issubclass(found, Enum)):
        return value
    try:
        return found[value.member] if isinstance(value.member, str) else found(value.member)
    except (KeyError, ValueError):
        return value


def _record(value: Record, space: "dict[str, Any]") -> Any:
    made: Any = space.get(value.name)
    fields = {name: revived(content, space) for name, content in value.fields}
    known = isinstance(made, type) and dataclasses.is_dataclass(made)
    if not known or [f.name for f in dataclasses.fields(made)] != list(fields):
        key = (value.name, (object, *fields))
        if key not in _made:
            _made[key] = dataclasses.make_dataclass(value.name, list(fields), namespace={"__eq__": _same_fields})
        made = _made[key]
    new = made(**{f.name: fields[f.name] for f in dataclasses.fields(made) if f.init})
    for f in dataclasses.fields(made):
        if not f.init:
            object.__setattr__(new, f.name, fields[f.name])
    return new


def _same_fields(one: Any, other: Any) -> Any:
    """`__eq__` of a dataclass that the check does not know, so that the check's own of that name can equal it."""
    if not dataclasses.is_dataclass(other) or type(other).__name__ != type(one).__name__:
        return NotImplemented
    pairs: list[list[Any]] = [
        [(f.name, getattr(made, f.name)) for f in dataclasses.fields(made) if f.compare] for made in (one, other)
    ]
    return pairs[0] == pairs[1]


class _Iterable:
    def __init__(self, items: "list[Any]", failure: Any) -> None:
        self._items, self._failure = items, failure

    def __iter__(self) -> Any:
        yield from self._items
        if self._failure is not None:
            raise self._failure


class _Sized(_Iterable):
    def __len__(self) -> int:
        return len(self._items)


class _Sequence(_Sized):
    def __getitem__(self, index: Any) -> Any:
        found = self._items[index]
        return _Sequence(found, None) if isinstance(index, slice) else found


class _Iterator(_Iterable):
    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        if self._items:
            return self._items.pop(0)
        raise self._failure or StopIteration


def _iterated(value: Items, space: "dict[str, Any]") -> Any:
    items = [revived(item, space) for item in value.content]
    failure = None if value.failure is None else exception_of(value.failure, space)
    if value.kind == "keys":
        return dict.fromkeys(items).keys()
    if value.kind == "items":
        return dict(items).items()
    if value.kind == "values":
        return dict(enumerate(items)).values()
    if value.kind == "iterator":
        return _Iterator(items, failure)
    iterable = {"sized": _Sized, "sequence": _Sequence}.get(value.kind, _Iterable)(items, failure)
    return iter(iterable) if value.kind == "generator" else iterable


def exception_of(failure: HeldException, space: "dict[str, Any]") -> BaseException:
    """An exception that is caught where the one that was raised would have been caught, and holds what is known of it.

    StopIteration is the exception: raised inside `map`, it would end a check's loop early, as if all had been seen.
    """
    bases: list[Any] = []
    for name in failure.kinds:
        kind = _exception_class(name)
        if kind is not None and not any(issubclass(base, kind) for base in bases):
            bases.append(kind)
    if not bases or any(issubclass(base, (StopIteration, StopAsyncIteration)) for base in bases):
        bases = [Exception]
    plain = len(bases) == 1 and bases[0].__name__ == failure.name
    try:
        kind = bases[0] if plain else type("Raised", tuple(bases), {})
    except TypeError:  # classes that do not go together
        kind = type("Raised", (bases[0],), {})
    if not plain:
        kind.__name__ = kind.__qualname__ = failure.name.replace("\0", "") or "Raised"
    error = _instance_of(kind, failure, None if failure.args is None else revived(failure.args, space))
    for name, value in failure.attributes:
        try:
            error.__dict__[name] = revived(value, space)
        except Exception:
            continue
    if failure.cause is not None:
        error.__cause__ = exception_of(failure.cause, space)
    if not plain and _said(error) != failure.text:
        kind.__str__ = lambda self: failure.text
    return error


def _instance_of(kind: Any, failure: HeldException, args: "tuple[Any, ...] | None") -> BaseException:
    args = (failure.text,) if args is None else args
    try:
        return kind(*args)
    except Exception:
        try:
            error = kind.__new__(kind)
        except Exception:
            error = Exception(failure.text)
        error.args = args
        return error


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:
        return ""


def _exception_class(name: str) -> Any:
    """The class: a built-in, or one of a module that the check has imported."""
    module, _, own = name.rpartition(":")
    found = getattr(sys.modules.get(module) if module else builtins, own, None)
    return found if isinstance(found, type) and issubclass(found, BaseException) else None
