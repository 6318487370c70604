"""Looks at a start whether Redis is one that this server can use, and how it is configured."""

from __future__ import annotations

import logging

from server.services.ports.event_log import LogUnavailable
from server.services.site.redis_calls import RedisCalls

log = logging.getLogger(__name__)

POLICY = "noeviction"


class UnusableRedis(LogUnavailable):
    """This Redis cannot carry the site; the message has the remedy."""


async def check_redis(calls: RedisCalls) -> None:
    """Raise UnusableRedis for a Sentinel or a node of a cluster; warn of a policy that evicts.

    Raises LogUnavailable if Redis does not answer.
    """
    about = await calls.info()
    if about is None:
        log.warning(
            "Redis does not say whether its maxmemory-policy is %s: give the server's user there "
            "the right +info",
            POLICY,
        )
        return
    # Valkey has its own name for it.
    mode = about.get("redis_mode") or about.get("server_mode")
    if mode == "sentinel":
        raise UnusableRedis(
            message="this is a Sentinel, which keeps no data: name the primary, or an HAProxy that "
            'leads to it (docs/operations.md, "Redis")'
        )
    if mode == "cluster":
        raise UnusableRedis(
            message="this is a node of a Redis Cluster, which has only some of the tenants: use a "
            "Redis with `cluster-enabled no`"
        )
    policy = about.get("maxmemory_policy", POLICY)
    if policy != POLICY:
        log.warning(
            "Redis has maxmemory-policy %s: when its memory is full it deletes event histories, and"
            " dashboards miss events without an error. Set `maxmemory-policy %s` in redis.conf",
            policy,
            POLICY,
        )
