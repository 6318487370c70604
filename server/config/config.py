"""ServerConfig: every setting, read once from the environment (and an old auth_config.json)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from server.config import parsers
from server.config.parsers import Network
from server.config.sources import ConfigError, read, setting

DEFAULT_DATA_DIR = Path("data")
# Within the data folder, so that simulated zones never stand between real ones.
DEMO_FOLDER = "demo"
# If this variable is set, prometheus_client counts in files of that folder, for all processes.
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
OF_SYSTEMD = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}
# Modes of the existing server that this one does not have, and what to put for them.
OLD_MODES = {
    "user_password_mfa": "user_password (this server asks for no second factor: people log in with "
    "their password alone)",
    "enforced": "user_password",
}


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """All settings, validated. Times are seconds unless the name says otherwise."""

    host: str = setting(
        "BAS_HOST",
        "0.0.0.0",  # noqa: S104
        str,
        "address on which the server listens; `127.0.0.1` keeps it to this machine",
        guards=True,
    )
    port: int = setting(
        "BAS_PORT",
        8080,
        parsers.integer(0, 65535),
        "port on which the server listens; 0 takes a free one",
    )
    tls_cert: str = setting(
        "BAS_TLS_CERT",
        "",
        str,
        "file of the certificate chain, in PEM; with it the server speaks https and HTTP/2 on its "
        "port and no plain HTTP: [TLS](operations.md#tls). SIGHUP reads it again",
        guards=True,
    )
    tls_key: str = setting(
        "BAS_TLS_KEY",
        "",
        str,
        "file of that certificate's private key, in PEM without a passphrase",
        guards=True,
    )
    tls_client_ca: str = setting(
        "BAS_TLS_CLIENT_CA",
        "",
        str,
        "file of the certificates, in PEM, that sign your devices' certificates; with it a post "
        "needs such a certificate, a device key or a session: [client "
        "certificates](operations.md#client-certificates)",
        guards=True,
    )
    data_dir: Path = setting(
        "BAS_DATA_DIR",
        DEFAULT_DATA_DIR,
        parsers.folder,
        "folder of the SQLite database",
    )
    disk_min_free_mb: int = setting(
        "BAS_DISK_MIN_FREE_MB",
        100,
        parsers.integer(0, 1_000_000_000),
        "megabytes on the disk of `BAS_DATA_DIR` below which `/readyz` says `degraded`; 0 for any",
    )
    processes: int = setting(
        "BAS_PROCESSES",
        1,
        parsers.integer(1, 256),
        "number of server processes on one port; more than 1 needs `REDIS_URL`. The "
        "supervisor replaces a process that ends, and renews one after another on SIGHUP",
    )
    log_level: str = setting(
        "BAS_LOG_LEVEL",
        "info",
        parsers.choice("debug", "info", "warning", "error"),
        "lowest level of log lines that are written",
    )
    log_format: str = setting(
        "BAS_LOG_FORMAT",
        "text",
        parsers.choice("text", "json"),
        "`text` writes log lines for people, `json` a JSON object for each: [the "
        "log](operations.md#the-log)",
    )
    heartbeat_url: str = setting(
        "BAS_HEARTBEAT_URL",
        "",
        parsers.http_url,
        "URL that the server gets every minute while all is well; its owner can tell "
        "you when the calls stop: [a server that is dead](operations.md#hung-and-dead)",
        secret=True,
    )
    redis_url: str = setting(
        "REDIS_URL",
        "",
        parsers.redis_url,
        "Redis that all server processes share",
        secret=True,
    )
    use_emulators: bool = setting(
        "USE_EMULATORS",
        False,
        parsers.flag,
        "1 uses the two emulator settings below",
    )
    emulator_redis_url: str = setting(
        "EMULATOR_REDIS_URL",
        "",
        parsers.redis_url,
        "local Redis for development",
        secret=True,
    )
    firestore_emulator_host: str = setting(
        "FIRESTORE_EMULATOR_HOST",
        "",
        str,
        "host:port of the Firestore emulator",
    )
    google_cloud_project: str = setting(
        "GOOGLE_CLOUD_PROJECT",
        "",
        str,
        "Firestore project",
    )
    use_firestore_telemetry: bool = setting(
        "USE_FIRESTORE_TELEMETRY",
        False,
        parsers.flag,
        "1 keeps readings, devices and zones in Firestore",
    )
    use_firestore_auth: bool = setting(
        "USE_FIRESTORE_AUTH",
        False,
        parsers.flag,
        "1 keeps users and sessions in Firestore",
        guards=True,
    )
    use_firestore_audit: bool = setting(
        "USE_FIRESTORE_AUDIT",
        False,
        parsers.flag,
        "1 keeps the audit log in Firestore",
        guards=True,
    )
    tenant_id_header: str = setting(
        "TENANT_ID_HEADER",
        "X-BAS-Tenant",
        parsers.header_name,
        "request header in which a session names its tenant",
        guards=True,
    )
    auth_enabled: bool = setting(
        "BAS_AUTH_ENABLED",
        True,
        parsers.flag,
        "0 turns log-in off, like `BAS_AUTH_MODE=disabled`",
        guards=True,
    )
    auth_mode: str = setting(
        "BAS_AUTH_MODE",
        "user_password",
        parsers.choice("user_password", "shadow", "disabled", instead=OLD_MODES),
        "`shadow` logs each request that it would refuse and refuses none; `disabled` turns "
        "log-in off",
        guards=True,
    )
    session_timeout: int = setting(
        "BAS_SESSION_TIMEOUT",
        1800,
        parsers.integer(10, 30 * 86400),
        "seconds without a request of a person after which a session ends; a program's session "
        "ends this long after its log-in",
        guards=True,
    )
    session_absolute: int = setting(
        "BAS_SESSION_ABSOLUTE",
        43_200,
        parsers.integer(10, 30 * 86400),
        "seconds after a log-in at which its session ends in any case; not below "
        "`BAS_SESSION_TIMEOUT`",
        guards=True,
    )
    max_concurrent_sessions: int = setting(
        "BAS_MAX_CONCURRENT_SESSIONS",
        3,
        parsers.integer(1, 100),
        "sessions of one user; a further log-in ends the oldest",
        guards=True,
    )
    max_login_attempts: int = setting(
        "BAS_MAX_LOGIN_ATTEMPTS",
        5,
        parsers.integer(1, 1000),
        "failed log-ins from unknown addresses after which a user is locked for these",
        guards=True,
    )
    lockout_duration: int = setting(
        "BAS_LOCKOUT_DURATION",
        900,
        parsers.integer(1, 7 * 86400),
        "seconds for which a user stays locked",
        guards=True,
    )
    auth_attempts_per_15min: int = setting(
        "BAS_AUTH_ATTEMPTS_PER_15MIN",
        20,
        parsers.integer(1, 100_000),
        "failed log-ins from one address within 15 minutes after which that address must wait",
        guards=True,
    )
    password_min_length: int = setting(
        "BAS_PASSWORD_MIN_LENGTH",
        12,
        parsers.integer(12, 64),
        "fewest characters of a new password: [the rules](operations.md#passwords)",
        guards=True,
    )
    password_history_count: int = setting(
        "BAS_PASSWORD_HISTORY_COUNT",
        5,
        parsers.integer(0, 10),
        "former passwords that an account may not use again",
        guards=True,
    )
    device_auth: str = setting(
        "BAS_DEVICE_AUTH",
        "optional",
        parsers.choice("optional", "required", "off"),
        "`optional`: a device that has a key must send it; `required`: every device must "
        "have and send a key; `off`: keys are not checked",
        guards=True,
    )
    metrics: str = setting(
        "BAS_METRICS",
        "open",
        parsers.choice("open", "local", "token", "off"),
        "who may read `/metrics`: `open` anyone, `local` programs on this machine that no proxy "
        "passes on, `token` callers that send an API token or `BAS_METRICS_TOKEN`, `off` nobody. "
        "`local` also answers callers with one of these",
        guards=True,
    )
    metrics_token: str = setting(
        "BAS_METRICS_TOKEN",
        "",
        parsers.secret,
        "a secret of at least 20 characters for Prometheus, which sends it as a bearer token: with "
        "it `/api/metrics/zones` shows the zones of all tenants, and `BAS_METRICS=local` and "
        "`token` answer it",
    )
    cookie_secure: str = setting(
        "BAS_COOKIE_SECURE",
        "auto",
        parsers.choice("auto", "always", "never"),
        "Secure attribute of the session cookie; `auto` sets it exactly for requests over https",
        guards=True,
    )
    cors_origins: tuple[str, ...] = setting(
        "BAS_CORS_ORIGINS",
        (),
        parsers.origins,
        "other origins whose pages may call this server, separated by commas",
        guards=True,
    )
    allowed_hosts: tuple[str, ...] = setting(
        "BAS_ALLOWED_HOSTS",
        (),
        parsers.host_names,
        "names by which browsers reach this server, separated by commas; `*.name` (or "
        "`.name`) means all names below it. Addresses, `localhost`, the machine's own name "
        "and `*.local` need no entry; [the server refuses any other "
        "name](operations.md#host-names)",
        guards=True,
    )
    trusted_proxies: tuple[Network, ...] = setting(
        "BAS_TRUSTED_PROXIES",
        (),
        parsers.networks,
        "addresses or networks of the proxies whose `X-Forwarded-For`, `X-Forwarded-Proto` and "
        "`X-Forwarded-Prefix` the server believes, separated by commas",
        guards=True,
    )
    root_path: str = setting(
        "BAS_ROOT_PATH",
        "",
        parsers.path_prefix,
        "the path below which browsers find the server, such as `/bas`, when a proxy serves other "
        "things on the same name; a trusted proxy's `X-Forwarded-Prefix` counts first",
    )
    body_bytes_max: int = setting(
        "BAS_BODY_BYTES_MAX",
        32_000_000,
        parsers.integer(1_000_000, 10**12),
        "bytes of request bodies that one process holds at a time, without those of bodies up to "
        "4,096 bytes; beyond it the address that holds most of them gets 503",
    )
    sse_heartbeat_s: int = setting(
        "BAS_SSE_HEARTBEAT_S",
        20,
        parsers.integer(1, 3600),
        "seconds without an event after which a stream gets a heartbeat",
    )
    sse_flush_ms: int = setting(
        "BAS_SSE_FLUSH_MS",
        100,
        parsers.integer(0, 1000),
        "milliseconds for which an event may wait to share its write with others: [the "
        "trade-off](performance.md#an-event)",
    )
    sse_queue_max: int = setting(
        "BAS_SSE_QUEUE_MAX",
        100,
        parsers.integer(1, 100_000),
        "events that may wait for one slow stream before the server disconnects it",
    )
    sse_max_streams: int = setting(
        "BAS_SSE_MAX_STREAMS",
        10_000,
        parsers.integer(1, 1_000_000),
        "open streams of one process; beyond it 503. It also takes 2,000 connections more. One"
        " address (IPv6: one /64) may have a quarter of all, this machine and trusted proxies all",
    )
    sse_streams_per_tenant: int = setting(
        "BAS_SSE_STREAMS_PER_TENANT",
        5000,
        parsers.integer(1, 1_000_000),
        "open streams of one tenant in one process; beyond it 429",
    )
    sse_streams_per_account: int = setting(
        "BAS_SSE_STREAMS_PER_ACCOUNT",
        200,
        parsers.integer(1, 1_000_000),
        "open streams of one account in one process; beyond it 429",
    )
    sse_streams_per_address: int = setting(
        "BAS_SSE_STREAMS_PER_ADDRESS",
        500,
        parsers.integer(1, 1_000_000),
        "open streams from one address (IPv6: one /64) in one process; beyond it 429. This machine "
        "and trusted proxies are not limited",
    )
    sse_history_events: int = setting(
        "BAS_SSE_HISTORY_EVENTS",
        20_000,
        parsers.integer(1, 10_000_000),
        "events of a tenant that the server keeps for replay",
    )
    sse_history_bytes: int = setting(
        "BAS_SSE_HISTORY_BYTES",
        8_000_000,
        parsers.integer(1000, 10**12),
        "bytes of a tenant's events that the server keeps for replay",
    )
    posts_per_second: int = setting(
        "BAS_POSTS_PER_SECOND",
        500,
        parsers.integer(1, 1_000_000),
        "posts of readings that one address (IPv6: one /64) may send in a second to one process, "
        "a batch being one; beyond it "
        "no new zone is made, and a zone that posted within the last second gets the command in "
        "force. This machine, trusted proxies and users that are logged in are not limited",
        guards=True,
    )
    new_zones_per_hour: int = setting(
        "BAS_NEW_ZONES_PER_HOUR",
        20,
        parsers.integer(1, 20_000),
        "new zones of devices that are not registered, from one address (IPv6: one /64) in one "
        "process; beyond it 429. This machine, trusted proxies and users that are logged in are "
        "not limited",
        guards=True,
    )
    present_s: int = setting(
        "BAS_PRESENT_S",
        60,
        parsers.integer(1, 900),
        "seconds by which a reading may be late and still switch a relay on",
    )
    plausible_tenths: tuple[int, int] = setting(
        "BAS_PLAUSIBLE_TENTHS",
        parsers.SENSOR_TENTHS,
        parsers.temperatures,
        "lowest and highest believable temperature, in tenths of °C",
    )
    safe_after_s: int = setting(
        "BAS_SAFE_AFTER_S",
        60,
        parsers.integer(10, 3600),
        "seconds without a believed reading after which a zone is in fault and both relays are off",
    )
    alarms: str = setting(
        "BAS_ALARMS",
        "silent,fault",
        parsers.several(
            "silent",
            "fault",
            "stuck",
            "refused",
            "device_key_refused",
            "long_running",
            "short_cycling",
        ),
        "the [alarms](alarms.md) that zones have, with commas between them; `none`: only those of "
        "BAS_ALARM_TENTHS and of the server itself",
    )
    alarm_tenths: tuple[int, int] = setting(
        "BAS_ALARM_TENTHS",
        parsers.SENSOR_TENTHS,
        parsers.temperatures,
        "lowest and highest temperature without an [alarm](alarms.md), in tenths of °C",
    )
    alarm_delay_s: int = setting(
        "BAS_ALARM_DELAY_S",
        300,
        parsers.integer(0, 86_400),
        "seconds for which a temperature must be beyond BAS_ALARM_TENTHS until the alarm begins",
    )
    store_grace_s: int = setting(
        "BAS_STORE_GRACE_S",
        300,
        parsers.integer(0, 86_400),
        "seconds for which relays may stay on while the store accepts no readings",
    )
    telemetry_days: int = setting(
        "BAS_TELEMETRY_DAYS",
        90,
        parsers.integer(1, 36500),
        "days after which readings are deleted",
    )
    seal_after_minutes: int = setting(
        "BAS_SEAL_AFTER_MINUTES",
        60,
        parsers.integer(1, 525_600),
        "minutes after which readings in SQLite are packed into compressed blocks of two hours",
    )
    timezone: str = setting(
        "BAS_TIMEZONE",
        "",
        parsers.timezone,
        "IANA name of the time zone of `time_local` in exports and of [notices](notices.md), such "
        "as `Europe/Berlin`; empty takes that of the system",
    )
    notice_private_addresses: tuple[Network, ...] = setting(
        "BAS_NOTICE_PRIVATE_ADDRESSES",
        (),
        parsers.networks,
        "addresses or networks that are not public to which [notices](notices.md) may go, "
        "separated by commas, such as `192.168.1.0/24`; all others are refused, so that a notice "
        "target shows nobody your network",
        guards=True,
    )
    notice_clear_passwords: bool = setting(
        "BAS_NOTICE_CLEAR_PASSWORDS",
        False,
        parsers.flag,
        "1 lets the password or token of a notice target go over a connection without TLS",
        guards=True,
    )
    audit_days: int = setting(
        "BAS_AUDIT_DAYS",
        180,
        parsers.integer(1, 36500),
        "days after which audit entries are deleted",
        guards=True,
    )

    sync_threads: int = setting(
        "BAS_SYNC_THREADS",
        32,
        parsers.integer(1, 1000),
        "threads of one process for plain `def` views, and as many again for the "
        "application of `BAS_LEGACY_WSGI`; a thread starts when it is needed",
    )
    legacy_wsgi: str = setting(
        "BAS_LEGACY_WSGI",
        "",
        parsers.wsgi_app,
        "`package.module:app` or `PATH/module.py:app`, a WSGI application that answers every path "
        "that this server does not have: [migration](migration.md)",
    )
    legacy_prefix: str = setting(
        "BAS_LEGACY_PREFIX",
        "",
        parsers.path_prefix,
        "such as `/old`: below it the application of `BAS_LEGACY_WSGI` has all its own paths, "
        "also those that this server has",
    )
    legacy_mirror: str = setting(
        "BAS_LEGACY_MIRROR",
        "",
        parsers.file,
        "the existing server's `bas_telemetry.db`, into which the readings of tenant `default` are "
        "written as well, so that the old application's views show them",
    )

    @property
    def auth_on(self) -> bool:
        """Whether log-in is offered at all."""
        return self.auth_enabled and self.auth_mode != "disabled"

    @property
    def tls_on(self) -> bool:
        """Whether the server speaks https on its port."""
        return bool(self.tls_cert or self.tls_key or self.tls_client_ca)

    @property
    def shared_redis_url(self) -> str:
        """The URL of the Redis that all processes share; empty if this process is the only one.

        The emulator's URL wins, so that a developer's server never reaches the production Redis.
        """
        return (self.emulator_redis_url if self.use_emulators else "") or self.redis_url

    def of_demo(self) -> ServerConfig:
        """The same settings for `--demo`, whose data have a folder to themselves."""
        return replace(self, data_dir=self.data_dir / DEMO_FOLDER)

    @property
    def stream_limits(self) -> tuple[int, int, int, int]:
        """Open streams of one process at most: in all, by tenant, by account and by address."""
        return (
            self.sse_max_streams,
            self.sse_streams_per_tenant,
            self.sse_streams_per_account,
            self.sse_streams_per_address,
        )

    @property
    def database(self) -> Path:
        """The file of the SQLite database."""
        return self.data_dir / "bas.db"

    @property
    def uses_firestore(self) -> bool:
        """Whether anything is kept in Firestore."""
        return self.use_firestore_telemetry or self.use_firestore_auth or self.use_firestore_audit

    @property
    def shadow(self) -> bool:
        """Whether refusals are only logged."""
        return self.auth_on and self.auth_mode == "shadow"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ) -> ServerConfig:
        """Settings from the environment, else the file in its BAS_AUTH_CONFIG, else defaults.

        Raises ConfigError naming the first wrong variable.
        """
        config = cls(**read(fields(cls), environ))
        _refuse_impossible(config)
        return config


def state_home() -> Path:
    """Where programs of this user keep their state. Raises RuntimeError if the user has no home.

    https://specifications.freedesktop.org/basedir-spec/latest/
    """
    named = os.environ.get("XDG_STATE_HOME")
    return Path(named) if named else Path.home() / ".local" / "state"


def child_environment(metrics_folder: str, data_dir: Path) -> dict[str, str]:
    """This process's environment for its children, which count in one folder.

    The data folder is this process's: that of a demonstration is in no variable. Only the
    supervisor speaks to systemd.
    """
    own = {name: text for name, text in os.environ.items() if name not in OF_SYSTEMD}
    return {**own, METRICS_FOLDER: metrics_folder, "BAS_DATA_DIR": str(data_dir)}


def from_systemd() -> dict[str, str]:
    """What systemd tells this process about the states that it wants to hear."""
    return {name: os.environ[name] for name in OF_SYSTEMD if name in os.environ}


def metrics_folder() -> str | None:
    """The folder in which this process and its siblings count; None if it counts alone."""
    return os.environ.get(METRICS_FOLDER)


def _refuse_impossible(config: ServerConfig) -> None:
    """Raise ConfigError for settings that would have no effect without an error."""
    if config.processes > 1 and not config.shared_redis_url:
        raise ConfigError(
            f"BAS_PROCESSES={config.processes} needs REDIS_URL: without Redis the processes "
            "would not get each other's events, and dashboards would go stale"
        )
    if config.session_timeout > config.session_absolute:
        raise ConfigError(
            f"BAS_SESSION_ABSOLUTE={config.session_absolute} ends sessions before "
            f"BAS_SESSION_TIMEOUT={config.session_timeout} does: set it to at least that, or lower "
            "BAS_SESSION_TIMEOUT"
        )
