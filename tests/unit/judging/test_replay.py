"""Checks that see recorded outcomes: as they would see the program itself, as far as its values are held."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from agent_rl.errors import ConfigError
from agent_rl.judging.judging_runs import Runs
from agent_rl.judging.replay import replay
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.vocabulary import AssertTests, CallTests, Submission, Task
from agent_rl.vocabulary.held_values import failure_of, held
from agent_rl.vocabulary.stand_ins import Derived, EnumMember, HeldException, Record
from tests.unit.judging.fakes import ScriptedProvider, executes


@pytest.fixture(autouse=True)
def _cache(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_RL_CACHE", str(tmp_path))


def outcome(program: str, *args: Any) -> tuple[Any, ...]:
    """What the judge holds of one call of the program's `f`."""
    space: dict[str, Any] = {"__name__": "solution"}
    exec(program, space)
    try:
        return args, {}, None, held(space["f"](*args))
    except BaseException as error:
        return args, {}, failure_of(error), None


def seen(program: str, check: Callable[[Any], Any], space: "dict[str, Any] | None" = None) -> bool:
    """Whether `check`, which calls `f(3)`, is satisfied by the program."""
    try:
        return replay(check, space or {}, [outcome(program, 3)])
    except AssertionError:
        return False


def lists(value: Any) -> None:
    assert list(value) == [0, 1, 2]


ITERABLES = [
    "def f(n): return tuple(range(n))",
    "def f(n): return range(n)",
    "def f(n): return (i for i in range(n))",
    "def f(n): yield from range(n)",
    "def f(n): return map(int, range(n))",
    "import collections\ndef f(n): return collections.deque(range(n))",
    "def f(n): return dict.fromkeys(range(n))",
    "def f(n): return dict.fromkeys(range(n)).keys()",
    "def f(n): return dict(enumerate(range(n))).values()",
    "import collections\ndef f(n): return collections.UserList(range(n))",
    "import array\ndef f(n): return array.array('i', range(n))",
    "class L(list): pass\ndef f(n): return L(range(n))",
    "class S:\n    def __iter__(self): return iter(range(3))\ndef f(n): return S()",
    "class S:\n    def __getitem__(self, i): return range(3)[i]\ndef f(n): return S()",
]


@pytest.mark.parametrize("program", ITERABLES)
def test_whatever_can_be_iterated_over_is_a_list_for_the_check(program: str) -> None:
    for take in (list, sorted, lambda v: [*v], lambda v: list(dict.fromkeys(v))):
        assert seen(program, lambda f, take=take: lists(take(f(3))))
    assert seen(program, lambda f: compared(sum(f(3)), 3))
    longer = program.replace("range(n)", "range(n + 1)").replace("range(3)", "range(4)")
    assert not seen(longer, lambda f: lists(f(3)))


def compared(actual: Any, expected: Any) -> None:
    assert actual == expected


def test_iterators_end_and_containers_do_not() -> None:
    def twice(f: Any) -> None:
        value = f(3)
        assert list(value) == list(value)

    def sized(f: Any) -> None:
        try:
            assert len(f(3)) == 3
        except TypeError:
            raise AssertionError from None

    def indexed(f: Any) -> None:
        try:
            assert f(3)[-1] == 2
        except (TypeError, KeyError):
            raise AssertionError from None

    assert [i for i, program in enumerate(ITERABLES) if seen(program, indexed)] == [0, 1, 5, 9, 10, 11]
    assert not seen(ITERABLES[10], lambda f: compared(f(3)[::-1], [2, 1, 0]))  # of an array, this is an array
    once = [program for program in ITERABLES if not seen(program, twice)]
    unsized = [program for program in ITERABLES if not seen(program, sized)]
    assert once == [ITERABLES[i] for i in (2, 3, 4)]
    assert unsized == [ITERABLES[i] for i in (2, 3, 4, 12, 13)]


@pytest.mark.parametrize(
    ("program", "name", "kinds"),
    [
        ("def f(n): return map(int, [])", "iterator", ()),
        ("import collections\ndef f(n): return collections.UserList()", "UserList", ()),
        ("import collections\ndef f(n): return collections.ChainMap({})", "mapping", ()),
        ("import enum\nclass C(enum.IntEnum):\n    A = 3\ndef f(n): return C.A", "subclass", (int,)),
        ("class L(list): pass\ndef f(n): return L()", "subclass", (list,)),
        ("import collections\nP = collections.namedtuple('P', 'x')\ndef f(n): return P(1)", "subclass", (tuple,)),
        ("import collections\ndef f(n): return collections.OrderedDict()", "dict", (dict,)),
        ("import collections\ndef f(n): return collections.defaultdict(lambda: 1)", "dict", (dict,)),
    ],
)
def test_an_instance_is_of_the_built_in_types_that_it_was_of(program: str, name: str, kinds: Any) -> None:
    def check(f: Any) -> None:
        value = f(3)
        assert tuple(k for k in (int, str, list, tuple, dict) if isinstance(value, k)) == kinds
        assert type(value) not in (int, str, list, tuple, dict)

    assert seen(program, check), name


CLASSES = """
import collections, dataclasses, enum
P = collections.namedtuple("P", "x y")
class C(enum.Enum):
    A = 3
class N(enum.IntEnum):
    A = 3
@dataclasses.dataclass
class D:
    x: int
"""


def test_values_are_of_the_checks_own_classes() -> None:
    space: dict[str, Any] = {}
    exec(CLASSES, space)

    def check(f: Any) -> None:
        pair, member, number, data = f(3)
        assert pair.x == 1 and type(pair) is space["P"]
        assert member is space["C"].A and number is space["N"].A
        assert data == space["D"](7)

    program = CLASSES + "def f(n): return P(1, 2), C.A, N.A, D(7)"
    assert seen(program, check, space)
    assert not seen(
        program.replace("D(7)", "D(8)").replace("x: int", "x: int\n    __eq__ = lambda s, o: 1"), check, space
    )


def test_a_dataclass_that_the_check_does_not_know_has_its_fields() -> None:
    program = "import dataclasses\n@dataclasses.dataclass\nclass Own:\n    x: int\ndef f(n): return [Own(n)]"
    assert seen(program, lambda f: compared(f(3)[0].x, 3))


RAISES = "def f(n):\n    raise "
CAUGHT = [
    ("KeyError('a', n)", (KeyError, LookupError, Exception, BaseException)),
    ("KeyboardInterrupt", (KeyboardInterrupt, BaseException)),
    ("GeneratorExit", (GeneratorExit, BaseException)),
    ("FileNotFoundError(2, 'no')", (FileNotFoundError, OSError, Exception, BaseException)),
    ("UnicodeDecodeError('utf-8', b'a', 0, 1, 'no')", (UnicodeDecodeError, ValueError, Exception, BaseException)),
    ("type('KeyError', (Exception,), {})('a')", (Exception, BaseException)),
    ("type('KeyError', (BaseException,), {})('a')", (BaseException,)),
    ("type('Own', (KeyError,), {})('a')", (KeyError, LookupError, Exception, BaseException)),
    ("type('Own', (KeyError, TypeError), {})()", (KeyError, TypeError, LookupError, Exception, BaseException)),
    ("type('Own', (ValueError,), {'__init__': lambda s, a, b: None})(1, 2)", (ValueError, Exception, BaseException)),
    ("type('Own', (ValueError,), {'__str__': lambda s: 1 / 0})()", (ValueError, Exception, BaseException)),
    (
        "__import__('json').JSONDecodeError('no', 'doc', 1)",
        (json.JSONDecodeError, ValueError, Exception, BaseException),
    ),
    ("type('JSONDecodeError', (ValueError,), {})()", (ValueError, Exception, BaseException)),
    ("ValueError(object())", (ValueError, Exception, BaseException)),
    ("StopIteration", (Exception, BaseException)),  # it would end the check's own loops
]
KINDS = {kind for _, kinds in CAUGHT for kind in (*kinds, StopIteration)}


@pytest.mark.parametrize(("raised", "kinds"), CAUGHT, ids=[raised for raised, _ in CAUGHT])
def test_an_exception_is_caught_where_it_would_have_been(raised: str, kinds: Any) -> None:
    caught: list[BaseException] = []

    def check(f: Any) -> None:
        try:
            f(3)
        except BaseException as error:
            caught.append(error)

    assert seen(RAISES + raised, check)
    assert {kind for kind in KINDS if isinstance(caught[0], kind)} == set(kinds)


def test_an_exception_holds_what_it_held() -> None:
    def check(f: Any) -> None:
        with pytest.raises(KeyError) as info:
            f(3)
        error: Any = info.value
        if error:
            assert (error.args, str(error), type(error).__name__) == (("a", 3), "('a', 3)", "KeyError")
            assert isinstance(error.__cause__, IndexError) and error.code == [5]

    program = "def f(n):\n    e = KeyError('a', n)\n    e.code = [5]\n    raise e from IndexError()"
    assert seen(program, check)
    assert not seen(program.replace("[5]", "[6]"), check)

    def own(f: Any) -> None:
        with pytest.raises(ValueError, match=r"^code 3$") as info:
            f(3)
        assert info.type.__name__ == "Own"

    program = "class Own(ValueError):\n    def __str__(self): return f'code {self.args[0]}'\ndef f(n): raise Own(n)"
    assert seen(program, own)


def test_exceptions_in_a_group_are_exceptions() -> None:
    def check(f: Any) -> None:
        with pytest.raises(ExceptionGroup) as info:
            f(3)
        found = info.value.subgroup(KeyError)
        assert found is not None and [error.args for error in found.exceptions] == [("a",)]

    assert seen("def f(n): raise ExceptionGroup('many', [KeyError('a')])", check)
    assert not seen("def f(n): raise ExceptionGroup('many', [ValueError('a')])", check)


def test_an_exception_that_is_returned_is_not_raised() -> None:
    assert seen("def f(n): return KeyError(n)", lambda f: compared((type(f(3)), f(3).args), (KeyError, (3,))))


@pytest.mark.parametrize(
    "value",
    [
        Record("no name", (("x", 1), ("x", 2))),
        Record("P", (("class", 1),)),
        Derived("UserDict", {1: 2}),
        Derived("a\0b", 1),
        Derived("", "a"),
        EnumMember("\ud800", "RED"),
        HeldException("a\0b", ("KeyError", "os:system", "no.such:Error", "builtins:object"), ""),
        HeldException("\ud800", ("ExceptionGroup",), ""),
        HeldException("E", ("OSError", "UnicodeDecodeError", "ExceptionGroup"), "", (1, 2)),
    ],
)
def test_no_value_makes_the_replay_raise_what_a_check_could_swallow(value: Any) -> None:
    def swallows(f: Any) -> None:
        try:
            f(3)
        except BaseException:
            return
        raise AssertionError

    def replayed(failure: Any, value: Any) -> bool:
        try:
            return replay(swallows, {}, [((3,), {}, failure, value)])
        except AssertionError:
            return False

    assert not replayed(None, value)
    if isinstance(value, HeldException):
        replayed(value, None)  # which may be caught or not


async def verdicts(source: str, oracle: str, *programs: str) -> list[bool]:
    runs = Runs(ScriptedProvider(executes), minimum_isolation="memory")
    verifier = TaskVerifier(runs.provider, minimum_isolation="memory", minimum_tier="values")
    task = await verifier.prepare(Task("demo", (), AssertTests("f", source, oracle)))
    assert isinstance(task.tests, CallTests)
    return [(await verifier.judge(task, Submission.code(program))).passed for program in programs]


SWALLOWS = """
def check(candidate):
    assert candidate(3) == 6
    try:
        candidate(-1)
    except {kind}:
        pass
    else:
        assert False
"""
DOUBLES = "def f(x):\n    if x < 0:\n        {negative}\n    return 2 * x\n"


@pytest.mark.parametrize("kind", ["Exception", "BaseException", "(ValueError, TypeError)"])
async def test_a_value_that_cannot_be_held_is_no_exception(kind: str) -> None:
    unheld = ("object()", "(lambda: 0)", "__import__('itertools').count()", "f", "type", "__import__('json')", "...")
    values = ("range(3)", "(i for i in ())", "__import__('fractions').Fraction(1)", "ValueError()", "map(f, [-1])")
    programs = [DOUBLES.format(negative=f"return {value}") for value in (*unheld, *values)]
    programs.append(DOUBLES.format(negative="value = []; value.append(value); return value"))
    oracle = DOUBLES.format(negative="raise ValueError('negative')")
    honest = [DOUBLES.format(negative=f"raise {error}") for error in ("ValueError", "TypeError", "UnicodeError")]
    assert (
        await verdicts(SWALLOWS.format(kind=kind), oracle, *programs, *honest) == [False] * len(programs) + [True] * 3
    )


async def test_expected_values_of_any_kind_are_equal_to_what_equals_them() -> None:
    source = "def check(candidate):\n    for n in range(3):\n        assert candidate(n) == {}\n"
    oracle = "import enum, fractions, collections\nclass C(enum.IntEnum):\n    A, B, D = 0, 1, 2\ndef f(n): return {}\n"
    for returned, expected, good, bad in [
        ("C(n)", "n", ("n", "float(n)", "C(n)", "bool(n) if n < 2 else n"), ("str(n)", "n + 1", "[n]", "C(0)")),
        ("fractions.Fraction(n, 2)", "n / 2", ("n / 2", "fractions.Fraction(n, 2)"), ("n // 2", "str(n / 2)")),
        ("range(n)", "range(n)", ("range(n)", "range(0, n, 1)"), ("list(range(n))", "range(n + 1)", "iter(range(n))")),
        ("collections.deque([n])", "collections.deque([n])", ("collections.deque([n], 1)",), ("[n]", "(n,)")),
        ("collections.OrderedDict([(n, 1), (9, 2)])", "{9: 2, n: 1}",
         ("collections.OrderedDict([(9, 2), (n, 1)])", "{n: 1, 9: 2}", "collections.Counter({n: 1, 9: 2})"),
         ("{n: 1}", "[(n, 1), (9, 2)]")),
        ("collections.Counter({n: 1})", "{n: 1}", ("{n: 1}", "collections.defaultdict(int, {n: 1})"),
         ("collections.Counter({n: 1, 9: 0})", "{n: 2}")),
    ]:  # fmt: skip
        reference = oracle.format(returned)
        programs = [oracle.format(value) for value in (*good, *bad)]
        tests = "import collections\n" + source.format(expected)
        assert await verdicts(tests, reference, *programs) == [True] * len(good) + [False] * len(bad), returned


async def test_a_reference_whose_own_methods_decide_is_no_list_of_cases() -> None:
    own = "class T(str):\n    __eq__ = lambda s, o: s.lower() == o.lower()\n    __hash__ = str.__hash__\n"
    oracle = own + "def f(n): return T('ABC')\n"
    # The reference's class decides what is equal: at tier 2 the candidate's own class does, so no replay stands for it.
    with pytest.raises(
        ConfigError, match=r"cannot be recorded as cases \(they use what a class of the solution defines"
    ):
        await verdicts("def check(candidate):\n    assert candidate(1) == 'abc'\n", oracle, oracle)
    with pytest.raises(ConfigError, match=r"cannot be recorded as cases \(no canonical value: type function\)"):
        await verdicts("def check(candidate):\n    assert candidate(1)\n", "def f(n):\n    return f\n")
    subclass = "class I(int): pass\ndef f(n): return 1\ndef check(candidate):\n    assert candidate(I(1)) == 1\n"
    with pytest.raises(ConfigError, match=r"cannot be recorded as cases \(no canonical value: type I\)"):
        await verdicts(subclass, "def f(n):\n    return 1\n")  # a program may look at the argument's class
