"""What browsers and caches may keep of an answer: nothing that depends on a session."""

from __future__ import annotations

from quart import Quart, Response, request

# Answers below these depend on the caller; that of a caller without a session does too.
PERSONAL = {"api", "auth", "admin"}
SHOWN_TO_ALL = {"healthz", "readyz", "metrics"}
SESSION = ("Cookie", "X-Session-ID")


def add_cache_rules(app: Quart) -> None:
    """Give each answer without a rule its Cache-Control, and name what personal ones depend on.

    A cache that keeps every 200 must not hand one tenant's readings to another one. No cache keeps
    answers to other methods than GET.
    """

    async def rule(response: Response) -> Response:
        first = request.path.split("/")[1]
        is_read = request.method in {"GET", "HEAD"}
        if is_read and first in PERSONAL:
            response.vary.update(SESSION)
        if first == "auth" or (is_read and first in PERSONAL | SHOWN_TO_ALL):
            response.headers.setdefault("Cache-Control", "no-store")
        elif is_read:
            response.headers.setdefault("Cache-Control", "no-cache")
            await _add_tag(response)
        return response

    app.after_request(rule)


async def _add_tag(response: Response) -> None:
    """Let a browser that has this page keep it: it is asked for each time, and rarely changes."""
    if response.status_code == 200 and response.mimetype == "text/html":
        await response.add_etag(weak=True)
        await response.make_conditional(request)
