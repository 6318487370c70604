"""The known values of metrics' labels: each has a series that starts at 0.

Prometheus computes an increase from two points of a series. If a series began with its first
failure, an alert on the increase would miss that failure.
"""

from __future__ import annotations

# Why a stream closed; docs/operations.md explains each.
STREAM_ENDS = ("client", "slow", "stalled", "session", "drain", "gap", "store", "log", "failed")
# Which limit refused a stream.
STREAM_LIMITS = ("process", "tenant", "account", "address")
RESUMES = ("fresh", "recovered", "reset")
# Classes of redis-py's errors and of the system's.
LOG_FAILURES = (
    "AuthenticationError",
    "BusyLoadingError",
    "ConnectionError",
    "NoPermissionError",
    "OutOfMemoryError",
    "ReadOnlyError",
    "ResponseError",
    "TimeoutError",
)
STORE_FAILURES = (
    "audit_link",
    "audit_lost",
    "breaker_open",
    "closed",
    "credentials",
    "part_lost",
    "queue_full",
    "read_error",
    "read_timeout",
    "write_error",
    "write_timeout",
    "write_unsure",
)
CACHED = (
    *("api_tokens", "device_keys", "devices", "login_attempts", "sessions", "telemetry", "users"),
    "zone_settings",
)
CACHE_SOURCES = ("process", "shared", "store")
# In the order of seriousness; `control/rules/trust_state.py` defines them.
TRUST = ("never", "ok", "suspect", "silent", "stuck", "refused", "fault")
# `alarms/alarm.py` defines them.
ALARM_KINDS = (
    *("silent", "fault", "high", "low", "stuck", "refused", "device_key_refused"),
    *("short_cycling", "long_running"),
    *("many_silent", "many_fault", "many_stuck", "many_refused"),
    *("store_away", "disk_nearly_full", "clock_wrong", "notice_failed"),
)
ALARM_SEVERITIES = ("info", "warning", "critical")
ALARM_STEPS = (
    *("pending", "raised", "dropped", "cleared"),
    *("acknowledged", "shelved", "unshelved", "commented"),
)
# Of notice targets.
TARGET_KINDS = ("webhook", "ntfy", "email")
LOGINS = ("success", "failure", "locked", "rate_limited")
DENIALS = (
    "INVALID_SESSION_ID",
    "INVALID_TOKEN",
    "MISSING_TENANT_ID",
    "NO_SESSION_TENANT",
    "PERMISSION_DENIED",
    "SESSION_INVALID",
    "TENANT_ACCESS_DENIED",
    "TOKEN_EXPIRED",
    "ZONE_ACCESS_DENIED",
)
SINGLE = "/api/sensor_data"
DEVICE_ROUTES = (SINGLE, f"{SINGLE}/batch")
REFUSALS = (
    "DEVICE_KEY_REQUIRED",
    "DEVICE_LIMIT",
    "DEVICE_MISMATCH",
    "IDEMPOTENCY_KEY_REUSED",
    "INVALID_DEVICE_KEY",
    "INVALID_FIELD",
    "INVALID_JSON",
    "INVALID_LINE",
    "INVALID_TOKEN",
    "NEW_ZONES_LIMITED",
    "NO_DATA",
    "PERMISSION_DENIED",
    "RATE_LIMITED",
    "SESSION_INVALID",
    "STORE_UNAVAILABLE",
    "TENANT_ACCESS_DENIED",
    "TIMEOUT",
    "TOKEN_EXPIRED",
    "TOO_LARGE",
    "TOO_MANY_READINGS",
    "UNSUPPORTED_MEDIA_TYPE",
    "ZONE_ACCESS_DENIED",
    "ZONE_BUSY",
)
# Failures of a request that are the server's fault.
FAILED = ("500", "503")
# The route of requests that reach none: an unknown path or method, or a wrong host.
NO_ROUTE = "none"
POOLS = ("view", "wsgi")
