"""Reads the stored readings of a server process through its API."""

from __future__ import annotations

from typing import Any

import httpx

from tools.process import ServerProcess


def telemetry(server: ServerProcess, password: str | None) -> list[dict[str, Any]]:
    """Every stored reading, newest first."""
    with httpx.Client(base_url=server.url) as browser:
        credentials = {"username": "admin", "password": password}
        assert browser.post("/auth/login", json=credentials).status_code == 200
        answer = browser.get("/api/telemetry?limit=1000")
        assert answer.status_code == 200
        rows: list[dict[str, Any]] = answer.json()
        return rows
