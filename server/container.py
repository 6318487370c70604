"""What the composition root opens: the parts of one process, wired by hand."""

from __future__ import annotations

from dataclasses import dataclass

from quart import Quart

from server.adapters.services import Services
from server.admin import Admin
from server.auth.factory import Auth
from server.clock import Clock
from server.config.config import ServerConfig
from server.control.factory import Control
from server.metrics import Metrics
from server.routes.plain_posts import PlainPosts
from server.services.firestore.base import DocumentClient, Retention
from server.services.firestore.service_factory import Stores
from server.services.sse_service.service import SSEService


@dataclass(frozen=True)
class Base:
    """What the server and the commands share: the stores, and who may use them."""

    config: ServerConfig
    clock: Clock
    metrics: Metrics
    client: DocumentClient
    expiring: Retention
    stores: Stores
    auth: Auth
    admin: Admin


@dataclass(frozen=True)
class Site:
    """The stores, the stream, what decides, and their faces for threads: all but HTTP."""

    base: Base
    sse: SSEService
    control: Control
    services: Services


@dataclass(frozen=True)
class Container(Site):
    """One running server process."""

    app: Quart
    posts: PlainPosts
