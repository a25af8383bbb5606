"""Requests and archives for the fuzz tests of sandbox hosts: made from a seed, from well-formed to nonsense."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agent_rl.judging.tar_archives import pack

TOKEN = "0123456789abcdef"
NAMES = (
    *("a", "a/b", "A", "a/B", "./c", "c//d", "é", "e\u0301", "ß", "SS", "x" * 255, "x" * 256, "/".join("d" * 40)),
    *("../x", "a/../../x", "/etc/passwd", "..", ".", "", "a/..", "a/.", "a\0b", "\0", "a\\..\\b", "a/" * 600 + "b"),
    *("x" * 5000, "%2e%2e/x", "\ud800", "a\nb", "\u202e", "con", "a ", "~root/.ssh", "-rf", "//x", "/", "a/b/c"),
)
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 1.5, -0.0, 1e308, 2**31, 2**63, 2**64, -(2**63), 10**400, "", "x", "\0", "\ud800"),
    *(
        [],
        {},
        [[]],
        [None],
        {"": None},
        {"a": {"b": {}}},
        "x" * 3000,
        "=" * 9,
        "AAAA",
        "é",
        ["x"] * 200,
        0.1,
        "1",
        "NaN",
    ),
)
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "FOO")


@dataclass(frozen=True, slots=True)
class Session:
    """What a fuzzer has of a host: names of a session and of a sandbox in it."""

    name: str
    sandbox: str


def messages(session: Session, rng: random.Random) -> list[tuple[str, str, Any]]:
    """(method, path, message) of each kind of request, well formed."""
    limits = {"wall_seconds": 1.0, "cpu_seconds": 2, "memory_bytes": 1 << 28, "processes": 9, "output_bytes": 1 << 16}
    request = {
        "program": "def f(a):\n    return a\n",
        "entry_point": "f",
        "calls": [{"id": "0a", "arguments": '[{"t":[1]},{}]'}],
        "stdin": "eA==",
        "limits": limits,
        "seed": 7,
    }
    spec = {"workdir": "/work", "cpus": 0.5, "memory_bytes": 1 << 28, "network": "none", "hardening": "strict"}
    at = f"/v1/sandboxes/{session.sandbox}"
    return [
        ("POST", "/v1/runs", {"request": request, "fresh": False}),
        ("POST", "/v1/runs", {"request": {"program": "print(1)"}}),
        ("PUT", f"/v1/sandboxes/{rng.randbytes(16).hex()}", {"spec": spec}),
        ("POST", f"{at}/exec", {"command": ["true", "x"], "stdin": "", "timeout": 5.0, "environment": {"A": "b"}}),
        ("POST", f"{at}/read", {"path": "a/b", "max_bytes": 100}),
        ("PUT", f"/v1/sessions/{session.name}", None),
        ("GET", "/v1/host", None),
        ("GET", "/metrics", None),
        ("GET", "/health", None),
        ("DELETE", f"/v1/sandboxes/{'f' * 32}", None),
    ]


def mutated(value: Any, rng: random.Random) -> Any:
    """`value` with one part of it, anywhere in it, replaced, dropped, doubled or added."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        change = rng.random()
        if change < 0.1:
            return {k: v for k, v in value.items() if k != key}
        if change < 0.2:
            return {**value, rng.choice(("", "x", key.upper(), "__class__", key + " ")): rng.choice(ODD)}
        return {**value, key: mutated(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.6:
        index = rng.randrange(len(value))
        return [*value[:index], *([mutated(value[index], rng)] * rng.choice((0, 1, 2, 50))), *value[index + 1 :]]
    return rng.choice((*ODD, *NAMES))


def body_of(message: Any, rng: random.Random) -> bytes:
    """A body: the message as JSON, changed in its meaning, in its bytes, or not at all."""
    kind = rng.random()
    for _ in range(rng.choice((0, 1, 1, 2, 5)) if kind < 0.75 else 0):
        message = mutated(message, rng)
    data = json.dumps(message).encode()
    if kind < 0.8:
        return data
    if kind < 0.85:
        return data[: rng.randrange(len(data) + 1)]
    if kind < 0.9 and data:
        at = rng.randrange(len(data))
        return data[:at] + rng.randbytes(rng.randrange(1, 6)) + data[at + 1 :]
    if kind < 0.93:
        return rng.choice((b"[", b'{"a":', b'{"request":[')) * rng.randrange(1, 20_000)
    if kind < 0.935:
        return b" " * (1 << 18) + data
    if kind < 0.96:
        return rng.choice(
            (b'{"request": {}, "request": {}}', b"NaN", b"-Infinity", b"1e999999", b"9" * 5000, b"\xef\xbb\xbf{}")
        )
    return rng.randbytes(rng.randrange(2000))


def _headers(session: Session, rng: random.Random) -> dict[str, str]:
    """The headers that a client sends, one in eight times with something wrong."""
    headers = {
        "Host": "x",
        "Authorization": f"Bearer {TOKEN}",
        "Agent-RL-Protocol": "1",
        "Agent-RL-Session": session.name,
        "Agent-RL-Deadline": "30",
    }
    if rng.random() < 0.125:
        name = rng.choice(
            (*headers, "Origin", "Content-Encoding", "Expect", "Upgrade", "Connection", "Cookie", "X-\u00e9")
        )
        odd = (
            "",
            "x",
            "-1",
            "nan",
            "inf",
            "1e999",
            "0x10",
            "Bearer",
            f"bearer {TOKEN}",
            "gzip",
            "100-continue",
            "websocket",
        )
        if rng.random() < 0.3:
            headers.pop(name, None)
        else:
            headers[name] = rng.choice(
                (*odd, "9" * 400, "\u00e9\u00ff", "a" * 3000, "close", "upgrade", f"{session.name}0")
            )
    return headers


def _path(path: str, rng: random.Random) -> str:
    """The path, one in ten times another one."""
    if rng.random() >= 0.1:
        return path
    odd = (
        "/",
        "//",
        "/v2/runs",
        "/v1",
        "/v1/",
        "/v1/runs/",
        "/v1/sandboxes/../runs",
        "/%2e%2e/",
        "/v1/%00",
        "*",
        "/?" + "a" * 3000,
    )
    return rng.choice(
        (*odd, path + "/", path.upper(), path + "?x=%ff", path + "%", path[:-1], path + "#f", "/" + "a/" * 900)
    )


def well_formed_http(session: Session, rng: random.Random) -> bytes:
    """A request that every HTTP parser reads, whatever the host thinks of it."""
    method, path, message = rng.choice(messages(session, rng))
    if rng.random() < 0.05 and session.name not in path:  # or it would be ended
        method = rng.choice(METHODS[:-1])
    body = b"" if message is None and rng.random() < 0.8 else body_of(message, rng)
    headers = _headers(session, rng)
    if rng.random() < 0.1:
        size = rng.randrange(1, 700)
        parts = [body[at : at + size] for at in range(0, len(body), size)]
        framed = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        headers["Transfer-Encoding"] = "chunked"
    else:
        framed = body
        headers["Content-Length"] = str(len(body))
    lines = [f"{method} {_path(path, rng)} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + framed


def broken_http(session: Session, rng: random.Random) -> bytes:
    """Bytes that are no request, or one that ends early, contradicts itself, or is too large."""
    whole = well_formed_http(session, rng)
    head, _, body = whole.partition(b"\r\n\r\n")
    made: tuple[Callable[[], bytes], ...] = (
        lambda: rng.randbytes(rng.randrange(1, 3000)),
        lambda: whole[: rng.randrange(1, len(whole))],
        lambda: head + b"\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n" + body,
        lambda: head + b"\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        lambda: head + b"\r\nTransfer-Encoding: gzip, chunked\r\n\r\n" + body,
        lambda: head.replace(b"Content-Length: ", b"Content-Length: -") + b"\r\n\r\n" + body,
        lambda: head.replace(b"Content-Length: ", b"Content-Length: 99999999999999999999") + b"\r\n\r\n" + body,
        lambda: b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        lambda: b"POST /v1/runs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nzz\r\n0\r\n\r\n",
        lambda: b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * rng.randrange(100, 400) + b"\r\n",
        lambda: b"GET /" + b"a" * rng.randrange(8000, 90_000) + b" HTTP/1.1\r\n\r\n",
        lambda: b"GET / HTTP/1.1\r\nX: " + b"y" * rng.randrange(8000, 90_000) + b"\r\n\r\n",
        lambda: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + rng.randbytes(50),
        lambda: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(500),
        lambda: rng.choice(METHODS).encode() + b" http://x:99999/ HTTP/1.1\r\nHost: y\r\n\r\n",
        lambda: (
            head.replace(b"HTTP/1.1", rng.choice((b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2", b"HTTP/1.", b""))) + b"\r\n\r\n"
        ),
        lambda: head.replace(b"\r\n", b"\n") + b"\n\n" + body,
        lambda: head.replace(b": ", b" : ", 1) + b"\r\n\r\n" + body,
        lambda: head + b"\r\n folded: x\r\n\r\n" + body,
        lambda: head + b"\r\nA\0B: c\r\n\r\n" + body,
    )
    return rng.choice(made)()


# Archives


def archive(rng: random.Random) -> bytes:
    """An archive: honest, hostile, damaged, or of another kind."""
    kind = rng.random()
    if kind < 0.15:
        return honest(rng)
    if kind < 0.65:
        return _hostile(rng)
    if kind < 0.85:
        return _damaged(rng.choice((honest, _hostile))(rng), rng)
    if kind < 0.95:
        return _another(rng)
    return rng.randbytes(rng.randrange(4096)) if rng.random() < 0.5 else bytes(rng.randrange(1 << 16))


def honest(rng: random.Random) -> bytes:
    """What a client sends."""
    names = rng.sample(
        ["a", "b/c", "b/d", "é/ü", "x" * 150, "deep/" * 20 + "f", "Makefile", "src/main.py"], rng.randrange(6)
    )
    return pack({name: rng.randbytes(rng.choice((0, 1, 511, 512, 513, 4000))) for name in names})


def member(
    rng: random.Random, name: bytes, kind: bytes, content: bytes = b"", link: bytes = b"", **fields: bytes
) -> bytes:
    """A member with a right checksum, whatever stands in it; `fields` replace size, magic or checksum."""
    prefix = b""
    if len(name) > 100 and b"/" in name[:155]:
        cut = name[:155].rindex(b"/")
        prefix, name = name[:cut], name[cut + 1 :]
    header = bytearray(512)
    header[0:100] = name[:100].ljust(100, b"\0")
    header[100:108] = b"0000644\0"
    header[124:136] = fields.get("size", b"%011o\0" % len(content))[:12].ljust(12, b"\0")
    header[148:156] = b" " * 8
    header[156:157] = kind
    header[157:257] = link[:100].ljust(100, b"\0")
    header[257:265] = fields.get("magic", b"ustar\x0000")[:8].ljust(8, b"\0")
    header[345:500] = prefix[:155].ljust(155, b"\0")
    header[148:156] = fields.get("checksum", b"%06o\0 " % sum(header))[:8].ljust(8, b"\0")
    return bytes(header) + content + bytes(-len(content) % 512)


def _pax(rng: random.Random) -> bytes:
    """An extended header, mostly of the kind that should not be."""
    keys = (
        "path",
        "path",
        "path",
        "size",
        "linkpath",
        "GNU.sparse.size",
        "GNU.sparse.name",
        "mtime",
        "hdrcharset",
        "x",
    )
    records = b""
    for _ in range(rng.choice((1, 1, 2, 3))):
        value = rng.choice((*NAMES, "99999999999999", "-1", "0")).encode("utf-8", "surrogatepass")
        record = b" %s=%s\n" % (rng.choice(keys).encode(), value)
        length = len(record) + 1
        while len(b"%d" % length) + len(record) != length:
            length = len(b"%d" % length) + len(record)
        records += b"%d%s" % (length + rng.choice((0, 0, 0, 0, 0, 1, -1, 1000)), record)
    return member(rng, b"PaxHeaders/x", rng.choice((b"x", b"x", b"x", b"g")), records)


def _hostile(rng: random.Random) -> bytes:
    """Well-formed blocks that hold what should not be: links, devices, sparse files, names that lead out, bombs."""
    parts: list[bytes] = []
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        name = rng.choice(NAMES).encode("utf-8", "surrogatepass")
        kind = rng.choice(
            (b"0", b"0", b"0", b"\0", b"5", b"1", b"2", b"3", b"4", b"6", b"7", b"S", b"L", b"K", b"V", b"\xff")
        )
        if rng.random() < 0.25:
            parts.append(_pax(rng))
        sizes = (
            b"77777777777\0",
            b"-1\0",
            b"\x80" + bytes(10) + b"\x01",
            b"99999999999\0",
            b"",
            b"\xff" * 12,
            b"00000000001\0",
        )
        fields: dict[str, bytes] = {}
        if rng.random() < 0.12:
            fields["size"] = rng.choice(sizes)
        if rng.random() < 0.05:
            fields["magic"] = rng.choice((b"ustar  \0", b"", b"ustar\0ab", rng.randbytes(8)))
        if rng.random() < 0.05:
            fields["checksum"] = rng.choice((b"", b"0000000\0", rng.randbytes(8), b"-1\0"))
        link = rng.choice((b"", b"", b"/etc/passwd", b"../../x")) if kind in b"012" else b""
        parts.append(member(rng, name, kind, rng.randbytes(rng.choice((0, 0, 10, 512, 2000))), link, **fields))
    if rng.random() < 0.03:
        parts.append(
            member(rng, b"many", b"0") * 12_000
            if rng.random() < 0.3
            else b"".join(member(rng, b"%d" % n, b"5") for n in range(300))
        )
    end = rng.choice(
        (bytes(1024), bytes(1024), bytes(10240), bytes(512), b"", bytes(1024) + member(rng, b"late", b"0"))
    )
    return b"".join(parts) + end


def _damaged(data: bytes, rng: random.Random) -> bytes:
    """Cut off, with bits turned, blocks exchanged, or twice."""
    kind = rng.randrange(5)
    if kind == 0 or len(data) < 1024:
        return data[: rng.randrange(len(data) + 1)]
    if kind == 1:
        changed = bytearray(data)
        for _ in range(rng.choice((1, 1, 4, 40))):
            changed[rng.randrange(min(len(changed), 2048))] ^= 1 << rng.randrange(8)
        return bytes(changed)
    if kind == 2:
        blocks = [data[at : at + 512] for at in range(0, len(data), 512)]
        rng.shuffle(blocks)
        return b"".join(blocks)
    return data + data if kind == 3 else data[rng.randrange(600) :]


def _another(rng: random.Random) -> bytes:
    """Compressed, a zip, as GNU writes it, or larger than is taken."""
    zeros = bytes(1 << 20)
    kind = rng.randrange(7)
    if kind == 0:
        return gzip.compress(zeros, 1)
    if kind == 1:
        return rng.choice((bz2.compress, lzma.compress))(bytes(1 << 16))
    if kind == 2:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("../x", bytes(1 << 16))
        return packed.getvalue()
    if kind == 3:
        return pack({"large": zeros + zeros})
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=rng.choice((tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT))) as file:
        info = tarfile.TarInfo(rng.choice(("a", "folder/" * 12 + "f", "x" * 90)))
        info.type = rng.choice((tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE))
        info.linkname = "target" if info.type in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
        file.addfile(info)
    return written.getvalue()
