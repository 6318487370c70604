"""Routes of the HTML pages, and of files that each browser asks for."""

from __future__ import annotations

from typing import NamedTuple

from quart import Blueprint, Response, current_app, render_template
from quart_schema import hide
from werkzeug.exceptions import NotFound as WerkzeugNotFound

from server.auth.guard import Guard
from server.auth.principal import Principal

# Nothing here is for search engines.
ROBOTS = "User-agent: *\nDisallow: /\n"
A_DAY = "public, max-age=86400"


class Section(NamedTuple):
    """A page of administration: the end of its address, its title, and what it is about."""

    name: str
    title: str
    about: str


SECTIONS = (
    Section("users", "Users", "People who may log in, and what each may do."),
    Section("devices", "Devices", "Controllers, and the keys with which they post."),
    Section("zones", "Zones", "What each device measures and steers: its name and location."),
    Section("tokens", "Tokens", "Access for programs and wall displays."),
    Section("notices", "Notices", "Where notices of alarms go, and when."),
    Section("audit", "Audit", "The actions of people and programs, and every refusal."),
    Section("system", "System", "Whether the server is well, and what is open to strangers."),
)


def blueprint(guard: Guard) -> Blueprint:
    """The pages, which fetch their data with the visitor's session; /admin is for admins only."""
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

    @bp.get("/alarms")
    @hide
    async def alarms() -> str:
        return await render_template("alarms.html")

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

    _add_admin(bp, guard)
    return bp


def _add_admin(bp: Blueprint, guard: Guard) -> None:
    @bp.get("/admin/<section>")
    @hide
    @guard.require_auth("admin")
    async def admin(section: str, principal: Principal) -> str:
        """The page has no data of its own."""
        for one in SECTIONS:
            if one.name == section:
                return await render_template("admin.html", section=one, sections=SECTIONS)
        raise WerkzeugNotFound
