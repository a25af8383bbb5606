"""Canonical typed text of plain Python values: the only form in which anything crosses a sandbox's border.

One value has exactly one text, and `decode` accepts no other: `encode(decode(text)) == text` always holds.

    None, True, 12, -0.5, "text"   JSON's own (strings in ASCII, floats by repr, ints below 2**63)
    [1, 2]                         [1,2]
    (1, 2)                         {"t":[1,2]}
    {2, 1}, frozenset({1})         {"s":[1,2]}, {"z":[1]}                elements sorted by their texts
    {"a": 1, 2: 3}                 {"d":[["a",1],[2,3]]}                 in the dict's order
    b"\\x00"                        {"b":"00"}
    2**64                          {"i":"0x10000000000000000"}
    nan, inf, -inf                 {"f":"nan"}, {"f":"inf"}, {"f":"-inf"}
    1 + 2j                         {"c":[1.0,2.0]}
    "\\ud800" (a lone surrogate)    {"u":"0000d800"}                      hexadecimal UTF-32
    Point(x=1)  (a dataclass)      {"r":["Point",[["x",1]]]}             decoded into a `Record`

Only exact types have a form: a subclass is `NotCanonical`, because its methods could lie. `OrderedDict`, `defaultdict`
and `Counter` (exact types) are written as the dict that they equal. Lazy values, values that contain themselves and
values beyond the limits below are `NotCanonical` too. `encode` and `decode` raise nothing else, whatever their argument
is, and take time linear in the size of the text.

This file is self-contained (standard library only, Python 3.9): its source also runs inside the sandboxes.
"""

# pyright: standard

import dataclasses
import json
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Collection
from json.encoder import encode_basestring_ascii as _quote
from typing import Any

MAX_DEPTH = 100
"""Containers within containers; a value that contains itself exceeds it."""
MAX_NODES = 1 << 18
MAX_CHARS = 4 << 20
"""Length of the text."""
MAX_INT_BITS = 1 << 20
MAX_EQUAL_HASHES = 64
"""Elements of one set or dict that may share a hash: more would make building it quadratic."""

_SMALL = 1 << 63


class NotCanonical(ValueError):
    """The form cannot represent the value, or the text is not one that `encode` writes."""


class Record:
    """A dataclass instance by its class's name and its fields, in order: ((name, value), ...)."""

    __slots__ = ("fields", "name")

    def __init__(self, name: str, fields: "tuple[tuple[str, Any], ...]") -> None:
        self.name = name
        self.fields = fields

    def __eq__(self, other: object) -> bool:
        return type(other) is Record and self.name == other.name and self.fields == other.fields

    def __hash__(self) -> int:
        return hash((self.name, self.fields))

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self.fields)})"


def encode(value: object) -> str:
    """The one text of `value`. Raises NotCanonical if the form cannot represent it."""
    try:
        return _Writer().write(value, MAX_DEPTH)
    except NotCanonical:
        raise
    except Exception as error:  # a hostile value may raise anything while it is walked
        raise NotCanonical(f"{type(error).__name__} while encoding") from None


def decode(text: str) -> Any:
    """The value whose text this is. Raises NotCanonical for anything that `encode` does not write."""
    if type(text) is not str or len(text) > MAX_CHARS:
        raise NotCanonical("no text, or too long")
    try:
        value = _DECODER.decode(text)
    except NotCanonical:
        raise
    except Exception as error:
        raise NotCanonical(f"malformed: {type(error).__name__}") from None
    if encode(value) != text:
        raise NotCanonical("not the canonical text of its value")
    return value


class _Writer:
    """One encoding. It counts nodes and characters, so that a value too large is refused before it is written."""

    __slots__ = ("chars", "nodes")

    def __init__(self) -> None:
        self.nodes = MAX_NODES
        self.chars = MAX_CHARS

    def write(self, value: Any, depth: int) -> str:
        self.nodes -= 1
        if self.nodes < 0:
            raise NotCanonical(f"more than {MAX_NODES} values")
        kind = type(value)
        if kind is int and -_SMALL < value < _SMALL:
            text = repr(value)
        elif value is None:
            text = "null"
        elif kind is bool:
            text = "true" if value else "false"
        elif kind is str:
            text = self._string(value)
        elif kind is float:
            text = repr(value)
            if text in ("nan", "inf", "-inf"):
                text = f'{{"f":"{text}"}}'
        elif kind is int:
            if value.bit_length() > MAX_INT_BITS:
                raise NotCanonical(f"an int of more than {MAX_INT_BITS} bits")
            text = f'{{"i":"{hex(value)}"}}'
        elif kind is bytes:
            self._room(2 * len(value))
            text = f'{{"b":"{value.hex()}"}}'
        elif kind is complex:
            text = f'{{"c":[{self.write(value.real, depth)},{self.write(value.imag, depth)}]}}'
        else:
            if depth <= 0:
                raise NotCanonical(f"nested deeper than {MAX_DEPTH}")
            self.chars -= 12
            return self._container(value, kind, depth - 1)
        self.chars -= len(text) + 1
        if self.chars < 0:
            raise NotCanonical(f"longer than {MAX_CHARS} characters")
        return text

    def _room(self, chars: int) -> None:
        if chars > self.chars:
            raise NotCanonical(f"longer than {MAX_CHARS} characters")

    def _fits(self, count: int) -> None:
        if count > self.nodes:
            raise NotCanonical(f"more than {MAX_NODES} values")

    def _string(self, value: str) -> str:
        if not value.isascii():
            self._room(len(value))
            try:
                value.encode("utf-8")
            except UnicodeEncodeError:
                # JSON writes a pair of lone surrogates as it writes one character beyond 2**16: kept apart here.
                self._room(8 * len(value))
                return f'{{"u":"{value.encode("utf-32-be", "surrogatepass").hex()}"}}'
        self._room(len(value))
        return _quote(value)

    def _container(self, value: Any, kind: Any, depth: int) -> str:
        if kind is list or kind is tuple or kind is set or kind is frozenset:
            self._fits(len(value))
            if kind is set or kind is frozenset:
                _hashable(value)
            texts = [self.write(item, depth) for item in value]
            if kind is list:
                return f"[{','.join(texts)}]"
            if kind is tuple:
                return f'{{"t":[{",".join(texts)}]}}'
            return f'{{"{"s" if kind is set else "z"}":[{",".join(sorted(texts))}]}}'
        if kind is dict or kind is OrderedDict or kind is defaultdict or kind is Counter:
            self._fits(2 * len(value))
            self.chars -= 2 * len(value)
            _hashable(value)
            pairs = [f"[{self.write(k, depth)},{self.write(v, depth)}]" for k, v in value.items()]
            return f'{{"d":[{",".join(pairs)}]}}'
        if kind is Record:
            return self._record(value.name, value.fields, depth)
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            fields = tuple((f.name, getattr(value, f.name)) for f in dataclasses.fields(kind))
            return self._record(kind.__name__, fields, depth)
        raise NotCanonical(f"type {_type_name(kind)}")

    def _record(self, name: Any, fields: Any, depth: int) -> str:
        pairs: list[str] = []
        for field, value in fields:
            if type(field) is not str:
                raise NotCanonical("a field's name is not a string")
            pairs.append(f"[{self.write(field, depth)},{self.write(value, depth)}]")
        if type(name) is not str:
            raise NotCanonical("a class's name is not a string")
        return f'{{"r":[{self.write(name, depth)},[{",".join(pairs)}]]}}'


def _type_name(kind: type) -> str:
    name = type.__getattribute__(kind, "__name__") if type(kind) is type else "unknown"
    return name[:60] if type(name) is str else "unknown"


def _items(content: Any) -> "list[Any]":
    if type(content) is not list:
        raise NotCanonical("a container's content is not a list")
    return content


def _pair(content: Any) -> "list[Any]":
    if type(content) is not list or len(content) != 2:
        raise NotCanonical("no pair")
    return content


def _hashable(items: "Collection[Any]") -> None:
    """Checks that few of `items` share a hash: int hashes are predictable, and equal ones would cost quadratic time."""
    if len(items) > MAX_EQUAL_HASHES and max(Counter(map(hash, items)).values()) > MAX_EQUAL_HASHES:
        raise NotCanonical("too many equal hashes")


def _set(content: Any) -> "set[Any]":
    items = _items(content)
    _hashable(items)
    return set(items)


def _dict(content: Any) -> "dict[Any, Any]":
    pairs = [_pair(pair) for pair in _items(content)]
    _hashable([key for key, _ in pairs])
    return dict(pairs)


def _record(content: Any) -> Record:
    name, fields = _pair(content)
    return Record(name, tuple((field, value) for field, value in map(_pair, _items(fields))))


def _complex(content: Any) -> complex:
    real, imag = _pair(content)
    if type(real) is not float or type(imag) is not float:
        raise NotCanonical("a part of a complex is not a float")
    return complex(real, imag)


_BUILD: "dict[str, Callable[[Any], Any]]" = {
    "t": lambda content: tuple(_items(content)),
    "s": _set,
    "z": lambda content: frozenset(_set(content)),
    "d": _dict,
    "r": _record,
    "b": bytes.fromhex,
    "i": lambda content: int(content, 16),
    "f": float,
    "c": _complex,
    "u": lambda content: bytes.fromhex(content).decode("utf-32-be", "surrogatepass"),
}


def _tagged(pairs: "list[tuple[str, Any]]") -> Any:
    ((tag, content),) = pairs
    return _BUILD[tag](content)


def _small_int(digits: str) -> int:
    if len(digits) > 20:
        raise NotCanonical("a long int in plain digits")
    return int(digits)


def _short_float(digits: str) -> float:
    if len(digits) > 32:
        raise NotCanonical("a float of too many digits")
    return float(digits)


def _no_constant(name: str) -> Any:
    raise NotCanonical(f"literal {name}")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_tagged, parse_int=_small_int, parse_float=_short_float, parse_constant=_no_constant
)


# The frames of a run's result channel are JSON objects, one call each, written with no spaces and with the value's
# canonical text in place, not as a string of JSON: {"id":"3f","value":{"t":[1,2]}} or {"id":"3f","error":"..."}.


def value_frame(call_id: str, value: object) -> str:
    """The frame of a call that returned `value`. Raises NotCanonical; the caller then sends an `error_frame`."""
    return f'{{"id":{_quote(call_id)},"value":{encode(value)}}}'


def error_frame(call_id: str, error: str) -> str:
    """The frame of a call that raised, or whose value has no canonical form. `error` is "Type: message", cut."""
    return f'{{"id":{_quote(call_id)},"error":{_quote(error[:2000])}}}'
