"""`ConnectionLimit`: accepts at most a set number of connections to a server, with TLS if there is a certificate."""

from __future__ import annotations

import asyncio
import ssl

from aiohttp import web

_HANDSHAKE_SECONDS = 10.0
_FULL = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class ConnectionLimit:
    """Makes the protocol of each accepted connection. The server gets at most `most`; further ones are answered 429.

    A TLS handshake is made here, not by the event loop's server, which does not count unfinished handshakes. With those
    under way there are at most a quarter more connections, to be answered 429; any others are closed without an answer.
    """

    def __init__(self, server: web.Server, tls: ssl.SSLContext | None, most: int) -> None:
        self._server = server
        self._tls = tls
        self._most = most
        self._shaking: set[asyncio.Task[None]] = set()

    def __call__(self) -> asyncio.Protocol:
        return _NewConnection(self)

    async def close(self) -> None:
        """No handshake is under way."""
        for task in self._shaking:
            task.cancel()
        await asyncio.gather(*self._shaking, return_exceptions=True)

    def receive(self, connection: _NewConnection, transport: asyncio.Transport) -> None:
        """Gives a connection to the server, or starts its TLS handshake, or drops it."""
        if self._tls is None:
            self._let_in(connection, transport)
        elif len(self._server.connections) + len(self._shaking) >= self._most + max(1, self._most // 4):
            transport.abort()
        else:
            transport.pause_reading()
            task = asyncio.ensure_future(self._shake(connection, transport, self._tls))
            self._shaking.add(task)
            task.add_done_callback(self._shaking.discard)

    async def _shake(self, connection: _NewConnection, transport: asyncio.Transport, tls: ssl.SSLContext) -> None:
        try:
            safe = await asyncio.get_running_loop().start_tls(
                transport, connection, tls, server_side=True, ssl_handshake_timeout=_HANDSHAKE_SECONDS
            )
        except (OSError, TimeoutError):
            transport.abort()  # whatever it speaks, it is not TLS as it is spoken here
        except BaseException:
            transport.abort()
            raise
        else:
            if safe is not None:
                self._let_in(connection, safe)

    def _let_in(self, connection: _NewConnection, transport: asyncio.Transport) -> None:
        if len(self._server.connections) >= self._most:
            transport.write(_FULL)
            transport.close()
            return
        handler = self._server()
        transport.set_protocol(handler)
        handler.connection_made(transport)
        if connection.early:
            handler.data_received(bytes(connection.early))
        if connection.lost:
            handler.connection_lost(None)


class _NewConnection(asyncio.Protocol):
    """A connection that the server does not have yet. It keeps the bytes that arrive until the server has it."""

    def __init__(self, limit: ConnectionLimit) -> None:
        self._limit = limit
        self.early = bytearray()
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._limit.receive(self, transport)

    def data_received(self, data: bytes) -> None:
        self.early += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
