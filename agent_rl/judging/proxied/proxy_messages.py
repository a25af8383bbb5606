"""The messages between the tests' process and the candidate's (tier `proxied`): plain values and references.

Each frame is the canonical text (`agent_rl.vocabulary.canonical`) of a list

    [lane, verb, head, values, containers, numbers]

`lane` says which thread of the tests speaks (`lanes`). `head` is a list of plain values, `values` a list of values in
wire form. Plain values, tuples and frozensets are written as they are. Anything else is a `Record` (on this wire, a
`Record` never stands for a dataclass):

    at(n)                     a list, dict, set or another container that can be modified; `containers` holds the
                              contents of those that the other side does not know yet, and of those that have changed
                              (`shared_containers`); `numbers` are those that the sender no longer uses
    object(id, class, kind, base)   an object of the candidate. kind: object, class, iterator, generator, coroutine;
                              base: its plain content if its class is a subclass of a built-in
    callback(id, kind, name, signature)   a function or iterator of the tests
    builtin(name)             a type or exception of `builtins`
    value(type, args)         a value of a few types of the standard library, by its constructor's arguments
    raised(...)               an exception (`proxy_exceptions`)

On each lane the two sides speak in turns, the tests first; every frame hands the turn over:

    tests       load [concurrent] | get [id, name] | set [id, name] (value) | del [id, name] | describe [id]
                | call [id] (args, kwargs) | op [name, id] (args)
    candidate   return [effects] (value) | raise [effects] (exception) | unheld [why] | callback [id, op] (args, kwargs)

"unheld" says that a value, or an exception, has no wire form. The tests answer a callback with "return" or "raise";
after that, the candidate still has to answer its request.

This file is self-contained (standard library only, Python 3.9): its source also runs inside the sandboxes.
"""

import builtins
import collections
import datetime
import decimal
import fractions
import importlib
import types
from collections.abc import Callable
from typing import Any

from agent_rl.vocabulary.canonical import MAX_DEPTH, NotCanonical, Record, decode, encode

MAX_FRAME_BYTES = 4 << 20
ANY_NAME = "*"
"""An access path that admits objects under every name of the module, used if there is no oracle solution."""
SCALARS = frozenset({int, float, str, bytes, bool, complex, type(None)})
NATIVE = (
    *(bool, int, float, complex, str, bytes, tuple, frozenset, list, set, bytearray),
    *(collections.OrderedDict, collections.defaultdict, collections.Counter, dict, collections.deque),
    *(decimal.Decimal, fractions.Fraction, datetime.datetime, datetime.date, datetime.time, datetime.timedelta),
)
"""Built-in types; an instance of a subclass of one crosses with its plain content."""


def _safe_builtins() -> "dict[str, Any]":
    """Types and exceptions that may cross by name: all they can do is hold a value or be raised."""
    plain = (bool, int, float, complex, str, bytes, tuple, frozenset, list, dict, set, object, bytearray, range, slice)
    found: dict[str, Any] = {kind.__name__: kind for kind in (*plain, memoryview)}
    for name, value in vars(builtins).items():
        if isinstance(value, type) and issubclass(value, BaseException) and value.__name__ == name:
            found[name] = value
    found.update({"Ellipsis": Ellipsis, "NotImplemented": NotImplemented, "NoneType": type(None)})
    return found


BUILTINS = _safe_builtins()
_BUILTIN_NAMES = {id(value): name for name, value in BUILTINS.items()}

_INT, _STR, _TUPLE, _MAYBE = (int,), (str,), (tuple,), (int, type(None))


class _Value:
    """A type whose instances cross by arguments: how to take an instance apart, how to make it, the arguments' types.

    It is named by module and name, since not every process has imported it.
    """

    def __init__(self, take: "Callable[[Any], tuple[Any, ...]]", make: "Callable[..., Any]", *kinds: Any) -> None:
        self.take, self.make, self.kinds = take, make, kinds


def _imported(module: str, name: str) -> "Callable[..., Any]":
    return lambda *args: getattr(importlib.import_module(module), name)(*args)


def _pairs(flat: "tuple[Any, ...]") -> "dict[Any, Any]":
    check_hashes(flat[::2])
    return dict(zip(flat[::2], flat[1::2]))  # noqa: B905


def _flat(mapping: Any) -> "tuple[tuple[Any, ...]]":
    return (tuple(part for pair in mapping.items() for part in pair),)


def _wrapped(kind: "Callable[[], Any]", field: str, held: type) -> _Value:
    """A container of `collections` that wraps another one: with the same content, which stays shared."""

    def take(value: Any) -> "tuple[Any, ...]":
        content = getattr(value, field)
        return (content if type(content) is held else held(content),)

    def make(content: Any) -> Any:
        if type(content) is not held:
            raise TypeError(held.__name__)
        made = kind()
        setattr(made, field, content)
        return made

    return _Value(take, make, (str,) if held is str else (Record,))


_ISO = (lambda v: (v.isoformat(),), _STR)
WRAPPERS: "dict[str, type]" = {
    f"collections.{kind.__name__}": kind
    for kind in (collections.UserList, collections.UserDict, collections.UserString, collections.ChainMap)
}
"""Classes that wrap a built-in; an instance of a subclass comes in as one of them, where no object is expected."""
VALUES: "dict[str, _Value]" = {
    "builtins.range": _Value(lambda v: (v.start, v.stop, v.step), range, _INT, _INT, _INT),
    "builtins.slice": _Value(lambda v: (v.start, v.stop, v.step), slice, _MAYBE, _MAYBE, _MAYBE),
    "builtins.dict_keys": _Value(lambda v: (tuple(v),), lambda v: dict.fromkeys(_checked(v)).keys(), _TUPLE),
    "builtins.dict_values": _Value(lambda v: (tuple(v),), lambda v: dict(enumerate(v)).values(), _TUPLE),
    "builtins.dict_items": _Value(
        lambda v: (tuple(part for pair in v for part in pair),), lambda v: _pairs(v).items(), _TUPLE
    ),
    "builtins.mappingproxy": _Value(_flat, lambda v: types.MappingProxyType(_pairs(v)), _TUPLE),
    "decimal.Decimal": _Value(lambda v: (str(v),), decimal.Decimal, _STR),
    "fractions.Fraction": _Value(lambda v: (v.numerator, v.denominator), fractions.Fraction, _INT, _INT),
    "datetime.timedelta": _Value(lambda v: (v.days, v.seconds, v.microseconds), datetime.timedelta, _INT, _INT, _INT),
    "datetime.date": _Value(_ISO[0], datetime.date.fromisoformat, _STR),
    "datetime.datetime": _Value(_ISO[0], datetime.datetime.fromisoformat, _STR),
    "datetime.time": _Value(_ISO[0], datetime.time.fromisoformat, _STR),
    "datetime.timezone": _Value(lambda v: (v.utcoffset(None), v.tzname(None)), datetime.timezone, (Record,), _STR),
    "collections.UserList": _wrapped(collections.UserList, "data", list),
    "collections.UserDict": _wrapped(collections.UserDict, "data", dict),
    "collections.UserString": _wrapped(lambda: collections.UserString(""), "data", str),
    "collections.ChainMap": _wrapped(collections.ChainMap, "maps", list),
    "uuid.UUID": _Value(lambda v: (str(v),), _imported("uuid", "UUID"), _STR),
    "pathlib.PosixPath": _Value(lambda v: (str(v),), _imported("pathlib", "PosixPath"), _STR),
    "pathlib.PurePosixPath": _Value(lambda v: (str(v),), _imported("pathlib", "PurePosixPath"), _STR),
    "re.Pattern": _Value(lambda v: (v.pattern, v.flags), _imported("re", "compile"), (str, bytes), _INT),
}
_MODULES = {"pathlib._local": "pathlib"}
"""Modules that define a type under another name in later Pythons."""


class MalformedMessage(Exception):
    """A frame or reference that an honest other side never writes."""


def check_hashes(keys: Any) -> None:
    """Checks that few of `keys` share a hash: equal ones would make a set or dict quadratic. Raises NotCanonical."""
    if len(keys) > 64 and max(collections.Counter(map(hash, keys)).values()) > 64:
        raise NotCanonical("too many equal hashes")


def _checked(keys: Any) -> Any:
    check_hashes(keys)
    return keys


def value_name(kind: type) -> str:
    """The name under which `VALUES` knows the exact type `kind`, if it does."""
    module = kind.__module__
    return f"{_MODULES.get(module, module)}.{kind.__qualname__}" if type(module) is str else ""


WireForm = Callable[[Any], Any]
"""Gives the wire form of a value, or the value of a wire form, within another one."""
Refer = Callable[[Any, WireForm], Any]
"""Makes the record of an object."""
Resolve = Callable[[str, "dict[str, Any]", WireForm], Any]
"""Gives the object for a record's name and fields."""


def to_wire(value: Any, at: "Callable[[Any], Any]", refer: Refer, depth: int = MAX_DEPTH) -> Any:
    """`value` with a `Record` for everything that is not plain.

    `at` makes the records of containers (None for what is none), `refer` those of objects. Raises NotCanonical if it is
    nested too deep, and whatever `refer` raises.
    """
    kind = type(value)
    if kind in SCALARS:
        return value
    if depth <= 0:
        raise NotCanonical(f"nested deeper than {MAX_DEPTH}")
    if kind is tuple:
        return tuple([to_wire(item, at, refer, depth - 1) for item in value])
    if kind is frozenset:
        return frozenset([to_wire(item, at, refer, depth - 1) for item in value])
    contained = at(value)
    if contained is not None:
        return contained
    if id(value) in _BUILTIN_NAMES:
        return Record("builtin", (("name", _BUILTIN_NAMES[id(value)]),))
    name = value_name(kind)
    known = VALUES.get(name)
    if known is not None and _is_type(kind, name):
        return Record("value", (("type", name), ("args", to_wire(known.take(value), at, refer, depth - 1))))
    return refer(value, lambda inner: to_wire(inner, at, refer, depth - 1))


def _is_type(kind: type, name: str) -> bool:
    """Whether `kind` really is the type `name`, not a class of the same name."""
    if name.startswith("builtins."):
        return kind in (range, slice, type({}.keys()), type({}.values()), type({}.items()), types.MappingProxyType)
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute, None) is kind


def from_wire(value: Any, resolve: Resolve) -> Any:
    """The value that `to_wire` got. Raises MalformedMessage."""
    kind = type(value)
    if kind in SCALARS:
        return value
    if kind is tuple:
        return tuple([from_wire(item, resolve) for item in value])
    if kind is frozenset:
        return frozenset([from_wire(item, resolve) for item in value])
    if kind is not Record:
        raise MalformedMessage(f"a {kind.__name__} where a value is expected")
    fields = dict(value.fields)
    if value.name == "builtin":
        return _builtin(fields)
    if value.name == "value":
        return _value(fields, resolve)
    return resolve(value.name, fields, lambda inner: from_wire(inner, resolve))


def _builtin(fields: "dict[str, Any]") -> Any:
    name = fields.get("name")
    if type(name) is not str or name not in BUILTINS:
        raise MalformedMessage("a built-in that may not cross")
    return BUILTINS[name]


def _value(fields: "dict[str, Any]", resolve: Resolve) -> Any:
    name, args = fields.get("type"), fields.get("args")
    if type(name) is not str or name not in VALUES or type(args) is not tuple:
        raise MalformedMessage("a value of unknown type")
    known = VALUES[name]
    if len(args) != len(known.kinds) or any(type(a) not in kind for a, kind in zip(args, known.kinds)):  # noqa: B905
        raise MalformedMessage(f"a {name} of other arguments")
    try:
        return known.make(*from_wire(args, resolve))
    except MalformedMessage:
        raise
    except Exception as error:
        raise MalformedMessage(f"a {name} that cannot be made: {type(error).__name__}") from None


def write_frame(content: "list[Any]") -> str:
    """The frame's text. Raises NotCanonical if it is too large or too deep."""
    return encode(content)


def read_frame(text: str) -> "list[Any]":
    """The frame's content: [lane, verb, head, values, containers, numbers]. Raises MalformedMessage."""
    try:
        content = decode(text)
    except NotCanonical as error:
        raise MalformedMessage(f"a frame that is not canonical: {error}") from None
    kinds = (int, str, list, list, list, list)
    if type(content) is not list or tuple(map(type, content)) != kinds or any(type(n) is not int for n in content[5]):
        raise MalformedMessage("a frame of unknown form")
    return content


def wrapper_base(kind: type) -> str:
    """The name of the class of `WRAPPERS` that `kind` is derived from; empty if it is of none."""
    return next((name for name, wrapper in WRAPPERS.items() if wrapper in type.mro(kind)), "")


def native_base(kind: type) -> "type | None":
    """The built-in type that `kind` is a proper subclass of, and whose content its instances hold; else None."""
    for base in type.mro(kind)[1:]:
        if base in NATIVE:
            return base
    return None
