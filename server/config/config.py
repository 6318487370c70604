"""ServerConfig: every setting, read once from the environment (and an old auth_config.json)."""

from __future__ import annotations

import ipaddress
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

DEFAULT_DATA_DIR = Path("data")
# prometheus_client counts into files of this folder, for all processes together, if it is set.
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class ConfigError(ValueError):
    """A setting is wrong; the text names the variable and says what it may be."""


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f"must be a whole number, not {text!r}") from None
        if not low <= value <= high:
            raise ValueError(f"must be from {low} to {high}, not {value}")
        return value

    return parse


# What the sensors in use can measure, -55 to 125 °C: nothing else is a temperature.
SENSOR_TENTHS = (-550, 1250)


def _temperatures(text: str) -> tuple[int, int]:
    """A range of what a sensor can measure, in tenths of °C."""
    found = re.fullmatch(r"\s*(-?\d{1,4})\s*\.\.\s*(-?\d{1,4})\s*", text)
    low, high = (int(found[1]), int(found[2])) if found else (0, 0)
    if not SENSOR_TENTHS[0] <= low < high <= SENSOR_TENTHS[1]:
        raise ValueError(
            f"must be lowest..highest in tenths of °C, such as -300..500, within"
            f" {SENSOR_TENTHS[0]}..{SENSOR_TENTHS[1]}, not {text!r}"
        )
    return low, high


def _folder(text: str) -> Path:
    if not text:
        raise ValueError("must name a folder")
    return Path(text)


def _flag(text: str) -> bool:
    value = text.strip().lower()
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off", ""}:
        return False
    raise ValueError(f"must be 1 or 0 (true/false, yes/no, on/off), not {text!r}")


def _choice(*allowed: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        value = text.strip().lower()
        if value not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}, not {text!r}")
        return value

    return parse


# What every client sends with a meaning of its own.
_COMMON_HEADERS = re.compile(
    "(?i)host|connection|keep-alive|user-agent|accept.*|content-.*|authorization|cookie|origin"
)


def _header_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", text) or _COMMON_HEADERS.fullmatch(text):
        raise ValueError(f"must be the name of an HTTP header of its own, not {text!r}")
    return text


def _wsgi_app(text: str) -> str:
    if text and not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", text):
        raise ValueError(f"must be package.module:app, not {text!r}")
    return text


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _origins(text: str) -> tuple[str, ...]:
    """Origins as browsers write them: in lower case, without the scheme's own port."""
    origins = []
    for word in _words(text.lower()):
        parts = urlsplit(word)
        if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path:
            raise ValueError(f"must list origins such as https://panel.example, not {word!r}")
        own_port = {"http": ":80", "https": ":443"}[parts.scheme]
        origins.append(word.removesuffix(own_port))
    return tuple(origins)


_HOST_NAME = re.compile(r"(\*\.)?(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")


def _host_names(text: str) -> tuple[str, ...]:
    """Names as browsers send them; `*.` or a dot before one means all names below it."""
    names = []
    for word in _words(text.lower()):
        name = word.removesuffix(".")
        name = f"*{name}" if name.startswith(".") else name
        if not _HOST_NAME.fullmatch(name):
            raise ValueError(
                "must list names such as bas.example or *.bas.example, without scheme, port or "
                f"letters beyond a-z, not {word!r}"
            )
        names.append(name)
    return tuple(names)


def _redis_url(text: str) -> str:
    """A URL as redis-py takes it. It may hold a password: no message repeats it."""
    if text and not re.match(r"(redis|rediss)://[^/]|unix:///", text):
        raise ValueError("must be a URL such as redis://127.0.0.1:6379/0 (or rediss://, unix://)")
    try:
        urlsplit(text).port  # noqa: B018 - it is read for its error
    except ValueError:
        raise ValueError("has no port that is a number: is / ? # or @ in its password?") from None
    return text


def _networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ipaddress.ip_network(word) for word in _words(text))
    except ValueError as error:
        raise ValueError(f"must list addresses or networks such as 10.0.0.0/8: {error}") from None


def _setting(variable: str, default: Any, parse: Callable[[str], Any], doc: str) -> Any:
    metadata = {"variable": variable, "parse": parse, "doc": doc}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """All settings, validated. Times are seconds unless the name says otherwise."""

    host: str = _setting("BAS_HOST", "0.0.0.0", str, "address to listen on")  # noqa: S104
    port: int = _setting(
        "BAS_PORT", 8080, _integer(0, 65535), "port to listen on; 0 takes a free one"
    )
    data_dir: Path = _setting(
        "BAS_DATA_DIR", DEFAULT_DATA_DIR, _folder, "folder of the SQLite database"
    )
    processes: int = _setting(
        "BAS_PROCESSES", 1, _integer(1, 256), "server processes; more than 1 needs REDIS_URL"
    )
    log_level: str = _setting(
        "BAS_LOG_LEVEL",
        "info",
        _choice("debug", "info", "warning", "error"),
        "debug, info, warning or error",
    )
    redis_url: str = _setting("REDIS_URL", "", _redis_url, "Redis shared by several processes")
    use_emulators: bool = _setting("USE_EMULATORS", False, _flag, "use the emulator settings below")
    emulator_redis_url: str = _setting(
        "EMULATOR_REDIS_URL", "", _redis_url, "local Redis for development"
    )
    firestore_emulator_host: str = _setting(
        "FIRESTORE_EMULATOR_HOST", "", str, "host:port of the Firestore emulator"
    )
    google_cloud_project: str = _setting("GOOGLE_CLOUD_PROJECT", "", str, "Firestore project")
    use_firestore_telemetry: bool = _setting(
        "USE_FIRESTORE_TELEMETRY", False, _flag, "keep telemetry, devices and zones in Firestore"
    )
    use_firestore_auth: bool = _setting(
        "USE_FIRESTORE_AUTH", False, _flag, "keep users and sessions in Firestore"
    )
    use_firestore_audit: bool = _setting(
        "USE_FIRESTORE_AUDIT", False, _flag, "keep the audit log in Firestore"
    )
    tenant_id_header: str = _setting(
        "TENANT_ID_HEADER",
        "X-BAS-Tenant",
        _header_name,
        "header in which a session names its tenant",
    )
    auth_enabled: bool = _setting("BAS_AUTH_ENABLED", True, _flag, "0 is the same as mode disabled")
    auth_mode: str = _setting(
        "BAS_AUTH_MODE",
        "user_password",
        _choice("user_password", "shadow", "disabled"),
        "user_password; shadow: log what would be refused, refuse nothing; disabled",
    )
    session_timeout: int = _setting(
        "BAS_SESSION_TIMEOUT", 1800, _integer(10, 30 * 86400), "seconds until a session ends"
    )
    max_concurrent_sessions: int = _setting(
        "BAS_MAX_CONCURRENT_SESSIONS", 3, _integer(1, 100), "sessions a user; the oldest is ended"
    )
    max_login_attempts: int = _setting(
        "BAS_MAX_LOGIN_ATTEMPTS", 5, _integer(1, 1000), "failed log-ins until the account is locked"
    )
    lockout_duration: int = _setting(
        "BAS_LOCKOUT_DURATION", 900, _integer(1, 7 * 86400), "seconds an account stays locked"
    )
    auth_attempts_per_15min: int = _setting(
        "BAS_AUTH_ATTEMPTS_PER_15MIN",
        20,
        _integer(1, 100_000),
        "failed log-ins from one address in 15 minutes until it must wait",
    )
    device_auth: str = _setting(
        "BAS_DEVICE_AUTH",
        "optional",
        _choice("optional", "required", "off"),
        "optional: a device with a key must present it; required: every device; off",
    )
    cookie_secure: str = _setting(
        "BAS_COOKIE_SECURE",
        "auto",
        _choice("auto", "always", "never"),
        "Secure attribute of the session cookie; auto: exactly over https",
    )
    cors_origins: tuple[str, ...] = _setting(
        "BAS_CORS_ORIGINS", (), _origins, "other origins whose pages may call this server"
    )
    allowed_hosts: tuple[str, ...] = _setting(
        "BAS_ALLOWED_HOSTS",
        (),
        _host_names,
        "names by which browsers reach this server; *.name: all below it",
    )
    trusted_proxies: tuple[Network, ...] = _setting(
        "BAS_TRUSTED_PROXIES",
        (),
        _networks,
        "proxies whose X-Forwarded-For and -Proto are believed",
    )
    sse_heartbeat_s: int = _setting(
        "BAS_SSE_HEARTBEAT_S", 20, _integer(1, 3600), "seconds of silence until a heartbeat"
    )
    sse_flush_ms: int = _setting(
        "BAS_SSE_FLUSH_MS", 100, _integer(0, 1000), "ms an event may wait to share its write"
    )
    sse_queue_max: int = _setting(
        "BAS_SSE_QUEUE_MAX", 100, _integer(1, 100_000), "events that may wait for one slow stream"
    )
    sse_max_streams: int = _setting(
        "BAS_SSE_MAX_STREAMS", 10_000, _integer(1, 1_000_000), "open streams a process"
    )
    sse_history_events: int = _setting(
        "BAS_SSE_HISTORY_EVENTS", 20_000, _integer(1, 10_000_000), "events a tenant kept for replay"
    )
    sse_history_bytes: int = _setting(
        "BAS_SSE_HISTORY_BYTES", 8_000_000, _integer(1000, 10**12), "bytes a tenant kept for replay"
    )
    present_s: int = _setting(
        "BAS_PRESENT_S",
        60,
        _integer(1, 900),
        "how late a reading may come and still switch something on",
    )
    plausible_tenths: tuple[int, int] = _setting(
        "BAS_PLAUSIBLE_TENTHS",
        SENSOR_TENTHS,
        _temperatures,
        "temperatures that a reading may have to be believed, in tenths of °C",
    )
    safe_after_s: int = _setting(
        "BAS_SAFE_AFTER_S",
        60,
        _integer(10, 3600),
        "how long relays may stay as they are while no reading is believed",
    )
    store_grace_s: int = _setting(
        "BAS_STORE_GRACE_S",
        300,
        _integer(0, 86_400),
        "how long relays may stay on while no reading can be stored",
    )
    telemetry_days: int = _setting(
        "BAS_TELEMETRY_DAYS", 90, _integer(1, 36500), "days until telemetry is deleted"
    )
    audit_days: int = _setting(
        "BAS_AUDIT_DAYS", 180, _integer(1, 36500), "days until audit entries are deleted"
    )

    sync_threads: int = _setting(
        "BAS_SYNC_THREADS", 32, _integer(1, 1000), "threads for sync views, and as many for WSGI"
    )
    legacy_wsgi: str = _setting(
        "BAS_LEGACY_WSGI", "", _wsgi_app, "package.module:app that serves what this server has not"
    )

    @property
    def auth_on(self) -> bool:
        """Whether log-in is offered at all."""
        return self.auth_enabled and self.auth_mode != "disabled"

    @property
    def shared_redis_url(self) -> str:
        """The Redis that all processes share; empty: this process is the only one.

        A development Redis comes first, so that a developer's run never reaches the real one.
        """
        return (self.emulator_redis_url if self.use_emulators else "") or self.redis_url

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
        file = environ.get("BAS_AUTH_CONFIG", "")
        old = _read_auth_config(Path(file)) if file else {}
        values: dict[str, Any] = {}
        for item in fields(cls):
            variable: str = item.metadata["variable"]
            if variable in environ:
                source, text = variable, environ[variable]
            elif item.name in old:
                source, text = f"{item.name} in {file}", old[item.name]
            else:
                continue
            try:
                values[item.name] = item.metadata["parse"](text)
            except ValueError as error:
                raise ConfigError(f"{source} {error}") from None
        config = cls(**values)
        _refuse_impossible(config)
        return config


def child_environment(metrics_folder: str) -> dict[str, str]:
    """This process's environment, for children that count into one folder."""
    return {**os.environ, METRICS_FOLDER: metrics_folder}


def metrics_folder() -> str | None:
    """Where this process and its siblings count; None: it counts for itself."""
    return os.environ.get(METRICS_FOLDER)


def settings_help() -> str:
    """One line a setting, for --help: its variable, default and meaning."""
    lines = []
    for item in fields(ServerConfig):
        default = item.default
        if isinstance(default, bool):
            default = int(default)
        shown = "" if default in ("", ()) else f" ({default})"
        lines.append(f"  {item.metadata['variable']:<30}{item.metadata['doc']}{shown}")
    lines.append(f"  {'BAS_AUTH_CONFIG':<30}an existing auth_config.json; the environment wins")
    return "\n".join(lines)


def _read_auth_config(path: Path) -> dict[str, str]:
    """The old file's keys that are settings here, as text; other keys have no meaning any more."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"BAS_AUTH_CONFIG={path}: cannot be read: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"BAS_AUTH_CONFIG={path}: must hold a JSON object")
    known = {item.name for item in fields(ServerConfig)}
    return {
        key: ",".join(map(str, value)) if isinstance(value, list) else str(value)
        for key, value in data.items()
        if key in known and value is not None
    }


def _refuse_impossible(config: ServerConfig) -> None:
    """Refuse what would be accepted and then silently not happen."""
    if config.processes > 1 and not config.shared_redis_url:
        raise ConfigError(
            f"BAS_PROCESSES={config.processes} needs REDIS_URL: without Redis the processes "
            "could not tell each other what happened, and dashboards would go stale"
        )
