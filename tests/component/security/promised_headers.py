"""The security headers that every answer has."""

from __future__ import annotations

PROMISED = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Permissions-Policy": "geolocation=(), microphone=(), camera=()",
}


def missing(answer):
    """The headers that this answer should have and has not, or has with another value."""
    headers = answer.headers
    wrong = {name: headers.get(name) for name in PROMISED if headers.get(name) != PROMISED[name]}
    policy = headers.get("Content-Security-Policy", "")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";") if rule)
    # No inline script, no other host, and nothing where no directive allows it.
    nothing = {rules.get(name) for name in ("default-src", "base-uri", "frame-ancestors")}
    if nothing != {"'none'"} or not set(rules.values()) <= {"'self'", "'none'"}:
        wrong["Content-Security-Policy"] = policy
    if answer.body and "Content-Type" not in headers:
        wrong["Content-Type"] = None
    return wrong
