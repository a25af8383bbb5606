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
    Fraction(1, 2), Decimal("1.0") {"q":[1,2]}, {"n":"1.0"}
    range(0, 9, 2)                 {"g":[0,9,2]}
    bytearray(b"\\x00")             {"y":"00"}
    deque([1], maxlen=2)           {"e":[[1],2]}
    OrderedDict(a=1), Counter("a") {"o":[["a",1]]}, {"h":[["a",1]]}
    defaultdict(int, a=1)          {"l":["int",[["a",1]]]}               its factory is one of `FACTORIES`
    Point(x=1)  (a dataclass)      {"r":["Point",[["x",1]]]}             decoded into a `Record`

Only exact types have a form: a subclass is `NotCanonical`, because its methods could lie. Values that contain
themselves and values beyond the limits below are `NotCanonical` too. `encode` and `decode` raise nothing else, whatever
their argument is, and take time linear in the size of the text.

Classes of `stand_ins` stand for what has no form of its own; `held_values` makes them of what a program returns or
raises:

    Derived("I", 1)                {"k":["I",1]}                         an instance of a subclass of a built-in
    EnumMember("Colour", "RED")        {"m":["Colour","RED"]}                a member of an enumeration
    Items("generator", [1], None)  {"v":["generator",[1],null]}          what an iterator, a view or an iterable gives
    HeldException(...)                   {"x":[...]}                           an exception

Standard library and `stand_ins` only, Python 3.9: this source also runs inside the sandboxes.
"""

# pyright: standard

import dataclasses
import json
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection
from decimal import Decimal
from fractions import Fraction
from json.encoder import encode_basestring_ascii as _quote
from typing import Any

from agent_rl.vocabulary.stand_ins import Derived, EnumMember, HeldException, Items, Record

MAX_DEPTH = 100
"""Containers within containers; a value that contains itself exceeds it."""
MAX_NODES = 1 << 18
MAX_CHARS = 4 << 20
"""Length of the text."""
MAX_INT_BITS = 1 << 20
MAX_FRACTION_BITS = 1 << 16
MAX_DECIMAL_DIGITS = 1 << 12
"""Less than of an int: what is done with longer ones takes more than linear time."""
MAX_EQUAL_HASHES = 64
"""Elements of one set or dict that may share a hash: more would make building it quadratic."""
FACTORIES: "dict[str, Any]" = {k.__name__: k for k in (int, float, complex, str, bytes, list, tuple, set, dict, bool)}
"""Default factories of a `defaultdict` that has a form."""

_SMALL = 1 << 63


class NotCanonical(ValueError):
    """The form cannot represent the value, or the text is not one that `encode` writes."""


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
        value = read(text)
    except NotCanonical:
        raise
    except Exception as error:
        raise NotCanonical(f"malformed: {type(error).__name__}") from None
    if encode(value) != text:
        raise NotCanonical("not the canonical text of its value")
    return value


def read(text: str) -> Any:
    """The value of a text that `encode` is known to have written: half the work of `decode`, and none of its checks."""
    return _DECODER.decode(text)


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
        elif kind is bytes or kind is bytearray:
            self._room(2 * len(value))
            text = f'{{"{"b" if kind is bytes else "y"}":"{value.hex()}"}}'
        elif kind is complex:
            text = f'{{"c":[{self.write(value.real, depth)},{self.write(value.imag, depth)}]}}'
        elif kind is Decimal:
            text = f'{{"n":"{_short_decimal(value)}"}}'
        elif kind is Fraction:
            text = f'{{"q":{self._list(_short_fraction(value), depth)}}}'
        elif kind is range:
            text = f'{{"g":{self._list((value.start, value.stop, value.step), depth)}}}'
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
        if kind is dict:
            return f'{{"d":{self._pairs(value, depth)}}}'
        if kind in _WRITE:
            return _WRITE[kind](self, value, depth)
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            fields = tuple((f.name, getattr(value, f.name)) for f in dataclasses.fields(kind))
            ignored = tuple(f.name for f in dataclasses.fields(kind) if not f.compare)
            return self._record(kind.__name__, fields, ignored, depth)
        raise NotCanonical(f"type {_type_name(kind)}")

    def _list(self, items: "Collection[Any]", depth: int) -> str:
        self._fits(len(items))
        return f"[{','.join([self.write(item, depth) for item in items])}]"

    def _pairs(self, value: "dict[Any, Any]", depth: int) -> str:
        self._fits(2 * len(value))
        self.chars -= 2 * len(value)
        _hashable(value)
        return f"[{','.join([f'[{self.write(k, depth)},{self.write(v, depth)}]' for k, v in value.items()])}]"

    def _default_dict(self, value: Any, depth: int) -> str:
        factory = value.default_factory
        name = None if factory is None else getattr(factory, "__name__", None)
        if factory is not None and (type(name) is not str or FACTORIES.get(name) is not factory):
            raise NotCanonical("a defaultdict with a factory of its own")
        return f'{{"l":[{self.write(name, depth)},{self._pairs(value, depth)}]}}'

    def _record(self, name: Any, fields: Any, ignored: Any, depth: int) -> str:
        pairs: list[str] = []
        for field, value in fields:
            if type(field) is not str:
                raise NotCanonical("a field's name is not a string")
            pairs.append(f"[{self.write(field, depth)},{self.write(value, depth)}]")
        if type(name) is not str:
            raise NotCanonical("a class's name is not a string")
        last = f",{self.write(list(ignored), depth)}" if ignored else ""
        return f'{{"r":[{self.write(name, depth)},[{",".join(pairs)}]{last}]}}'


_WRITE: "dict[Any, Callable[[_Writer, Any, int], str]]" = {
    OrderedDict: lambda to, value, depth: f'{{"o":{to._pairs(value, depth)}}}',
    Counter: lambda to, value, depth: f'{{"h":{to._pairs(value, depth)}}}',
    defaultdict: _Writer._default_dict,
    deque: lambda to, value, depth: f'{{"e":[{to._list(value, depth)},{to.write(value.maxlen, depth)}]}}',
    Record: lambda to, value, depth: to._record(value.name, value.fields, value.ignored, depth),
    Derived: lambda to, value, depth: f'{{"k":{to._list((value.name, value.content), depth)}}}',
    EnumMember: lambda to, value, depth: f'{{"m":{to._list((value.name, value.member), depth)}}}',
    Items: lambda to, value, depth: f'{{"v":{to._list((value.kind, value.content, value.failure), depth)}}}',
    HeldException: lambda to, value, depth: f'{{"x":{to._list([getattr(value, name) for name in _PARTS], depth)}}}',
}
"""How the kinds are written that are rarer than those above."""
_PARTS = ("name", "kinds", "text", "args", "attributes", "cause")
"""Of a `HeldException`, in order."""


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
    name, fields, *rest = _items(content)
    if len(rest) > 1 or rest == [[]]:
        raise NotCanonical("no record")
    return Record(name, tuple((field, value) for field, value in map(_pair, _items(fields))), tuple(*map(_items, rest)))


def _typed(content: Any, *kinds: "tuple[type, ...]") -> "list[Any]":
    """`content`, a list of as many items as `kinds`, each of one of the types. Raises NotCanonical."""
    if len(_items(content)) != len(kinds) or any(type(c) not in k for c, k in zip(content, kinds)):  # noqa: B905
        raise NotCanonical("content of other types")
    return content


def _default_dict(content: Any) -> "defaultdict[Any, Any]":
    name, pairs = _typed(content, (str, type(None)), (list,))
    return defaultdict(None if name is None else FACTORIES[name], _dict(pairs))


def _derived(content: Any) -> Derived:
    name, value = _pair(content)
    if type(name) is not str or type(value) not in _BASES:
        raise NotCanonical("no instance of a built-in type's subclass")
    return Derived(name, value)


def _views(content: Any) -> Items:
    kind, items, failure = _typed(content, (str,), (list,), (HeldException, type(None)))
    if kind not in Items.KINDS:
        raise NotCanonical("no kind of iterable")
    if kind in ("keys", "items") and len(_set(items)) != len(items):
        raise NotCanonical("keys that are equal")
    return Items(kind, items, failure)


def _failure(content: Any) -> HeldException:
    kinds = (str,), (tuple,), (str,), (tuple, type(None)), (tuple,), (HeldException, type(None))
    failure = HeldException(*_typed(content, *kinds))
    if not all(type(kind) is str for kind in failure.kinds):
        raise NotCanonical("a kind of exception that is no name")
    if not all(type(pair) is tuple and len(pair) == 2 and type(pair[0]) is str for pair in failure.attributes):
        raise NotCanonical("attributes that are no pairs")
    return failure


def _short_decimal(value: Decimal) -> str:
    text = str(value)
    if len(text) > MAX_DECIMAL_DIGITS:
        raise NotCanonical(f"a Decimal of more than {MAX_DECIMAL_DIGITS} digits")
    return text


def _short_fraction(value: Fraction) -> "tuple[int, int]":
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_FRACTION_BITS:
        raise NotCanonical(f"a Fraction of more than {MAX_FRACTION_BITS} bits")
    return value.numerator, value.denominator


def _complex(content: Any) -> complex:
    real, imag = _pair(content)
    if type(real) is not float or type(imag) is not float:
        raise NotCanonical("a part of a complex is not a float")
    return complex(real, imag)


_BASES = frozenset(
    {bool, int, float, complex, str, bytes, bytearray, tuple, list, set, frozenset, dict, OrderedDict, defaultdict}
    | {Counter, deque, Decimal, Fraction}
)
"""Types whose subclasses' instances have a form."""
_BUILD: "dict[str, Callable[[Any], Any]]" = {
    "t": lambda content: tuple(_items(content)),
    "s": _set,
    "z": lambda content: frozenset(_set(content)),
    "d": _dict,
    "r": _record,
    "b": bytes.fromhex,
    "y": bytearray.fromhex,
    "q": lambda content: Fraction(*_typed(content, (int,), (int,))),
    "n": Decimal,
    "g": lambda content: range(*_typed(content, (int,), (int,), (int,))),
    "e": lambda content: deque(*_typed(content, (list,), (int, type(None)))),
    "o": lambda content: OrderedDict(_dict(content)),
    "h": lambda content: Counter(_dict(content)),
    "l": _default_dict,
    "k": _derived,
    "m": lambda content: EnumMember(*_typed(content, (str,), (str, int))),
    "v": _views,
    "x": _failure,
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
