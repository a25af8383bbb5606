import dataclasses
import math
from collections import Counter, OrderedDict, defaultdict, deque
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_rl.vocabulary import canonical
from agent_rl.vocabulary.canonical import NotCanonical, decode, encode
from agent_rl.vocabulary.stand_ins import Derived, EnumMember, Items, Record

hashable = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.complex_numbers()
    | st.binary(max_size=5)
    | st.text(st.characters(), max_size=5),  # lone surrogates included
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=6,
)
values = st.recursive(
    hashable,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner)
        | st.sets(hashable, max_size=4)
        | st.dictionaries(hashable, inner, max_size=4)
    ),
    max_leaves=12,
)


def same(a: Any, b: Any) -> bool:
    """Equal in type and value throughout; repr tells -0.0 from 0.0, nan from numbers, 1 from True. Sets by size."""
    if isinstance(a, (set, frozenset)):
        return type(a) is type(b) and len(a) == len(b) and sorted(map(encode, a)) == sorted(map(encode, b))
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return type(b) is dict and same(list(a.items()), list(b.items()))
    return type(a) is type(b) and repr(a) == repr(b)


@given(values)
@settings(max_examples=300, deadline=None)
def test_what_is_decoded_is_what_was_encoded(value: Any) -> None:
    text = encode(value)
    assert text.isascii()
    decoded = decode(text)
    assert same(value, decoded)
    assert encode(decoded) == text


@given(st.text(alphabet='[]{}",:0123456789.-eE+ tszdrbificunaltrue\\', max_size=30))
@settings(max_examples=500, deadline=None)
def test_any_text_is_canonical_or_refused(text: str) -> None:
    try:
        value = decode(text)
    except NotCanonical:
        return
    assert encode(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ((1, [2, "a"]), '{"t":[1,[2,"a"]]}'),
        ({2, 1}, '{"s":[1,2]}'),
        ({"a": 1, 2: None}, '{"d":[["a",1],[2,null]]}'),
        (2**63, '{"i":"0x8000000000000000"}'),
        (-0.0, "-0.0"),
        (math.nan, '{"f":"nan"}'),
        (b"\0\xff", '{"b":"00ff"}'),
        ("\ud83d\ude00", '{"u":"0000d83d0000de00"}'),
        ("\U0001f600", '"\\ud83d\\ude00"'),
    ],
)
def test_texts(value: Any, text: str) -> None:
    assert encode(value) == text
    assert same(decode(text), value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Fraction(2, 4), '{"q":[1,2]}'),
        (Decimal("-1.50"), '{"n":"-1.50"}'),
        (range(0, 9, 2), '{"g":[0,9,2]}'),
        (bytearray(b"\0"), '{"y":"00"}'),
        (deque([1], maxlen=2), '{"e":[[1],2]}'),
        (OrderedDict(b=1, a=1), '{"o":[["b",1],["a",1]]}'),
        (Counter("a"), '{"h":[["a",1]]}'),
        (defaultdict(int, a=1), '{"l":["int",[["a",1]]]}'),
        (Derived("I", 1), '{"k":["I",1]}'),
        (EnumMember("C", "RED"), '{"m":["C","RED"]}'),
        (Record("P", (("x", 1), ("y", 2)), ("y",)), '{"r":["P",[["x",1],["y",2]],["y"]]}'),
    ],
    ids=lambda value: type(value).__name__,
)
def test_kinds_of_the_standard_library_and_stand_ins(value: Any, text: str) -> None:
    assert encode(value) == text
    decoded = decode(text)
    assert (type(decoded), decoded) == (type(value), value)
    assert repr(decoded) == repr(value)


def test_the_kind_of_a_mapping_is_kept() -> None:
    for value in (OrderedDict(a=1), defaultdict(int, a=1), Counter("a")):
        assert decode(encode(value)) == {"a": 1} == value
    assert decode(encode(OrderedDict(a=1, b=2))) != decode(encode(OrderedDict(b=2, a=1)))
    assert decode(encode(Counter(a=1, b=0))) == decode(encode(Counter("a")))
    assert decode(encode(defaultdict(list, a=[])))["b"] == []


def test_fields_that_do_not_compare_count_only_if_one_side_compares_them() -> None:
    some = Record("P", (("x", 1), ("y", 2)), ("y",))
    assert some == Record("P", (("x", 1), ("y", 3)), ("y",))
    assert some != Record("P", (("x", 1), ("y", 3)))
    assert some != Record("P", (("x", 2), ("y", 2)), ("y",))
    assert hash(some) == hash(Record("P", (("x", 1), ("y", 3)), ("y",)))


def test_views_equal_sets_and_nothing_else_equals_them() -> None:
    assert Items("keys", [2, 1]) == {1, 2} and frozenset({1, 2}) == Items("items", [2, 1])
    assert Items("keys", [1]) == Items("items", [1]) == Derived("S", {1})
    assert Items("keys", [1]) != [1] and Items("values", [1]) != {1} and Items("generator", [1]) != [1]


@dataclasses.dataclass
class Point:
    x: int
    y: float


def test_dataclasses_compare_by_class_name_and_fields() -> None:
    assert decode(encode(Point(1, 2.0))) == Record("Point", (("x", 1), ("y", 2.0)))
    assert decode(encode(Point(1, 2.0))) != decode(encode(Point(1, 3.0)))
    assert repr(decode(encode([Point(1, 2.0)]))) == "[Point(x=1, y=2.0)]"


class Liar(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


class Trap:
    def __getattribute__(self, name: str) -> Any:
        raise SystemError("trap")


def itself() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def shared(levels: int) -> list[Any]:
    """2**levels leaves in `levels` objects."""
    value: list[Any] = []
    for _ in range(levels):
        value = [value, value]
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Liar(1), "type Liar"),
        ([{"a": Liar(1)}], "type Liar"),
        ({Liar(1): 0}, "type Liar"),
        (Trap(), "type Trap"),
        (Trap, "type type"),
        (iter([]), "type list_iterator"),
        (memoryview(b""), "type memoryview"),
        (defaultdict(lambda: 1), "a factory of its own"),
        (Fraction(1 << (1 << 16), 3), "a Fraction of more than 65536 bits"),
        (Decimal("1" * ((1 << 12) + 1)), "a Decimal of more than 4096 digits"),
        (itself(), "nested deeper than 100"),
        (shared(90), "more than 262144 values"),
        ("a" * (canonical.MAX_CHARS + 1), "longer than 4194304 characters"),
        (["ab" * (1 << 20)] * 3, "longer than 4194304 characters"),
        (1 << (1 << 20), "an int of more than 1048576 bits"),
    ],
    ids=range(15),
)
def test_what_cannot_be_held_is_refused(value: Any, message: str) -> None:
    with pytest.raises(NotCanonical, match=message):
        encode(value)


BAD_TEXTS = [
    "", " 1", "1 ", "01", "-0", "1.50", "1e5", "1E999", "NaN", "Infinity", "tru", "'a'", '"a', '"\n"',
    "[1, 2]", "[1,]", "{}", '{"a":1}', '{"t":1}', '{"t":[1],"t":[1]}', '{"s":[1,1]}', '{"s":[2,1]}', '{"s":[[]]}',
    '{"d":[[1,2],[true,3]]}', '{"d":[[1,2],[1,2]]}', '{"d":[[[],1]]}', '{"d":[[1]]}', '{"d":[{"t":[1,2]}]}',
    '{"i":"1"}', '{"i":"0x1"}', '{"i":5}', '{"f":"1"}', '{"f":"NaN"}', '{"b":"0"}', '{"b":"0 0"}', '{"b":"FF"}',
    '{"u":"00000041"}', '{"u":"00110000"}', '"\\ud800"', '"\\u0041"', '"\ud800"', '"é"',
    '{"q":[1,0]}', '{"q":[2,4]}', '{"q":[1,true]}', '{"n":"1e5"}', '{"n":"01"}', '{"n":1}', '{"g":[0,1,0]}',
    '{"g":[0,1]}', '{"e":[[1,2],1]}', '{"e":[[],-1]}', '{"o":[[1,2],[1,2]]}', '{"l":["open",[]]}', '{"y":"F"}',
    '{"k":["I",null]}', '{"k":["I",{"k":["J",1]}]}', '{"k":[1,1]}', '{"m":["C",1.5]}', '{"v":["file",[],null]}',
    '{"v":["keys",[1,1],null]}', '{"v":["keys",[[]],null]}', '{"v":["iterator",[],1]}', '{"r":["P",[],[]]}',
    '{"x":["E",{"t":[1]},"",null,{"t":[]},null]}', '{"x":["E",{"t":[]},"",null,{"t":[1]},null]}', '{"x":["E"]}',
    '{"r":[1,[]]}', '{"r":["A",[[1,2]]]}', '{"r":["A"]}', '{"c":[1,2]}', '{"c":[1.0]}',
]  # fmt: skip


@pytest.mark.parametrize("text", BAD_TEXTS)
def test_malformed_texts_are_refused(text: str) -> None:
    with pytest.raises(NotCanonical):
        decode(text)


def test_bombs_are_refused_quickly() -> None:
    # Ints k * (2**61 - 1) all have hash 0: a set of n of them would take n**2 / 2 comparisons to build.
    collisions = sorted(encode(k * (2**61 - 1)) for k in range(8, 20000))
    for text in (
        "[" * 10**5 + "]" * 10**5,
        '{"t":[' * 10**5,
        "9" * 10**6,
        '{"i":"0x1' + "0" * 10**6 + '"}',
        "1." + "0" * 10**6,
        f'{{"s":[{",".join(collisions)}]}}',
        f'{{"d":[{",".join(f"[{c},0]" for c in collisions)}]}}',
        "[" + "0," * (1 << 18) + "0]",
    ):
        with pytest.raises(NotCanonical):
            decode(text)


def test_no_text_is_refused() -> None:
    with pytest.raises(NotCanonical, match="no text"):
        decode(b"1")  # pyright: ignore[reportArgumentType]
