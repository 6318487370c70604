"""A server on a real socket, and the requests that it passes on to Quart."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from quart import request

from bas_server import Container
from tests.support.serving import serving


@pytest.fixture
def in_quart(container: Container) -> list[str]:
    """The paths of the requests that were passed on to Quart."""
    seen: list[str] = []

    async def note() -> None:
        seen.append(request.path)

    container.app.before_request_funcs.setdefault(None, []).insert(0, note)
    return seen


@pytest.fixture
async def port(container: Container) -> AsyncIterator[int]:
    """The port on which the container is served."""
    async with serving(container.app, container.posts) as number:
        yield number
