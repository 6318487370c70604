"""The benchmark runs and reports its figures; whether they are good is not tested here."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading

import pytest

from scripts.bench.peers import command, installed
from scripts.bench.peers.loop import Loop
from scripts.bench.peers.results import TARGETS, Results
from scripts.bench.peers.results import as_text as comparison
from scripts.bench.peers.streams import Streams
from scripts.bench.peers.works import FAST, INGEST, MANY, QUICK, RECONNECT, SATURATED, SLOW
from scripts.bench.table import CALL_FIGURES, WHAT, as_text, percentile, rows
from tests.support.firestore import need_firestore
from tests.support.redis import need_redis
from tools.process import REPOSITORY, clean_environment

ROW = {"what", "unit", "budget", "median", "low", "high", "met", "least"}


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the benchmark and wait for its end."""
    return subprocess.run(
        [sys.executable, "-m", "scripts.bench", *arguments],
        cwd=REPOSITORY,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.alone
def test_a_quick_run_of_the_live_stream_counts_every_event_and_compares_the_budgets() -> None:
    done = bench("live", "--quick", "--json")
    assert done.returncode in {0, 1}, done.stderr
    table = json.loads(done.stdout)
    assert all(row.keys() == ROW for row in table), table
    by_name = {row["what"]: row for row in table}
    assert by_name.keys() <= WHAT.keys()
    assert by_name["events lost"]["high"] == 0
    assert by_name["events repeated"]["high"] == 0
    p99 = by_name["post to frame, p99"]
    assert 0 < p99["low"] <= p99["median"] <= p99["high"]
    assert p99["met"] is (p99["median"] < 50)
    assert (done.returncode == 0) is all(row["met"] is not False for row in table)


def test_an_unknown_measure_is_named_and_nothing_runs() -> None:
    done = bench("nonsense")
    assert done.returncode == 2
    assert "no such measure: nonsense" in done.stderr


def test_a_row_is_judged_by_the_median_of_its_runs() -> None:
    (row,) = rows([{"idle memory": figure} for figure in (49.0, 51.0, 48.0)])
    assert (row.median, row.low, row.high, row.met) == (49.0, 48.0, 51.0, True)
    (row,) = rows([{"idle memory": figure} for figure in (49.0, 51.0, 50.0)])
    assert row.met is False


def test_one_lost_event_in_one_run_is_a_failure() -> None:
    (row,) = rows([{"events lost": figure} for figure in (0, 0, 1)])
    assert row.met is False
    assert "NO" in as_text([row]).splitlines()[-1]


def test_the_table_as_text_has_one_line_per_row_below_its_head() -> None:
    table = rows([{"idle memory": 48.04, "post to frame, p50": 2.345}])
    lines = as_text(table).splitlines()
    assert [cell.strip() for cell in lines[0].strip("|").split("|")] == [
        "what",
        "budget",
        "measured",
        "min to max",
        "met",
    ]
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == [
        "idle memory",
        "< 50 MB",
        "48.0 MB",
        "48.0 to 48.0",
        "yes",
    ]
    assert [cell.strip() for cell in lines[3].strip("|").split("|")] == [
        "post to frame, p50",
        "",
        "2.35 ms",
        "2.35 to 2.35",
        "",
    ]


@pytest.mark.parametrize(
    ("percent", "expected"), [(50, 50), (99, 99), (33.4, 34), (100, 100), (0.1, 1)]
)
def test_a_percentile_is_the_value_that_this_percentage_does_not_exceed(
    percent: float, expected: int
) -> None:
    assert percentile(range(100, 0, -1), percent) == expected


@pytest.mark.alone
def test_a_quick_run_of_two_processes_counts_every_event() -> None:
    need_redis()
    done = bench("shared", "--quick", "--json")
    assert done.returncode in {0, 1}, done.stderr
    by_name = {row["what"]: row for row in json.loads(done.stdout)}
    assert by_name["two processes, events lost"]["high"] == 0
    assert by_name["two processes, events repeated"]["high"] == 0
    assert by_name["two processes, post to the other's frame, p99"]["low"] > 0


@pytest.mark.alone
def test_a_quick_run_on_firestore_reports_each_call_and_the_emulators_share_of_it() -> None:
    need_firestore()
    done = bench("firestore", "--quick", "--json")
    assert done.returncode in {0, 1}, done.stderr
    assert done.stdout, done.stderr
    by_name = {row["what"]: row["median"] for row in json.loads(done.stdout)}
    calls = {what.partition(": ")[0] for what in WHAT if ": " in what}
    assert len(calls) == 16
    for call in calls:
        p50, p99, share_p50, share_p99, *together = (by_name[f"{call}: {f}"] for f in CALL_FIGURES)
        assert 0 < p50 <= p99
        assert 0 < share_p50 <= share_p99
        assert share_p50 < 10 * p50
        assert 0 < together[0] <= together[1]
    assert by_name["readings refused on Firestore"] == 0
    assert by_name["idle memory beyond the library"] == pytest.approx(
        by_name["idle memory on Firestore"] - by_name["Google's library alone"]
    )


def test_each_call_to_firestore_has_one_line_with_the_budget_of_its_p99() -> None:
    figures = dict(zip(CALL_FIGURES, (1.0, 20.5, 0.5, 3.0, 4.0, 5.0), strict=True))
    table = rows([{f"get: {figure}": value for figure, value in figures.items()}])
    assert [row.met for row in table] == [None, False, None, None, None, None]
    lines = as_text([*table, *rows([{"idle memory": 48.0}])]).splitlines()
    assert "idle memory" in lines[2]
    assert [cell.strip() for cell in lines[-1].strip("|").split("|")] == [
        "get",
        "< 20",
        "1.00",
        "20.5",
        "20.5 to 20.5",
        "0.50",
        "3.00",
        "4.00",
        "5.00",
        "NO",
    ]


@pytest.mark.alone
def test_a_quick_comparison_counts_every_delivery_of_this_server_and_the_floor() -> None:
    done = bench("peers", "--quick", "--json", "--peer", "bas", "--peer", "floor")
    assert done.returncode in {0, 1}, done.stderr
    found = json.loads(done.stdout)
    assert found["failed"] == found["left_out"] == {}
    rows = {(row["work"], row["peer"]): row["figures"] for row in found["rows"]}
    for work in (FAST, SLOW, SATURATED, MANY):
        for peer in ("bas", "floor"):
            worst = {name: figure[2] for name, figure in rows[work, peer].items()}
            assert worst["lost"] == worst["repeated"] == worst["refused"] == 0
            assert 0 < worst["p50_ms"] <= worst["p99_ms"] <= worst["max_ms"]
            assert worst["a_second"] > 0
    for work in (INGEST, RECONNECT):
        assert (work, "floor") not in rows
        median, low, high = rows[work, "bas"]["a_second"]
        assert 0 < low <= median <= high
        assert rows[work, "bas"]["lost"] == [0, 0, 0]
    targets = {target["what"]: target for target in found["targets"]}
    assert targets[f"{SATURATED}: lost"]["met"] is True
    assert targets[f"{SATURATED}: rate, of nchan's"]["met"] is None
    start = targets["lifetime: start to first 200"]
    assert start["met"] is (start["measured"] < start["limit"])


def test_a_quick_soak_leaves_no_file_and_no_thread_and_loses_no_event() -> None:
    done = bench("peers", "soak", "--quick", "--seconds", "1", "--json")
    targets = {target["what"]: target for target in json.loads(done.stdout)["targets"]}
    for what in ("lost", "files more than before", "threads more than before"):
        assert targets[f"soak: {what}"]["measured"] <= 0


def test_a_peer_that_is_not_installed_is_left_out_and_the_table_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(installed, "NGINX", None)
    results = command.measured(["many"], ["nchan"], 1, QUICK)
    text = comparison(results, [(MANY, "nchan")])
    assert "nchan is left out: apt-get install nginx libnginx-mod-nchan" in text
    assert "left out" in text.splitlines()[4]
    assert [target.met(results) for target in TARGETS] == [None] * len(TARGETS)


def test_a_ratio_is_taken_within_a_run_and_never_between_two() -> None:
    (target,) = (one for one in TARGETS if one.what == f"{SATURATED}: rate, of nchan's")
    results = Results()
    results.add("bas", 0, {SATURATED: {"a_second": 80.0}})
    results.add("nchan", 1, {SATURATED: {"a_second": 1.0}})
    assert target.met(results) is None
    results.add("nchan", 0, {SATURATED: {"a_second": 10.0}})
    assert (target.measured(results), target.met(results)) == (8.0, True)
    results.add("nchan", 0, {SATURATED: {"a_second": 10.1}})
    assert target.met(results) is False


def test_streams_count_frames_that_arrive_in_any_pieces_and_report_missing_ones() -> None:
    frames = [b'id: x-%d\ndata: {"timestamp":%d,"a":1}\n\n' % (n, 10**12 + n) for n in range(3)]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=_send_in_pieces, args=(listener, frames))
        server.start()
        loop = Loop()
        streams = Streams(loop, listener.getsockname()[1])
        streams.open(2, lambda _: b"GET\n", sampled=1, at_once=1, speaks_first=True, timeout_s=10.0)
        assert loop.run(lambda: streams.ended == 2, 10.0)
        server.join()
        loop.close()
    (sampled,) = streams.sampled
    assert [stamp for stamp, _ in sampled.got] == [10**12, 10**12 + 1, 10**12 + 2]
    assert sampled.last_id == b"x-2"
    assert (streams.lost(3), streams.repeated(3)) == (1, 0)
    assert (streams.lost(2), streams.repeated(2)) == (0, 1)


def _send_in_pieces(listener: socket.socket, frames: list[bytes]) -> None:
    """Send all frames to the first client and all but the last to the second, in small pieces."""
    for some in (frames, frames[:-1]):
        connection, _ = listener.accept()
        with connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.recv(100)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            text = b"".join(some)
            for begin in range(0, len(text), 7):
                connection.sendall(text[begin : begin + 7])
