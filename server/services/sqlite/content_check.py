"""ContentCheck: looks for damage in the database file once, beside a server that has started."""

from __future__ import annotations

import logging

from server.common.background_task import BackgroundTask
from server.services.ports.documents import StoreUnavailable
from server.services.sqlite.client import SqliteClient

# A check of the whole file would take a minute for each few GB.
BUDGET_S = 0.6

log = logging.getLogger(__name__)


class ContentCheck(BackgroundTask):
    """Its time is bounded. Damage that it does not reach is noticed when it is read."""

    def __init__(self, client: SqliteClient) -> None:
        super().__init__("content-check")
        self._client = client

    async def _run(self) -> None:
        try:
            await self._client.check_content(BUDGET_S)
        except StoreUnavailable as error:
            if self._client.is_damaged:
                return  # the log says so already
            log.warning("the database could not be checked for damage: %s", error.message)
        except Exception:
            log.exception("the database could not be checked for damage")
