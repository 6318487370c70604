"""Changes of accounts by two processes at once, on SQLite and on Firestore."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from server.auth.account_audit import Actor
from server.auth.last_admin import LastAdmin
from server.common.clock import SystemClock
from server.config.config import ServerConfig
from server.services.firestore.users_store import UserExists
from tests.conftest import PASSWORD
from tests.integration.test_many_at_once import Pair, opened_pair
from tests.support.firestore import on_firestore
from tests.support.http import Caller, audited
from tools.firestore_emulator import SWITCHES, FirestoreEmulator

CONSOLE = Actor("console", "command line")
ROUNDS = 10


@pytest.fixture(params=["sqlite", "firestore"])
async def pair(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Pair]:
    """The containers of two processes with one store."""
    config = ServerConfig(data_dir=tmp_path / "data")
    if request.param == "firestore":
        emulator: FirestoreEmulator = request.getfixturevalue("firestore")
        config = on_firestore(config, emulator.host, *SWITCHES)
    async with AsyncExitStack() as stack:
        yield await opened_pair(config, SystemClock(), stack)


async def test_of_two_admins_who_are_taken_away_at_once_one_stays(pair: Pair) -> None:
    """ASVS v5.0.0-15.4.2."""
    one, other = (container.base.auth.users for container in pair)
    await one.create(CONSOLE, "second", PASSWORD, "admin", "default")
    names = ("admin", "second")
    for number in range(ROUNDS):
        changes = ({"role": "operator"}, {"disabled": True})[number % 2]
        outcomes = await asyncio.gather(
            *(
                users.change(CONSOLE, name, changes)
                for users, name in zip((one, other), names, strict=True)
            ),
            return_exceptions=True,
        )
        assert [type(each) for each in outcomes].count(LastAdmin) == 1, outcomes
        left = [user for user, _ in await pair[0].base.stores.users.active_admins()]
        assert [user.tenant_id for user in left].count("default") == 1
        for name in names:
            await one.change(CONSOLE, name, {"role": "admin", "disabled": False})


async def test_of_names_that_differ_in_case_alone_one_is_created(pair: Pair) -> None:
    for number in range(ROUNDS):
        names = [f"Kim{number}", f"kim{number}", f"KIM{number}", f"kIM{number}"]
        outcomes = await asyncio.gather(
            *(
                pair[index % 2].base.auth.users.create(CONSOLE, name, PASSWORD, "operator", "new")
                for index, name in enumerate(names)
            ),
            return_exceptions=True,
        )
        assert Counter(isinstance(each, UserExists) for each in outcomes) == {True: 3, False: 1}
    assert len(await pair[1].base.stores.users.list_users()) == 4 + ROUNDS
    assert len(await audited(pair[1], "USER_CREATED", "new")) == ROUNDS


async def test_no_session_of_a_deleted_account_lives_on_if_log_ins_come_at_once(
    pair: Pair,
) -> None:
    """ASVS v5.0.0-7.4.2."""
    for number in range(ROUNDS):
        name = f"leaver{number}"
        await pair[0].base.auth.users.create(CONSOLE, name, PASSWORD, "operator", "default")
        callers = [Caller(pair[index % 2].app) for index in range(4)]
        await asyncio.gather(
            *(caller.log_in(name) for caller in callers),
            pair[1].base.auth.users.delete(CONSOLE, name),
        )
        assert await pair[0].base.stores.sessions.sessions_of(name) == []
        # Another user with this name does not get the sessions of the first one.
        await pair[0].base.auth.users.create(CONSOLE, name, PASSWORD, "admin", "default")
        known = [one for one in callers if "X-Session-ID" in one.headers]
        assert [(await one.get("/auth/status")).status for one in known] == [401] * len(known)


async def test_guesses_of_an_old_password_at_two_processes_at_once_are_counted_together(
    pair: Pair,
) -> None:
    """ASVS v5.0.0-6.3.1."""
    thief = Caller(pair[0].app)
    assert (await thief.log_in("reader")).status == 200
    callers = [Caller(container.app, headers=thief.headers) for container in pair]
    answers = await asyncio.gather(
        *(
            callers[number % 2].post(
                "/auth/password",
                {"old_password": f"guess number {number}", "password": "a new long password"},
            )
            for number in range(14)
        )
    )
    assert Counter(answer.status for answer in answers) == {403: 5, 429: 9}
