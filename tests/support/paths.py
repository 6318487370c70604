"""A device's post by every path that there is, and its command whichever it took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bas_server import Container
from tests.support.http import Answer, Caller
from tests.support.serving import ask, request

SINGLE, BATCH = "/api/sensor_data", "/api/sensor_data/batch"
# Before Quart on a socket (where it is ordinary), by Quart, and as a batch of one row.
PATHS = ("socket", "quart", "json", "ndjson")
SINGLES = PATHS[:2]
ON, OFF = (True, True), (False, False)


@dataclass(frozen=True)
class Sender:
    """Posts one body by one path, with a device's key or with none."""

    container: Container
    port: int
    path: str
    key: str | None = None

    async def post(self, body: str | bytes, **headers: str) -> Answer:
        """Post it as it is, in a JSON array where the path is one."""
        raw = body.encode() if isinstance(body, str) else body
        return await self.post_whole(b"[" + raw + b"]" if self.path == "json" else raw, **headers)

    async def post_whole(self, raw: bytes, **headers: str) -> Answer:
        """Post this and nothing around it."""
        sent = {"Content-Type": "application/json"}
        if self.path == "ndjson":
            sent["Content-Type"] = "application/x-ndjson"
        if self.key is not None:
            sent["X-Device-Key"] = self.key
        sent |= {name.replace("_", "-"): text for name, text in headers.items()}
        if self.path == "socket":
            (answer,) = await ask(self.port, request(raw, sent | {"Connection": "close"}))
            return answer
        path = SINGLE if self.path == "quart" else BATCH
        return await Caller(self.container.app).post_text(path, raw, headers=sent)

    async def commanded(self, body: str | bytes, **headers: str) -> dict[str, Any]:
        """The command that it is answered with."""
        return command(await self.post(body, **headers))


def command(answer: Answer) -> dict[str, Any]:
    """What one device is told, in an answer that must be its 200."""
    assert answer.status == 200, answer.body
    told: dict[str, Any] = answer.json()
    if "commands" in told:
        assert told["errors"] == [], told
        (told,) = told["commands"]
    return {name: value for name, value in told.items() if name != "device_id"}


def relays(told: dict[str, Any]) -> tuple[bool, bool]:
    """Whether the cooler and the heater are to be on."""
    return told["cool_active"], told["heat_active"]
