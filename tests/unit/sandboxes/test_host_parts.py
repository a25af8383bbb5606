"""The parts of a sandbox host by themselves: what crosses the wire, tokens, sessions, gates, metrics."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent_rl.contracts import Sandbox
from agent_rl.errors import ConfigError
from agent_rl.vocabulary import ExecResult, Limits, RunCall, RunRequest, RunResult, SandboxSpec
from agent_rl_sandboxes.serving.bearer_tokens import authorized, read_token
from agent_rl_sandboxes.serving.host_json import MalformedBody, decode, from_json, to_json
from agent_rl_sandboxes.serving.host_limits import Budget, Busy, Gate, HostLimits, check_command
from agent_rl_sandboxes.serving.host_metrics import Metrics
from agent_rl_sandboxes.serving.host_protocol import ExecMessage
from agent_rl_sandboxes.serving.host_sessions import HostSessions, NoSession, UnknownSandbox
from tests.unit.sandboxes.hosting import until

# What crosses the wire


@pytest.mark.parametrize(
    "value",
    [
        RunRequest("def f(): ...\n\ud800☃\0", "f", (RunCall("0a", '[{"t":[]},{}]'),), bytes(range(256)), Limits(), -7),
        RunResult("timeout", ("frame", ""), b"\xff", b"", None, 9, 0.25, "uid", ("odd",)),
        SandboxSpec(image="image:tag", network="bridge", hardening="task_image"),
        ExecResult("completed", 0, b"out", b"err", 1.0, truncated=True),
    ],
)
def test_the_vocabulary_crosses_unchanged(value):
    crossed = from_json(type(value), to_json(value))
    assert crossed == value
    assert {type(getattr(crossed, f.name)) for f in dataclasses.fields(value)} == {
        type(getattr(value, f.name)) for f in dataclasses.fields(value)
    }


@dataclasses.dataclass(frozen=True)
class Everything:
    """A field of each type that can cross."""

    whole: int
    choice: Literal["a", "b"]
    maybe: bytes | None = None
    pair: tuple[int, str] = (0, "")
    many: tuple[float, ...] = ()
    listed: list[bool] = dataclasses.field(default_factory=list)
    table: Mapping[str, bytes] = dataclasses.field(default_factory=dict)
    inner: Limits = dataclasses.field(default_factory=Limits)
    anything: Any = None


def test_fields_of_every_type_cross():
    value = Everything(1, "b", b"x", (2, "y"), (0.5, 1.0), [True], {"k": b"v"}, Limits(1.5), {"a": [None]})
    assert from_json(Everything, to_json(value)) == value
    assert from_json(Everything, b'{"whole": 1, "choice": "a", "many": [1]}').many == (1.0,)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"whole": True}, "whole should be an integer of 64 bits, got True"),
        ({"whole": 2**63}, "whole should be an integer of 64 bits, got int"),
        ({"choice": "c"}, "choice should be one of ('a', 'b'), got 'c'"),
        ({"choice": []}, "choice should be one of"),
        ({"maybe": "a"}, "maybe should be base64"),
        ({"maybe": 1}, "maybe should be base64"),
        ({"pair": [1]}, "pair should be a list of 2, got list"),
        ({"pair": [1, 2]}, "pair[1] should be str, got int"),
        ({"many": {}}, "many should be a list, got dict"),
        ({"many": ["1"]}, "many[0] should be a finite number, got '1'"),
        ({"table": {"k": None}}, "table['k'] should be base64, got None"),
        ({"table": []}, "table should be an object, got list"),
        ({"inner": {"processes": "1"}}, "inner.processes should be an integer"),
        ({"inner": None}, "inner should be an object, got None"),
        ({"more": 1}, "Everything has no field 'more'"),
    ],
)
def test_what_does_not_fit_names_its_place(change, says):
    with pytest.raises(MalformedBody) as caught:
        decode(Everything, {"whole": 1, "choice": "a", **change})
    assert says in str(caught.value)


def test_what_cannot_cross_is_an_error_of_ours():
    with pytest.raises(TypeError, match="object cannot cross"):
        to_json(object())
    with pytest.raises(TypeError, match="cannot cross"):
        decode(set[int], [])
    with pytest.raises(ValueError, match="not JSON compliant"):
        to_json(Limits(wall_seconds=float("nan")))


# Tokens


def test_a_token_is_read_from_a_file_or_the_environment(tmp_path: Path):
    file = tmp_path / "token"
    file.write_text("0123456789abcdef\n")
    environment = {"AGENT_RL_SANDBOX_TOKEN": "fedcba9876543210"}
    assert read_token(file, environment, key="k") == "0123456789abcdef"
    assert read_token(None, environment, key="k") == "fedcba9876543210"
    assert read_token(None, {}, key="k") is None
    for wrong in ("", "short", "0123456789abcdef\nsecond line", "0123456789 abcdef", "0123456789abcdef\x01"):
        file.write_text(wrong)
        with pytest.raises(ConfigError, match=r"k: the token in .* must be one line of at least 16 plain characters"):
            read_token(file, {}, key="k")
    file.write_bytes(b"\xff" * 20)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_token(file, {}, key="k")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_token(tmp_path / "absent", {}, key="k")


def test_only_the_token_is_the_token(monkeypatch: pytest.MonkeyPatch):
    token = "0123456789abcdef"
    assert authorized(f"Bearer {token}", token)
    for header in (
        None,
        "",
        token,
        f"bearer {token}",
        f"Bearer {token} ",
        f"Bearer {token[:-1]}",
        "Bearer \udcff\u00e9",
    ):
        assert not authorized(header, token)
    # The comparison is of digests of one length, by the function that takes the same time for all.
    compared: list[int] = []

    def compare(first: bytes, second: bytes) -> bool:
        compared.extend((len(first), len(second)))
        return first == second

    monkeypatch.setattr("hmac.compare_digest", compare)
    assert authorized(f"Bearer {token}", token)
    assert not authorized("x" * 5000, token)
    assert compared == [32] * 4


# Gates


async def test_a_gate_lets_in_as_many_as_there_are_workers():
    gate = Gate(workers=1, queue=1)
    async with gate.enter(1.0):
        waiting = asyncio.create_task(gate.enter(5.0).__aenter__())
        await until(lambda: gate.waiting == 1)
        with pytest.raises(Busy, match="all workers are taken, and 1 runs wait for one"):
            await gate.enter(1.0).__aenter__()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        with pytest.raises(Busy, match=r"no worker became free in 0\.01 s"):
            await gate.enter(0.01).__aenter__()
        assert (gate.inside, gate.waiting) == (1, 0)
    async with gate.enter(0.01):
        assert gate.inside == 1
    assert gate.inside == 0


def test_a_budget_gives_back_what_was_taken():
    budget = Budget(10, "bytes")
    with budget.take(6), pytest.raises(Busy, match="6 of 10 bytes are taken"), budget.take(5):
        pass
    with pytest.raises(KeyError), budget.take(10):
        raise KeyError
    assert budget.taken == 0


# Sessions


class Place(Sandbox):
    """Counts its ends; may fail to end."""

    def __init__(self, error: Exception | None = None) -> None:
        self.closed = 0
        self._error = error

    async def exec(self, command: Any, **options: Any) -> ExecResult:
        raise NotImplementedError

    async def write_files(self, files: Any) -> None:
        raise NotImplementedError

    async def read_file(self, path: str, *, max_bytes: int = 1 << 20) -> bytes:
        raise NotImplementedError

    async def close(self) -> None:
        self.closed += 1
        if self._error is not None:
            raise self._error


async def test_a_session_that_is_not_heard_of_ends_with_all_it_has():
    now = 0.0
    sessions = HostSessions(lease_seconds=10.0, most=2, most_sandboxes=2, clock=lambda: now)
    first, second = sessions.open(), sessions.open()
    with pytest.raises(Busy, match="there are 2 sessions"):
        sessions.open()
    place = Place()
    sessions.add(first, "one", lambda: place)
    with pytest.raises(UnknownSandbox):
        sessions.sandbox(second, "one")
    now = 9.0
    assert sessions.get(second.id) is second

    async def work() -> None:
        with sessions.work(first):
            await asyncio.sleep(60)

    working = asyncio.create_task(work())
    await asyncio.sleep(0)
    now = 11.0
    await sessions.sweep()
    await asyncio.gather(working, return_exceptions=True)
    assert working.cancelled()
    assert (place.closed, sessions.sandboxes, len(sessions), sessions.lapsed) == (1, 0, 1, 1)
    with pytest.raises(NoSession):
        sessions.get(first.id)
    with pytest.raises(NoSession):
        sessions.add(first, "two", Place)
    await sessions.end_all()
    assert len(sessions) == 0


async def test_a_sandbox_that_cannot_be_closed_is_not_counted_for_ever(caplog: pytest.LogCaptureFixture):
    sessions = HostSessions(lease_seconds=10.0, most=2, most_sandboxes=1)
    session = sessions.open()
    sessions.add(session, "one", lambda: Place(OSError("the daemon is gone")))
    with pytest.raises(Busy, match="there are 1 sandboxes"):
        sessions.add(session, "two", Place)
    await sessions.close_sandbox(session, "one")
    await sessions.close_sandbox(session, "one")
    assert sessions.sandboxes == 0
    assert [record.getMessage() for record in caplog.records] == ["a sandbox could not be closed"]

    def fails() -> Sandbox:
        raise ConfigError("no such image")

    with pytest.raises(ConfigError):
        sessions.add(session, "one", fails)
    assert sessions.sandboxes == 0


# Metrics


def test_metrics_are_written_as_prometheus_reads_them():
    metrics = Metrics()
    metrics.counter("asked_total", "Line one\nand \\ two.", "route", "status")
    metrics.gauge("open", "Now.", lambda: 2.5)
    metrics.histogram("seconds", "How long.")
    metrics.count("asked_total", route='a "quoted"\n\\route', status="200")
    metrics.count("asked_total", route='a "quoted"\n\\route', status="200")
    for seconds in (0.005, 0.3, 100.0):
        metrics.observe("seconds", seconds)
    lines = metrics.render().splitlines()
    assert lines[0] == r"# HELP agent_rl_host_asked_total Line one\nand \\ two."
    assert lines[1] == "# TYPE agent_rl_host_asked_total counter"
    assert lines[2] == r'agent_rl_host_asked_total{route="a \"quoted\"\n\\route",status="200"} 2.0'
    assert "agent_rl_host_open 2.5" in lines
    # 0.005 is in the first bucket (bounds are inclusive), 0.3 from 0.5 on, 100 only in the last.
    buckets = [line.rpartition(" ")[2] for line in lines if "_bucket" in line]
    assert buckets == ["1.0"] * 6 + ["2.0"] * 7 + ["3.0"]
    assert lines[-2:] == ["agent_rl_host_seconds_count 3.0", "agent_rl_host_seconds_sum 100.305"]
    assert metrics.value("asked_total", route='a "quoted"\n\\route', status="200") == 2.0
    assert (metrics.value("open"), metrics.value("asked_total", route="b", status="200")) == (2.5, 0.0)
    # As the library reads its own format: the three and nothing else, no times at which they were made.
    read = {family.name: family.type for family in text_string_to_metric_families(metrics.render())}
    assert read == {
        "agent_rl_host_asked": "counter",
        "agent_rl_host_open": "gauge",
        "agent_rl_host_seconds": "histogram",
    }


def test_a_command_may_take_as_long_as_the_longest_tests_with_their_start():
    check_command(ExecMessage(("x",), timeout=7200.0), HostLimits())
    with pytest.raises(ValueError, match="timeout = 7201 is out of range: more than 0, at most 7200"):
        check_command(ExecMessage(("x",), timeout=7201.0), HostLimits())
