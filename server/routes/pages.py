"""Routes of the HTML pages: / and /auth/login."""

from __future__ import annotations

from quart import Blueprint, render_template
from quart_schema import hide


def blueprint() -> Blueprint:
    """Public routes; the pages fetch their data with the visitor's session."""
    bp = Blueprint("pages", __name__)

    @bp.get("/")
    @hide
    async def dashboard() -> str:
        return await render_template("dashboard.html")

    @bp.get("/auth/login")
    @hide
    async def login() -> str:
        return await render_template("login.html")

    return bp
