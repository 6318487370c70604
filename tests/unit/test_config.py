"""ServerConfig: every variable's default, what it takes, what it refuses and by which name."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import subprocess
import sys
from pathlib import Path

import pytest

from server.config.config import ConfigError, ServerConfig, settings_help

ROOT = Path(__file__).parents[2]
FLAGS = [("1", True), ("true", True), ("YES", True), ("on", True), ("0", False), ("", False)]
NO_NUMBER = ["", "x", "1.5", "0x10", "--1"]
NETWORKS = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::1/128"))

# variable: field, default, [(text, value)], [bad text]
SETTINGS = {
    "BAS_HOST": ("host", "0.0.0.0", [("127.0.0.1", "127.0.0.1"), ("::", "::")], []),
    "BAS_PORT": ("port", 8080, [("0", 0), ("65535", 65535)], [*NO_NUMBER, "-1", "65536"]),
    "BAS_DATA_DIR": ("data_dir", Path("data"), [("/var/bas", Path("/var/bas"))], []),
    "BAS_PROCESSES": ("processes", 1, [("1", 1)], [*NO_NUMBER, "0", "257"]),
    "BAS_LOG_LEVEL": (
        "log_level",
        "info",
        [("debug", "debug"), ("WARNING", "warning"), ("error", "error")],
        ["", "loud"],
    ),
    "REDIS_URL": (
        "redis_url",
        "",
        [("", ""), ("redis://h:1/0", "redis://h:1/0"), ("unix:///run/r", "unix:///run/r")],
        ["h:6379", "http://h", "redis://"],
    ),
    "USE_EMULATORS": ("use_emulators", False, FLAGS, ["2", "maybe"]),
    "EMULATOR_REDIS_URL": ("emulator_redis_url", "", [("redis://h:1", "redis://h:1")], []),
    "FIRESTORE_EMULATOR_HOST": ("firestore_emulator_host", "", [("h:8081", "h:8081")], []),
    "GOOGLE_CLOUD_PROJECT": ("google_cloud_project", "", [("p", "p")], []),
    "USE_FIRESTORE_TELEMETRY": ("use_firestore_telemetry", False, [("1", True)], ["maybe"]),
    "USE_FIRESTORE_AUTH": ("use_firestore_auth", False, [("1", True)], ["maybe"]),
    "USE_FIRESTORE_AUDIT": ("use_firestore_audit", False, [("1", True)], ["maybe"]),
    "TENANT_ID_HEADER": (
        "tenant_id_header",
        "X-BAS-Tenant",
        [("X-Site", "X-Site")],
        ["", "X Site", "X:Site", "é", "x" * 65, "Host", "user-agent", "Accept", "Cookie"],
    ),
    "BAS_AUTH_ENABLED": ("auth_enabled", True, FLAGS, ["2", "maybe"]),
    "BAS_AUTH_MODE": (
        "auth_mode",
        "user_password",
        [("user_password", "user_password"), ("Shadow", "shadow"), ("disabled", "disabled")],
        ["", "off"],
    ),
    "BAS_SESSION_TIMEOUT": ("session_timeout", 1800, [("10", 10)], [*NO_NUMBER, "9", "9" * 20]),
    "BAS_MAX_CONCURRENT_SESSIONS": ("max_concurrent_sessions", 3, [("1", 1)], [*NO_NUMBER, "0"]),
    "BAS_MAX_LOGIN_ATTEMPTS": ("max_login_attempts", 5, [("1", 1)], [*NO_NUMBER, "0"]),
    "BAS_LOCKOUT_DURATION": ("lockout_duration", 900, [("60", 60)], [*NO_NUMBER, "0"]),
    "BAS_AUTH_ATTEMPTS_PER_15MIN": (
        "auth_attempts_per_15min",
        20,
        [("100", 100)],
        [*NO_NUMBER, "0"],
    ),
    "BAS_DEVICE_AUTH": (
        "device_auth",
        "optional",
        [("optional", "optional"), ("required", "required"), ("off", "off")],
        ["", "on"],
    ),
    "BAS_COOKIE_SECURE": (
        "cookie_secure",
        "auto",
        [("auto", "auto"), ("always", "always"), ("never", "never")],
        ["", "1"],
    ),
    "BAS_CORS_ORIGINS": (
        "cors_origins",
        (),
        [
            ("", ()),
            ("https://a.example", ("https://a.example",)),
            (" http://a:3000 , https://b ", ("http://a:3000", "https://b")),
        ],
        [
            "*",
            "a.example",
            "ftp://a",
            "https://",
            "https://a/",
            "https://a/path",
            "http://[",
            "null",
        ],
    ),
    "BAS_ALLOWED_HOSTS": (
        "allowed_hosts",
        (),
        [
            ("", ()),
            ("bas.example", ("bas.example",)),
            (" BAS.example. , panel,,bas_1 ", ("bas.example", "panel", "bas_1")),
            (".bas.example,*.lan", ("*.bas.example", "*.lan")),
        ],
        [
            *("*", ".", "*.", "a..b", "..a", "*a.example", "a.*.example", "a b", "bücher.example"),
            *("http://bas.example", "bas.example:8080", "bas.example/", "[::1]", "x" * 64),
            ".".join(["x" * 63] * 4 + ["y"]),
        ],
    ),
    "BAS_TRUSTED_PROXIES": (
        "trusted_proxies",
        (),
        [("", ()), ("10.0.0.0/8, fd00::1", NETWORKS)],
        ["x", "10.0.0.0/33", "10.0.0.1/8", "proxy.example"],
    ),
    "BAS_SSE_HEARTBEAT_S": ("sse_heartbeat_s", 20, [("1", 1)], [*NO_NUMBER, "0"]),
    "BAS_SSE_FLUSH_MS": ("sse_flush_ms", 100, [("0", 0), ("1000", 1000)], [*NO_NUMBER, "1001"]),
    "BAS_SSE_QUEUE_MAX": ("sse_queue_max", 100, [("1", 1)], [*NO_NUMBER, "0"]),
    "BAS_SSE_MAX_STREAMS": ("sse_max_streams", 10_000, [("1", 1)], [*NO_NUMBER, "0"]),
    "BAS_SSE_HISTORY_EVENTS": ("sse_history_events", 20_000, [("1", 1)], [*NO_NUMBER, "0"]),
    "BAS_SSE_HISTORY_BYTES": ("sse_history_bytes", 8_000_000, [("1000", 1000)], [*NO_NUMBER, "1"]),
    "BAS_PRESENT_S": ("present_s", 60, [("1", 1), ("900", 900)], [*NO_NUMBER, "0", "901"]),
    "BAS_PLAUSIBLE_TENTHS": (
        "plausible_tenths",
        (-550, 1250),
        [("-300..500", (-300, 500)), (" -550 .. 1250 ", (-550, 1250)), ("0..1", (0, 1))],
        ["", "5", "500..-300", "5..5", "-551..0", "0..1251", "0.5..1", "-30°..50°", "0...5"],
    ),
    "BAS_SAFE_AFTER_S": (
        "safe_after_s",
        60,
        [("10", 10), ("3600", 3600)],
        [*NO_NUMBER, "9", "3601"],
    ),
    "BAS_STORE_GRACE_S": (
        "store_grace_s",
        300,
        [("0", 0), ("86400", 86_400)],
        [*NO_NUMBER, "-1", "86401"],
    ),
    "BAS_TELEMETRY_DAYS": ("telemetry_days", 90, [("1", 1)], [*NO_NUMBER, "0"]),
    "BAS_AUDIT_DAYS": ("audit_days", 180, [("1", 1)], [*NO_NUMBER, "0"]),
    "BAS_SYNC_THREADS": ("sync_threads", 32, [("1", 1), ("1000", 1000)], [*NO_NUMBER, "0"]),
    "BAS_LEGACY_WSGI": (
        "legacy_wsgi",
        "",
        [("", ""), ("old.server:app", "old.server:app")],
        ["old", "old:", ":app", "old:app()", "/old:app", "old app:app"],
    ),
}
GOOD = [(name, text, value) for name, (_, _, good, _) in SETTINGS.items() for text, value in good]
BAD = [(name, text) for name, (_, _, _, bad) in SETTINGS.items() for text in bad]


def test_every_setting_is_looked_at_here():
    fields = {item.metadata["variable"]: item.name for item in dataclasses.fields(ServerConfig)}
    assert {name: about[0] for name, about in SETTINGS.items()} == fields


@pytest.mark.parametrize("variable", SETTINGS)
def test_a_variable_that_is_not_set_has_its_default(variable):
    name, default, _, _ = SETTINGS[variable]
    assert getattr(ServerConfig.from_env({}), name) == default
    assert getattr(ServerConfig(), name) == default


@pytest.mark.parametrize(("variable", "text", "value"), GOOD)
def test_a_good_value_is_taken(variable, text, value):
    config = ServerConfig.from_env({variable: text})
    assert getattr(config, SETTINGS[variable][0]) == value


@pytest.mark.parametrize(("variable", "text"), BAD)
def test_a_bad_value_is_refused_by_the_name_of_its_variable(variable, text):
    with pytest.raises(ConfigError, match=f"^{variable} "):
        ServerConfig.from_env({variable: text})


def test_nothing_else_in_the_environment_matters():
    assert ServerConfig.from_env({"BAS_UNKNOWN": "x", "PATH": "/bin"}) == ServerConfig()


@pytest.mark.parametrize("origin", ["https://Panel.Example", "https://panel.example:443"])
def test_an_origin_is_kept_as_browsers_write_it(origin):
    assert ServerConfig.from_env({"BAS_CORS_ORIGINS": origin}).cors_origins == (
        "https://panel.example",
    )


def test_several_processes_without_redis_are_refused_with_the_reason():
    with pytest.raises(ConfigError, match=r"BAS_PROCESSES=2 .*REDIS_URL"):
        ServerConfig.from_env({"BAS_PROCESSES": "2"})


@pytest.mark.parametrize(
    ("settings", "on", "shadow"),
    [
        ({}, True, False),
        ({"BAS_AUTH_MODE": "shadow"}, True, True),
        ({"BAS_AUTH_MODE": "disabled"}, False, False),
        ({"BAS_AUTH_ENABLED": "0"}, False, False),
        ({"BAS_AUTH_ENABLED": "0", "BAS_AUTH_MODE": "shadow"}, False, False),
    ],
)
def test_the_two_switches_of_auth_agree(settings, on, shadow):
    config = ServerConfig.from_env(settings)
    assert (config.auth_on, config.shadow) == (on, shadow)


@pytest.fixture
def old_file(tmp_path):
    """Write an auth_config.json; the environment that names it."""

    def write(content):
        path = tmp_path / "auth_config.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return {"BAS_AUTH_CONFIG": str(path)}

    return write


def test_an_old_auth_config_is_read(old_file):
    environ = old_file(
        {
            "auth_enabled": True,
            "auth_mode": "shadow",
            "session_timeout": 60,
            "max_concurrent_sessions": 2,
            "max_login_attempts": 7,
            "lockout_duration": 30,
            "auth_attempts_per_15min": 50,
            "use_firestore_telemetry": False,
            "tenant_id_header": "X-Site",
            "cors_origins": ["https://a", "https://b"],
            "allowed_hosts": ["a.example", ".b.example"],
        }
    )
    config = ServerConfig.from_env(environ)
    assert (config.auth_enabled, config.auth_mode, config.session_timeout) == (True, "shadow", 60)
    assert (config.max_concurrent_sessions, config.max_login_attempts) == (2, 7)
    assert (config.lockout_duration, config.auth_attempts_per_15min) == (30, 50)
    assert config.tenant_id_header == "X-Site"
    assert config.cors_origins == ("https://a", "https://b")
    assert config.allowed_hosts == ("a.example", "*.b.example")


def test_the_environment_wins_over_the_old_file(old_file):
    environ = old_file({"session_timeout": 60, "lockout_duration": 30})
    config = ServerConfig.from_env(environ | {"BAS_SESSION_TIMEOUT": "70"})
    assert (config.session_timeout, config.lockout_duration) == (70, 30)


def test_old_keys_without_meaning_are_passed_over(old_file):
    assert ServerConfig.from_env(old_file({"hash_iterations": 1, "x": None})) == ServerConfig()


def test_a_null_in_the_old_file_is_no_value(old_file):
    assert ServerConfig.from_env(old_file({"session_timeout": None, "redis_url": None})) == (
        ServerConfig()
    )


def test_a_wrong_redis_url_is_refused_without_repeating_its_password():
    with pytest.raises(ConfigError, match=r"^REDIS_URL must be a URL") as refused:
        ServerConfig.from_env({"REDIS_URL": "http://:hunter2@h:6379"})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, ""),
        ({"REDIS_URL": "redis://site"}, "redis://site"),
        ({"EMULATOR_REDIS_URL": "redis://here"}, ""),
        ({"USE_EMULATORS": "1", "EMULATOR_REDIS_URL": "redis://here"}, "redis://here"),
        (
            {"USE_EMULATORS": "1", "EMULATOR_REDIS_URL": "redis://here", "REDIS_URL": "redis://s"},
            "redis://here",
        ),
    ],
)
def test_a_development_redis_counts_only_with_use_emulators_and_then_wins(settings, url):
    assert ServerConfig.from_env(settings).shared_redis_url == url


def test_more_processes_are_refused_also_with_a_redis_for_development():
    with pytest.raises(ConfigError, match="BAS_PROCESSES"):
        ServerConfig.from_env({"BAS_PROCESSES": "2", "EMULATOR_REDIS_URL": "redis://x"})


@pytest.mark.parametrize("value", ["x", 1.5, [1, 2], {}, True, 1])
def test_a_bad_value_in_the_old_file_is_refused_by_key_and_file(old_file, value):
    with pytest.raises(ConfigError, match=r"^session_timeout in .*auth_config\.json must "):
        ServerConfig.from_env(old_file({"session_timeout": value}))


@pytest.mark.parametrize("content", ["", "{", "[]", '"text"', "null", "\ufeff{}"])
def test_an_old_file_that_is_no_json_object_is_refused_by_its_variable(old_file, content):
    with pytest.raises(ConfigError, match=r"^BAS_AUTH_CONFIG="):
        ServerConfig.from_env(old_file(content))


def test_an_old_file_that_is_missing_is_refused_by_its_variable(tmp_path):
    with pytest.raises(ConfigError, match=r"^BAS_AUTH_CONFIG="):
        ServerConfig.from_env({"BAS_AUTH_CONFIG": str(tmp_path / "missing.json")})


def test_an_empty_name_of_the_old_file_means_none():
    assert ServerConfig.from_env({"BAS_AUTH_CONFIG": ""}) == ServerConfig()


@pytest.mark.parametrize("variable", [*SETTINGS, "BAS_AUTH_CONFIG"])
def test_help_names_every_variable(variable):
    assert f"  {variable} " in settings_help()


def test_a_wrong_setting_ends_the_command_with_its_name_and_no_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, ROOT / "bas_server.py", "list-users"],
        env={"BAS_DATA_DIR": str(tmp_path), "BAS_PORT": "eighty"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert "BAS_PORT must be a whole number, not 'eighty'" in done.stderr
    assert "Traceback" not in done.stderr
