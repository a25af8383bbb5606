import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from agent_rl.errors import ConfigError, SandboxError
from agent_rl.formats import prepare_all
from agent_rl.judging.judging_runs import Runs
from agent_rl.judging.recording import NotRecordable, asserts_equality_only, record_tests
from agent_rl.judging.replay import replay
from agent_rl.judging.task_verifier import TaskVerifier
from agent_rl.vocabulary import AssertTests, CallTests, Case, RunRequest, RunResult, Submission, Task
from tests.unit.judging.fakes import ScriptedProvider, executes, result_of

DOUBLE = "def f(x):\n    return 2 * x\n"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_RL_CACHE", str(tmp_path))


def check(*lines: str) -> str:
    return "def check(candidate):\n" + "".join(f"    {line}\n" for line in lines)


def task(source: str, oracle: str = DOUBLE, public: tuple[Case, ...] = ()) -> Task:
    shown = CallTests("f", public) if public else None
    return Task("demo", (), AssertTests("f", source, oracle), public=shown)


def in_memory(handler: Any) -> Runs:
    """Runs that `handler` answers."""
    return Runs(ScriptedProvider(handler), minimum_isolation="memory")


async def recorded(source: str, oracle: str = DOUBLE) -> CallTests:
    made = await record_tests(task(source, oracle), in_memory(executes))
    assert isinstance(made.tests, CallTests)
    return made.tests


async def passes(source: str, program: str, oracle: str = DOUBLE) -> bool:
    judge = TaskVerifier(ScriptedProvider(executes), minimum_isolation="memory")
    prepared = await judge.prepare(task(source, oracle))
    return (await judge.judge(prepared, Submission.code(program))).passed


async def test_asserted_calls_become_cases_each_once() -> None:
    tests = await recorded(check("for n in range(3):", "    assert candidate(n) == 2 * n", "assert 4 == candidate(2)"))
    assert tests.comparison == "python"
    assert tests.cases == (Case((0,), 0), Case((1,), 2), Case((2,), 4))


async def test_arguments_are_recorded_before_the_reference_changes_them() -> None:
    pops = "def f(xs, *, k=0):\n    return xs.pop() + k\n"
    tests = await recorded(check("assert candidate([1, 2], k=1) == 3"), pops)
    assert tests.cases == (Case(([1, 2],), 3, {"k": 1}),)


@pytest.mark.parametrize(
    ("lines", "seen"),
    [
        (("x = [2, 1]", "assert candidate(x) == 3", "assert x == [2, 1]"), True),
        (("x = [2, 1]", "assert candidate(x) == sum(x)"), True),
        (("x = {'a': [1]}", "assert candidate(k=x) == 3", "assert x['a'] == [1]"), True),
        (("assert candidate([2, 1]) == 3", "assert candidate([2, 1]) == 3"), False),
        (("x = [2, 1]", "assert candidate(list(x)) == sum(x)"), False),
        (("x = (2, 1)", "assert candidate(x) == sum(x)"), False),
        (("import random", "x = [random.random()]", "assert candidate(x) == 3"), False),
    ],
)
async def test_tests_that_look_at_an_argument_after_a_call_are_no_cases(lines: tuple[str, ...], seen: bool) -> None:
    oracle = "def f(x=(), k=None):\n    return 3\n"
    if seen:
        with pytest.raises(NotRecordable, match=r"task demo: .* look at what a call has left in its arguments"):
            await recorded(check(*lines), oracle)
    else:
        assert (await recorded(check(*lines), oracle)).comparison == "python"


async def test_random_inputs_are_drawn_again_by_the_checker() -> None:
    source = "import random\n" + check(
        "for _ in range(20):",
        "    x = random.randint(-100, 100)",
        "    y = candidate(x)",
        "    assert y in (2 * x, 2 * x + 1)",
    )
    # The reference draws too, which must not shift the test's own draws at replay.
    oracle = "import random\ndef f(x):\n    return 2 * x + random.randint(0, 1)\n"
    assert (await recorded(source, oracle)).comparison == "checker"
    assert await passes(source, "def f(x):\n    return x + x\n", oracle)
    assert not await passes(source, "def f(x):\n    return x + x + 2\n", oracle)
    assert not await passes(source, "def f(x):\n    return None\n", oracle)


async def test_a_checker_has_the_references_helpers() -> None:
    oracle = "def poly(a, x):\n    return a * x - 6\ndef f(a):\n    return 6 / a\n"
    source = check("for a in (1, 2, 3, 7):", "    assert abs(poly(a, candidate(a))) < 1e-6")
    assert await passes(source, "def f(a):\n    return 6 * (1 / a)\n", oracle)
    assert not await passes(source, "def f(a):\n    return 5 / a\n", oracle)
    # Its own idea of `poly` does not help a candidate.
    assert not await passes(source, "def poly(a, x):\n    return 0\ndef f(a):\n    return 0\n", oracle)


async def test_expected_errors_are_replayed() -> None:
    source = check(
        "assert candidate(1) == 1",
        "try:",
        "    candidate(0)",
        "except ZeroDivisionError:",
        "    return",
        "assert False",
    )
    oracle = "def f(x):\n    return 1 // x\n"
    assert (await recorded(source, oracle)).comparison == "checker"
    assert await passes(source, "def f(x):\n    return int(1 / x)\n", oracle)
    assert not await passes(source, "def f(x):\n    return 1\n", oracle)
    assert not await passes(source, "def f(x):\n    return [1][x - 1] if x else [][0]\n", oracle)  # IndexError


def test_a_call_that_was_not_recorded_fails_even_where_the_check_swallows_it() -> None:
    def swallows(candidate: Any) -> None:
        with contextlib.suppress(BaseException):
            candidate(candidate(1))

    assert replay(swallows, {}, [((1,), {}, None, 2), ((2,), {}, None, 4)])
    with pytest.raises(AssertionError, match="a call that was not recorded"):
        replay(swallows, {}, [((1,), {}, None, 3), ((2,), {}, None, 4)])  # asks for candidate(3)


@pytest.mark.parametrize(
    ("lines", "follows"),
    [
        (("assert candidate(candidate(1)) == 4",), True),
        (("y = candidate(3)", "assert y > 5", "assert candidate(y) == 12"), True),
        (("xs = []", "for n in range(3):", "    xs.append(candidate(n))", "assert candidate(len(xs) + xs[-1])"), True),
        (("n = 1", "while n < 10:", "    n = candidate(n)", "assert n == 16"), True),
        (("assert any(candidate(n) > 3 for n in range(9))",), True),  # others go on where this one stops
        (("if candidate(1) == 2:", "    return", "assert candidate(5) == 10"), True),
        (("import functools", "assert functools.reduce(lambda a, _: candidate(a), range(3), 1) == 8"), True),
        (("h = lambda g, n: g(g(n))", "assert h(candidate, 1) == 4"), True),
        (("try:", "    assert candidate(1) == 2", "except AssertionError:", "    candidate(7)"), False),
        (("y = candidate(1)", "assert y == 2", "y = candidate(2)", "assert y == 4"), False),
        (("assert sorted([3, 1], key=candidate) == [1, 3]", "assert all(map(candidate, [1, 2]))"), False),
        (
            ("import random", "for _ in range(9):", "    x = random.random()", "    y = candidate(x)", "    assert y"),
            False,
        ),
        (
            (
                *("for x in (1, 2):", "    y = candidate(x)", "    while y != 2 * x:", "        y = 2 * x"),
                "assert candidate(3) == 6",
            ),
            False,
        ),
    ],
)
async def test_calls_that_follow_answers_are_no_cases(lines: tuple[str, ...], follows: bool) -> None:
    if follows:
        with pytest.raises(NotRecordable, match="what they call depends on earlier answers"):
            await recorded(check(*lines))
    else:
        assert (await recorded(check(*lines))).comparison == "checker"


async def test_repeated_calls_are_replayed_in_order() -> None:
    source = check("assert candidate(1) is not candidate(1)", "assert [candidate(1), candidate(2)] == [[1], [2]]")
    assert await passes(source, "def f(x):\n    return [x]\n", "def f(x):\n    return [x]\n")


@pytest.mark.parametrize(
    ("source", "oracle", "message"),
    [
        (check("assert candidate(1) == 3"), DOUBLE, "could not be recorded with the oracle solution: AssertionError"),
        (check("pass"), DOUBLE, "its tests never call f, so that every program would pass"),
        (
            check("assert candidate(1) == 2"),
            "def g(x): ...",
            "could not be recorded with the oracle solution: NameError",
        ),
        (check("assert candidate(1) == 2"), "def f(x:", "could not be recorded with the oracle solution: SyntaxError"),
        (
            check("assert candidate(1)"),
            "def f(x):\n    return f",
            r"cannot be recorded as cases \(no canonical value: type function\)",
        ),
        (check("candidate(1)"), "def f(x):\n    raise SystemExit", "the program ended early"),
        (
            check("assert candidate(1) == 1", "assert candidate(1) == 2"),
            "n = 0\ndef f(x):\n    global n\n    n += 1\n    return n\n",
            r"cannot be recorded as cases \(equal calls give different values\)",
        ),
        (
            check("x = [2, 1]", "candidate(x)", "assert x == [1, 2]"),
            "def f(x):\n    x.sort()\n",
            "they look at what a call has left in its arguments",  # changes in place do not cross the border
        ),
    ],
)
async def test_a_task_whose_reference_fails_its_tests_is_the_users_mistake(
    source: str, oracle: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=f"task demo: .*{message}"):
        await recorded(source, oracle)


async def test_a_reference_without_room_in_its_time_limit_is_refused() -> None:
    def slow(request: RunRequest) -> object:
        return dataclasses.replace(executes(request), seconds=2.6)

    with pytest.raises(
        ConfigError, match=r"task demo: the oracle solution takes 2.6 s, more than half of the limit \(5.0 s"
    ):
        await record_tests(
            task(check("assert candidate(1) == 2")),
            in_memory(slow),
        )


async def test_public_examples_that_the_reference_fails_are_dropped() -> None:
    wrong, right = Case((1,), 3), Case((2,), 4)
    source = check("assert candidate(1) == 2")
    runs = in_memory(executes)
    made = await record_tests(task(source, public=(wrong, right)), runs)
    assert made.public == CallTests("f", (right,))
    made = await record_tests(task(source, public=(wrong,)), runs)
    assert made.public is None


async def test_recordings_are_kept_on_disk_by_content(tmp_path: Path) -> None:
    def never(_: RunRequest) -> Exception:
        return AssertionError("a run although the recording is on disk")

    source = check("assert abs(candidate((1, {2: 'a'})) - 2) < 1", "assert candidate((1,)) == 2")
    oracle = "def f(x):\n    return 2\n"
    original = task(source, oracle, public=(Case((1,), 3), Case((2,), 2)))
    made = await record_tests(original, in_memory(executes))
    (file,) = (tmp_path / "recorded").iterdir()
    again = await record_tests(original, in_memory(never))
    assert again == made
    other = dataclasses.replace(original, id="other")
    with pytest.raises(AssertionError, match="although"):
        await record_tests(other, in_memory(never))
    # A file that is not whole is made again.
    for broken in ("", "[]", "{}", json.dumps({**json.loads(file.read_text()), "cases": "[1]"})):
        file.write_text(broken)
        assert await record_tests(original, in_memory(executes)) == made


async def test_cases_need_no_recording() -> None:
    ready = Task("demo", (), CallTests("f", (Case((1,), 2),)))
    judge = TaskVerifier(ScriptedProvider(executes), minimum_isolation="memory")
    assert await judge.prepare(ready) is ready
    assert judge.runs == 0
    with pytest.raises(ConfigError, match="demo: no cases"):
        await judge.prepare(dataclasses.replace(ready, tests=CallTests("f", ())))


async def test_prepare_all_raises_the_error_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent_rl.judging.blame._PAUSE_SECONDS", 0.001)
    judge = TaskVerifier(ScriptedProvider(executes), minimum_isolation="memory")
    good, bad = task(check("assert candidate(1) == 2")), task(check("assert candidate(1) == 3"))
    assert len(await prepare_all(judge, [good, good])) == 2
    with pytest.raises(ConfigError, match="could not be recorded"):
        await prepare_all(judge, [good, bad, bad])
    dead = ScriptedProvider(lambda _: SandboxError("no daemon"), controls=[False] * 9)
    with pytest.raises(SandboxError, match="no daemon"):
        await prepare_all(TaskVerifier(dead, minimum_isolation="memory"), [bad])


@pytest.mark.parametrize(
    ("source", "plain"),
    [
        (check("assert candidate(1) == 2"), True),
        (check("assert 2 == candidate(1), 'gave ' + str(candidate(1))"), True),
        (check("assert candidate(1) == 2 and candidate(2) == 4"), True),
        ("METADATA = {}\n" + check("for i in range(3):", "    assert candidate(i) == sorted([i])"), True),
        ("def check(f):\n    assert f(1) == 2\n", True),
        (check("assert candidate(1)"), False),
        (check("assert candidate(1) is True"), False),
        (check("assert candidate(1) != 2"), False),
        (check("assert candidate(1) == 2 or candidate(1) == 3"), False),
        (check("assert not candidate(1) == 2"), False),
        (check("assert 1 == candidate(1) == 1"), False),
        (check("assert tuple(candidate(1)) == (1,)"), False),
        (check("assert abs(candidate(1) - 2) < 1e-6"), False),
        (check("assert candidate(1) == candidate(2)"), False),
        (check("assert candidate(candidate(1)) == 2"), False),
        (check("y = candidate(1)", "assert y == 2"), False),
        (check("helper(candidate)"), False),
        (check("assert candidate(1) == pytest.approx(2)"), False),
        ("from unittest.mock import ANY\n" + check("assert candidate(1) == ANY"), False),
        ("from math import isclose as same\n" + check("assert candidate(1) == 2"), False),
        ("class Any:\n    pass\n" + check("assert candidate(1) == Any()"), False),
        (check("try:", "    assert candidate(1) == 2", "except ValueError:", "    pass"), False),
        (check("if candidate(1) == 2: return", "assert False"), False),
        ("check = print\n", False),
        ("def check(candidate:", False),
        ("x = " + "(" * 5000, False),
        ("x = " + "-" * 100_000 + "1", False),
        ("\0", False),
    ],
)
def test_which_checks_only_assert_equality(source: str, plain: bool) -> None:
    assert asserts_equality_only(source) is plain


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize(
    "broken",
    [
        lambda request: SandboxError("gone"),
        lambda request: result_of('{"loaded":true}', status="timeout"),
        lambda request: result_of('{"loaded":true}', status="out_of_memory"),
        lambda request: result_of('{"loaded":true}'),
        lambda request: result_of("no frame"),
    ],
)
async def test_tests_that_cannot_be_tried_with_other_answers_are_no_cases(broken: Any) -> None:
    """Where that run says nothing, nobody knows whether a right program would be called as nobody has recorded."""

    def handler(request: RunRequest) -> RunResult | Exception:
        return (
            broken(request) if "follows_answers(source, globals(), recorded)" in request.program else executes(request)
        )

    source = check("assert candidate(2) > 3", "assert candidate(3) > 5")
    assert (await recorded(source)).comparison == "checker"
    with pytest.raises(NotRecordable, match="they cannot be tried with other answers"):
        await record_tests(task(source), in_memory(handler), cache=False)
