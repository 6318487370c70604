"""Posts one reading by each of the server's input paths and returns the command of the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bas_server import Container
from tests.support.http import Answer, Caller
from tests.support.serving import ask, request

SINGLE, BATCH = "/api/sensor_data", "/api/sensor_data/batch"
# `socket`: the fast path in front of Quart, which takes ordinary posts. `quart`: Quart's route.
# `json` and `ndjson`: a batch of one row.
PATHS = ("socket", "quart", "json", "ndjson")
SINGLES = PATHS[:2]
ON, OFF = (True, True), (False, False)


@dataclass(frozen=True)
class Sender:
    """Posts bodies by one path, with or without a device key."""

    container: Container
    port: int
    path: str
    key: str | None = None

    async def post(self, body: str | bytes, **headers: str) -> Answer:
        """Post the body, within a JSON array if the path is `json`."""
        raw = body.encode() if isinstance(body, str) else body
        return await self.post_whole(b"[" + raw + b"]" if self.path == "json" else raw, **headers)

    async def post_whole(self, raw: bytes, **headers: str) -> Answer:
        """Post the bytes unchanged."""
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
        """Post the body and return the command of the answer."""
        return command(await self.post(body, **headers))


def command(answer: Answer) -> dict[str, Any]:
    """The command for the only device of an answer, which must be a 200."""
    assert answer.status == 200, answer.body
    content: dict[str, Any] = answer.json()
    if "commands" in content:
        assert content["errors"] == [], content
        (content,) = content["commands"]
    return {name: value for name, value in content.items() if name != "device_id"}


def relays(content: dict[str, Any]) -> tuple[bool, bool]:
    """Whether a command switches the cooler and the heater on."""
    return content["cool_active"], content["heat_active"]
