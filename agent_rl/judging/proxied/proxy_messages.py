"""The messages between the tests' process and the candidate's (tier `proxied`): plain values and references.

Each frame is the canonical text (`agent_rl.vocabulary.canonical`) of a list. Anything else crosses as a `Record`; on
this wire, a `Record` never stands for a dataclass:

    object(id, class, kind, base)   an object of the candidate. kind: object, class, iterator, coroutine;
                                    base: its plain content if its class is a subclass of a built-in
    callback(id)                    a function or iterator of the tests
    builtin(name)                   a type or exception of `builtins`
    value(type, args)               a value of a few types of the standard library, by its constructor's arguments

The two sides speak in turns, the tests first; every frame hands the turn over:

    tests       ["load"] | ["get", id, name] | ["set", id, name, value] | ["del", id, name] | ["describe", id]
                | ["call", id, args, kwargs] | ["op", name, id, args]
    candidate   ["return", value, modified] | ["raise", class, args, text, instance]
                | ["callback", id, op, args, kwargs]

The tests answer a callback with "return" or "raise"; after that, the candidate still has to answer its request.

This file is self-contained (standard library only, Python 3.9): its source also runs inside the sandboxes.
"""

import array
import builtins
import collections
import datetime
import decimal
import fractions
from collections.abc import Callable
from typing import Any

from agent_rl.vocabulary.canonical import MAX_DEPTH, NotCanonical, Record, decode, encode

MAX_FRAME_BYTES = 4 << 20
ANY_NAME = "*"
"""An access path that admits objects under every name of the module, used if there is no oracle solution."""
SCALARS = frozenset({int, float, str, bytes, bool, complex, type(None)})
NATIVE = (bool, int, float, complex, str, bytes, tuple, frozenset, list, dict, set)
"""Built-in types; an instance of a subclass of one crosses with its plain content."""


def _safe_builtins() -> "dict[str, Any]":
    """Types and exceptions that may cross by name: all they can do is hold a value or be raised."""
    found: dict[str, Any] = {kind.__name__: kind for kind in (*NATIVE, object, bytearray, range, slice, memoryview)}
    for name, value in vars(builtins).items():
        if isinstance(value, type) and issubclass(value, Exception) and value.__name__ == name:
            found[name] = value
    return found


BUILTINS = _safe_builtins()

_VALUES: "dict[Any, tuple[str, Callable[[Any], tuple[Any, ...]]]]" = {
    range: ("range", lambda v: (v.start, v.stop, v.step)),
    slice: ("slice", lambda v: (v.start, v.stop, v.step)),
    bytearray: ("bytearray", lambda v: (bytes(v),)),
    collections.deque: ("deque", lambda v: (list(v), v.maxlen)),
    decimal.Decimal: ("Decimal", lambda v: (str(v),)),
    fractions.Fraction: ("Fraction", lambda v: (v.numerator, v.denominator)),
    datetime.timedelta: ("timedelta", lambda v: (v.days, v.seconds, v.microseconds)),
    datetime.date: ("date", lambda v: (v.isoformat(),)),
    datetime.datetime: ("datetime", lambda v: (v.isoformat(),)),
    datetime.time: ("time", lambda v: (v.isoformat(),)),
    array.array: ("array", lambda v: (v.typecode, v.tolist())),
}
_BUILD: "dict[str, Callable[..., Any]]" = {
    "range": range,
    "slice": slice,
    "bytearray": bytearray,
    "deque": collections.deque,
    "Decimal": decimal.Decimal,
    "Fraction": fractions.Fraction,
    "timedelta": datetime.timedelta,
    "date": datetime.date.fromisoformat,
    "datetime": datetime.datetime.fromisoformat,
    "time": datetime.time.fromisoformat,
    "array": array.array,
}
_ARGUMENTS: "dict[str, tuple[tuple[type, ...], ...]]" = {
    "range": ((int,), (int,), (int,)),
    "slice": ((int, type(None)), (int, type(None)), (int, type(None))),
    "bytearray": ((bytes,),),
    "deque": ((list,), (int, type(None))),
    "Decimal": ((str,),),
    "Fraction": ((int,), (int,)),
    "timedelta": ((int,), (int,), (int,)),
    "date": ((str,),),
    "datetime": ((str,),),
    "time": ((str,),),
    "array": ((str,), (list,)),
}
_BUILTIN_NAMES = {id(value): name for name, value in BUILTINS.items()}


class MalformedMessage(Exception):
    """A frame or reference that an honest other side never writes."""


def to_wire(value: Any, refer: "Callable[[Any], Any]", depth: int = MAX_DEPTH) -> Any:
    """`value` with a `Record` for everything that is not plain; `refer` makes the records of objects.

    Raises NotCanonical if it is nested too deep (or contains itself), and whatever `refer` raises.
    """
    kind = type(value)
    if kind in SCALARS:
        return value
    if depth <= 0:
        raise NotCanonical(f"nested deeper than {MAX_DEPTH}")
    if kind is list:
        return [to_wire(item, refer, depth - 1) for item in value]
    if kind is tuple:
        return tuple([to_wire(item, refer, depth - 1) for item in value])
    if kind is dict or kind is collections.OrderedDict or kind is collections.defaultdict:
        return {to_wire(k, refer, depth - 1): to_wire(v, refer, depth - 1) for k, v in value.items()}
    if kind is collections.Counter:
        return {to_wire(k, refer, depth - 1): to_wire(v, refer, depth - 1) for k, v in value.items()}
    if kind is set:
        return {to_wire(item, refer, depth - 1) for item in value}
    if kind is frozenset:
        return frozenset([to_wire(item, refer, depth - 1) for item in value])
    if kind in _VALUES:
        name, arguments = _VALUES[kind]
        return Record("value", (("type", name), ("args", to_wire(arguments(value), refer, depth - 1))))
    if id(value) in _BUILTIN_NAMES:
        return Record("builtin", (("name", _BUILTIN_NAMES[id(value)]),))
    return refer(value)


def from_wire(value: Any, resolve: "Callable[[str, dict[str, Any]], Any]") -> Any:
    """The value that `to_wire` got; `resolve` maps a record's name and fields to an object. Raises MalformedMessage."""
    kind = type(value)
    if kind in SCALARS:
        return value
    if kind is list:
        return [from_wire(item, resolve) for item in value]
    if kind is tuple:
        return tuple([from_wire(item, resolve) for item in value])
    if kind is dict:
        return {from_wire(k, resolve): from_wire(v, resolve) for k, v in value.items()}
    if kind is set:
        return {from_wire(item, resolve) for item in value}
    if kind is frozenset:
        return frozenset([from_wire(item, resolve) for item in value])
    if kind is not Record:
        raise MalformedMessage("a value of a kind that crosses in another form")
    fields = dict(value.fields)
    if value.name == "builtin":
        return _builtin(fields)
    if value.name == "value":
        return _value(fields, resolve)
    return resolve(value.name, fields)


def plain_args(args: Any) -> "tuple[Any, ...] | None":
    """The arguments of an exception, None if not all of them are plain."""
    if args is None:
        return None
    try:
        return from_wire(args, _only_plain)
    except (MalformedMessage, TypeError):
        return None


def _only_plain(name: str, fields: "dict[str, Any]") -> Any:
    raise MalformedMessage("no plain value")


def built_in_exception(kind: Any, args: "tuple[Any, ...] | None", text: str) -> BaseException:
    """An exception of the built-in class `kind`. Without plain `args` it holds its `text`."""
    if args is None:
        args = (text,)
    try:
        return kind(*args)
    except Exception:
        made = kind.__new__(kind)
        made.args = args
        return made


def _builtin(fields: "dict[str, Any]") -> Any:
    name = fields.get("name")
    if type(name) is not str or name not in BUILTINS:
        raise MalformedMessage("a built-in that may not cross")
    return BUILTINS[name]


def _value(fields: "dict[str, Any]", resolve: "Callable[[str, dict[str, Any]], Any]") -> Any:
    name, args = fields.get("type"), fields.get("args")
    if type(name) is not str or name not in _BUILD or type(args) is not tuple:
        raise MalformedMessage("a value of unknown type")
    kinds = _ARGUMENTS[name]
    if len(args) != len(kinds) or any(type(arg) not in kind for arg, kind in zip(args, kinds)):  # noqa: B905
        raise MalformedMessage(f"a {name} of other arguments")
    try:
        return _BUILD[name](*from_wire(args, resolve))
    except (ValueError, TypeError, ArithmeticError, OverflowError, MemoryError) as error:
        raise MalformedMessage(f"a {name} that cannot be made: {type(error).__name__}") from None


def write_frame(content: "list[Any]") -> str:
    """The frame's text. Raises NotCanonical if it is too large or too deep."""
    return encode(content)


def read_frame(text: str) -> "list[Any]":
    """The frame's content: a list that begins with a string. Raises MalformedMessage."""
    try:
        content = decode(text)
    except NotCanonical as error:
        raise MalformedMessage(f"a frame that is not canonical: {error}") from None
    if type(content) is not list or not content or type(content[0]) is not str:
        raise MalformedMessage("a frame of unknown form")
    return content


def native_base(kind: type) -> "type | None":
    """The built-in type that `kind` is a proper subclass of, and whose content its instances hold; else None."""
    for base in type.mro(kind)[1:]:
        if base in NATIVE:
            return base
    return None
