"""Fixtures every test may use: a configuration, a running container, a client of its app."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from bas_server import Container, open_container
from server.config.config import ServerConfig
from tests.support.clock import ManualClock
from tests.support.firestore import SWITCHES, FirestoreEmulator, need_firestore, on_firestore
from tests.support.parsing import install as parse_undisturbed
from tests.support.redis import RedisServer, need_redis

parse_undisturbed()
# How long an example takes says how busy the machine is, and nothing of what is tested.
settings.register_profile("bas", deadline=None)
settings.load_profile("bas")

PASSWORD = "correct horse"
# In a run on Firestore: host:port of the emulator that is to keep every store.
ON_FIRESTORE = "BAS_TEST_FIRESTORE"


@pytest.fixture
def config(tmp_path: Path) -> ServerConfig:
    """Defaults, in a folder of its own; in a run on Firestore in a project of its own as well."""
    settings = ServerConfig(data_dir=tmp_path / "data")
    if host := os.environ.get(ON_FIRESTORE):
        return on_firestore(settings, host, *SWITCHES)
    return settings


@pytest.fixture
def clock() -> ManualClock:
    """Time as the test sets it."""
    return ManualClock()


_hash: list[str] = []


async def _hashed(container: Container) -> str:
    """PASSWORD's hash, made once for all tests: it is slow on purpose."""
    if not _hash:
        _hash.append(await container.base.auth.passwords.hash(PASSWORD))
    return _hash[0]


@pytest.fixture
async def container(config: ServerConfig, clock: ManualClock) -> AsyncIterator[Container]:
    """The whole server but for its socket, with an account of each role and of another tenant."""
    async with open_container(config, clock) as opened:
        password_hash = await _hashed(opened)
        for name, role, tenant in (
            ("reader", "read-only", "default"),
            ("operator", "operator", "default"),
            ("admin", "admin", "default"),
            ("stranger", "admin", "elsewhere"),
        ):
            await opened.base.stores.users.create_user(name, password_hash, role, tenant)
        yield opened


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A Redis of this test's own, running."""
    need_redis()
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def firestore() -> Iterator[FirestoreEmulator]:
    """The session's Firestore emulator, running; each test takes a project of its own."""
    need_firestore()
    with FirestoreEmulator() as emulator:
        yield emulator
