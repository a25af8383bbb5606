"""The worker, with worker servers played by the test: frames, failures."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from agent_rl.errors import SandboxError
from agent_rl_sandboxes.workers import Worker, WorkerSetup
from tests.unit.sandboxes.played import REQUEST, Server, frame, honest


async def test_frames_are_taken_apart_and_what_is_wrong_is_an_anomaly() -> None:
    cases: list[tuple[bytes, tuple[str, ...], tuple[str, ...]]] = [
        (frame("a") + frame(""), ("a", ""), ()),
        (b"", (), ()),
        (frame("a") + b"\0\0", ("a",), ("a partial frame",)),
        (frame("a") + b"\xff\xff\xff\xffxx", ("a",), ("a frame of wrong length",)),
        (struct.pack(">I", 2) + b"\xff\xfe", (), ("a frame that is not text",)),
        # One call: "loaded", its answer, and two more are taken apart.
        (frame("{}") * 9, ("{}",) * 4, ("too many frames",)),
    ]
    for raw, frames, anomalies in cases:

        async def play(server: Server, header: dict[str, Any], raw: bytes = raw) -> None:
            server.result(header, raw)

        worker = await Worker.open(Server(play))
        result = await worker.run(REQUEST)
        assert (result.frames, result.anomalies) == (frames, anomalies)


async def test_a_run_that_was_ended_may_have_left_half_a_frame() -> None:
    async def play(server: Server, header: dict[str, Any]) -> None:
        server.result(header, frame("{}") + b"\0", status="timeout", exit_code=None, signal=9)

    result = await (await Worker.open(Server(play))).run(REQUEST)
    assert (result.status, result.frames, result.anomalies) == ("timeout", ("{}",), ())


async def test_only_what_a_run_may_know_goes_in() -> None:
    bodies: list[bytes] = []

    class Listening(Server):
        async def write(self, data: bytes) -> None:
            bodies.append(data)
            await super().write(data)

    await (await Worker.open(Listening(honest))).run(REQUEST)
    text = bodies[-1]
    payload, end = json.JSONDecoder().raw_decode(text[text.index(b'{"program"') :].decode())
    assert set(payload) == {"program", "entry_point", "calls", "seed", "limits", "ahead"}
    assert text[text.index(b'{"program"') + end + 4 :] == b"0a\n[[],{}]"


async def test_a_server_that_cannot_start_says_why() -> None:
    server = Server(honest, {"op": "fatal", "error": "unshare: EPERM"})
    with pytest.raises(SandboxError, match="cannot start: unshare: EPERM"):
        await Worker.open(server)
    assert server.killed


async def test_a_server_that_says_nothing_is_killed() -> None:
    class Mute(Server):
        async def write(self, data: bytes) -> None:
            return

    server = Mute(honest)
    with pytest.raises(SandboxError, match=r"did not answer within 0.05 s"):
        await Worker.open(server, WorkerSetup(), timeout=0.05)
    assert server.killed


@pytest.mark.parametrize("text", [b"no JSON", b"\xff\xfe", b"[]", b"{}", b"[" * 10_000])
async def test_an_answer_that_is_none_is_an_infrastructure_failure(text: bytes) -> None:
    async def play(server: Server, header: dict[str, Any]) -> None:
        server._reader.feed_data(struct.pack(">II", len(text), 0) + text)

    with pytest.raises(SandboxError, match="a worker answered what is no answer"):
        await (await Worker.open(Server(play))).run(REQUEST)
