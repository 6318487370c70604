"""The settings in the first line of the log: those that differ, and no secret."""

from __future__ import annotations

from server.config.config import ServerConfig
from server.config.settings_text import settings_in_force

SECRET = "hunter2"


def test_only_settings_that_differ_from_their_defaults_are_shown():
    environ = {"BAS_PORT": "9000", "BAS_ALLOWED_HOSTS": "a.example,b.example"}
    config = ServerConfig.from_env({**environ, "BAS_AUTH_ENABLED": "off"})
    assert settings_in_force(config) == (
        "BAS_PORT=9000 BAS_AUTH_ENABLED=0 BAS_ALLOWED_HOSTS=a.example,b.example"
    )
    assert settings_in_force(ServerConfig.from_env({})) == ""


def test_a_value_that_may_hold_a_password_is_hidden():
    urls = {
        "REDIS_URL": f"redis://:{SECRET}@h:1/0",
        "EMULATOR_REDIS_URL": f"redis://h:1/0?password={SECRET}",
        "BAS_HEARTBEAT_URL": f"https://hc.example/{SECRET}",
    }
    shown = settings_in_force(ServerConfig.from_env(urls))
    assert SECRET not in shown
    assert sorted(shown.split()) == sorted(f"{name}=(hidden)" for name in urls)
