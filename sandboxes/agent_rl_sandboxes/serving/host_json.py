"""`to_json` and `from_json`: the vocabulary's dataclasses as JSON and back. Nothing is coerced, nothing ignored.

A new field of a dataclass needs no code here if its type is one of: int, float, str, bytes, bool, None, Literal,
unions of these, tuples, lists, mappings with text keys, and dataclasses of all this. Bytes become base64; Any stands
for any JSON value, unchanged. Text may be anything that Python's `str` holds, lone surrogates too.
"""

from __future__ import annotations

import base64
import binascii
import collections.abc
import dataclasses
import json
import math
import types
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

_INTEGERS = range(-(1 << 63), 1 << 63)


class MalformedBody(ValueError):
    """The message is not what it should be; says where and what was expected."""


def to_json(value: Any) -> bytes:
    """`value` (a dataclass, or what one may hold) as JSON in ASCII. Raises TypeError for anything else."""
    return json.dumps(value, default=_parts, separators=(",", ":"), allow_nan=False).encode()


def from_json(kind: type[T], data: bytes) -> T:
    """What `to_json` was given. Raises MalformedBody."""
    return decode(kind, parse(data))


def parse(data: bytes) -> Any:
    """The JSON value in `data`: UTF-8, no duplicate key, no NaN. Raises MalformedBody."""
    try:
        return json.loads(data.decode(), object_pairs_hook=_distinct, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise MalformedBody(f"not JSON: {error}" if not isinstance(error, MalformedBody) else str(error)) from None


def _parts(value: Any) -> Any:
    """A value that `json` cannot encode, as one that it can. Raises TypeError."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: getattr(value, name) for name in _fields(type(value))[0]}
    if isinstance(value, collections.abc.Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} cannot cross to another host")


def decode(kind: Any, value: Any, where: str = "") -> Any:
    """The value of type `kind` that `value`, parsed JSON, stands for. Raises MalformedBody that names the place."""
    if kind is Any:
        return value
    if kind is bytes:
        return _bytes(value, where)
    if kind in (bool, str, type(None)):
        return value if type(value) is kind else _refuse(kind.__name__, value, where)
    if kind is int:
        return value if type(value) is int and value in _INTEGERS else _refuse("an integer of 64 bits", value, where)
    if kind is float:
        return _float(value, where)
    origin, arguments = _shape(kind)
    if origin is Literal:
        return value if type(value) is str and value in arguments else _refuse(f"one of {arguments}", value, where)
    if origin in (Union, types.UnionType):
        return _union(arguments, value, where)
    if origin in (tuple, list, collections.abc.Sequence):
        return _sequence(origin, arguments, value, where)
    if origin in (dict, collections.abc.Mapping):
        items = value.items() if type(value) is dict else _refuse("an object", value, where)
        return {key: decode(arguments[1], item, f"{where}[{key[:40]!r}]") for key, item in items}
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, value, where)
    raise TypeError(f"{kind} cannot cross to another host")


def _dataclass(kind: Any, value: Any, where: str) -> Any:
    if type(value) is not dict:
        _refuse("an object", value, where)
    hints, required = _fields(kind)
    for name in value:
        if name not in hints:
            raise MalformedBody(f"{where or kind.__name__} has no field {name[:80]!r}")
    for name in required:
        if name not in value:
            raise MalformedBody(f"{where or kind.__name__} needs the field {name!r}")
    prefix = f"{where}." if where else ""
    return kind(**{name: decode(hints[name], item, prefix + name) for name, item in value.items()})


@cache
def _shape(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type's origin and arguments."""
    return get_origin(kind), get_args(kind)


@cache
def _fields(kind: type) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Types of the fields by name, and the names of those without a default."""
    missing = dataclasses.MISSING
    fields = dataclasses.fields(kind)
    hints = get_type_hints(kind)
    required = tuple(f.name for f in fields if f.default is missing and f.default_factory is missing)
    return {f.name: hints[f.name] for f in fields}, required


def _union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    reasons: list[str] = []
    for kind in kinds:
        try:
            return decode(kind, value, where)
        except MalformedBody as error:
            reasons.append(str(error))
    raise MalformedBody(reasons[0])


def _sequence(origin: Any, kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if type(value) is not list:
        _refuse("a list", value, where)
    if origin is not tuple or kinds[1:] == (...,):
        items = [decode(kinds[0], item, f"{where}[{index}]") for index, item in enumerate(value)]
        return tuple(items) if origin is tuple else items
    if len(value) != len(kinds):
        _refuse(f"a list of {len(kinds)}", value, where)
    return tuple(
        decode(kind, item, f"{where}[{index}]") for index, (kind, item) in enumerate(zip(kinds, value, strict=True))
    )


def _bytes(value: Any, where: str) -> bytes:
    try:
        if type(value) is str:
            return base64.b64decode(value.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        pass
    return _refuse("base64", value, where)


def _float(value: Any, where: str) -> float:
    if type(value) is int and value in _INTEGERS:
        return float(value)
    return value if type(value) is float and math.isfinite(value) else _refuse("a finite number", value, where)


def _refuse(expected: str, value: Any, where: str) -> Any:
    shown = repr(value) if isinstance(value, (str, bool, float, type(None))) else type(value).__name__
    raise MalformedBody(f"{where or 'the message'} should be {expected}, got {shown[:80]}")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise MalformedBody("an object with the same key twice")
    return content


def _refuse_constant(text: str) -> Any:
    raise MalformedBody(f"{text} is not a number")
