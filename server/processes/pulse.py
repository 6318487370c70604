"""Pulse: whether this process works, for those that restart it and those that watch it."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from types import TracebackType

from server.common.metrics import Metrics
from server.common.shared_check import Checks, ask
from server.common.supervised_tasks import SupervisedTasks
from server.container import Container
from server.http.checks import checks_of

log = logging.getLogger(__name__)

CHECK_S = 2.0
# The proofs of /readyz write, so while all is well they are few: the heartbeat needs one a minute.
PROVE_S = 20.0
# Answers of a child to its supervisor.
WELL, ALIVE, NO_ANSWER = b".", b"!", b""
# A thread that writes to a disk waits for it at least this long before the process counts as hung.
HUNG_S = 60.0


class Pulse:
    """Checks the process every CHECK_S within its block.

    Only BAS_HEARTBEAT_URL needs to know whether it is well. Without that setting nothing is proved,
    and the process is well while its store is not away.

    A process whose store is away still steers from memory, which a restart would lose. It counts as
    hung only when its relays are all off anyway, since BAS_STORE_GRACE_S is over, and the thread
    that writes to the store has not come back all that time.
    """

    def __init__(self, container: Container) -> None:
        base = container.base
        self._stuck_s = base.store_stuck_s
        self._hung_s = max(HUNG_S, base.config.store_grace_s)
        self._watch = base.stores.watch
        self._checks: Checks = {}
        if base.config.heartbeat_url:
            parts = base.config, base.site_clock, base.client, base.stores, container.sse
            self._checks = checks_of(*parts, base.raise_if_damaged)
        self._well = not self._checks
        self._monotonic = base.clock.monotonic
        self._prove_at = 0.0
        self._files = _Files(base.metrics)
        self._tasks = SupervisedTasks("the pulse")

    def alive(self) -> bool:
        """Whether a restart would be of no use."""
        return self._stuck_s() < self._hung_s

    def well(self) -> bool:
        """Whether /readyz would say `ready`."""
        return self._well and not self._watch.away and self.alive()

    def answer(self) -> bytes:
        """The answer to the supervisor's question."""
        return WELL if self.well() else ALIVE if self.alive() else NO_ANSWER

    async def __aenter__(self) -> Pulse:
        self._tasks.keep(self._check_for_ever)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._tasks.close()

    async def _check_for_ever(self) -> None:
        while True:
            self._files.check()
            if self._monotonic() >= self._prove_at:
                found = await ask(self._checks)
                self._well = not any(found.values())
                if self._well:
                    self._prove_at = self._monotonic() + PROVE_S
            await asyncio.sleep(CHECK_S)


class _Files:
    """Notices that the process may open no more files, of which the event loop says nothing.

    It then resets each new connection, without a word to anybody.
    """

    def __init__(self, metrics: Metrics, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._gauge = metrics.files_exhausted
        self._monotonic = monotonic
        self._since: float | None = None

    def check(self) -> None:
        try:
            os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            if self._since is None:
                self._since = self._monotonic()
                self._gauge.set(1)
                log.error(
                    "no file can be opened (%s), so new connections are reset: raise the limit of"
                    " open files (LimitNOFILE=), or find out what holds them (ls /proc/%d/fd)",
                    error.strerror,
                    os.getpid(),
                )
            return
        if self._since is not None:
            log.warning("files can be opened again, after %.0f s", self._monotonic() - self._since)
            self._since = None
            self._gauge.set(0)
