"""The warnings at a server's start: one line for each thing that is open, with its setting."""

from __future__ import annotations

import pytest

from server.config.config import ServerConfig
from server.config.open_doors import open_doors

LOG_IN = ("log-in is off", "Unset BAS_AUTH_ENABLED and BAS_AUTH_MODE")
SHADOW = ("nobody is refused", "Unset BAS_AUTH_MODE")
KEYLESS = ("devices need no key", "Set BAS_DEVICE_AUTH=required")
UNCHECKED = ("keys of devices are not checked", "Set BAS_DEVICE_AUTH=required")
METRICS = ("/metrics is open", "Set BAS_METRICS=local")
CLOSED = {"BAS_DEVICE_AUTH": "required", "BAS_METRICS": "local"}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [KEYLESS, METRICS]),
        ({"BAS_AUTH_ENABLED": "0"}, [LOG_IN, KEYLESS, METRICS]),
        ({"BAS_AUTH_MODE": "disabled", **CLOSED}, [LOG_IN]),
        ({"BAS_AUTH_MODE": "shadow", **CLOSED}, [SHADOW]),
        ({"BAS_DEVICE_AUTH": "off", "BAS_METRICS": "off"}, [UNCHECKED]),
        ({"BAS_DEVICE_AUTH": "required"}, [METRICS]),
        (CLOSED, []),
        ({"BAS_HOST": "::"}, [KEYLESS, METRICS]),
        ({"BAS_HOST": "192.168.1.2"}, [KEYLESS, METRICS]),
        ({"BAS_HOST": "127.0.0.1"}, []),
        ({"BAS_HOST": "::1"}, []),
        ({"BAS_HOST": "localhost"}, []),
        ({"BAS_HOST": "127.0.0.1", "BAS_AUTH_ENABLED": "0"}, [LOG_IN]),
    ],
)
def test_each_thing_that_is_open_has_one_line_with_the_setting_that_closes_it(settings, expected):
    """ASVS 5.0 v5.0.0-13.4.5, 6.3.4: what is open is open on purpose."""
    lines = list(open_doors(ServerConfig.from_env(settings), 8080))
    assert len(lines) == len(expected)
    for line, (thing, remedy) in zip(lines, expected, strict=True):
        assert line.startswith(thing)
        assert remedy in line
        assert "port 8080" in line
