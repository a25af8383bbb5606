"""Calls the routes of one vLLM server, and checks that it has all that training needs."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any

import aiohttp

from agent_rl.contracts.policy import WeightManifest
from agent_rl.errors import PolicyError

NEEDED = {
    "/inference/v1/generate": "tokens in, tokens out: start it with --enable-scale-out",
    "/pause": "pausing: start it with VLLM_SERVER_DEV_MODE=1",
    "/resume": "pausing: start it with VLLM_SERVER_DEV_MODE=1",
    "/abort_requests": "deadlines: start it with VLLM_SERVER_DEV_MODE=1",
    "/start_weight_update": "weight transfer: start it with VLLM_SERVER_DEV_MODE=1",
    "/update_weights": "weight transfer: start it with VLLM_SERVER_DEV_MODE=1",
    "/finish_weight_update": "weight transfer: start it with VLLM_SERVER_DEV_MODE=1",
    "/update_weight_version": "versions: start it with VLLM_SERVER_DEV_MODE=1",
    "/weight_info": "versions: start it with VLLM_SERVER_DEV_MODE=1",
    "/server_info": "its settings: start it with VLLM_SERVER_DEV_MODE=1",
    "/sleep": "sleeping: start it with VLLM_SERVER_DEV_MODE=1",
    "/wake_up": "sleeping: start it with VLLM_SERVER_DEV_MODE=1",
}
"""Route -> its purpose and how to switch it on, as of vLLM 0.32."""

_LARGE = 1 << 20
"""Bytes. A longer body is sent in parts, so that the event loop is not held up."""


class ServerLost(Exception):
    """The server cannot be reached, or reports that its engine is dead."""


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """The version and the routes that a server reports."""

    version: str
    routes: frozenset[str]

    def missing(self) -> list[str]:
        """The needed routes that the server lacks, each with its remedy."""
        return [f"{route} ({why})" for route, why in NEEDED.items() if route not in self.routes]


class VllmClient:
    """A client of the server at `address`: http://host:port, or the path of a Unix socket."""

    def __init__(self, address: str, *, timeout: float = 120.0) -> None:
        """`timeout`: seconds allowed for each call, except for those that generate."""
        self.address = address
        unix = not address.startswith(("http://", "https://"))
        self._base = "http://vllm" if unix else address.rstrip("/")
        # A connection that is kept may be closed by the server just when a call uses it again.
        each = {"limit": 0, "force_close": True}
        connector = aiohttp.UnixConnector(address, **each) if unix else aiohttp.TCPConnector(**each)
        self._http = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))
        self._timeout = timeout

    async def close(self) -> None:
        """All connections are closed. Idempotent."""
        await self._http.close()

    async def probe(self) -> ServerInfo:
        """The server's version and routes. Raises PolicyError that names the missing routes."""
        version = (await self._get("/version")).get("version", "unknown")
        routes = frozenset((await self._get("/openapi.json")).get("paths", {}))
        info = ServerInfo(str(version), routes)
        if missing := info.missing():
            raise PolicyError(
                f"the vLLM server at {self.address} (version {info.version}) lacks routes that training needs: "
                + "; ".join(missing)
            )
        return info

    async def check_settings(self, backend: str) -> None:
        """The server has the settings that training needs. Raises PolicyError that names each wrong setting.

        For servers that somebody else started. It may take seconds: vLLM inspects the whole machine.
        """
        said = (await self._get("/server_info", config_format="json"))["vllm_config"]
        wrong: list[str] = []
        if (mode := (said.get("model_config") or {}).get("logprobs_mode")) != "processed_logprobs":
            # Other modes give log-probabilities of another distribution than the one sampled from.
            wrong.append(f"--logprobs-mode processed_logprobs (it has {mode})")
        if (used := (said.get("weight_transfer_config") or {}).get("backend")) != backend:
            wrong.append(f"--weight-transfer-config '{json.dumps({'backend': backend})}' (it has {used})")
        if wrong:
            raise PolicyError(f"the vLLM server at {self.address} must be started with " + " and ".join(wrong))

    async def generate(self, body: bytes) -> str:
        """The answer to a generation request, both as JSON; there is no timeout."""
        return await self._request("POST", "/inference/v1/generate", body, {}, None)

    async def abort(self, request_id: str) -> None:
        """The request ends and returns the tokens sampled so far; an unknown id is not an error."""
        await self._post("/abort_requests", {"request_ids": [request_id]})

    async def pause(self) -> None:
        """Running requests are paused between two tokens and keep their state."""
        await self._post("/pause", None, mode="keep", clear_cache="false")

    async def resume(self) -> None:
        """Paused requests continue."""
        await self._post("/resume", None)

    async def update_weights(self, source: WeightManifest | str, version: int) -> None:
        """The server has the weights of `source` (a manifest or a model's folder), and calls them `version`.

        Pause the server before this call. Raises PolicyError if the server could not load the weights.
        """
        update = {"path": source} if isinstance(source, str) else {"manifest": asdict(source)}
        await self._post("/start_weight_update", None)
        await self._post("/update_weights", {"update_info": update})
        await self._post("/finish_weight_update", {"weight_version": str(version)})

    async def set_version(self, version: int) -> None:
        """The server calls its current weights `version`."""
        await self._post("/update_weight_version", {"new_version": str(version)})

    async def version(self) -> int | None:
        """The version of the current weights; None if none was ever set."""
        said = str((await self._get("/weight_info")).get("weight_version"))
        return int(said) if said.isdigit() else None

    async def sleep(self, level: int) -> None:
        """Requests are paused; at level 1 the weights move to host memory and the cache is discarded."""
        await self._post("/sleep", None, level=str(level), mode="keep")

    async def wake(self) -> None:
        """The weights are back on the device, and requests continue."""
        await self._post("/wake_up", None)

    async def sampled_tokens(self) -> int:
        """The number of tokens sampled since the server started, running requests included."""
        text = await self._request("GET", "/metrics", None, {}, self._timeout)
        return sum(int(float(n)) for n in re.findall(r"^vllm:generation_tokens_total\{[^}]*\} (\S+)", text, re.M))

    async def healthy(self, timeout: float = 10.0) -> bool:
        """Whether the server answers and its engine is alive."""
        try:
            await self._request("GET", "/health", None, {}, timeout)
        except (ServerLost, PolicyError):
            return False
        return True

    async def _get(self, path: str, **query: str) -> dict[str, Any]:
        return _json(await self._request("GET", path, None, query, self._timeout))

    async def _post(self, path: str, body: Mapping[str, Any] | None, **query: str) -> dict[str, Any]:
        encoded = None if body is None else json.dumps(body).encode()
        return _json(await self._request("POST", path, encoded, query, self._timeout))

    async def _request(
        self, method: str, path: str, body: bytes | None, query: Mapping[str, str], timeout: float | None
    ) -> str:
        """The answer's text. `body` is JSON.

        Raises ServerLost if the connection breaks, PolicyError if vLLM refuses or times out.
        """
        try:
            async with asyncio.timeout(timeout):
                headers = {} if body is None else {"Content-Type": "application/json"}
                data = body if body is None or len(body) < _LARGE else BytesIO(body)
                url = self._base + path
                async with self._http.request(method, url, data=data, headers=headers, params=query) as answer:
                    text = (await answer.read()).decode()
        except TimeoutError:
            raise PolicyError(f"vLLM did not answer {path} within {timeout:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ServerLost(f"{path}: {type(error).__name__}: {error}") from error
        if answer.status >= 500:
            raise ServerLost(f"{path}: status {answer.status}: {text[:500]}")
        if answer.status >= 400:
            raise PolicyError(f"vLLM refused {path} (status {answer.status}): {text[:1000]}")
        return text


def _json(text: str) -> dict[str, Any]:
    value: Any = json.loads(text) if text else {}
    return value if isinstance(value, dict) else {}  # pyright: ignore[reportUnknownVariableType]
