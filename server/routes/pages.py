"""Routes of the HTML pages, /, /display, /auth/login, /docs, and of files that browsers ask for."""

from __future__ import annotations

from quart import Blueprint, Response, current_app, render_template
from quart_schema import hide

# Nothing here is for search engines.
ROBOTS = "User-agent: *\nDisallow: /\n"
A_DAY = "public, max-age=86400"


def blueprint() -> Blueprint:
    """Public routes; the pages fetch their data with the visitor's session."""
    bp = Blueprint("pages", __name__)

    @bp.get("/")
    @hide
    async def dashboard() -> str:
        return await render_template("dashboard.html")

    @bp.get("/display")
    @hide
    async def wall() -> str:
        return await render_template("wall.html")

    @bp.get("/zone")
    @hide
    async def zone() -> str:
        return await render_template("zone.html")

    @bp.get("/auth/login")
    @hide
    async def login() -> str:
        return await render_template("login.html")

    @bp.get("/docs")
    @hide
    async def docs() -> str:
        return await render_template("docs.html")

    @bp.get("/favicon.ico")
    @hide
    async def icon() -> Response:
        response = await current_app.send_static_file("icon.svg")
        response.headers["Cache-Control"] = A_DAY
        return response

    @bp.get("/robots.txt")
    @hide
    async def robots() -> Response:
        return Response(ROBOTS, mimetype="text/plain", headers={"Cache-Control": A_DAY})

    return bp
