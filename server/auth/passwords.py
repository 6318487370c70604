"""Hashes passwords with argon2id in threads, and verifies the existing server's PBKDF2 hashes."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
from base64 import b64encode
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from server.auth.password_rules import (
    TYPED_MAX,
    PasswordRules,
    normalised,
    random_password,
    typed_forms,
)
from server.common.errors import InvalidField, Unavailable
from server.services.firestore.models import User

T = TypeVar("T")

AT_ONCE = 2
WAITING_MAX = 64

_LEGACY = re.compile(r"pbkdf2_sha256\$([1-9]\d{0,6})\$([0-9a-fA-F]{1,256})\$([0-9a-fA-F]{64})")


@dataclass(frozen=True)
class Cost:
    """What argon2id takes for one hash."""

    memory_kib: int
    passes: int
    lanes: int


# OWASP Password Storage Cheat Sheet: 19 MiB, two passes, one lane; a small machine can do it.
OWASP = Cost(19 * 1024, 2, 1)


class Passwords:
    """Hashes and verifies off the event loop, at most two at a time."""

    def __init__(self, cost: Cost = OWASP, rules: PasswordRules | None = None) -> None:
        self._rules = rules or PasswordRules()
        self._hasher = PasswordHasher(
            time_cost=cost.passes,
            memory_cost=cost.memory_kib,
            parallelism=cost.lanes,
            type=Type.ID,
        )
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="password")
        self._waiting = 0
        self._nobody = _hash_of_nothing(cost)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def random(self) -> str:
        """A random password that the rules allow."""
        return random_password(self._rules.min_length)

    async def hash_new(
        self, password: str, username: str, tenant_id: str, used: Sequence[str] = ()
    ) -> str:
        """Hash a newly chosen password of this user, whose passwords had the hashes `used`.

        Raises InvalidField naming the rule that the password breaks.
        """
        return await self._run(lambda: self._hash_new(password, username, tenant_id, used))

    async def new_of(self, user: User, password: str) -> dict[str, object]:
        """The changes that give an account another password, which is none of its former ones.

        Raises InvalidField naming the rule that the password breaks.
        """
        used = [user.password_hash, *user.password_history][: self._rules.history + 1]
        stored = await self.hash_new(password, user.username, user.tenant_id, used)
        return self.replacing(user, stored)

    def replacing(self, user: User, password_hash: str) -> dict[str, object]:
        """The changes that give an account a password with this hash; the old one is remembered."""
        former = user.password_history
        if password_hash != user.password_hash:
            former = [user.password_hash, *former]
        return {
            "password_hash": password_hash,
            "password_history": former[: self._rules.history],
        }

    async def hash(self, password: str) -> str:
        """Hash a password that is in use already."""
        return await self._run(lambda: self._hasher.hash(normalised(password)))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether the password fits. None, for an unknown user, takes as much work and is false.

        A password whose normalised form differs from what was typed takes twice the work, for
        known and unknown users alike.
        """
        if len(password) > TYPED_MAX:
            password, stored = "", None
        return await self._run(lambda: self._verify(stored or self._nobody, password))

    def outdated(self, stored: str) -> bool:
        """Whether the password should be hashed again, with the current method."""
        return bool(_LEGACY.fullmatch(stored)) or self._hasher.check_needs_rehash(stored)

    def _hash_new(self, password: str, username: str, tenant_id: str, used: Sequence[str]) -> str:
        text = self._rules.check(password, username, tenant_id)
        if any(self._verify(stored, password) for stored in used):
            raise InvalidField(
                "password",
                f"is the present one or one of the last {self._rules.history} before it: take one "
                "that this account has not had",
            )
        return self._hasher.hash(text)

    def _verify(self, stored: str, password: str) -> bool:
        # All forms are tried, also after one that fits: the time must not show which one did.
        # A lone surrogate has no bytes that could have been hashed; it takes as long all the same.
        return any(
            [
                self._verify_form(stored, form.encode(errors="surrogatepass"))
                for form in typed_forms(password)
            ]
        )

    def _verify_form(self, stored: str, password: bytes) -> bool:
        legacy = legacy_parts(stored)
        if legacy:
            return _verify_legacy(*legacy, password)
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError, ValueError):
            return False  # ValueError: the stored text only looks like a hash

    async def _run(self, work: Callable[[], T]) -> T:
        if self._waiting >= WAITING_MAX:
            raise Unavailable("Too many log-ins at once", "BUSY", "try again in a moment")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1


def legacy_hash(salt_hex: str, digest_hex: str, rounds: int = 100_000) -> str:
    """The stored form of the existing server's PBKDF2-SHA256 hash."""
    return f"pbkdf2_sha256${rounds}${salt_hex}${digest_hex}"


def legacy_parts(stored: str) -> tuple[int, str, str] | None:
    """Rounds, salt and digest of a text made by `legacy_hash`; None for any other text."""
    legacy = _LEGACY.fullmatch(stored)
    return (int(legacy[1]), legacy[2], legacy[3]) if legacy else None


def _verify_legacy(rounds: int, salt_hex: str, digest_hex: str, password: bytes) -> bool:
    """Whether the password fits; a hexadecimal salt may have been used as text or as bytes."""
    salts = [salt_hex.encode()]
    if len(salt_hex) % 2 == 0:
        salts.append(bytes.fromhex(salt_hex))
    expected = bytes.fromhex(digest_hex)
    fits = [
        hmac.compare_digest(hashlib.pbkdf2_hmac("sha256", password, salt, rounds), expected)
        for salt in salts
    ]
    return any(fits)


def _hash_of_nothing(cost: Cost) -> str:
    """A well-formed hash that no password fits: checking one against it costs as much as any."""
    salt, digest = (b64encode(secrets.token_bytes(size)).rstrip(b"=").decode() for size in (16, 32))
    parameters = f"m={cost.memory_kib},t={cost.passes},p={cost.lanes}"
    return f"$argon2id$v=19${parameters}${salt}${digest}"
