"""Readings of several tenants, as a history gets them."""

from __future__ import annotations

import msgspec

from server.services.ports.readings import NewRow
from tests.support.history_stores import WEEK_MS, mixture


def of_tenant(tenant_id: str, count: int, seed: int) -> list[NewRow]:
    """Readings of three devices, which are remembered by their ids."""
    return [
        NewRow(
            f"{seed:02x}{number:030x}",
            msgspec.structs.replace(row.reading, tenant_id=tenant_id),
            6 * WEEK_MS,
        )
        for number, row in enumerate(mixture(count, seed))
    ]
