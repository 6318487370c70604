"""Passwords: argon2id, the old PBKDF2 hashes, and what checking one costs."""

from __future__ import annotations

import asyncio
import hashlib
import re
import statistics
import threading
import time

import pytest

from server.auth.passwords import Passwords, legacy_hash
from server.errors import InvalidField, Unavailable
from tests.support.http import Caller

OLD = "old secret"
SALT = "00112233445566778899aabbccddeeff"
ARGON2ID = re.compile(r"\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$")


@pytest.fixture
def passwords():
    passwords = Passwords()
    yield passwords
    passwords.close()


def old_hash(salt: bytes) -> str:
    """As the existing server made them, with the salt's text or with its bytes."""
    digest = hashlib.pbkdf2_hmac("sha256", OLD.encode(), salt, 100_000)
    return legacy_hash(SALT, digest.hex())


async def create(container, stored, name="veteran"):
    await container.base.stores.users.create_user(name, stored, "operator", "default")


async def stored_hash(container, name="veteran"):
    return (await container.base.stores.users.get_user_by_username(name)).password_hash


async def test_a_password_is_kept_as_argon2id_of_owasps_cost(container):
    memory_kib, passes, _ = map(int, ARGON2ID.match(await stored_hash(container, "admin")).groups())
    # https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
    assert (memory_kib, passes) >= (19 * 1024, 2)


@pytest.mark.parametrize("salt", [SALT.encode(), bytes.fromhex(SALT)], ids=["text", "bytes"])
async def test_an_old_hash_still_lets_in_and_is_replaced_at_that_login(container, salt):
    await create(container, old_hash(salt))
    caller = Caller(container.app)
    assert (await caller.log_in("veteran", OLD)).status == 200
    assert ARGON2ID.match(await stored_hash(container))
    assert (await caller.log_in("veteran", OLD)).status == 200
    assert (await caller.log_in("veteran", "wrong password")).status == 401


async def test_a_wrong_password_leaves_an_old_hash_as_it_is(container):
    before = old_hash(SALT.encode())
    await create(container, before)
    assert (await Caller(container.app).log_in("veteran", "wrong password")).status == 401
    assert await stored_hash(container) == before


async def test_an_old_password_may_be_shorter_than_a_new_one_must_be(container):
    digest = hashlib.pbkdf2_hmac("sha256", b"short", SALT.encode(), 100_000)
    await create(container, legacy_hash(SALT, digest.hex()))
    assert (await Caller(container.app).log_in("veteran", "short")).status == 200


async def test_a_login_does_not_replace_a_hash_that_is_up_to_date(container):
    before = await stored_hash(container, "operator")
    await Caller(container.app).log_in("operator")
    assert await stored_hash(container, "operator") == before


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "x",
        "$argon2id$",
        "$argon2id$v=19$m=19456,t=2,p=1$!$!",
        f"pbkdf2_sha256$100000${SALT}$abc",
        f"pbkdf2_sha256$0${SALT}${'0' * 64}",
        f"pbkdf2_sha256$-1${SALT}${'0' * 64}",
        f"pbkdf2_sha256$1$abc${'0' * 64}",
        "plain text",
    ],
)
async def test_a_stored_hash_that_is_none_lets_nobody_in(container, stored):
    await create(container, stored)
    for password in ("x", stored or "x"):
        assert (await Caller(container.app).log_in("veteran", password)).status == 401


@pytest.mark.parametrize("password", ["", "1234567", "x" * 1025])
async def test_a_new_password_of_less_than_8_or_more_than_1024_characters_is_refused(
    passwords, password
):
    with pytest.raises(InvalidField, match="password"):
        await passwords.hash_new(password)


@pytest.mark.parametrize(
    "password", ["12345678", "x" * 1024, "p\u00e4ssw\u00f6rter", "a\x00bcdefg"]
)
async def test_a_password_is_verified_whole(passwords, password):
    stored = await passwords.hash(password)
    assert await passwords.verify(stored, password)
    for other in (password[:-1], password + "x", password.upper() + "x"):
        assert not await passwords.verify(stored, other)


async def test_no_password_fits_an_unknown_user(passwords):
    for password in ("", "x", "x" * 5000):
        assert not await passwords.verify(None, password)


async def test_no_more_than_two_passwords_are_hashed_at_a_time(passwords):
    stored = await passwords.hash("correct horse")
    await asyncio.gather(*(passwords.verify(stored, "wrong") for _ in range(12)))
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("password")]
    assert 1 <= len(threads) <= 2


async def test_the_server_answers_others_while_passwords_are_checked(container):
    passwords = container.base.auth.passwords
    checks = [asyncio.create_task(passwords.verify(None, "x")) for _ in range(6)]
    assert (await Caller(container.app).get("/healthz")).status == 200
    assert not all(check.done() for check in checks)
    await asyncio.gather(*checks)


async def test_what_is_too_much_at_once_is_told_to_come_back(passwords):
    results = await asyncio.gather(
        *(passwords.verify(None, "x") for _ in range(66)), return_exceptions=True
    )
    refused = [result for result in results if isinstance(result, Unavailable)]
    assert [error.code for error in refused] == ["BUSY"] * 2


async def test_checking_an_unknown_user_is_as_much_work_as_a_known_one(passwords):
    stored = await passwords.hash("correct horse")

    async def seconds(hashed):
        began = time.perf_counter()
        await passwords.verify(hashed, "wrong password")
        return time.perf_counter() - began

    taken = [(await seconds(stored), await seconds(None)) for _ in range(9)]
    known, unknown = (statistics.median(times) for times in zip(*taken, strict=True))
    assert 0.5 < unknown / known < 2


async def test_a_refusal_takes_the_same_time_whatever_was_wrong(container):
    await create(container, old_hash(SALT.encode()))

    async def seconds(name):
        began = time.perf_counter()
        answer = await Caller(container.app).log_in(name, "wrong password")
        assert answer.status == 401
        return time.perf_counter() - began

    taken = {name: await seconds(name) for name in ("operator", "nobody", "veteran")}
    assert min(taken.values()) >= 0.25
    assert max(taken.values()) - min(taken.values()) < 0.2


async def test_a_login_under_way_cannot_bring_back_a_password_that_was_replaced(container):
    old = old_hash(SALT.encode())
    await create(container, old)
    for number in range(5):
        await container.base.stores.users.update_user("veteran", {"password_hash": old})
        new = f"the new password {number}"
        caller = Caller(container.app)
        await asyncio.gather(
            caller.log_in("veteran", OLD), container.base.admin.set_password("veteran", new)
        )
        assert (await caller.log_in("veteran", OLD)).status == 401
        assert (await caller.log_in("veteran", new)).status == 200
