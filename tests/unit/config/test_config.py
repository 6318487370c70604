"""ServerConfig: each variable's default, its valid and invalid values, and the error's text."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
from pathlib import Path

import pytest

from server.config.config import ServerConfig
from server.config.settings_text import settings_help
from server.config.sources import ConfigError

FLAGS = [("1", True), ("true", True), ("YES", True), ("on", True), ("0", False), ("off", False)]
NO_NUMBER = ["x", "1.5", "0x10", "--1"]
NETWORKS = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::1/128"))

# variable: field, default, [(text, value)], [bad text]
SETTINGS = {
    "BAS_HOST": ("host", "0.0.0.0", [("127.0.0.1", "127.0.0.1"), ("::", "::")], []),
    "BAS_PORT": ("port", 8080, [("0", 0), ("65535", 65535)], [*NO_NUMBER, "-1", "65536"]),
    "BAS_TLS_CERT": ("tls_cert", "", [("/etc/x.pem", "/etc/x.pem")], []),
    "BAS_TLS_KEY": ("tls_key", "", [("/etc/x.pem", "/etc/x.pem")], []),
    "BAS_TLS_CLIENT_CA": ("tls_client_ca", "", [("/etc/x.pem", "/etc/x.pem")], []),
    "BAS_DATA_DIR": ("data_dir", Path("data"), [("/var/bas", Path("/var/bas"))], []),
    "BAS_DISK_MIN_FREE_MB": (
        "disk_min_free_mb",
        100,
        [("0", 0), ("5000", 5000)],
        [*NO_NUMBER, "-1", "9" * 20],
    ),
    "BAS_PROCESSES": ("processes", 1, [("1", 1)], [*NO_NUMBER, "0", "257"]),
    "BAS_LOG_LEVEL": (
        "log_level",
        "info",
        [("debug", "debug"), ("WARNING", "warning"), ("error", "error")],
        ["loud"],
    ),
    "BAS_LOG_FORMAT": ("log_format", "text", [("json", "json"), ("TEXT", "text")], ["xml"]),
    "BAS_HEARTBEAT_URL": (
        "heartbeat_url",
        "",
        [("https://hc.example/ping/1", "https://hc.example/ping/1"), ("http://h:1", "http://h:1")],
        ["hc.example/ping", "ftp://h/x", "https://", "http://h:x", "https://h/a b", "https://h/ü"],
    ),
    "REDIS_URL": (
        "redis_url",
        "",
        [("redis://h:1/0", "redis://h:1/0"), ("unix:///run/r", "unix:///run/r")],
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
        ["X Site", "X:Site", "é", "x" * 65, "Host", "user-agent", "Accept", "Cookie"],
    ),
    "BAS_AUTH_ENABLED": ("auth_enabled", True, FLAGS, ["2", "maybe"]),
    "BAS_AUTH_MODE": (
        "auth_mode",
        "user_password",
        [("user_password", "user_password"), ("Shadow", "shadow"), ("disabled", "disabled")],
        ["off", "user_password_mfa", "enforced"],
    ),
    "BAS_SESSION_TIMEOUT": ("session_timeout", 1800, [("10", 10)], [*NO_NUMBER, "9", "9" * 20]),
    "BAS_SESSION_ABSOLUTE": (
        "session_absolute",
        43_200,
        [("1800", 1800), ("2592000", 2_592_000)],
        [*NO_NUMBER, "9", "9" * 20],
    ),
    "BAS_MAX_CONCURRENT_SESSIONS": ("max_concurrent_sessions", 3, [("1", 1)], [*NO_NUMBER, "0"]),
    "BAS_MAX_LOGIN_ATTEMPTS": ("max_login_attempts", 5, [("1", 1)], [*NO_NUMBER, "0"]),
    "BAS_LOCKOUT_DURATION": ("lockout_duration", 900, [("60", 60)], [*NO_NUMBER, "0"]),
    "BAS_AUTH_ATTEMPTS_PER_15MIN": (
        "auth_attempts_per_15min",
        20,
        [("100", 100)],
        [*NO_NUMBER, "0"],
    ),
    "BAS_PASSWORD_MIN_LENGTH": (
        "password_min_length",
        12,
        [("12", 12), ("64", 64)],
        [*NO_NUMBER, "11", "65"],
    ),
    "BAS_PASSWORD_HISTORY_COUNT": (
        "password_history_count",
        5,
        [("0", 0), ("10", 10)],
        [*NO_NUMBER, "-1", "11"],
    ),
    "BAS_DEVICE_AUTH": (
        "device_auth",
        "optional",
        [("optional", "optional"), ("required", "required"), ("off", "off")],
        ["on"],
    ),
    "BAS_METRICS": (
        "metrics",
        "open",
        [("open", "open"), ("Local", "local"), ("token", "token"), ("off", "off")],
        ["on", "0"],
    ),
    "BAS_METRICS_TOKEN": (
        "metrics_token",
        "",
        [("0123456789abcdef0123", "0123456789abcdef0123"), ("~" * 256, "~" * 256)],
        ["x" * 19, "x" * 257, "0123456789 abcdef0123", "0123456789abcdef012é"],
    ),
    "BAS_COOKIE_SECURE": (
        "cookie_secure",
        "auto",
        [("auto", "auto"), ("always", "always"), ("never", "never")],
        ["1"],
    ),
    "BAS_CORS_ORIGINS": (
        "cors_origins",
        (),
        [
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
    "BAS_ROOT_PATH": (
        "root_path",
        "",
        [("/bas", "/bas"), ("/a/b-2/", "/a/b-2"), ("/", "")],
        ["bas", "//bas", "/a//b", "/..", "/a b", "/%62"],
    ),
    "BAS_TRUSTED_PROXIES": (
        "trusted_proxies",
        (),
        [("10.0.0.0/8, fd00::1", NETWORKS)],
        ["x", "10.0.0.0/33", "10.0.0.1/8", "proxy.example"],
    ),
    "BAS_SSE_HEARTBEAT_S": ("sse_heartbeat_s", 20, [("1", 1)], [*NO_NUMBER, "0"]),
    "BAS_SSE_FLUSH_MS": ("sse_flush_ms", 100, [("0", 0), ("1000", 1000)], [*NO_NUMBER, "1001"]),
    "BAS_SSE_QUEUE_MAX": ("sse_queue_max", 100, [("1", 1)], [*NO_NUMBER, "0"]),
    "BAS_BODY_BYTES_MAX": (
        "body_bytes_max",
        32_000_000,
        [("1000000", 1_000_000)],
        [*NO_NUMBER, "999999"],
    ),
    "BAS_POSTS_PER_SECOND": ("posts_per_second", 500, [("1", 1)], [*NO_NUMBER, "0"]),
    "BAS_NEW_ZONES_PER_HOUR": ("new_zones_per_hour", 20, [("1", 1)], [*NO_NUMBER, "0"]),
    "BAS_SSE_STREAMS_PER_TENANT": ("sse_streams_per_tenant", 5000, [("1", 1)], [*NO_NUMBER, "0"]),
    "BAS_SSE_STREAMS_PER_ACCOUNT": ("sse_streams_per_account", 200, [("1", 1)], [*NO_NUMBER, "0"]),
    "BAS_SSE_STREAMS_PER_ADDRESS": ("sse_streams_per_address", 500, [("1", 1)], [*NO_NUMBER, "0"]),
    "BAS_SSE_MAX_STREAMS": ("sse_max_streams", 10_000, [("1", 1)], [*NO_NUMBER, "0"]),
    "BAS_SSE_HISTORY_EVENTS": ("sse_history_events", 20_000, [("1", 1)], [*NO_NUMBER, "0"]),
    "BAS_SSE_HISTORY_BYTES": ("sse_history_bytes", 8_000_000, [("1000", 1000)], [*NO_NUMBER, "1"]),
    "BAS_PRESENT_S": ("present_s", 60, [("1", 1), ("900", 900)], [*NO_NUMBER, "0", "901"]),
    "BAS_ALARMS": (
        "alarms",
        "silent,fault",
        [("Silent, stuck", "silent,stuck"), ("none", ""), ("fault,fault", "fault")],
        ["high", "silent,loud", "none,silent"],
    ),
    "BAS_ALARM_TENTHS": (
        "alarm_tenths",
        (-550, 1250),
        [("150..280", (150, 280)), ("-50 .. 1250", (-50, 1250))],
        ["x", "280", "280..150", "-551..0"],
    ),
    "BAS_ALARM_DELAY_S": (
        "alarm_delay_s",
        300,
        [("0", 0), ("86400", 86_400)],
        [*NO_NUMBER, "-1", "86401"],
    ),
    "BAS_PLAUSIBLE_TENTHS": (
        "plausible_tenths",
        (-550, 1250),
        [("-300..500", (-300, 500)), (" -550 .. 1250 ", (-550, 1250)), ("0..1", (0, 1))],
        ["5", "500..-300", "5..5", "-551..0", "0..1251", "0.5..1", "-30°..50°", "0...5"],
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
    "BAS_SEAL_AFTER_MINUTES": ("seal_after_minutes", 60, [("1", 1)], [*NO_NUMBER, "0"]),
    "BAS_TELEMETRY_DAYS": ("telemetry_days", 90, [("1", 1)], [*NO_NUMBER, "0"]),
    "BAS_TIMEZONE": (
        "timezone",
        "",
        [("Europe/Berlin", "Europe/Berlin"), ("UTC", "UTC")],
        ["Berlin", "Europe", "../etc/passwd", "/etc/localtime", "x" * 300, "+01:00"],
    ),
    "BAS_NOTICE_PRIVATE_ADDRESSES": (
        "notice_private_addresses",
        (),
        [("10.0.0.0/8, fd00::1", NETWORKS)],
        ["x", "10.0.0.1/8", "hooks.example"],
    ),
    "BAS_NOTICE_CLEAR_PASSWORDS": ("notice_clear_passwords", False, FLAGS, ["2", "maybe"]),
    "BAS_AUDIT_DAYS": ("audit_days", 180, [("1", 1)], [*NO_NUMBER, "0"]),
    "BAS_SYNC_THREADS": ("sync_threads", 32, [("1", 1), ("1000", 1000)], [*NO_NUMBER, "0"]),
    "BAS_LEGACY_WSGI": (
        "legacy_wsgi",
        "",
        [
            ("old.server:app", "old.server:app"),
            ("/srv/the old/bas_server.py:app", "/srv/the old/bas_server.py:app"),
        ],
        ["old", "old:", ":app", "old:app()", "/old:app", "old app:app", ".py:app", "/a.py:b.c"],
    ),
    "BAS_LEGACY_PREFIX": (
        "legacy_prefix",
        "",
        [("/old", "/old"), ("/the/old.one/", "/the/old.one")],
        ["old", "//old", "/..", "/old?", "/ö"],
    ),
    "BAS_LEGACY_MIRROR": (
        "legacy_mirror",
        "",
        [("/srv/old/bas_telemetry.db", "/srv/old/bas_telemetry.db")],
        ["a\0b"],
    ),
}
GOOD = [(name, text, value) for name, (_, _, good, _) in SETTINGS.items() for text, value in good]
# The settings that decide who may do or see what, or where accounts and audit entries are.
GUARDS = [
    *("BAS_HOST", "BAS_ALLOWED_HOSTS", "BAS_TRUSTED_PROXIES", "BAS_CORS_ORIGINS"),
    *("BAS_AUTH_ENABLED", "BAS_AUTH_MODE", "BAS_SESSION_TIMEOUT", "BAS_SESSION_ABSOLUTE"),
    "BAS_MAX_CONCURRENT_SESSIONS",
    *("BAS_MAX_LOGIN_ATTEMPTS", "BAS_LOCKOUT_DURATION", "BAS_AUTH_ATTEMPTS_PER_15MIN"),
    *("BAS_DEVICE_AUTH", "BAS_COOKIE_SECURE", "TENANT_ID_HEADER"),
    *("BAS_PASSWORD_MIN_LENGTH", "BAS_PASSWORD_HISTORY_COUNT", "BAS_METRICS"),
    *("BAS_NEW_ZONES_PER_HOUR", "BAS_POSTS_PER_SECOND"),
    *("USE_FIRESTORE_AUTH", "USE_FIRESTORE_AUDIT", "BAS_AUDIT_DAYS"),
    *("BAS_TLS_CERT", "BAS_TLS_KEY", "BAS_TLS_CLIENT_CA"),
    *("BAS_NOTICE_PRIVATE_ADDRESSES", "BAS_NOTICE_CLEAR_PASSWORDS"),
]
OLD_FILE = "BAS_AUTH_CONFIG"
BAD = [(name, text) for name, (_, _, _, bad) in SETTINGS.items() for text in bad]


def test_this_file_covers_every_setting():
    fields = {item.metadata["variable"]: item.name for item in dataclasses.fields(ServerConfig)}
    assert {name: about[0] for name, about in SETTINGS.items()} == fields


@pytest.mark.parametrize("variable", SETTINGS)
def test_a_variable_that_is_not_set_has_its_default(variable):
    name, default, _, _ = SETTINGS[variable]
    assert getattr(ServerConfig.from_env({}), name) == default
    assert getattr(ServerConfig(), name) == default


@pytest.mark.parametrize(("variable", "text", "value"), GOOD)
def test_a_valid_value_is_accepted(variable, text, value):
    config = ServerConfig.from_env({variable: text})
    assert getattr(config, SETTINGS[variable][0]) == value


@pytest.mark.parametrize(("variable", "text"), BAD)
def test_an_invalid_value_is_refused_with_an_error_that_names_the_variable(variable, text):
    with pytest.raises(ConfigError, match=f"^{variable} "):
        ServerConfig.from_env({variable: text})


@pytest.mark.parametrize("text", ["", " "])
@pytest.mark.parametrize("variable", [*GUARDS, OLD_FILE])
def test_an_empty_setting_that_guards_something_is_refused_with_an_error_that_names_it(
    variable, text
):
    """ASVS 5.0 v5.0.0-16.5.3: an empty text fails securely, and turns no guard off."""
    with pytest.raises(ConfigError, match=f"^{variable} is empty.*or remove it"):
        ServerConfig.from_env({variable: text})


@pytest.mark.parametrize("text", ["", "  "])
@pytest.mark.parametrize("variable", [name for name in SETTINGS if name not in GUARDS])
def test_any_other_setting_that_is_empty_counts_as_not_set(variable, text):
    assert ServerConfig.from_env({variable: text}) == ServerConfig()


def test_an_empty_setting_leaves_the_value_of_the_old_file_in_force(old_file):
    environ = old_file({"sse_heartbeat_s": 7}) | {"BAS_SSE_HEARTBEAT_S": ""}
    assert ServerConfig.from_env(environ).sse_heartbeat_s == 7


def test_an_empty_guard_in_the_old_file_is_refused_with_an_error_that_names_key_and_file(old_file):
    with pytest.raises(ConfigError, match=r"^auth_mode in .*auth_config\.json is empty"):
        ServerConfig.from_env(old_file({"auth_mode": ""}))


@pytest.mark.parametrize("variable", [*SETTINGS, OLD_FILE])
@pytest.mark.parametrize(
    ("left", "said"),
    [
        ("{}\r", "ends with a carriage return, .* save the file"),
        ("\r", "ends with a carriage return"),
        ("{}\n", "has a line break"),
        ("a\x00b", "has a line break or another control character"),
        ('"{}"', "is in quotes, .* remove the quotes"),
        ("'{}'", "is in quotes"),
        (' "{}" ', "is in quotes"),
        ('""', "is in quotes"),
    ],
)
def test_what_an_editor_or_an_env_file_leaves_in_a_value_is_refused_by_name(variable, left, said):
    """ASVS 5.0 v5.0.0-16.5.3: a value that nobody meant stops the server."""
    valid = SETTINGS[variable][2][0][0] if variable in SETTINGS else "/no/file"
    with pytest.raises(ConfigError, match=f"^{variable} {said}"):
        ServerConfig.from_env({variable: left.format(valid)})


def test_a_left_over_carriage_return_does_not_show_a_password():
    with pytest.raises(ConfigError) as refused:
        ServerConfig.from_env({"REDIS_URL": "redis://:hunter2@h:6379\r"})
    assert "hunter2" not in str(refused.value)


def test_an_unusable_token_for_prometheus_is_not_shown():
    with pytest.raises(ConfigError) as refused:
        ServerConfig.from_env({"BAS_METRICS_TOKEN": "hunter2 hunter2 hunter2"})
    assert "hunter2" not in str(refused.value)


def test_a_quote_inside_a_value_belongs_to_it():
    assert ServerConfig.from_env({"BAS_DATA_DIR": "/srv/o'neil"}).data_dir == Path("/srv/o'neil")


@pytest.mark.parametrize("mode", ["user_password_mfa", "User_Password_MFA"])
def test_the_error_for_the_existing_server_s_second_factor_says_what_to_put(old_file, mode):
    for environ in ({"BAS_AUTH_MODE": mode}, old_file({"auth_mode": mode})):
        with pytest.raises(ConfigError, match=r"put user_password .*no second factor"):
            ServerConfig.from_env(environ)


@pytest.mark.parametrize(
    ("key", "value"), [("password_min_length", 8), ("password_history_count", 50)]
)
def test_a_rule_for_passwords_in_the_old_file_that_is_out_of_range_is_refused_by_name(
    old_file, key, value
):
    with pytest.raises(ConfigError, match=rf"^{key} in .*auth_config\.json must be from"):
        ServerConfig.from_env(old_file({key: value}))


@pytest.mark.parametrize("key", ["password_require_digits", "password_max_age_days"])
def test_a_rule_for_passwords_that_does_not_exist_here_is_refused_by_name(old_file, key):
    with pytest.raises(ConfigError, match=rf"^{key} in .*auth_config\.json is a rule"):
        ServerConfig.from_env(old_file({key: 1}))


def test_other_variables_of_the_environment_are_ignored():
    assert ServerConfig.from_env({"BAS_UNKNOWN": "x", "PATH": "/bin"}) == ServerConfig()


@pytest.mark.parametrize("origin", ["https://Panel.Example", "https://panel.example:443"])
def test_an_origin_is_normalised_to_the_form_that_browsers_send(origin):
    assert ServerConfig.from_env({"BAS_CORS_ORIGINS": origin}).cors_origins == (
        "https://panel.example",
    )


def test_several_processes_without_redis_are_refused_with_an_error_that_names_both_settings():
    with pytest.raises(ConfigError, match=r"BAS_PROCESSES=2 .*REDIS_URL"):
        ServerConfig.from_env({"BAS_PROCESSES": "2"})


@pytest.mark.parametrize(
    "settings",
    [{"BAS_SESSION_TIMEOUT": "43201"}, {"BAS_SESSION_ABSOLUTE": "1799"}],
)
def test_a_session_that_may_be_idle_for_longer_than_it_may_live_is_refused_by_both_names(settings):
    with pytest.raises(ConfigError, match=r"BAS_SESSION_ABSOLUTE=.*BAS_SESSION_TIMEOUT="):
        ServerConfig.from_env(settings)
    both = {"BAS_SESSION_TIMEOUT": "43201", "BAS_SESSION_ABSOLUTE": "43201"}
    assert ServerConfig.from_env(both).session_absolute == 43_201


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
def test_auth_enabled_and_auth_mode_together_decide_whether_auth_is_on(settings, on, shadow):
    config = ServerConfig.from_env(settings)
    assert (config.auth_on, config.shadow) == (on, shadow)


@pytest.fixture
def old_file(tmp_path):
    """Writes an auth_config.json; returns the environment that names it."""

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
            "password_min_length": 14,
            "password_history_count": 3,
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
    assert (config.password_min_length, config.password_history_count) == (14, 3)
    assert config.tenant_id_header == "X-Site"
    assert config.cors_origins == ("https://a", "https://b")
    assert config.allowed_hosts == ("a.example", "*.b.example")


def test_the_environment_overrides_the_old_file(old_file):
    environ = old_file({"session_timeout": 60, "lockout_duration": 30})
    config = ServerConfig.from_env(environ | {"BAS_SESSION_TIMEOUT": "70"})
    assert (config.session_timeout, config.lockout_duration) == (70, 30)


def test_old_keys_without_a_meaning_are_ignored(old_file):
    assert ServerConfig.from_env(old_file({"hash_iterations": 1, "x": None})) == ServerConfig()


def test_a_null_in_the_old_file_counts_as_not_set(old_file):
    assert ServerConfig.from_env(old_file({"session_timeout": None, "redis_url": None})) == (
        ServerConfig()
    )


def test_an_invalid_redis_url_is_refused_with_an_error_that_hides_its_password():
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
def test_the_emulator_redis_url_counts_only_with_use_emulators_and_then_has_priority(settings, url):
    assert ServerConfig.from_env(settings).shared_redis_url == url


def test_several_processes_are_refused_when_only_a_redis_for_development_is_set():
    with pytest.raises(ConfigError, match="BAS_PROCESSES"):
        ServerConfig.from_env({"BAS_PROCESSES": "2", "EMULATOR_REDIS_URL": "redis://x"})


@pytest.mark.parametrize("value", ["x", 1.5, [1, 2], {}, True, 1])
def test_an_invalid_value_in_the_old_file_is_refused_with_an_error_that_names_key_and_file(
    old_file, value
):
    with pytest.raises(ConfigError, match=r"^session_timeout in .*auth_config\.json must "):
        ServerConfig.from_env(old_file({"session_timeout": value}))


@pytest.mark.parametrize("content", ["", "{", "[]", '"text"', "null", "\ufeff{}"])
def test_an_old_file_that_is_no_json_object_is_refused_with_an_error_that_names_the_variable(
    old_file, content
):
    with pytest.raises(ConfigError, match=r"^BAS_AUTH_CONFIG="):
        ServerConfig.from_env(old_file(content))


def test_a_missing_old_file_is_refused_with_an_error_that_names_the_variable(tmp_path):
    with pytest.raises(ConfigError, match=r"^BAS_AUTH_CONFIG="):
        ServerConfig.from_env({"BAS_AUTH_CONFIG": str(tmp_path / "missing.json")})


@pytest.mark.parametrize("variable", [*SETTINGS, "BAS_AUTH_CONFIG"])
def test_help_names_every_variable(variable):
    assert f"  {variable} " in settings_help()
