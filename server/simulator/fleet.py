"""Simulates zones: posts readings by HTTP like the controllers in the field, obeys the answers."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import ssl
from dataclasses import dataclass
from random import Random
from urllib.parse import urlsplit

from server.common.clock import Clock, SystemClock
from server.simulator.room import ThermalParams, ThermalZone

log = logging.getLogger(__name__)

ZONES_MAX = 10_000
TICKS_WRAP = 2**30
ANSWER_MAX_BYTES = 65_536
PIECE_BYTES = 1_024  # the controllers' receive buffer
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Target:
    """The URL that the zones post to, checked once."""

    host: str
    port: int
    tls: bool
    host_header: str
    path: str

    @classmethod
    def parse(cls, url: str) -> Target:
        """Parse a server's base address. Raises ValueError that says what to write instead."""
        hint = f"not {url!r}: give the server's address, for example http://127.0.0.1:8080"
        if not url.isascii() or not url.isprintable() or " " in url:
            raise ValueError(f"The URL holds characters that do not belong there, {hint}")
        try:
            parts = urlsplit(url)
            port = parts.port
            (parts.hostname or "").encode("idna")
        except ValueError as problem:
            raise ValueError(f"The URL's host or port is wrong ({problem}), {hint}") from None
        if parts.scheme not in ("http", "https"):
            raise ValueError(f"The URL must start with http:// or https://, {hint}")
        if not parts.hostname or "@" in parts.netloc:
            raise ValueError(f"The URL must name a host and no user, {hint}")
        if port == 0:
            raise ValueError(f"The URL's port must be 1..65535, {hint}")
        if parts.query or parts.fragment:
            raise ValueError(f"The URL must end after its path, {hint}")
        tls = parts.scheme == "https"
        return cls(
            host=parts.hostname,
            port=port or (443 if tls else 80),
            tls=tls,
            host_header=parts.netloc,
            path=parts.path.rstrip("/") + "/api/sensor_data",
        )


@dataclass(slots=True)
class SimulatorStats:
    """Counts since the start; latencies are those of the last closed window in ms, 0.0 before."""

    posts_ok: int = 0
    posts_failed: int = 0
    zones_cooling: int = 0
    p50_ms: float = 0.0
    p99_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class ReceivedCommand:
    """The relay states that an answer asks for."""

    cooling: bool = False
    heating: bool = False


class PostFailed(Exception):
    """No command came back; the zone keeps its last one."""


async def read_answer(reader: asyncio.StreamReader) -> bytes:
    """Read the whole answer: as long as its content-length says, else until the server closes.

    Raises PostFailed when it ends early or grows beyond ANSWER_MAX_BYTES.
    """
    answer = b""
    length: int | None = None
    while length is None or len(answer) < length:
        piece = await reader.read(PIECE_BYTES)
        answer += piece
        if len(answer) > ANSWER_MAX_BYTES:
            raise PostFailed("the answer is too long")
        if not piece:
            if length is not None:
                raise PostFailed(f"the answer ended after {len(answer)} of {length} bytes")
            break
        head, blank_line, _ = answer.partition(b"\r\n\r\n")
        if length is None and blank_line and (found := CONTENT_LENGTH.search(head + b"\r\n")):
            length = len(head) + len(blank_line) + int(found[1])
    return answer[:length]


def parse_answer(answer: bytes) -> ReceivedCommand:
    """Return the command in an answer.

    Raises PostFailed unless the answer contains the text `200 OK` and its body is a command as
    JSON: the controllers in the field obey nothing else.
    """
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"200 OK" not in answer:
        raise PostFailed(f"no '200 OK' in the answer, which begins {head[:60]!r}")
    try:
        fields = json.loads(body)
        cooling, heating = fields["cool_active"], fields["heat_active"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise PostFailed(f"no command in the answer's body, which begins {body[:60]!r}") from None
    if not (isinstance(cooling, bool) and isinstance(heating, bool)):
        raise PostFailed("the command's relay states are not true or false")
    return ReceivedCommand(cooling, heating)


@dataclass(slots=True)
class Controller:
    """One simulated controller and the room around it; times are a clock's monotonic seconds."""

    device_id: str
    room: ThermalZone
    ticks_offset_ms: int
    advanced_to_s: float
    command: ReceivedCommand = ReceivedCommand()

    def report(self, now_s: float) -> bytes:
        """Return the body of a post: the sensor's reading, and the controller's tick count in ms.

        Before the reading the room changes until `now_s` under the last command.
        """
        self.room.advance(
            max(0.0, now_s - self.advanced_to_s),
            cooling=self.command.cooling,
            heating=self.command.heating,
        )
        self.advanced_to_s = now_s
        reading = self.room.read()
        payload = {
            "temp_tenths": reading.temp_tenths,
            "sensor_ok": reading.sensor_ok,
            "timestamp": (int(now_s * 1000) + self.ticks_offset_ms) % TICKS_WRAP,
            "device_id": self.device_id,
        }
        return json.dumps(payload).encode()


class Simulator:
    """A fleet of `zones` controllers, each posting to `url` every `interval_s` seconds.

    `timeout_s` limits one whole exchange; at most `max_connections` are open at a time, and further
    posts wait. The same `seed` gives the same rooms. Without `verify` any certificate will do.
    Raises ValueError for a bad argument.
    """

    def __init__(
        self,
        url: str,
        *,
        zones: int,
        interval_s: float = 2.0,
        seed: int = 1,
        timeout_s: float = 5.0,
        max_connections: int = 100,
        report_every_s: float = 10.0,
        clock: Clock | None = None,
        verify: bool = True,
    ) -> None:
        if not 1 <= zones <= ZONES_MAX:
            raise ValueError(f"The number of zones must be 1..{ZONES_MAX}, not {zones}")
        if max_connections < 1:
            raise ValueError(f"max_connections must be at least 1, not {max_connections}")
        for name, seconds in (
            ("interval_s", interval_s),
            ("timeout_s", timeout_s),
            ("report_every_s", report_every_s),
        ):
            if not seconds > 0:
                raise ValueError(f"{name} must be more than 0 s, not {seconds}")
        self.stats = SimulatorStats()
        self._target = Target.parse(url)
        self._tls = ssl.create_default_context() if self._target.tls else None
        if self._tls is not None and not verify:
            self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE
        self._clock = clock or SystemClock()
        self._zones = zones
        self._interval_s = interval_s
        self._seed = seed
        self._timeout_s = timeout_s
        self._gate = asyncio.Semaphore(max_connections)
        self._report_every_s = report_every_s
        self._latencies_ms: list[float] = []
        self._failures_unsaid = 0
        self._failures_silent_until_s = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Post until `stop` is set or the caller cancels; no task outlives this call."""
        devices = self._power_on()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._report())]
            for index, device in enumerate(devices):
                delay_s = self._interval_s * index / self._zones
                tasks.append(group.create_task(self._live(device, delay_s)))
            await stop.wait()
            for task in tasks:
                task.cancel()
        self._close_window()

    def summary(self) -> str:
        """Return one line with the totals since the start, for the end of a run."""
        s = self.stats
        return (
            f"{self._zones} zones: {s.posts_ok} posts ok, {s.posts_failed} failed; "
            f"last answers took p50 {s.p50_ms:.1f} ms, p99 {s.p99_ms:.1f} ms"
        )

    def _power_on(self) -> list[Controller]:
        now_s = self._clock.monotonic()
        digits = max(2, len(str(self._zones)))
        devices = []
        for number in range(1, self._zones + 1):
            rng = Random(self._seed * ZONES_MAX + number)  # noqa: S311  (weather, not secrets)
            room = ThermalZone(ThermalParams.varied(rng), rng, start_c=rng.uniform(23.0, 25.0))
            uptime_ms = rng.randrange(TICKS_WRAP)
            devices.append(Controller(f"sim-{number:0{digits}}", room, uptime_ms, now_s))
        return devices

    async def _live(self, device: Controller, delay_s: float) -> None:
        due_s = self._clock.monotonic() + delay_s
        while True:
            await asyncio.sleep(due_s - self._clock.monotonic())
            async with self._gate:
                await self._post(device)
            # A late zone skips posts, like a controller that waits for its time-out.
            due_s = max(due_s + self._interval_s, self._clock.monotonic())

    async def _post(self, device: Controller) -> None:
        start_s = self._clock.monotonic()
        try:
            async with asyncio.timeout(self._timeout_s):
                command = parse_answer(await self._exchange(device.report(start_s)))
        except TimeoutError:
            self._failed(f"no answer within {self._timeout_s:g} s")
        except OSError as problem:
            self._failed(str(problem) or type(problem).__name__)
        except PostFailed as problem:
            self._failed(str(problem))
        else:
            self.stats.zones_cooling += command.cooling - device.command.cooling
            device.command = command
            self.stats.posts_ok += 1
            self._latencies_ms.append((self._clock.monotonic() - start_s) * 1000)

    async def _exchange(self, body: bytes) -> bytes:
        target = self._target
        reader, writer = await asyncio.open_connection(target.host, target.port, ssl=self._tls)
        try:
            writer.write(
                f"POST {target.path} HTTP/1.1\r\n"
                f"Host: {target.host_header}\r\n"
                "Content-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n"
                "Connection: close\r\n\r\n".encode()
                + body
            )
            await writer.drain()
            return await read_answer(reader)
        finally:
            writer.transport.abort()

    def _failed(self, why: str) -> None:
        self.stats.posts_failed += 1
        self._failures_unsaid += 1
        now_s = self._clock.monotonic()
        if now_s >= self._failures_silent_until_s:
            log.warning("%d posts failed, the last one: %s", self._failures_unsaid, why)
            self._failures_unsaid = 0
            self._failures_silent_until_s = now_s + self._report_every_s

    async def _report(self) -> None:
        ok = failed = 0
        while True:
            await asyncio.sleep(self._report_every_s)
            self._close_window()
            s = self.stats
            log.info(
                "In %g s: %d posts ok, %d failed; p50 %.1f ms, p99 %.1f ms; %d of %d zones cooling",
                self._report_every_s,
                s.posts_ok - ok,
                s.posts_failed - failed,
                s.p50_ms,
                s.p99_ms,
                s.zones_cooling,
                self._zones,
            )
            ok, failed = s.posts_ok, s.posts_failed

    def _close_window(self) -> None:
        window = sorted(self._latencies_ms)
        self._latencies_ms.clear()
        if window:
            self.stats.p50_ms = window[len(window) // 2]
            self.stats.p99_ms = window[len(window) * 99 // 100]
