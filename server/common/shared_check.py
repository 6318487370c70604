"""Checks that all is well. SharedCheck: one run serves all who ask within a few seconds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from server.common.clock import Clock
from server.common.errors import Unavailable

# Seconds for which a result is used again: a balancer may ask as often as it likes. A failure is
# looked at again sooner, so that a process is back in service soon.
GOOD_S, BAD_S = 5.0, 1.0
# Longer than the time after which a store counts as not answering. A caller may also wait for the
# check of another one.
CHECK_S = 3.0

Checks = Mapping[str, Callable[[], Awaitable[None]]]
"""Each returns if all is well, and raises Unavailable otherwise."""


class SharedCheck:
    """`check` returns if all is well and raises Unavailable otherwise; a call does the same.

    Callers that come while the check runs wait for its result. No task outlives its caller: if the
    caller that runs the check is cancelled, the next one runs it. Who calls sets the time limit.
    """

    def __init__(self, check: Callable[[], Awaitable[None]], clock: Clock, slow_s: float) -> None:
        """A check that takes longer than `slow_s` has failed."""
        self._check = check
        self._clock = clock
        self._slow_s = slow_s
        self._turn = asyncio.Lock()
        self._until = 0.0
        self._failure = ""
        self._code = ""

    async def __call__(self) -> None:
        """Raise Unavailable with the reason if the newest result is a failure."""
        if self._clock.monotonic() >= self._until:
            async with self._turn:
                if self._clock.monotonic() >= self._until:
                    await self._run()
        if self._code:
            raise Unavailable(code=self._code, message=self._failure)

    async def _run(self) -> None:
        try:
            async with asyncio.timeout(self._slow_s):
                await self._check()
        except Unavailable as error:
            self._code, self._failure = error.code, error.message or error.error
        except TimeoutError:
            self._code, self._failure = "NO_ANSWER", f"no answer within {self._slow_s:g} s"
        else:
            self._code = ""
        self._until = self._clock.monotonic() + (BAD_S if self._code else GOOD_S)


async def ask(checks: Checks) -> dict[str, Unavailable | None]:
    """What each check found wrong; None if all is well."""
    return dict(zip(checks, await asyncio.gather(*map(_ask, checks.values())), strict=True))


async def _ask(check: Callable[[], Awaitable[None]]) -> Unavailable | None:
    try:
        async with asyncio.timeout(CHECK_S + 0.5):
            await check()
    except Unavailable as error:
        return error
    except TimeoutError:
        return Unavailable(code="NO_ANSWER", message=f"no answer within {CHECK_S:g} s")
    return None
