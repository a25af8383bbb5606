"""A sandbox host, asked over a real connection: who may, how much, and what becomes of what was under way."""

from __future__ import annotations

import asyncio
import json
import logging
import re

import aiohttp
import pytest

from agent_rl.errors import ConfigError, SandboxError, SandboxStartError
from agent_rl.judging.tar_archives import pack
from agent_rl.testing.in_memory_sandbox import InMemoryProvider
from agent_rl_sandboxes.serving.host_server import Bind, check_exposure
from tests.unit.sandboxes.hosting import TOKEN, HeldProvider, hosting, requests_to, until

ROUTES = [
    ("GET", "/metrics"),
    ("GET", "/v1/host"),
    ("POST", "/v1/sessions"),
    ("PUT", f"/v1/sessions/{'0' * 32}"),
    ("DELETE", f"/v1/sessions/{'0' * 32}"),
    ("POST", "/v1/runs"),
    ("PUT", f"/v1/sandboxes/{'0' * 32}"),
    ("DELETE", f"/v1/sandboxes/{'0' * 32}"),
    ("POST", f"/v1/sandboxes/{'0' * 32}/exec"),
    ("POST", f"/v1/sandboxes/{'0' * 32}/read"),
    ("PUT", f"/v1/sandboxes/{'0' * 32}/files"),
    ("GET", "/no-such-route"),
]


# Who may


@pytest.mark.parametrize(
    "authorization", [None, "", "Bearer", f"Bearer {TOKEN}x", TOKEN, f"Basic {TOKEN}", "Bearer \u00e9"]
)
async def test_without_the_token_only_the_health_is_told(authorization):
    headers = {"Agent-RL-Protocol": "1"} | ({} if authorization is None else {"Authorization": authorization})
    async with hosting(InMemoryProvider()) as host, aiohttp.ClientSession(headers=headers) as http:
        for method, path in ROUTES:
            async with http.request(method, host.url + path, data=b"{}") as response:
                assert (response.status, response.headers["WWW-Authenticate"]) == (401, "Bearer"), path
                assert (await response.json())["error"]["kind"] == "unauthorized"
        async with http.get(f"{host.url}/health") as response:
            assert (response.status, await response.json()) == (200, {"status": "serving", "protocol": 1})
        assert len(host.app.sessions) == 0


async def test_nothing_is_bound_beyond_loopback_without_a_token():
    for text in ("0.0.0.0:8700", "[::]:8700", "192.0.2.1:0"):
        with pytest.raises(ConfigError, match=r"there must be a token: --token-file FILE, or AGENT_RL_SANDBOX_TOKEN"):
            check_exposure(Bind.parse(text), None)
        check_exposure(Bind.parse(text), TOKEN)
    for text in ("127.0.0.1:0", "[::1]:8700", "localhost:8700", "127.1.2.3:1"):
        check_exposure(Bind.parse(text), None)


@pytest.mark.parametrize(
    "text", ["", "8700", ":8700", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "::1:8700", "a b:1"]
)
def test_where_to_listen_is_a_host_and_a_port(text):
    with pytest.raises(ConfigError, match="--bind"):
        Bind.parse(text)


async def test_an_address_that_is_taken_is_a_mistake_of_the_users():
    async with hosting(InMemoryProvider()) as host:
        with pytest.raises(ConfigError, match="--bind: cannot listen there"):
            async with hosting(InMemoryProvider(), port=host.port):
                pass


async def test_web_pages_and_other_versions_are_refused():
    async with hosting(InMemoryProvider(), token=None) as host, aiohttp.ClientSession() as http:
        for headers, kind in (
            ({}, "protocol"),
            ({"Agent-RL-Protocol": "2"}, "protocol"),
            ({"Agent-RL-Protocol": "1", "Origin": "http://127.0.0.1"}, "forbidden"),
        ):
            async with http.post(f"{host.url}/v1/sessions", headers=headers) as response:
                assert (await response.json())["error"]["kind"] == kind
        # Whatever its own version is, a client of another is told about the version, not of a route that is missing.
        async with http.post(f"{host.url}/v7/sessions", headers={"Agent-RL-Protocol": "7"}) as response:
            assert (response.status, (await response.json())["error"]["message"]) == (
                400,
                "this host speaks version 1 of its protocol and the client version '7': install the same version of "
                "agent-rl on both",
            )
        async with http.post(f"{host.url}/v1/sessions", headers={"Agent-RL-Protocol": "1"}) as response:
            assert response.status == 200


# What is asked


async def test_a_host_says_what_it_is_and_how_much_it_has_to_do():
    async with hosting(provider := HeldProvider(), workers=2) as host, requests_to(host) as requests:
        status, answer, _ = await requests.send("GET", "/v1/host")
        assert (status, answer["protocol"], answer["workers"], answer["isolation"]) == (200, 1, 2, "memory")
        running = asyncio.create_task(requests.run())
        await until(lambda: provider.under_way == 1)
        session = requests.http.headers["Agent-RL-Session"]
        _, load, _ = await requests.send("PUT", f"/v1/sessions/{session}")
        assert load == {"running": 1, "waiting": 0, "sandboxes": 0, "draining": False}
        provider.go.set()
        assert (await running)[0] == 200


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "the message should be an object, got list"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"request": {"program": "1"}, "request": {}}', "the same key twice"),
        (b'{"request": {"program": NaN}}', "NaN is not a number"),
        (b'{"request": {"program": 1}}', "request.program should be str"),
        (b'{"request": {"program": "1", "limits": {"wall_seconds": true}}}', "a finite number, got True"),
        (b'{"request": {"program": "1", "limits": {"wall_seconds": 1e999}}}', "a finite number, got inf"),
        (b'{"request": {"program": "1", "limits": {"processes": 1.5}}}', "an integer of 64 bits, got 1.5"),
        (b'{"request": {"program": "1", "stdin": "=a"}}', "request.stdin should be base64"),
        (b'{"request": {"program": "1", "calls": [{"id": "0"}]}}', "request.calls[0] needs the field 'arguments'"),
        (b'{"request": {"program": "1"}, "other": 1}', "has no field 'other'"),
        (b'{"fresh": true}', "needs the field 'request'"),
    ],
)
async def test_what_the_protocol_does_not_say_is_refused_with_the_place(body, says):
    async with hosting(provider := HeldProvider()) as host, requests_to(host) as requests:
        status, answer, _ = await requests.send("POST", "/v1/runs", data=body)
        assert (status, answer["error"]["kind"]) == (400, "malformed")
        assert says in answer["error"]["message"]
        assert provider.requests == []


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"wall_seconds": 0}, "limits.wall_seconds = 0 is out of range"),
        ({"wall_seconds": 3601}, "limits.wall_seconds = 3601 is out of range: more than 0, at most 3600"),
        ({"cpu_seconds": -1.0}, "limits.cpu_seconds = -1"),
        ({"memory_bytes": 1 << 62}, "memory_bytes"),
        ({"processes": 0}, "processes = 0"),
        ({"output_bytes": 1 << 40}, "output_bytes"),
    ],
)
async def test_limits_that_the_host_does_not_give_are_refused(limits, says):
    async with hosting(HeldProvider()) as host, requests_to(host) as requests:
        body = {"request": {"program": "1", "limits": limits}}
        status, answer, _ = await requests.send("POST", "/v1/runs", json=body)
        assert (status, answer["error"]["kind"]) == (422, "value")
        assert says in answer["error"]["message"]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"build_folder": "/etc"}, "a host builds no images"),
        ({"workdir": "work"}, "not an absolute path"),
        ({"workdir": "/work/../etc"}, "not an absolute path"),
        ({"image": "a\0b"}, "image"),
        ({"user": ""}, "user"),
        ({"cpus": 0}, "cpus = 0"),
        ({"lifetime_seconds": 1e9}, "lifetime_seconds"),
        ({"disk_bytes": -1}, "disk_bytes"),
    ],
)
async def test_sandboxes_that_the_host_does_not_give_are_refused(spec, says):
    async with hosting(HeldProvider()) as host, requests_to(host) as requests:
        status, answer, _ = await requests.send("PUT", f"/v1/sandboxes/{'a' * 32}", json={"spec": spec})
        assert (status, answer["error"]["kind"]) == (422, "value")
        assert says in answer["error"]["message"]


async def test_errors_of_the_provider_keep_their_kind(caplog):
    kinds = [
        (SandboxError("died"), 502, "sandbox"),
        (SandboxStartError("no worker"), 503, "sandbox_start"),
        (ConfigError("no image"), 422, "config"),
        (ValueError("bad"), 422, "value"),
        (FileNotFoundError(2, "none"), 404, "file"),
        (OSError(28, "full"), 409, "os"),
    ]
    async with hosting(provider := HeldProvider()) as host, requests_to(host) as requests:
        provider.go.set()
        for provider.error, status, kind in kinds:
            got, answer, _ = await requests.run()
            assert (got, answer["error"]["kind"]) == (status, kind)
        assert caplog.records == []
        provider.error = RuntimeError("a secret of the host's")
        got, answer, _ = await requests.run()
        assert (got, answer["error"]) == (500, {"kind": "internal", "message": "RuntimeError (see the host's log)"})
        assert [record.getMessage() for record in caplog.records] == ["a request failed"]


async def test_a_session_has_its_own_sandboxes_only():
    async with hosting(HeldProvider()) as host, requests_to(host) as first, requests_to(host) as second:
        path = await first.sandbox()
        status, answer, _ = await first.send("PUT", path, json={"spec": {}})
        assert (status, answer["error"]["message"]) == (422, "there is a sandbox of this name")
        assert (await first.send("PUT", f"{path}/files", data=pack({"a/b": b"text"})))[0] == 204
        assert (await first.send("POST", f"{path}/read", json={"path": "a/b"}))[:2] == (200, b"text")
        for method, part in (("POST", "/read"), ("POST", "/exec"), ("PUT", "/files")):
            status, answer, _ = await second.send(method, path + part, json={"path": "a/b"})
            assert (status, answer["error"]["kind"]) == (410, "sandbox_gone")
        assert (await second.send("DELETE", path))[0] == 204
        assert (await first.send("POST", f"{path}/read", json={"path": "a/b"}))[:2] == (200, b"text")
        second.http.headers["Agent-RL-Session"] = "0" * 32
        status, answer, _ = await second.run()
        assert (status, answer["error"]["kind"]) == (410, "session")


# What becomes of what was under way


async def test_a_run_ends_when_its_client_goes_away():
    async with hosting(provider := HeldProvider()) as host:
        async with requests_to(host) as requests:
            running = asyncio.create_task(requests.run())
            await until(lambda: provider.under_way == 1)
            running.cancel()
            await until(lambda: provider.cancelled == 1)
            # So does what waits for a worker, and what sends a command.
            path = await requests.sandbox()
            command = asyncio.create_task(requests.send("POST", f"{path}/exec", json={"command": ["true"]}))
            await until(lambda: provider.under_way == 1)
            command.cancel()
            await until(lambda: provider.cancelled == 2)
            assert provider.under_way == host.app.gate.inside == 0
        assert 'status="gone"' in host.app.metrics.render()


async def test_what_a_silent_client_had_is_ended_after_the_lease():
    async with hosting(provider := HeldProvider(), lease_seconds=0.2) as host, requests_to(host) as requests:
        await requests.sandbox()
        running = asyncio.create_task(requests.run())
        await until(lambda: provider.cancelled == 1 and provider.closed == 1)
        with pytest.raises(aiohttp.ClientError):
            await running
        assert (len(host.app.sessions), host.app.sessions.sandboxes, host.app.sessions.lapsed) == (0, 0, 1)


async def test_a_client_that_is_heard_of_keeps_what_it_has():
    async with hosting(provider := HeldProvider(), lease_seconds=0.4) as host, requests_to(host) as requests:
        await requests.sandbox()
        session = requests.http.headers["Agent-RL-Session"]
        for _ in range(10):
            assert (await requests.send("PUT", f"/v1/sessions/{session}"))[0] == 200
            await asyncio.sleep(0.1)
        assert provider.closed == 0
        assert (await requests.send("DELETE", f"/v1/sessions/{session}"))[0] == 204
        assert provider.closed == 1


async def test_what_is_not_done_by_the_deadline_is_given_up():
    async with hosting(provider := HeldProvider()) as host, requests_to(host) as requests:
        status, answer, _ = await requests.run(headers={"Agent-RL-Deadline": "0.05"})
        assert (status, answer["error"]["kind"], provider.cancelled) == (504, "deadline", 1)
        for text in ("soon", "nan", "-1", "0", "inf"):
            status, answer, _ = await requests.run(headers={"Agent-RL-Deadline": text})
            assert (status, answer["error"]["kind"]) == (400, "malformed")


async def test_an_end_in_order_finishes_what_is_under_way_and_takes_nothing_new():
    provider = HeldProvider()
    async with hosting(provider, drain_seconds=20.0) as host, requests_to(host) as requests:
        await requests.sandbox()
        running = asyncio.create_task(requests.run())
        await until(lambda: provider.under_way == 1)
        ending = asyncio.create_task(host.__aexit__(None, None, None))
        await until(lambda: host.app.draining)
        status, answer, _ = await requests.run()
        assert (status, answer["error"]["kind"]) == (503, "draining")
        assert (await requests.send("GET", "/health"))[:2] == (503, {"status": "draining", "protocol": 1})
        provider.go.set()
        assert (await running)[0] == 200
        await ending
        assert (provider.cancelled, provider.closed, host.app.sessions.sandboxes) == (0, 1, 0)
        with pytest.raises(aiohttp.ClientConnectionError):
            await requests.send("GET", "/health")


async def test_an_end_cancels_what_does_not_finish():
    provider = HeldProvider()
    async with hosting(provider, drain_seconds=0.05) as host, requests_to(host) as requests:
        running = asyncio.create_task(requests.run())
        await until(lambda: provider.under_way == 1)
        await host.__aexit__(None, None, None)
        assert (provider.cancelled, provider.under_way) == (1, 0)
        with pytest.raises(aiohttp.ClientError):
            await running


# What can be seen


async def test_metrics_are_what_prometheus_reads():
    async with hosting(provider := HeldProvider(), workers=3) as host, requests_to(host) as requests:
        provider.go.set()
        await requests.run()
        await requests.send("GET", "/no/such/route")
        status, body, headers = await requests.send("GET", "/metrics")
        assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        lines = body.decode().splitlines()
        sample = re.compile(r'[a-z_]+(\{[a-z]+="([^"\\\n]|\\.)*"(,[a-z]+="([^"\\\n]|\\.)*")*\})? [0-9.e+-]+')
        assert all(line.startswith("# ") or sample.fullmatch(line) for line in lines)
        for line in (
            'agent_rl_host_requests_total{route="POST /v1/runs",status="200"} 1.0',
            'agent_rl_host_requests_total{route="none",status="404"} 1.0',
            'agent_rl_host_runs_total{status="completed"} 1.0',
            "agent_rl_host_run_seconds_count 1.0",
            'agent_rl_host_run_seconds_bucket{le="+Inf"} 1.0',
            "agent_rl_host_workers 3.0",
            "agent_rl_host_sessions 1.0",
        ):
            assert line in lines


async def test_what_strangers_send_is_counted_and_not_logged(caplog):
    caplog.set_level(logging.DEBUG)
    async with hosting(InMemoryProvider()) as host:
        for sent in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET / HTTP/9.9\r\n\r\n", b"\0\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", host.port)
            writer.write(sent + b"\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.0 400 Bad Request")
            writer.close()
        assert host.app.metrics.value("malformed_total") >= 2
        assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_an_answer_to_an_error_is_json_whatever_the_message_holds():
    from agent_rl_sandboxes.serving.request_bodies import refusal

    answer = refusal("value", "\ud800\n" + "x" * 5000)
    assert isinstance(answer.body, bytes)
    assert len(json.loads(answer.body)["error"]["message"]) == 2000
