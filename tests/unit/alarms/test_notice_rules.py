"""The pure rules of notices: who gets one and when, where it may go, and what it says."""

from __future__ import annotations

import ipaddress
import json
from datetime import datetime

import pytest

from server.alarms.notice_models import TargetHours
from server.alarms.notices import notice_id
from server.alarms.target_health import PAUSE_MAX_S, TargetHealth, back_off_s
from server.alarms.target_rules import check_target, moved
from server.alarms.targets.message import (
    MESSAGE_MAX,
    NTFY_MAX,
    NoticeItem,
    ZoneNow,
    message_of,
    text_of,
)
from server.alarms.targets.sockets import may_be_reached
from server.alarms.targets.wanted import local_time, wants, within, wrong_hours
from server.common.errors import InvalidField
from tests.support.clock import ManualClock
from tests.support.notices import an_alarm, mailbox, raised, webhook

NOW = 1_790_000_000_000
PRIVATE = (
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
    *("0.0.0.0", "255.255.255.255", "224.0.0.1", "239.1.1.1", "::1", "::", "fe80::1%eth0"),
    *("fc00::1", "fec0::1", "ff02::1", "::ffff:10.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::1"),
    *("2002:a00:1::", "not an address"),
)


@pytest.mark.parametrize("address", PRIVATE)
def test_a_private_address_is_not_reached(address):
    assert not may_be_reached(address, ())


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800::1", "::ffff:93.184.215.14"])
def test_a_public_address_is_reached(address):
    assert may_be_reached(address, ())


def test_a_setting_allows_some_private_addresses():
    allowed = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fc00::/7"))
    assert may_be_reached("10.1.2.3", allowed)
    assert may_be_reached("::ffff:10.1.2.3", allowed)
    assert may_be_reached("64:ff9b::10.0.0.1", allowed)
    assert may_be_reached("fc00::1", allowed)
    assert not may_be_reached("192.168.1.1", allowed)


def test_hours_over_midnight_belong_to_the_day_on_which_they_begin():
    friday_night = TargetHours([5], "22:00", "06:00")
    assert within(friday_night, datetime(2026, 12, 4, 22, 0))
    assert within(friday_night, datetime(2026, 12, 5, 5, 59))
    assert not within(friday_night, datetime(2026, 12, 5, 6, 0))
    assert not within(friday_night, datetime(2026, 12, 5, 22, 0))
    assert not within(friday_night, datetime(2026, 12, 4, 5, 0))
    sunday_to_monday = TargetHours([7], "00:00", "00:00")
    assert within(sunday_to_monday, datetime(2026, 12, 6, 12, 0))
    assert not within(sunday_to_monday, datetime(2026, 12, 7, 0, 0))


def test_a_target_gets_its_severity_and_above_in_its_hours_of_the_site():
    target = webhook("https://a.example", severity="warning")
    at = local_time(NOW, "UTC")
    assert not wants(target, "info", at)
    assert wants(target, "warning", at)
    assert wants(target, "critical", at)
    # 14:13 in UTC is 16:13 in Berlin.
    work = webhook("https://a.example", hours=TargetHours([1], "16:00", "17:00"))
    assert wants(work, "critical", local_time(NOW, "Europe/Berlin"))
    assert not wants(work, "critical", local_time(NOW, "UTC"))
    assert not wants(webhook("https://a.example", enabled=False), "critical", at)


@pytest.mark.parametrize(
    "hours",
    [
        TargetHours([], "00:00", "01:00"),
        TargetHours([0], "00:00", "01:00"),
        TargetHours([1, 1], "00:00", "01:00"),
        TargetHours([1], "24:00", "01:00"),
        TargetHours([1], "1:00", "01:00"),
    ],
)
def test_impossible_hours_are_refused(hours):
    assert wrong_hours(hours)


def test_a_notice_says_zone_value_since_when_and_what_the_relays_do_now():
    zone = ZoneNow("Server room", "2nd floor", cool=True, heat=False, relays_known=True)
    item = NoticeItem("n1", an_alarm("lab", kind="high", limit_tenths=300), zone)
    message = message_of([item], NOW, "Europe/Berlin")
    assert message.lines == [
        "CRITICAL: Server room (lab), 2nd floor: too warm; 31.4 °C (limit 30.0 °C);"
        " since 2026-09-21 16:13:10 CEST; cooler on, heat off"
    ]
    told = json.loads(message.body)
    assert (told["id"], told["more"], len(told["notices"])) == ("n1", 0, 1)
    about = told["notices"][0]
    assert about["relays"] == {"cool": True, "heat": False}
    assert (about["name"], about["device_id"], about["temp_tenths"]) == ("Server room", "lab", 314)


def test_a_flood_is_one_message_of_limited_size_that_counts_the_rest():
    items = [NoticeItem(f"{n:032x}", an_alarm(f"zone {n}"), None) for n in range(2000)]
    message = message_of(items, NOW, "UTC")
    assert len(message.body) <= MESSAGE_MAX
    told = json.loads(message.body)
    assert told["more"] == message.more == 2000 - len(told["notices"]) > 0
    text = text_of(message, NTFY_MAX)
    assert len(text.encode()) <= NTFY_MAX
    assert f"and {2000 - text.count('CRITICAL')} more" in text
    assert message_of(items[::-1], NOW, "UTC").id == message.id
    assert message_of(items[1:], NOW, "UTC").id != message.id


def test_a_name_from_outside_stays_within_its_line():
    item = NoticeItem("n", an_alarm("a\r\nBcc: x@example.com\x1b[2J"), ZoneNow("n\u2028" * 100))
    (line,) = message_of([item], NOW, "UTC").lines
    assert line.isprintable()
    assert len(line) < 500


def test_the_same_change_has_the_same_id_everywhere_and_each_target_its_own():
    target, other = webhook("https://a.example"), webhook("https://b.example", target_id="b")
    assert notice_id(raised(), target) == notice_id(raised(), target)
    ids = {
        notice_id(raised(), target),
        notice_id(raised(), other),
        notice_id(raised("attic", id="silent-attic-1"), target),
        notice_id(raised(changed_ms=NOW + 1), target),
    }
    assert len(ids) == 4


def test_attempts_come_less_and_less_often_and_at_least_every_five_minutes():
    pauses = [back_off_s(failures) for failures in range(1, 300)]
    assert 2.5 <= pauses[0] <= 5
    assert max(pauses) <= PAUSE_MAX_S
    assert min(pauses[10:]) >= PAUSE_MAX_S / 2
    assert len(set(pauses[20:])) > 1


def test_a_burst_is_sent_at_once_and_what_follows_waits_for_the_window():
    clock = ManualClock()
    health = TargetHealth(clock)
    key = ("default", "hook")
    for _ in range(4):
        assert health.wait_s(key) == 0
        health.sending(key)
    assert health.wait_s(key) == 10
    assert health.wait_s(("default", "other")) == 0
    clock.advance(10)
    assert health.wait_s(key) == 0


def test_one_line_says_that_a_target_fails_and_one_that_it_works_again(caplog):
    clock = ManualClock()
    health = TargetHealth(clock)
    target = webhook("https://a.example/secret-path", secret="a secret")
    for attempt in (1, 2, 3):
        pause_s = health.failed(target, attempt, "it answered 500")
        assert health.pause_s(("default", "hook")) == pytest.approx(pause_s, abs=0.01)
        clock.advance(pause_s)
    assert health.worked(target)
    assert not health.worked(target)
    first, second = (record.getMessage() for record in caplog.records)
    assert "it answered 500" in first
    assert "3 failed attempts" in second
    assert "secret" not in first + second


GOOD_MAIL = mailbox(25)


@pytest.mark.parametrize(
    ("target", "field"),
    [
        (webhook(""), "url"),
        (webhook("ftp://a.example"), "url"),
        (webhook("https://user:pass@a.example/"), "url"),
        (webhook("https://a.example/a b"), "url"),
        (webhook("https://a.example/\r\nX: y"), "url"),
        (webhook("https://a.example:0/"), "url"),
        (webhook("https://a.example:99999/"), "url"),
        (webhook("https://[::1"), "url"),
        (webhook("https://bücher.example"), "url"),
        (webhook("https://a.example/" + "x" * 2000), "url"),
        (webhook("https://a.example", name=" "), "name"),
        (webhook("https://a.example", name="a\nb"), "name"),
        (webhook("https://a.example", secret="x" * 501), "secret"),
        (webhook("https://a.example", host="mail.example"), "kind"),
        (webhook("https://ntfy.sh/", kind="ntfy"), "url"),
        (webhook("https://ntfy.sh/t", kind="ntfy", secret="ä"), "secret"),
        (mailbox(0), "port"),
        (mailbox(25, url="https://a.example"), "url"),
        (mailbox(25, host="a b"), "host"),
        (mailbox(25, sender="Ann <ann@example.com>"), "sender"),
        (mailbox(25, sender="a@b\r\nBcc: c@d"), "sender"),
        (mailbox(25, recipients=[]), "recipients"),
        (mailbox(25, recipients=["ann@example.com,bob@example.com"]), "recipients"),
        (mailbox(25, recipients=["a@example.com"] * 21), "recipients"),
        (mailbox(25, username="ann"), "username"),
        (mailbox(25, secret="pass"), "username"),
    ],
)
def test_an_impossible_target_is_refused(target, field):
    with pytest.raises(InvalidField) as refused:
        check_target(target)
    assert refused.value.field == field


def test_a_possible_target_is_accepted():
    check_target(GOOD_MAIL)
    check_target(webhook("https://a.example:8443/x?y=z", secret="schlüssel"))
    check_target(webhook("https://[2606:2800::1]/x"))
    check_target(webhook("https://ntfy.sh/my_topic-1", kind="ntfy"))


def test_a_secret_stays_only_where_the_target_still_leads():
    hook = webhook("https://a.example/one")
    assert not moved(hook, webhook("https://a.example/two"))
    for url in ("https://b.example/one", "http://a.example/one", "https://a.example:8443/one"):
        assert moved(hook, webhook(url))
    assert moved(hook, GOOD_MAIL)
    assert moved(GOOD_MAIL, mailbox(26))
    assert moved(mailbox(25, tls="tls"), GOOD_MAIL)
