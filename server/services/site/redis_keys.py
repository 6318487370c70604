"""Makes the names of all keys and channels that this server uses in Redis.

All keys of a tenant have the same hash tag, so that Redis Cluster keeps them together. The tenant's
channel has it too, for sharded Pub/Sub.
"""

from __future__ import annotations

from urllib.parse import quote

# A process's name among the others has this many hexadecimal digits.
RUN_LENGTH = 12
# This cannot be a tenant's key: those have a tag in braces.
SITE_STREAMS_KEY = "bas:streams"
SITE_CHANNEL = "bas:live"


def head_key(tenant_id: str) -> str:
    """The key of the history's epoch, its tip, and the mark of its newest event."""
    return f"{_tag(tenant_id)}:head"


def events_key(tenant_id: str) -> str:
    """The key of the stream of the tenant's events."""
    return f"{_tag(tenant_id)}:events"


def known_keys(tenant_id: str) -> tuple[str, str]:
    """The keys of the two hashes with the newest events' own keys; append.lua names them too."""
    head = head_key(tenant_id)
    return f"{head}:keys:0", f"{head}:keys:1"


def producer_key(tenant_id: str, run: str) -> str:
    """The key of the number of the newest event that the process `run` appended."""
    return f"{_tag(tenant_id)}:producer:{run}"


def channel_name(tenant_id: str) -> str:
    """The channel to which the tenant's new events are published."""
    return f"{_tag(tenant_id)}:live"


def streams_key(tenant_id: str) -> str:
    """The key of the number of streams that each process serves to the tenant."""
    return f"{_tag(tenant_id)}:streams"


def copy_key(key: str) -> str:
    """The key of a cached value that all processes may read."""
    return f"bas:copy:{key}"


def _tag(tenant_id: str) -> str:
    # Quoted, so that a tenant's name cannot end the tag or name another key.
    return f"bas:{{{quote(tenant_id, safe='')}}}"
