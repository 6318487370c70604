"""Passwords: argon2id, the old PBKDF2 hashes, and the cost of a check."""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
import threading
import time
from dataclasses import replace
from unicodedata import normalize

import pytest

from bas_server import open_container
from server.auth import login
from server.auth.passwords import Passwords, legacy_hash
from server.common.errors import InvalidField, Unavailable
from tests.support.hashing import REFUSAL_S
from tests.support.http import Caller, served

OLD = "old secret"
SALT = "00112233445566778899aabbccddeeff"
ARGON2ID = re.compile(r"\$argon2id\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$")


@pytest.fixture
def passwords():
    """Passwords hashed at the cost of the real server."""
    passwords = Passwords()
    yield passwords
    passwords.close()


def old_hash(salt: bytes) -> str:
    """A hash as the existing server made it, with the salt's text or with its bytes."""
    digest = hashlib.pbkdf2_hmac("sha256", OLD.encode(), salt, 100_000)
    return legacy_hash(SALT, digest.hex())


async def create(container, stored, name="veteran"):
    await container.base.stores.users.create_user(name, stored, "operator", "default")


async def stored_hash(container, name="veteran"):
    return (await container.base.stores.users.get_user_by_username(name)).password_hash


async def test_a_password_is_stored_as_argon2id_with_at_least_owasp_s_cost(passwords):
    memory_kib, passes, _ = map(int, ARGON2ID.match(await passwords.hash("correct horse")).groups())
    # https://cheatsheetseries.owasp.org/cheatsheets/Password_Storage_Cheat_Sheet.html
    assert (memory_kib, passes) >= (19 * 1024, 2)


@pytest.mark.parametrize("salt", [SALT.encode(), bytes.fromhex(SALT)], ids=["text", "bytes"])
async def test_an_old_hash_is_accepted_and_replaced_at_that_log_in(container, salt):
    await create(container, old_hash(salt))
    caller = Caller(container.app)
    assert (await caller.log_in("veteran", OLD)).status == 200
    assert ARGON2ID.match(await stored_hash(container))
    assert (await caller.log_in("veteran", OLD)).status == 200
    assert (await caller.log_in("veteran", "wrong password")).status == 401


async def test_a_wrong_password_does_not_replace_an_old_hash(container):
    before = old_hash(SALT.encode())
    await create(container, before)
    assert (await Caller(container.app).log_in("veteran", "wrong password")).status == 401
    assert await stored_hash(container) == before


async def test_an_old_password_may_be_shorter_than_the_minimum_for_new_ones(container):
    digest = hashlib.pbkdf2_hmac("sha256", b"short", SALT.encode(), 100_000)
    await create(container, legacy_hash(SALT, digest.hex()))
    assert (await Caller(container.app).log_in("veteran", "short")).status == 200


async def test_a_log_in_does_not_replace_a_hash_that_is_up_to_date(container):
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
async def test_an_invalid_stored_hash_matches_no_password(container, stored):
    await create(container, stored)
    for password in ("x", stored or "x"):
        assert (await Caller(container.app).log_in("veteran", password)).status == 401


async def test_a_new_password_that_breaks_a_rule_is_refused(passwords):
    """ASVS 5.0 v5.0.0-6.2.1, 6.2.4, 6.2.11: tests/unit/auth has the rules one by one."""
    for password in ("short", "x" * 129, "password1234", "veteran veteran"):
        with pytest.raises(InvalidField, match="password"):
            await passwords.hash_new(password, "veteran", "default")


@pytest.mark.parametrize("stored_in", ["NFC", "NFD"])
@pytest.mark.parametrize("typed_in", ["NFC", "NFD"])
async def test_a_new_password_is_the_same_however_a_keyboard_writes_it(
    passwords, stored_in, typed_in
):
    """ASVS 5.0 v5.0.0-6.2.8."""
    text = "Pässwörter \u00e9t\u00e9"
    stored = await passwords.hash_new(normalize(stored_in, text), "veteran", "default")
    assert await passwords.verify(stored, normalize(typed_in, text))
    assert not await passwords.verify(stored, normalize(typed_in, text.replace("\u00e9", "e")))


@pytest.mark.parametrize("form", ["NFC", "NFD"])
async def test_a_hash_of_the_existing_server_is_accepted_as_it_was_typed(container, form):
    typed = normalize(form, "été ﬁn")
    digest = hashlib.pbkdf2_hmac("sha256", typed.encode(), SALT.encode(), 100_000)
    await create(container, legacy_hash(SALT, digest.hex()))
    # The second log-in finds the hash of the normalised form.
    for _ in range(2):
        assert (await Caller(container.app).log_in("veteran", typed)).status == 200
    assert (await Caller(container.app).log_in("veteran", normalize("NFKC", typed))).status == 200


async def test_a_lone_surrogate_matches_nothing_and_is_no_error(passwords):
    stored = await passwords.hash("correct horse")
    assert not await passwords.verify(stored, "correct horse\ud83c")
    assert not await passwords.verify(old_hash(SALT.encode()), "correct horse\ud83c")


def former(number):
    return f"the password number {number} of five"


async def test_the_present_and_the_last_five_passwords_are_refused(container):
    admin, users = container.base.admin, container.base.stores.users
    await admin.create_user("veteran", former(0), "operator", "default")
    for number in range(1, 7):
        await admin.set_password("veteran", former(number))
    user = await users.get_user_by_username("veteran")
    assert len(user.password_history) == 5
    assert all(ARGON2ID.match(one) for one in user.password_history)
    for number in range(1, 7):
        with pytest.raises(InvalidField, match="the last 5 before it"):
            await admin.set_password("veteran", former(number))
    assert await users.get_user_by_username("veteran") == user
    await admin.set_password("veteran", former(0))


async def test_a_former_password_of_the_existing_server_is_refused(container):
    await create(container, old_hash(SALT.encode()))
    await container.base.admin.set_password("veteran", "correct horse")
    with pytest.raises(InvalidField, match="password"):
        await container.base.admin.set_password("veteran", OLD)


async def test_a_former_password_is_refused_however_a_keyboard_writes_it(container):
    admin = container.base.admin
    await admin.create_user("veteran", "Pässwörter viele", "operator", "default")
    with pytest.raises(InvalidField, match="is the present one"):
        await admin.set_password("veteran", normalize("NFD", "Pässwörter viele"))


async def test_the_settings_say_how_long_a_password_is_and_how_many_are_remembered(config, clock):
    settings = replace(config, password_min_length=17, password_history_count=0)
    async with open_container(settings, clock) as container:
        admin = container.base.admin
        password = await admin.first_admin("default")
        assert len(password) == 17
        with pytest.raises(InvalidField, match="take 17 to 128"):
            await admin.create_user("veteran", "correct horse", "operator", "default")
        await admin.create_user("veteran", former(0), "operator", "default")
        await admin.set_password("veteran", former(1))
        await admin.set_password("veteran", former(0))
        user = await container.base.stores.users.get_user_by_username("veteran")
        assert user.password_history == []


@pytest.mark.parametrize("password", ["x" * 64, "x" * 1024, "p\u00e4ssw\u00f6rter", "a\x00bcdefg"])
async def test_every_character_of_a_password_is_verified(passwords, password):
    """ASVS 5.0 v5.0.0-6.2.8, 6.2.9: nothing is cut; earlier versions took 1,024 characters."""
    stored = await passwords.hash(password)
    assert await passwords.verify(stored, password)
    for other in (password[:-1], password + "x", password.upper() + "x"):
        assert not await passwords.verify(stored, other)


async def test_no_password_matches_an_unknown_user(passwords):
    for password in ("", "x", "x" * 5000):
        assert not await passwords.verify(None, password)


async def test_at_most_two_passwords_are_hashed_at_a_time(passwords):
    stored = await passwords.hash("correct horse")
    await asyncio.gather(*(passwords.verify(stored, "wrong") for _ in range(12)))
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("password")]
    assert 1 <= len(threads) <= 2


async def test_the_server_answers_other_requests_while_passwords_are_checked(container, passwords):
    checks = [asyncio.create_task(passwords.verify(None, "x")) for _ in range(6)]
    assert (await Caller(container.app).get("/healthz")).status == 200
    assert not all(check.done() for check in checks)
    await asyncio.gather(*checks)


async def test_password_checks_beyond_the_limit_are_refused_as_busy(passwords):
    results = await asyncio.gather(
        *(passwords.verify(None, "x") for _ in range(66)), return_exceptions=True
    )
    refused = [result for result in results if isinstance(result, Unavailable)]
    assert [error.code for error in refused] == ["BUSY"] * 2


@pytest.mark.alone
async def test_the_check_for_an_unknown_user_takes_as_long_as_for_a_known_one(passwords):
    stored = await passwords.hash("correct horse")

    async def seconds(hashed):
        began = time.perf_counter()
        await passwords.verify(hashed, "wrong password")
        return time.perf_counter() - began

    # The shortest times: other work of the machine only adds to them.
    known = unknown = math.inf
    for _ in range(60):
        known, unknown = min(known, await seconds(stored)), min(unknown, await seconds(None))
        if 0.7 < unknown / known < 1.4:
            break
    assert 0.5 < unknown / known < 2


@pytest.mark.alone
async def test_a_refused_log_in_takes_the_same_time_for_every_cause(config, clock, monkeypatch):
    monkeypatch.setattr(login, "REFUSAL_S", REFUSAL_S)
    unlimited = {"max_login_attempts": 1000, "auth_attempts_per_15min": 1000}
    async with served(config, clock, **unlimited) as container:
        await create(container, old_hash(SALT.encode()))

        async def seconds(name):
            began = time.perf_counter()
            answer = await Caller(container.app).log_in(name, "wrong password")
            assert answer.status == 401
            return time.perf_counter() - began

        # The shortest times: other work of the machine only adds to them.
        taken = dict.fromkeys(("operator", "nobody", "veteran"), math.inf)
        for done in range(40):
            for name in taken:
                taken[name] = min(taken[name], await seconds(name))
            clock.advance(3600)  # so that the failures before slow nothing down
            if done >= 5 and max(taken.values()) - min(taken.values()) < 0.2:
                break
        assert min(taken.values()) >= REFUSAL_S
        assert max(taken.values()) - min(taken.values()) < 0.2


async def test_a_log_in_in_progress_does_not_restore_a_replaced_password(container, clock):
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
        clock.advance(1)  # the wait after two failures
        assert (await caller.log_in("veteran", new)).status == 200
