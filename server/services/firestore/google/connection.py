"""Makes Google's asynchronous client, either for the emulator or for production."""

from __future__ import annotations

import grpc  # type: ignore[import-untyped]
from google.auth.credentials import AnonymousCredentials, Credentials
from google.cloud.firestore_v1 import AsyncClient
from google.cloud.firestore_v1.services.firestore import FirestoreAsyncClient
from google.cloud.firestore_v1.services.firestore.transports.grpc_asyncio import (
    FirestoreGrpcAsyncIOTransport,
)

# A broken connection is retried after at most a second (gRPC's default: two minutes), and
# keep-alive probes find a silent one.
_OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
]


def emulator_client(host: str, project: str) -> AsyncClient:
    """A client of the emulator at host:port, without credentials. It connects at its first call.

    Use it only from the running event loop.
    """
    channel = grpc.aio.insecure_channel(host, options=_OPTIONS)
    anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
    return _client(project, anonymous, channel, emulator=host)


def production_client(project: str, credentials: Credentials) -> AsyncClient:
    """A client of Google's Firestore. It connects at its first call.

    Use it only from the running event loop.
    """
    channel = FirestoreGrpcAsyncIOTransport.create_channel(
        FirestoreGrpcAsyncIOTransport.DEFAULT_HOST, credentials=credentials, options=_OPTIONS
    )
    return _client(project, credentials, channel, emulator=None)


def _client(
    project: str, credentials: Credentials, channel: grpc.aio.Channel, *, emulator: str | None
) -> AsyncClient:
    client = AsyncClient(project=project, credentials=credentials)
    # The library read FIRESTORE_EMULATOR_HOST from the environment and would make its own channel:
    # both are replaced.
    client._emulator_host = emulator
    host = emulator or FirestoreGrpcAsyncIOTransport.DEFAULT_HOST
    client._firestore_api_internal = FirestoreAsyncClient(
        transport=FirestoreGrpcAsyncIOTransport(host=host, channel=channel)
    )
    return client
