"""Sends HTTP requests to the app inside the test process, through a session or as raw ASGI."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any

from quart import Quart
from werkzeug.datastructures import Headers

from bas_server import Container, open_container
from server.common.clock import Clock
from server.config.config import ServerConfig
from server.container import Base
from server.services.firestore.cache.client import CachingClient
from server.services.firestore.routing import RoutingClient
from tests.conftest import PASSWORD
from tests.support.made_once import lay

ADDRESS = "192.0.2.10"
AGENT = "test browser"
BOUND_S = 25.0  # less than an idle connection is kept
USERS = (
    ("reader", "read-only", "default"),
    ("operator", "operator", "default"),
    ("admin", "admin", "default"),
    ("stranger", "admin", "elsewhere"),
)


@dataclass(frozen=True)
class Answer:
    """A response with its whole body (of a stream: as many frames as the test asked for)."""

    status: int
    headers: Headers
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def cookie(self) -> Any:
        """The session cookie's morsel."""
        return SimpleCookie(self.headers["Set-Cookie"])["bas_session_id"]


@dataclass
class Caller:
    """A client of the app at one address; after `log_in` it sends its session as a header."""

    app: Quart
    address: str = ADDRESS
    scheme: str = "http"
    headers: dict[str, str] = field(default_factory=lambda: {"User-Agent": AGENT})

    async def open(self, method: str, path: str, **request: Any) -> Answer:
        """Send a request; `json`, `data`, `headers`, `scheme` are those of Quart's test client."""
        headers = self.headers | request.pop("headers", {})
        scheme = request.pop("scheme", self.scheme)
        client = self.app.test_client(use_cookies=False)
        scope = {"client": (self.address, 40_000)}
        async with asyncio.timeout(BOUND_S):
            response = await client.open(
                path, method=method, headers=headers, scheme=scheme, scope_base=scope, **request
            )
            body: bytes = await response.get_data(as_text=False)
        return Answer(response.status_code, response.headers, body)

    async def get(self, path: str, **request: Any) -> Answer:
        return await self.open("GET", path, **request)

    async def post(self, path: str, body: Any = None, **request: Any) -> Answer:
        """POST a JSON body, or the bytes in `data`."""
        if body is not None:
            request["json"] = body
        return await self.open("POST", path, **request)

    async def post_text(self, path: str, text: str | bytes, **request: Any) -> Answer:
        """POST these bytes unchanged, with the content type of JSON."""
        headers = {"Content-Type": "application/json"} | request.pop("headers", {})
        return await self.open("POST", path, data=text, headers=headers, **request)

    async def log_in(self, name: str, password: str = PASSWORD) -> Answer:
        """Log in; if that succeeds, later requests use the session."""
        answer = await self.post("/auth/login", {"username": name, "password": password})
        if answer.status == 200:
            self.headers["X-Session-ID"] = answer.cookie().value
        return answer

    @property
    def session(self) -> str:
        return self.headers["X-Session-ID"]


async def logged_in(container: Container, name: str, **about: Any) -> Caller:
    """A caller that has logged in as this user."""
    caller = Caller(container.app, **about)
    answer = await caller.log_in(name)
    assert answer.status == 200, answer.body
    return caller


def reading(temp_tenths: int = 235, sensor_ok: bool = True, **more: Any) -> dict[str, Any]:
    """A reading as a device posts it."""
    return {"temp_tenths": temp_tenths, "sensor_ok": sensor_ok, **more}


async def stored(container: Container, tenant_id: str = "default") -> list[Any]:
    """Every stored reading of a tenant, newest first."""
    return await container.base.stores.telemetry.query_recent(tenant_id, None, 10_000)


async def audited(container: Container, action: str, tenant_id: str = "default") -> list[Any]:
    """The tenant's audit entries of one action, newest first."""
    entries = await container.base.stores.audit.query_recent(tenant_id, 1000)
    return [entry for entry in entries if entry.action == action]


async def lose_store(container: Container) -> None:
    """Close the clients of the document store, so that every later call fails."""
    client: Any = container.base.client
    if isinstance(client, CachingClient):
        client = client._client
    stores: set[Any] = {client}
    if isinstance(client, RoutingClient):
        stores = set(client._others.values())
    for store in stores:
        await store.close()


@asynccontextmanager
async def served(config: ServerConfig, clock: Clock, **settings: Any) -> AsyncIterator[Container]:
    """A container with these settings changed, and with the accounts in USERS."""
    changed = dataclasses.replace(config, **settings)
    await lay(changed, clock, _make_accounts)
    async with open_container(changed, clock) as container:
        if not await container.base.stores.users.any():
            await _make_accounts(container.base)
        yield container


async def _make_accounts(base: Base) -> None:
    for name, role, tenant in USERS:
        await base.admin.create_user(name, PASSWORD, role, tenant)


async def exchange(
    app: Quart,
    method: str = "GET",
    path: str = "/",
    *,
    query: bytes = b"",
    headers: list[tuple[bytes, bytes]] | None = None,
    body: bytes = b"",
    address: str = ADDRESS,
    frames: int = 1,
) -> Answer:
    """Send a request as Hypercorn would; a stream is closed after `frames` frames."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("utf-8", "replace"),
        "query_string": query,
        "root_path": "",
        "headers": [(b"host", b"localhost"), *(headers or [])],
        "client": (address, 40_000),
        "server": ("127.0.0.1", 8080),
        "extensions": {},
    }
    messages = [{"type": "http.request", "body": body, "more_body": False}]
    gone = asyncio.Event()
    started: dict[str, Any] = {}
    received = bytearray()

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            started.update(message)
        elif message["type"] == "http.response.body":
            received.extend(message.get("body", b""))
            if is_stream() and received.count(b"\n\n") >= frames:
                gone.set()

    def is_stream() -> bool:
        return any(b"text/event-stream" in value for _, value in started["headers"])

    async with asyncio.timeout(BOUND_S):
        await app(scope, receive, send)
    answered = [
        (name.decode("latin1"), value.decode("latin1")) for name, value in started["headers"]
    ]
    return Answer(started["status"], Headers(answered), bytes(received))
