"""infra/prometheus in a real Prometheus, and what it says when a sensor fails."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.crew import Crew
from tests.support.monitoring import chosen_in_grafana, need_prometheus, shown_by_grafana
from tests.support.stream import caller, eventually
from tools.process import ServerProcess
from tools.prometheus import FOLDER, Prometheus, promtool
from tools.redis_server import RedisServer

TOKEN = "prometheus reads this".replace(" ", "-")
SIGHT_S = 60.0
PANELS = list(shown_by_grafana())
# Panels about failures, about people, and about what not every site has.
MAY_BE_EMPTY = {
    "Zones in trouble",
    "Refused readings",
    "Errors",
    "Failures of the store",
    "Clock",
    "Reads by where they were answered",
    "Streams that ended",
    "How streams began",
    "Log-ins",
    "Refused requests",
}
QUOTED = '} 1 "quoted" \\'


@pytest.fixture(autouse=True)
def prometheus_is_there() -> None:
    need_prometheus()


@pytest.fixture(params=["one process", "two processes"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server with simulated zones, as one process and as two."""
    settings = {"BAS_METRICS_TOKEN": TOKEN, "BAS_AUTH_ENABLED": "1"}
    if request.param == "one process":
        with ServerProcess(tmp_path / "data", "--demo", **settings) as alone:
            yield alone
        return
    redis: RedisServer = request.getfixturevalue("redis")
    with Crew(tmp_path / "data", redis, "--demo", BAS_PROCESSES="2", **settings) as crew:
        yield crew


async def post(server: ServerProcess, device_id: str, **reading: object) -> None:
    async with caller(server.url) as client:
        answer = await client.post("/api/sensor_data", json={"device_id": device_id, **reading})
        assert answer.status_code == 200, answer.text


def test_prometheus_accepts_the_configuration_and_the_rules(tmp_path: Path) -> None:
    for name in ("prometheus.yml", "compose.yml", "bas.rules.yml"):
        (tmp_path / name).write_text((FOLDER / name).read_text())
    (tmp_path / "bas.token").write_text(TOKEN)
    for name in ("prometheus.yml", "compose.yml"):
        checked = promtool("check", "config", str(tmp_path / name))
        assert checked.returncode == 0, checked.stderr + checked.stdout
    tested = promtool("test", "rules", str(FOLDER / "bas.rules.test.yml"))
    assert tested.returncode == 0, tested.stderr + tested.stdout


def test_prometheus_understands_every_expression_of_the_dashboard(tmp_path: Path) -> None:
    lines = ["groups:", "  - name: dashboard", "    rules:"]
    for number, (_, expression) in enumerate(shown_by_grafana()):
        quoted = expression.replace("'", "''")
        lines += [f"      - record: panel:{number}", f"        expr: '{quoted}'"]
    rules = tmp_path / "dashboard.yml"
    rules.write_text("\n".join(lines))
    checked = promtool("check", "rules", str(rules))
    assert checked.returncode == 0, checked.stderr + checked.stdout
    assert chosen_in_grafana()


async def test_prometheus_reads_a_server_and_alerts_when_a_sensor_fails(
    server: ServerProcess,
) -> None:
    await post(server, QUOTED, temp_tenths=235, sensor_ok=True)
    with Prometheus([server.port], TOKEN) as prometheus:

        async def ask(expression: str) -> list[tuple[dict[str, str], float]]:
            return await asyncio.to_thread(prometheus.query, expression)

        async def all_up() -> bool:
            targets = await asyncio.to_thread(prometheus.targets)
            return {health for health, _ in targets.values()} == {"up"}

        await eventually(all_up, "both targets are up", SIGHT_S)
        instance = f"127.0.0.1:{server.port}"
        assert set(prometheus.targets()) == {("bas", instance), ("bas-zones", instance)}

        async def zone(name: str) -> list[tuple[dict[str, str], float]]:
            found = await ask(f"bas_zone_{name}")
            return [one for one in found if one[0]["device"] == QUOTED]

        async def is_read() -> bool:
            return [value for _, value in await zone("temperature_celsius")] == [23.5]

        await eventually(is_read, "the zone's temperature is read", SIGHT_S)
        assert [alert["alertname"] for alert in prometheus.firing()] == []

        async def panels_have_data() -> bool:
            return {title for title, shown in PANELS if not await ask(shown)} <= MAY_BE_EMPTY

        await eventually(panels_have_data, "the dashboard's panels have data", SIGHT_S)

        await post(server, QUOTED, temp_tenths=None, sensor_ok=False)

        async def alerts() -> bool:
            firing = await asyncio.to_thread(prometheus.firing)
            return any(
                (one["alertname"], one.get("device"), one.get("state"))
                == ("BasZoneInTrouble", QUOTED, "fault")
                for one in firing
            )

        await eventually(alerts, "the failed sensor is in an alert", SIGHT_S)
        assert await zone("temperature_celsius") == []

        server.kill()

        async def is_down() -> bool:
            firing = await asyncio.to_thread(prometheus.firing)
            return any(one["alertname"] == "BasDown" for one in firing)

        await eventually(is_down, "the dead server is in an alert", SIGHT_S)


async def test_the_processes_of_a_server_are_in_one_answer(
    tmp_path: Path, redis: RedisServer
) -> None:
    """Whichever process a scrape reaches, it is told of all of them and of their supervisor."""
    async with asyncio.timeout(SIGHT_S):
        with Crew(tmp_path / "data", redis, BAS_PROCESSES="2") as crew:
            for _ in range(20):
                await post(crew, "lab", temp_tenths=235, sensor_ok=True)

            async def settled() -> bool:
                samples = await scraped(crew)
                posts = 'bas_http_requests_total{code="200",route="/api/sensor_data"}'
                return samples.get(posts) == 20

            await eventually(settled, "a scrape has the posts to both processes", SIGHT_S)
            samples = await scraped(crew)
            assert samples["bas_processes"] == samples["bas_processes_wanted"] == 2
            memory = [name for name in samples if name.startswith("process_resident_memory")]
            assert len(memory) == 3
            assert all(samples[name] > 1e6 for name in memory)


async def scraped(server: ServerProcess) -> dict[str, float]:
    """The samples of /metrics, read on a new connection and so from any process."""
    async with caller(server.url) as client:
        text = (await client.get("/metrics")).text
    lines = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}
