"""The HAProxy examples of infra/: in front of Redis with a Sentinel, and in front of the server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest

from tests.support.haproxy import need_haproxy
from tests.support.redis import need_redis
from tests.support.site import open_site
from tests.support.stream import eventually
from tools.daemon import free_port
from tools.haproxy import HAProxy
from tools.process import REPOSITORY, ServerProcess
from tools.redis_server import EXECUTABLE, RedisServer

REDIS_CONFIG = REPOSITORY / "infra" / "haproxy-redis.cfg"
SERVER_CONFIG = REPOSITORY / "infra" / "haproxy.cfg"
PASSWORD = "LONG-RANDOM-PASSWORD"
USER = ("ACL", "SETUSER", "bas", "on", f">{PASSWORD}", "~*", "&*", "+@all")
FAIL_OVER_S = 60.0
JSON = {"Content-Type": "application/json"}
READING = {"device_id": "attic", "temp_tenths": 300, "sensor_ok": True}


class Sentinel(RedisServer):
    """A Sentinel that decides alone and soon."""

    def __init__(self, primary: RedisServer) -> None:
        super().__init__()
        self._primary = primary.port

    def _command(self) -> Sequence[str]:
        assert EXECUTABLE is not None
        config = Path(self._folder) / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self._folder}\n"
            f"sentinel monitor bas 127.0.0.1 {self._primary} 1\n"
            "sentinel down-after-milliseconds bas 500\nsentinel failover-timeout bas 2000\n"
        )
        return [EXECUTABLE, str(config), "--sentinel"]


async def test_events_go_on_after_a_sentinel_has_promoted_the_replica() -> None:
    need_redis()
    need_haproxy()
    with RedisServer() as one, RedisServer("--replicaof", f"127.0.0.1 {one.port}") as two:
        for redis in (one, two):
            assert redis.command(*USER) == "+OK"
        port = free_port()
        instead = {
            "127.0.0.1:6379": f"127.0.0.1:{port}",
            "10.0.0.1:6379": f"127.0.0.1:{one.port}",
            "10.0.0.2:6379": f"127.0.0.1:{two.port}",
        }
        url = f"redis://bas:{PASSWORD}@127.0.0.1:{port}/0"
        with Sentinel(one) as sentinel, HAProxy(REDIS_CONFIG, instead, port):

            def knows_the_replica() -> bool:
                return sentinel.command("SENTINEL", "REPLICAS", "bas") == "*1"

            await eventually(knows_the_replica, "the Sentinel knows the replica", FAIL_OVER_S)
            async with open_site(url, 2) as site:
                for member in site.members:
                    await site.open_browsers(2, member)
                await site.publish_everywhere(20)
                await site.all_complete()
                one.kill()
                await site.publish_everywhere(20)
                await eventually(
                    lambda: (
                        two.command("PUBLISH", "x", "") == ":0"
                        and two.command("SET", "primary", "1") == "+OK"
                    ),
                    "the replica is promoted",
                    FAIL_OVER_S,
                )
                await site.publish_everywhere(20)
                await site.all_complete()
                for member in site.members:
                    await member.sse.ping()
                    assert member.figure("bas_events_lost_total") == 0


def _certificate(folder: Path) -> Path:
    """A certificate and its key in one file."""
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    key, certificate = folder / "key.pem", folder / "cert.pem"
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text(certificate.read_text() + key.read_text())
    return both


@pytest.mark.parametrize("gone", ["store", "process"])
async def test_controllers_are_answered_by_a_server_without_its_store(
    tmp_path: Path, gone: str
) -> None:
    """HAProxy keeps a process whose /readyz says 503, and leaves out one that is gone."""
    need_haproxy()
    settings = {"BAS_TRUSTED_PROXIES": "127.0.0.1", "BAS_AUTH_ENABLED": "0"}
    first, second = tmp_path / "first", tmp_path / "second"
    with ServerProcess(first, **settings) as one, ServerProcess(second, **settings) as two:
        port, tls_port = free_port(), free_port()
        instead = {
            # As many files as this machine allows.
            "maxconn 20000": "maxconn 500",
            "bind :80": f"bind 127.0.0.1:{port}",
            "bind :443": f"bind 127.0.0.1:{tls_port}",
            "/etc/ssl/bas/both.pem": str(_certificate(tmp_path)),
            "127.0.0.1:8081": f"127.0.0.1:{one.port}",
            "127.0.0.1:8082": f"127.0.0.1:{two.port}",
        }
        with HAProxy(SERVER_CONFIG, instead, port):
            url = f"http://127.0.0.1:{port}/api/sensor_data"

            async def post() -> httpx.Response:
                async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
                    return await client.post(url, content=json.dumps(READING), headers=JSON)

            assert (await post()).status_code == 200
            if gone == "store":
                for folder in (first, second):
                    (folder / "bas.db").unlink()
            else:
                one.kill()
            async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
                if gone == "store":

                    async def says_so() -> bool:
                        answer = await client.get(f"{two.url}/readyz")
                        return answer.status_code == 503

                    await eventually(says_so, "the server says that its store is away")
            for _ in range(20):
                answer = await post()
                assert answer.status_code == 200
                assert answer.json().get("stored", True) is (gone == "process")
            async with httpx.AsyncClient(trust_env=False, verify=False, timeout=10) as client:
                moved = await client.get(f"http://127.0.0.1:{port}/")
                assert moved.status_code == 308
                page = await client.get(f"https://127.0.0.1:{tls_port}/healthz")
                assert page.json() == {"status": "alive"}
