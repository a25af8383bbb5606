"""How much a sandbox host bears: beyond it, requests are turned away and told when to come again."""

from __future__ import annotations

import asyncio
import io
import json
import threading

import pytest

from agent_rl.judging.tar_archives import pack
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from agent_rl_sandboxes.serving.host_json import from_json
from tests.unit.sandboxes.hosting import TOKEN, HeldProvider, hosting, requests_to, until


async def test_beyond_workers_and_queue_runs_are_told_to_come_again():
    # Two workers and one place before them: of five runs, three are taken in and two turned away.
    async with hosting(provider := HeldProvider(), workers=2, queue=1) as host, requests_to(host) as requests:
        runs = [asyncio.create_task(requests.run()) for _ in range(5)]
        await until(lambda: sum(run.done() for run in runs) == 2)
        for run in runs:
            if run.done():
                status, answer, headers = run.result()
                assert (status, answer["error"]["kind"], headers["Retry-After"]) == (429, "busy", "1")
        provider.go.set()
        assert sorted([(await run)[0] for run in runs]) == [200, 200, 200, 429, 429]
        assert provider.most == 2
        assert host.app.gate.inside == host.app.gate.waiting == 0


async def test_who_waits_too_long_for_a_worker_is_told_to_come_again():
    async with (
        hosting(provider := HeldProvider(), workers=1, queue_seconds=0.05) as host,
        requests_to(host) as requests,
    ):
        first = asyncio.create_task(requests.run())
        await until(lambda: provider.under_way == 1)
        status, answer, headers = await requests.run()
        assert (status, headers["Retry-After"]) == (429, "1")
        assert answer["error"]["message"] == "no worker became free in 0.05 s"
        provider.go.set()
        assert (await first)[0] == 200


async def test_requests_sandboxes_and_sessions_are_bounded():
    async with (
        hosting(provider := HeldProvider(), workers=9, requests=2, sandboxes=1, sessions=2) as host,
        requests_to(host) as requests,
    ):
        path = await requests.sandbox()
        status, answer, headers = await requests.send("PUT", f"/v1/sandboxes/{'a' * 32}", json={"spec": {}})
        assert (status, answer["error"]["message"], headers["Retry-After"]) == (429, "there are 1 sandboxes", "1")
        assert (await requests.send("DELETE", path))[0] == 204
        await requests.sandbox()
        async with requests_to(host), requests_to(host) as third:
            assert "Agent-RL-Session" not in third.http.headers
        runs = [asyncio.create_task(requests.run()) for _ in range(3)]
        await until(lambda: any(run.done() for run in runs))
        assert next(run for run in runs if run.done()).result()[0] == 429
        provider.go.set()
        assert sorted([(await run)[0] for run in runs]) == [200, 200, 429]


async def test_connections_are_bounded_also_where_many_come_at_once():
    async with hosting(InMemoryProvider(), connections=3) as host:
        streams = await asyncio.gather(*(asyncio.open_connection("127.0.0.1", host.port) for _ in range(20)))
        answers = [asyncio.create_task(reader.read()) for reader, _ in streams]
        await until(lambda: sum(answer.done() for answer in answers) == 17)
        for answer in answers:
            if answer.done():
                assert answer.result().startswith(b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\n")
        for _, writer in streams:
            writer.close()
        await asyncio.gather(*answers)


async def test_a_connection_that_sends_nothing_or_no_end_is_closed():
    async with hosting(InMemoryProvider(), idle_seconds=0.1) as host:
        for sent in (b"", b"GET /health HTTP/1.1\r\nHost: x\r\nX-Long: "):
            reader, writer = await asyncio.open_connection("127.0.0.1", host.port)
            writer.write(sent)
            async with asyncio.timeout(10):
                assert await reader.read() == b""
            writer.close()


async def test_large_bodies_are_refused_before_they_are_read():
    async with hosting(provider := HeldProvider(), body_bytes=1000) as host, requests_to(host) as requests:

        async def parts():
            for _ in range(100):
                yield b" " * 100

        for body in (b" " * 1001, parts()):
            status, answer, _ = await requests.send("POST", "/v1/runs", data=body)
            assert (status, answer["error"]["kind"]) == (413, "too_large")
        # Said to be large, and never sent: answered at once.
        reader, writer = await asyncio.open_connection("127.0.0.1", host.port)
        session = requests.http.headers["Agent-RL-Session"]
        writer.write(
            f"POST /v1/runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nAgent-RL-Protocol: 1\r\n"
            f"Agent-RL-Session: {session}\r\nContent-Length: 1000000000000\r\n\r\n".encode()
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
        writer.close()
        assert provider.requests == []


async def test_bodies_in_memory_are_bounded_together():
    # 600 bytes of one run are held while it runs: another 600 are not taken in.
    async with hosting(provider := HeldProvider(), held_bytes=1000) as host, requests_to(host) as requests:
        first = asyncio.create_task(requests.run("1" * 600))
        await until(lambda: provider.under_way == 1)
        status, answer, headers = await requests.run("1" * 600)
        assert (status, headers["Retry-After"]) == (429, "1")
        assert "bytes of bodies are taken" in answer["error"]["message"]
        provider.go.set()
        assert (await first)[0] == (await requests.run("1" * 600))[0] == 200


async def test_an_answer_that_is_not_taken_in_is_held_within_bounds_and_only_so_long(caplog):
    """Five readers of a file of 8 MB who take nothing in: of 20 MB two are held, and given up in time."""
    size = 8_000_000
    async with (
        hosting(HeldProvider(), held_bytes=20_000_000, body_seconds=0.5) as host,
        requests_to(host) as requests,
    ):
        path = await requests.sandbox()
        assert (await requests.send("PUT", f"{path}/files", data=io.BytesIO(pack({"large": bytes(size)}))))[0] == 204
        body = json.dumps({"path": "large", "max_bytes": size})
        head = (
            f"POST {path}/read HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nAgent-RL-Protocol: 1\r\n"
            f"Agent-RL-Session: {requests.http.headers['Agent-RL-Session']}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        readers = [await asyncio.open_connection("127.0.0.1", host.port, limit=1000) for _ in range(5)]
        for _, writer in readers:
            writer.write((head + body).encode())
        metrics, route = host.app.metrics, "POST /v1/sandboxes/{sandbox}/read"
        await until(lambda: metrics.value("requests_total", route=route, status="429") == 3)
        assert metrics.value("body_bytes") == 16_000_000
        await until(lambda: metrics.value("body_bytes") == 0)
        await until(lambda: metrics.value("requests_total", route=route, status="gone") == 2)
        assert (await requests.send("POST", f"{path}/read", data=body))[:2] == (200, bytes(size))
        # What can never be held is a mistake, not something to come again for.
        asked = json.dumps({"path": "large", "max_bytes": 20_000_001})
        assert (await requests.send("POST", f"{path}/read", data=asked))[0] == 422
        for _, writer in readers:
            writer.close()
    assert caplog.records == []


async def test_a_large_message_does_not_hold_up_other_clients(monkeypatch: pytest.MonkeyPatch):
    """Reading it waits for a question of another client's to be answered: on one thread, it would for ever."""
    answered = threading.Event()

    def slow(kind: type, data: bytes) -> object:
        if len(data) > 1 << 20:
            assert answered.wait(20)
        return from_json(kind, data)

    monkeypatch.setattr("agent_rl_sandboxes.serving.host_app.from_json", slow)
    async with hosting(provider := HeldProvider()) as host, requests_to(host) as requests:
        provider.go.set()
        large = json.dumps({"request": {"program": "1" * (1 << 21)}}).encode()
        asking = asyncio.create_task(requests.send("POST", "/v1/runs", data=io.BytesIO(large)))
        await until(lambda: host.app.metrics.value("body_bytes") >= 1 << 21)
        assert (await requests.run())[0] == 200
        answered.set()
        assert (await asking)[0] == 200


async def test_a_body_is_waited_for_only_so_long_and_never_unpacked():
    async with hosting(HeldProvider(), body_seconds=0.1) as host, requests_to(host) as requests:

        async def never():
            yield b"{"
            await asyncio.sleep(30)

        status, answer, _ = await requests.send("POST", "/v1/runs", data=never())
        assert (status, answer["error"]["message"]) == (400, "the body did not arrive in 0.1 s")
        for coding in ("gzip", "deflate", "br", "identity"):
            status, answer, _ = await requests.send("POST", "/v1/runs", data=b"x", headers={"Content-Encoding": coding})
            assert (status, answer["error"]["message"]) == (400, "bodies are not compressed")
