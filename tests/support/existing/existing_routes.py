"""Further routes of the existing application: they find it as `bas_server`."""

from __future__ import annotations

from bas_server import app


@app.get("/further")
def further():
    return "a further route"
