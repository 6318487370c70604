"""Outbox: waiting events are in order and bounded; a queue that is too long is dropped whole."""

from __future__ import annotations

from server.services.ports.event_log import Cursor, Event
from server.services.sse_service.redis.outbox import BATCH_BYTES, BATCH_MAX, Outbox

LARGE = 10**9


def put(outbox: Outbox, count: int, tenant: str = "here", size: int = 10) -> int:
    """Adds `count` events; returns how many were dropped for them."""
    return sum(outbox.add(tenant, Event("telemetry", "x" * size))[1] for _ in range(count))


async def test_events_are_numbered_for_each_tenant_and_wait_in_order() -> None:
    outbox = Outbox(1000, LARGE)
    put(outbox, 3)
    put(outbox, 2, "there")
    assert {q.tenant_id: [item.seq for item in q.items] for q in outbox.queues()} == {
        "here": [1, 2, 3],
        "there": [1, 2],
    }
    assert outbox.waiting == 5


async def test_a_batch_is_bounded_in_events_and_bytes_and_never_empty() -> None:
    outbox = Outbox(1000, LARGE)
    put(outbox, BATCH_MAX + 5)
    put(outbox, 10, "bytes", size=BATCH_BYTES // 4)
    put(outbox, 1, "great", size=200_000)
    sizes = {queue.tenant_id: len(queue.batch()) for queue in outbox.queues()}
    assert sizes == {"here": BATCH_MAX, "bytes": 3, "great": 1}


async def test_appended_events_leave_their_queue_and_other_queues_get_their_turn() -> None:
    outbox = Outbox(1000, LARGE)
    put(outbox, 3)
    put(outbox, 1, "there")
    here = next(outbox.queues())
    outbox.appended(here, list(here.items)[:2], None, 7.0)
    assert [item.seq for item in here.items] == [3]
    assert (here.confirmed, here.confirmed_at, outbox.waiting) == (2, 7.0, 2)
    assert [queue.tenant_id for queue in outbox.queues()] == ["there", "here"]


async def test_a_full_queue_is_dropped_and_gets_a_new_epoch() -> None:
    outbox = Outbox(3, LARGE)
    assert put(outbox, 3) == 0
    assert put(outbox, 1) == 3
    (queue,) = outbox.queues()
    assert [item.seq for item in queue.items] == [4]
    assert queue.new_epoch is not None
    assert outbox.waiting == 1


async def test_bytes_are_bounded_for_each_tenant_and_for_all_together() -> None:
    outbox = Outbox(1000, 2000)
    assert put(outbox, 100) > 0
    assert sum(queue.size for queue in outbox.queues()) <= 2000
    outbox = Outbox(1000, LARGE, total_bytes=5000)
    dropped = sum(put(outbox, 10, f"tenant {n}") for n in range(10))
    assert dropped > 0
    assert dropped + outbox.waiting == 100


async def test_an_append_that_ends_after_its_queue_was_dropped_does_no_harm() -> None:
    outbox = Outbox(3, LARGE)
    put(outbox, 3)
    (queue,) = outbox.queues()
    under_way = queue.batch()
    put(outbox, 1)
    outbox.appended(queue, under_way, None, 7.0)
    assert [item.seq for item in queue.items] == [4]
    assert queue.new_epoch is not None
    outbox.appended(queue, queue.batch(), queue.new_epoch, 7.0)
    assert queue.new_epoch is None
    assert outbox.waiting == 0


async def test_a_caller_that_waits_for_a_cursor_gets_it_or_none_when_the_event_is_dropped() -> None:
    outbox = Outbox(1, LARGE)
    first, _ = outbox.add("here", Event("telemetry", "1"))
    waiting = first.done
    outbox.add("here", Event("telemetry", "2"))
    assert waiting is not None
    assert waiting.result() is None
    second = next(outbox.queues()).items[0]
    waiting = second.done
    second.settle(Cursor("abcdefabcdef", 1, "m"))
    assert waiting is not None
    assert waiting.result() == Cursor("abcdefabcdef", 1, "m")
