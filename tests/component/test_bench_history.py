"""The folders that the benchmark of the history fills hold what the server would have stored."""

from __future__ import annotations

from pathlib import Path

from bas_server import open_base
from scripts.bench.history.filled import TENANT, add_new, add_zones, device, fill
from scripts.bench.history.zones import EVERY_MS, ROWS, Noise, Zone
from server.config.config import ServerConfig
from server.services.history.summaries import EMPTY, add, summarise
from server.services.ports.readings import ALWAYS
from server.services.sqlite.reading_sums import figures_of
from server.services.sqlite.reading_tables import SPAN_MS
from tests.support.clock import HOUR_MS
from tests.support.histories import START_MS, contents, scan_all

SPANS = range(START_MS // SPAN_MS, START_MS // SPAN_MS + 2)
ZONES, NEW_MS = 2, HOUR_MS // 2


async def test_a_filled_folder_has_all_readings_and_their_sums(tmp_path: Path) -> None:
    filled = await fill(tmp_path, ZONES, SPANS, new_ms=NEW_MS)
    noise = Noise()
    zones = [Zone(number, noise) for number in range(ZONES)]
    end_ms = SPANS.stop * SPAN_MS + NEW_MS
    made, total = [], EMPTY
    for span in range(SPANS.start, SPANS.stop + 1):
        for number, zone in enumerate(zones):
            columns = zone.span(span).between(0, end_ms - 1)
            made += columns.readings(TENANT, device(number))
            total = add(total, summarise(columns.samples(), span * SPAN_MS, end_ms))
    async with open_base(ServerConfig(data_dir=tmp_path)) as base:
        history = base.stores.telemetry.history
        assert await history.count() == filled.readings == len(made)
        assert contents(await scan_all(history)) == contents(made)
        figures = await history.figures(TENANT, None, ALWAYS)
        assert (figures.count, figures.mean) == (total.count, figures_of(total).mean)


async def test_copied_zones_have_the_readings_of_those_they_were_copied_from(
    tmp_path: Path,
) -> None:
    filled = await fill(tmp_path, ZONES, SPANS)
    filled = add_new(tmp_path, add_zones(tmp_path, filled, 3 * ZONES), NEW_MS)
    packed, new = ROWS * len(SPANS), NEW_MS // EVERY_MS
    assert filled.readings == 3 * ZONES * (packed + new)
    async with open_base(ServerConfig(data_dir=tmp_path)) as base:
        history = base.stores.telemetry.history
        for number in range(filled.zones):
            assert (await history.figures(TENANT, device(number), ALWAYS)).count == packed + new
