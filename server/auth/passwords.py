"""Passwords: argon2id in threads of its own, and the PBKDF2 hashes of the existing server."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import re
import secrets
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from server.errors import InvalidField, Unavailable

T = TypeVar("T")

PASSWORD_MIN, PASSWORD_MAX = 8, 1024
AT_ONCE = 2
WAITING_MAX = 64
# OWASP Password Storage Cheat Sheet: 19 MiB, two passes, one lane; a small machine can do it.
MEMORY_KIB, PASSES, LANES = 19 * 1024, 2, 1

# glibc keeps freed blocks of a hash's size for itself, one a thread, unless it is told a threshold.
M_MMAP_THRESHOLD, MMAP_FROM_BYTES = -3, 4 * 1024 * 1024

_LEGACY = re.compile(r"pbkdf2_sha256\$([1-9]\d{0,6})\$([0-9a-fA-F]{1,256})\$([0-9a-fA-F]{64})")


class Passwords:
    """Hash and verify off the event loop, at most two at a time."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher(
            time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES, type=Type.ID
        )
        self._pool = ThreadPoolExecutor(
            AT_ONCE, thread_name_prefix="password", initializer=_give_memory_back
        )
        self._waiting = 0
        self._nobody = _hash_of_nothing()

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def hash_new(self, password: str) -> str:
        """A hash of a password that someone chose now. Raises InvalidField if it is too short."""
        if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
            raise InvalidField("password", f"{PASSWORD_MIN} to {PASSWORD_MAX} characters")
        return await self.hash(password)

    async def hash(self, password: str) -> str:
        """A hash to store, of a password that is in use already."""
        return await self._run(lambda: self._hasher.hash(password))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether the password fits. With None, for an unknown user, as much work for nothing."""
        if len(password) > PASSWORD_MAX:
            password, stored = "", None
        return await self._run(lambda: self._verify(stored or self._nobody, password))

    def outdated(self, stored: str) -> bool:
        """Whether the hash should be made anew now that the password is at hand."""
        return bool(_LEGACY.fullmatch(stored)) or self._hasher.check_needs_rehash(stored)

    def _verify(self, stored: str, password: str) -> bool:
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


def _give_memory_back() -> None:
    """Have malloc hand large blocks back when they are freed; without glibc, nothing.

    One log-in left 19 MB behind, and each thread its own.
    """
    import ctypes  # here, since a server without log-ins need not hold it

    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, MMAP_FROM_BYTES)


def legacy_hash(salt_hex: str, digest_hex: str, rounds: int = 100_000) -> str:
    """The stored form of the existing server's PBKDF2-SHA256 hash."""
    return f"pbkdf2_sha256${rounds}${salt_hex}${digest_hex}"


def legacy_parts(stored: str) -> tuple[int, str, str] | None:
    """Rounds, salt and digest of what `legacy_hash` made; None for any other stored text."""
    legacy = _LEGACY.fullmatch(stored)
    return (int(legacy[1]), legacy[2], legacy[3]) if legacy else None


def _verify_legacy(rounds: int, salt_hex: str, digest_hex: str, password: str) -> bool:
    """A hexadecimal salt may have been used as its text, or as the bytes it stands for."""
    salts = [salt_hex.encode()]
    if len(salt_hex) % 2 == 0:
        salts.append(bytes.fromhex(salt_hex))
    expected = bytes.fromhex(digest_hex)
    fits = [
        hmac.compare_digest(
            hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds), expected
        )
        for salt in salts
    ]
    return any(fits)


def _hash_of_nothing() -> str:
    """A well-formed hash that no password fits: checking one against it costs as much as any."""
    salt, digest = (b64encode(secrets.token_bytes(size)).rstrip(b"=").decode() for size in (16, 32))
    return f"$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${digest}"
