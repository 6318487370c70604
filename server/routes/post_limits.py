"""PostLimits: the limits of devices' posts by address; no limit refuses a zone that exists."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from server.auth.principal import ANYONE, Principal
from server.common.addresses import is_shared_address
from server.common.clock import Clock
from server.common.errors import BasError
from server.config.config import ServerConfig
from server.control.batch import Newcomers, all_may
from server.control.limits.new_zones import NewZones
from server.control.limits.over_limit import PostLimit, none_may

# For a post: whether it is beyond the limit of its address, and which zones it may make.
Limited = tuple[bool, Newcomers]


class PostLimits:
    """The limits from the settings. This machine, trusted proxies and users have none."""

    def __init__(self, config: ServerConfig, posts: PostLimit, clock: Clock) -> None:
        self._is_shared: Callable[[str], bool] = partial(
            is_shared_address, networks=config.trusted_proxies
        )
        self._new_zones = NewZones(config.new_zones_per_hour, clock, self._is_shared)
        self._per_second = config.posts_per_second
        self._posts = posts
        self.answer = posts.answer

    def of(self, address: str, caller: Principal | BasError | None) -> Limited:
        """Count a post or a batch from this address."""
        if isinstance(caller, Principal) and caller != ANYONE:
            return False, all_may
        if self._posts.is_over(address, self._per_second, self._is_shared):
            return True, none_may
        return False, partial(self._new_zones.refusal, address)
