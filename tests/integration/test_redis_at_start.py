"""A start looks whether its Redis can carry the site: real servers that cannot, and why."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from server.common.clock import Clock, SystemClock
from server.common.metrics import Metrics
from server.services.ports.event_log import LogUnavailable
from server.services.site.factory import shared_redis
from server.services.sse_service.factory import shared_log
from tests.support.redis import need_redis
from tools.daemon import free_port
from tools.redis_server import EXECUTABLE, RedisServer

# The rights that a server uses at its start and for events.
RIGHTS = (
    "+eval +evalsha +script|load +xadd +xrange +hget +hmget +hset +hdel +hgetall +get +set +expire "
    "+pexpire +pttl +del +publish +subscribe +unsubscribe +ping +time +info +client|setname +select"
)


class Sentinel(RedisServer):
    """A Redis Sentinel that watches nothing."""

    def _command(self) -> Sequence[str]:
        assert EXECUTABLE is not None
        config = Path(self._folder) / "sentinel.conf"
        config.write_text(f"port {self.port}\nbind 127.0.0.1\ndir {self._folder}\n")
        return [EXECUTABLE, str(config), "--sentinel"]


class ClusterNode(RedisServer):
    """A node of a cluster, without any slots yet."""

    def __init__(self, *options: str) -> None:
        super().__init__("--cluster-enabled", "yes", *options)
        # Redis 6.2 takes this port too, and no setting names another one.
        while not _is_free(self.port + 10_000):
            self.port = free_port()

    def add_slots(self, count: int) -> None:
        assert self.command("CLUSTER", "ADDSLOTS", *map(str, range(count))) == "+OK"


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


async def start(url: str) -> None:
    """Open the site and the log as a server does, and close them."""
    clock, metrics = SystemClock(), Metrics()
    with TemporaryDirectory() as folder:
        await _start(url, clock, metrics, Path(folder))


async def _start(url: str, clock: Clock, metrics: Metrics, folder: Path) -> None:
    async with (
        asyncio.timeout(20),
        shared_redis(url, clock, metrics) as site,
        shared_log(site, clock, metrics, folder, max_events=100, max_bytes=10**6) as log,
    ):
        assert log is not None
        await log.ping()


async def refusal(url: str) -> str:
    with pytest.raises(LogUnavailable) as refused:
        await start(url)
    return str(refused.value)


async def test_a_sentinel_is_refused_and_the_remedy_is_to_name_the_primary() -> None:
    need_redis()
    with Sentinel() as sentinel:
        text = await refusal(sentinel.url)
    assert "Sentinel" in text
    assert "name the primary, or an HAProxy" in text
    assert f"127.0.0.1:{sentinel.port}" in text


@pytest.mark.parametrize("slots", ["none", "all"])
async def test_a_node_of_a_cluster_is_refused(slots: str) -> None:
    need_redis()
    with ClusterNode() as node:
        if slots == "all":
            node.add_slots(16384)
        assert "node of a Redis Cluster" in await refusal(node.url)


async def test_a_node_of_a_cluster_that_hides_what_it_is_is_refused_too() -> None:
    need_redis()
    with ClusterNode("--rename-command", "INFO", "") as node:
        node.add_slots(6)
        text = await refusal(node.url)
    assert "Redis refuses events" in text
    assert "Cluster" in text or "Moved" in text


@pytest.mark.parametrize("missing", ["+publish", "+xadd", "+evalsha", "+hset", "+expire", "+hget"])
async def test_a_user_without_a_right_that_events_need_is_refused_with_its_name(
    redis: RedisServer, missing: str
) -> None:
    rights = [right for right in RIGHTS.split() if right != missing]
    user = ["on", ">pw", "~bas:*", "resetchannels", "&bas:*", "-@all", *rights]
    assert redis.command("ACL", "SETUSER", "bas", *user) == "+OK"
    url = redis.url.replace("redis://", "redis://bas:pw@")
    text = await refusal(url)
    assert "Redis refuses events" in text
    assert missing[1:] in text
    assert "docs/operations.md" in text
    assert ":pw@" not in text


async def test_a_user_with_exactly_these_rights_is_accepted(redis: RedisServer) -> None:
    user = ["on", ">pw", "~bas:*", "resetchannels", "&bas:*", "-@all", *RIGHTS.split()]
    redis.command("ACL", "SETUSER", "bas", *user)
    await start(redis.url.replace("redis://", "redis://bas:pw@"))


@pytest.mark.parametrize(
    "option", ["protocol=3", "decode_responses=1", "protocol=2&decode_responses=True"]
)
async def test_a_url_that_changes_how_answers_are_read_is_refused_with_the_option(
    redis: RedisServer, option: str
) -> None:
    text = await refusal(f"{redis.url}?{option}")
    assert option.rpartition("&")[2] in text
    assert "delete this from the URL" in text


@pytest.mark.parametrize("option", ["protocol=2", "decode_responses=False"])
async def test_a_url_that_says_what_is_so_anyway_is_accepted(
    redis: RedisServer, option: str
) -> None:
    await start(f"{redis.url}?{option}")


@pytest.mark.parametrize("policy", ["noeviction", "volatile-lru", "allkeys-lfu"])
async def test_a_policy_that_evicts_is_warned_of(
    redis: RedisServer, policy: str, caplog: pytest.LogCaptureFixture
) -> None:
    redis.command("CONFIG", "SET", "maxmemory-policy", policy)
    await start(redis.url)
    lines = [record.message for record in caplog.records if "maxmemory-policy" in record.message]
    assert len(lines) == (policy != "noeviction")
    assert all(policy in line and "`maxmemory-policy noeviction`" in line for line in lines)


async def test_a_redis_that_does_not_tell_its_policy_is_used_and_the_right_is_named(
    redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    redis.command("ACL", "SETUSER", "bas", "on", ">pw", "~*", "&*", "+@all", "-info")
    await start(redis.url.replace("redis://", "redis://bas:pw@"))
    assert any("+info" in record.message for record in caplog.records)


async def test_a_full_redis_delays_no_start(
    redis: RedisServer, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    await start(redis.url)
    redis.command("CONFIG", "SET", "maxmemory", "1")
    clock, metrics = SystemClock(), Metrics()
    async with (
        shared_redis(redis.url, clock, metrics) as site,
        shared_log(site, clock, metrics, tmp_path, max_events=100, max_bytes=10**6) as log,
    ):
        assert log is not None
        with pytest.raises(LogUnavailable):
            await log.ping()
        redis.command("CONFIG", "SET", "maxmemory", "0")
        await log.ping()
    levels = {
        record.levelno for record in caplog.records if "takes no events now" in record.message
    }
    assert levels == {logging.WARNING}
