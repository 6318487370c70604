"""Keeps a site's clock in step with simulated time: it is measured if a test asks for it, once."""

from __future__ import annotations

from server.services.site import site_clock
from server.services.site.site_clock import SiteClock
from tests.support.clock import ManualClock

NEVER_S = 86_400.0


def install() -> None:
    """Measure a clock that a test sets only if it is `compared`, and no clock a second time.

    Redis and Firestore do not know that a test advances its clock by ten minutes, nor on which day
    it begins: a measurement would take the site's time to today. Server processes that a test
    starts measure as always.
    """
    site_clock.EVERY_S = (NEVER_S, NEVER_S)
    measure = SiteClock.measure

    async def measured(clock: SiteClock) -> bool:
        machine = clock._clock
        return (isinstance(machine, ManualClock) and not machine.compared) or await measure(clock)

    SiteClock.measure = measured  # type: ignore[method-assign]
