"""Addresses: which of them belong together, and which stand for many clients."""

from __future__ import annotations

import ipaddress

import pytest

from server.common.addresses import address_group, is_shared_address


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2::7", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::8", "2001:db8:1:2::"),
        ("2001:db8:1:3::7", "2001:db8:1:3::"),
        ("no address", "no address"),
    ],
)
def test_the_addresses_of_one_internet_subscriber_are_one_group(address, group):
    assert address_group(address) == group


@pytest.mark.parametrize(
    ("address", "many"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", True),
        ("::ffff:10.0.0.1", True),
        ("203.0.113.9", False),
        ("", False),
    ],
)
def test_a_trusted_proxy_and_the_machine_itself_stand_for_many_clients(address, many):
    assert is_shared_address(address, (ipaddress.ip_network("10.0.0.0/8"),)) is many
