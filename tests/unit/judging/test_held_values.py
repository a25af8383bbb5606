"""What a call returns or raises, through the frame and into the judge's comparison."""

import collections
import dataclasses
import enum
import itertools
import json
import math
import types
from collections import Counter, OrderedDict, UserDict, UserList, UserString, defaultdict, deque
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_rl.judging.compare_values import equal
from agent_rl.judging.result_frames import Raised, Returned, Unheld, read_frames, value_of
from agent_rl.vocabulary import wording
from agent_rl.vocabulary.canonical import decode, encode
from agent_rl.vocabulary.held_values import equal_as_built_in, error_frame, value_frame
from agent_rl.vocabulary.stand_ins import HeldException


class Number(enum.IntEnum):
    ONE = 1
    TWO = 2


class Word(str, enum.Enum):  # noqa: UP042
    A = "a"


class Colour(enum.Enum):
    RED = 1


class Perm(enum.Flag):
    R = 1
    W = 2


class MyInt(int): ...


class MyList(list[Any]): ...


class MyDict(dict[Any, Any]): ...


class MyFraction(Fraction): ...


Pair = collections.namedtuple("Pair", "x y")


@dataclasses.dataclass
class Point:
    x: Any
    y: Any = dataclasses.field(default=0, compare=False)


def crossed(value: Any) -> Any:
    """`value` as the judge gets it."""
    answer = read_frames([value_frame("aa", value)], ["aa"]).by_id["aa"]
    assert isinstance(answer, Returned), answer
    return value_of(answer)


def raised(error: BaseException) -> HeldException:
    answer = read_frames([error_frame("aa", error)], ["aa"]).by_id["aa"]
    assert isinstance(answer, Raised)
    return answer.failure


numbers = st.one_of(
    st.sampled_from([0, 1, 2, 2**53, 2**53 + 1, 10**400, -1]),
    st.sampled_from([0.0, -0.0, 1.0, 0.5, 0.1, 2.0**53, math.inf, 1e300]),
    st.sampled_from([True, False, 1 + 0j, 0.5j, Number.ONE, Number.TWO, MyInt(1), MyFraction(1, 2)]),
    st.sampled_from([Fraction(1, 2), Fraction(1), Fraction(1, 10), Fraction(2**53 + 1), Fraction(0)]),
    st.sampled_from([Decimal("0.5"), Decimal("1.0"), Decimal("0.1"), Decimal("1E+400"), Decimal("-0"), Decimal("Inf")]),
)
texts = st.sampled_from(["", "a", Word.A, b"a", bytearray(b"a"), UserString("a"), None])
hashables = st.one_of(numbers, st.sampled_from(["", "a", Word.A, b"a", None, Colour.RED, Perm.R | Perm.W, range(2)]))
ranges = st.sampled_from([range(0), range(2), range(0, 3, 2), range(0, 4, 2)])
mappings = st.sampled_from(
    [dict, OrderedDict, MyDict, UserDict, lambda pairs: defaultdict(int, pairs), lambda pairs: dict(pairs).keys()]
)
plain = st.recursive(
    st.one_of(numbers, texts, ranges, st.sampled_from([Colour.RED, Perm.R])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.lists(inner, max_size=2).map(tuple),
        st.lists(inner, max_size=2).map(deque),
        st.lists(inner, max_size=2).map(MyList),
        st.lists(inner, max_size=2).map(UserList),
        st.tuples(inner, inner).map(lambda pair: Pair(*pair)),
        st.tuples(inner, inner).map(lambda pair: Point(*pair)),
        st.sets(hashables, max_size=3),
        st.frozensets(hashables, max_size=3),
        st.builds(
            lambda kind, pairs: kind(pairs),
            mappings,
            st.lists(st.tuples(hashables, inner), max_size=3),
        ),
        st.lists(hashables, max_size=3).map(Counter),
    ),
    max_leaves=4,
)  # fmt: skip


@given(st.tuples(plain, plain) | plain.map(lambda value: (value, value)))
@settings(max_examples=400, deadline=None)
def test_values_that_crossed_are_equal_exactly_if_python_says_so(pair: tuple[Any, Any]) -> None:
    actual, expected = pair
    assert equal(crossed(actual), crossed(expected), "python") is bool(actual == expected)


PAIRS = [
    (Number.ONE, 1, True), (MyInt(1), 1.0, True), (Fraction(3), 3, True), (Decimal(3), 3, True), (3.0, 3, True),
    (Word.A, "a", True), (Pair(1, 2), (1, 2), True), (Pair(1, 2), [1, 2], False), (MyList([1]), [1], True),
    (deque([1]), [1], False), (deque([1]), deque([1], 3), True), (range(3), range(3), True), (range(1), [0], False),
    (range(0, 3, 2), range(0, 4, 2), True), (map(abs, [1]), [1], False), ((n for n in [1]), [1], False),
    ({1: 2}.keys(), {1}, True), ({1: 2}.items(), {(1, 2)}, True), ({1: 2}.values(), [2], False),
    (OrderedDict(a=1, b=2), {"b": 2, "a": 1}, True), (OrderedDict(a=1, b=2), OrderedDict(b=2, a=1), False),
    (Counter("aab"), {"a": 2, "b": 1}, True), (defaultdict(lambda: 1, a=1), {"a": 1}, True),
    (types.MappingProxyType({1: 2}), {1: 2}, True), (collections.ChainMap({1: 2}, {3: 4}), {1: 2, 3: 4}, True),
    (UserDict(a=1), {"a": 1}, True), (UserList([1]), [1], True), (UserString("a"), "a", True),
    (memoryview(b"a"), b"a", True), (bytearray(b"a"), b"a", True), ([Number.ONE], [1], True),
    ({Number.ONE: {Number.TWO}}, {1: {2}}, True), (Colour.RED, Colour.RED, True), (Colour.RED, 1, False),
    (Perm.R | Perm.W, Perm.R | Perm.W, True), (Perm.R, Perm.W, False), (Point(1, 2), Point(1, 3), True),
    (Point(1), Point(2), False), ([Point(Number.ONE)], [Point(1)], True), (ValueError("a"), ValueError("a"), False),
    (2**70, Fraction(2**70), True), (10**5000, 10**5000 + 1, False), (Decimal("1E+5000"), 10**5000, True),
    (Decimal(2**4000), 2**4000, True), (Decimal("sNaN"), 1, False), (Decimal("1E+999999999"), 10**400, False),
]  # fmt: skip


@pytest.mark.parametrize(("actual", "expected", "same"), PAIRS, ids=lambda value: type(value).__name__)
def test_equal_values_of_other_types_are_equal(actual: Any, expected: Any, same: bool) -> None:
    actual, expected = crossed(actual), crossed(expected)
    assert equal(actual, expected, "python") is same
    assert equal(expected, actual, "python") is same
    assert len(wording.show(actual)) <= wording.MAX_VALUE + 3


def test_types_count_where_they_are_meant_to() -> None:
    assert not equal(crossed(Number.ONE), 1, "exact")
    assert not equal(crossed(Pair(1, 2)), (1, 2), "exact")
    assert equal(crossed(OrderedDict(a=1)), {"a": 1}, "exact")
    assert equal(crossed(Pair(1, [2])), [1, [2]], "json")
    assert equal(crossed(MyList([Number.ONE, 2])), [2, 1], "any_order")
    assert equal(crossed(Word.A), "a", "tokens")
    assert equal(crossed({"a": MyFraction(1, 3)}), {"a": 0.3333333333333333}, "float")


@pytest.mark.parametrize(
    ("actual", "expected", "tolerance", "close"),
    [
        (10**400, 10**400, 1e-6, True),
        (10**400, math.inf, 1e-6, False),
        (10**400, 1e308, 1e-6, False),
        (Fraction(10**400), Fraction(10**400 + 1), 1e-6, True),  # in exact arithmetic, 1e-400 of the larger
        (Fraction(10**400), Fraction(11 * 10**399), 1e-6, False),
        (2.0**53, Fraction(2**53 + 1), 0.0, False),
        (2.0**53, Fraction(2**53), 0.0, True),
        (Decimal("0.1"), 0.1, 1e-6, True),
        (Decimal("0.1"), 0.2, 1e-6, False),
        (Decimal("NaN"), math.nan, 1e-6, True),
        (Decimal("Infinity"), 1e308, 1e-6, False),
        (Decimal("1E+999999999"), 1.0, 1e-6, False),
        (Decimal("0E+999999999"), 0.0, 1e-6, True),
        (Decimal("1E-999999999"), 1.0, 1e-6, False),
        ([Decimal("0.1"), Fraction(1, 3)], [0.1, 1 / 3], 1e-6, True),
        (deque([0.1 + 0.2]), deque([0.3]), 1e-6, True),
    ],
)
def test_numbers_beyond_floats_are_close_or_not(actual: Any, expected: Any, tolerance: float, close: bool) -> None:
    assert equal(crossed(actual), crossed(expected), "float", tolerance) is close
    assert equal(crossed(expected), crossed(actual), "float", tolerance) is close


def test_comparisons_of_the_longest_numbers_end() -> None:
    """Each of these would take from seconds to minutes if a long number was made another one's kind."""
    ints, decimals = [3**600_000 + n for n in range(8)], [Decimal("1." + "7" * 4000)] * 60
    for comparison in ("python", "float", "any_order", "json"):
        assert not equal(ints, [Decimal(1)] * 8, comparison)
        assert not equal({1: [(Decimal(1),)]}, {1: [(ints[0],)]}, comparison)
        assert not equal(ints, [1.5] * 8, comparison)
        assert equal(ints, ints[:], comparison)
        assert equal(decimals, decimals[::-1], comparison)
    assert equal(decimals, [16 / 9] * 60, "float")
    assert not equal(decimals, [Fraction(16, 9)] * 60, "any_order")


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ([Fraction(1, 2), 1], [1.0, Decimal("0.50")], True),
        ([Decimal("1E+9999"), 0], [0.0, Decimal("10E+9998")], True),
        ([Decimal("1E+9999")], [Decimal("2E+9999")], False),
        ([Decimal("0E+9999")], [0], True),
        ([Fraction(2**53 + 1)], [2.0**53], False),
        ([range(0, 3, 2), b"a"], [bytearray(b"a"), range(0, 4, 2)], True),
        ([range(3)], [[0, 1, 2]], False),
        ([deque([1]), math.inf], [Decimal("Infinity"), deque([1.0])], True),
        ([deque([1])], [[1]], False),
    ],
)
def test_any_order_knows_equal_numbers(left: Any, right: Any, same: bool) -> None:
    assert equal(crossed(left), crossed(right), "any_order") is same
    assert equal(crossed(right), crossed(left), "any_order") is same


class LyingInt(int):
    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__

    def __int__(self) -> int:
        return 3

    __index__ = __int__


class LyingList(list[Any]):
    def __iter__(self) -> Any:
        return iter([3])

    def __len__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        return True


class LyingDict(dict[Any, Any]):
    def items(self) -> Any:
        return [(3, 3)]

    __iter__ = keys = items


class LyingStr(str):
    def __str__(self) -> str:
        return "3"

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = str.__hash__


@pytest.mark.parametrize(
    ("value", "held", "wanted"),
    [
        (LyingInt(1), 1, 3),
        (LyingList([1]), [1], [3]),
        (LyingDict({1: 1}), {1: 1}, {3: 3}),
        (LyingStr("1"), "1", "3"),
        ([LyingInt(1)], [1], [3]),
        ({LyingInt(1): 1}, {1: 1}, {3: 1}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_subclass_is_read_by_its_built_in_part(value: Any, held: Any, wanted: Any) -> None:
    assert equal(crossed(value), held, "python")
    assert not equal(crossed(value), wanted, "python")


class Twin(int):
    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


class Trap:
    @property
    def __class__(self) -> Any:
        raise SystemError

    def __getattribute__(self, name: str) -> Any:
        raise KeyboardInterrupt


class BrokenIterable:
    def __iter__(self) -> Any:
        raise KeyboardInterrupt


def itself() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


async def later() -> int:
    return 3


CANNOT: list[Any] = [
    object(), Trap(), len, lambda: 3, int, Number, itself(), MyList([itself()]), itertools.count(), iter(int, 1),
    (itself() for _ in [1]), {Twin(1), Twin(1)}, {Twin(1): 1, Twin(1): 2}, "a" * (5 << 20), MyInt(1 << (1 << 21)),
    [0] * (1 << 19), {n * (2**61 - 1) for n in range(200)}, [object()], BrokenIterable(), types, Decimal("1" * 5000),
    dict.fromkeys(map(str, range(10)), 0).__iter__, json, b"a".hex, dict.fromkeys, ...,
]  # fmt: skip


def test_what_cannot_be_held_is_neither_a_value_nor_an_error() -> None:
    waiting = later()
    for value in [*CANNOT, waiting]:
        answer = read_frames([value_frame("aa", value)], ["aa"]).by_id["aa"]
        assert isinstance(answer, Unheld), (type(value), answer)
    waiting.close()


def test_frames() -> None:
    assert value_frame("3f", (1, "a")) == '{"id":"3f","value":{"t":[1,"a"]}}'
    assert value_frame("3f", len) == '{"id":"3f","unheld":"type builtin_function_or_method"}'
    kinds = '{"t":["KeyError","LookupError","Exception","BaseException"]}'
    failure = f'{{"x":["KeyError",{kinds},"\'a\'",{{"t":["a"]}},{{"t":[]}},null]}}'
    assert error_frame("3f", KeyError("a")) == f'{{"id":"3f","error":{failure}}}'


def test_an_iterator_that_ends_the_program_ends_it() -> None:
    def ends() -> Any:
        yield 1
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        value_frame("aa", ends())


def test_an_iterable_is_held_with_what_it_raised() -> None:
    def breaks() -> Any:
        yield 1
        raise KeyError("x")

    held = crossed(breaks())
    assert (held.kind, held.content, held.failure.kinds[0]) == ("generator", [1], "KeyError")
    assert crossed(map(abs, [-1])).content == [1]
    assert (crossed(zip([1], [2], strict=True)).kind, crossed({1: 2}.values()).kind) == ("iterator", "values")


class KeyErrorImpostor(Exception): ...


KeyErrorImpostor.__name__ = KeyErrorImpostor.__qualname__ = "KeyError"
KeyErrorImpostor.__module__ = "builtins"


def caught(action: Any) -> BaseException:
    with pytest.raises(BaseException) as info:  # noqa: PT011
        action()
    return info.value


def test_the_classes_of_an_exception_are_found_by_identity() -> None:
    class Missing(KeyError, AttributeError): ...

    own = Missing("a", [1])
    own.code = 5  # type: ignore[attr-defined]
    own.thing = object()  # type: ignore[attr-defined]
    failure = raised(own)
    assert failure.kinds == ("KeyError", "LookupError", "AttributeError", "Exception", "BaseException")
    assert (failure.name, failure.args, failure.attributes) == ("Missing", ("a", [1]), (("code", 5),))
    impostor = raised(KeyErrorImpostor("x"))
    assert (impostor.name, impostor.kinds, str(impostor)) == ("KeyError", ("Exception", "BaseException"), "KeyError: x")
    assert raised(caught(lambda: json.loads("{"))).kinds[:2] == ("json.decoder:JSONDecodeError", "ValueError")
    assert raised(caught(lambda: Decimal(1) / 0)).kinds[0] == "decimal:DivisionByZero"
    assert raised(ValueError(object())).args is None


def test_an_exception_too_large_to_be_held_is_still_one() -> None:
    failure = raised(ValueError("a" * (5 << 20)))
    assert (failure.kinds[0], failure.args, len(failure.text)) == ("ValueError", None, 1 << 16)

    class Mute(Exception):
        def __str__(self) -> str:
            raise Mute

        __repr__ = __str__

    assert "could not be had" in raised(Mute()).text
    deep = ValueError()
    deep.__cause__ = deep
    assert raised(deep).cause is not None


def test_which_values_are_compared_by_what_they_hold() -> None:
    @dataclasses.dataclass
    class Loose:
        x: int

        def __eq__(self, other: object) -> bool:
            return True

    good = [
        1,
        [Fraction(1)],
        {1: (Number.ONE,)},
        Point(1),
        Colour.RED,
        Pair(1, 2),
        defaultdict(int),
        deque([1]),
        range(3),
    ]
    bad = [
        LyingInt(1),
        [LyingList()],
        OrderedDict(),
        Counter(),
        {1: {2: 3}.keys()},
        Loose(1),
        UserDict(),
        object(),
        Trap(),
    ]
    assert [equal_as_built_in(value) for value in good] == [True] * len(good)
    assert [equal_as_built_in(value) for value in bad] == [False] * len(bad)
    shared: list[Any] = []
    for _ in range(60):
        shared = [shared, shared]
    assert not equal_as_built_in(shared)


@given(plain)
@settings(max_examples=100, deadline=None)
def test_what_crossed_has_one_text(value: Any) -> None:
    held = crossed(value)
    assert encode(decode(encode(held))) == encode(held)
