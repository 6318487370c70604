"""The rules for a new password (NIST SP 800-63B: length and lists, no rules of composition).

A password is hashed in one form, NFKC, so that every keyboard's way of writing it is the same
password. SP 800-63B names NFKC and NFKD; NFKC also makes full-width letters and no-break spaces
what they look like, and its length is what a user counts.
"""

from __future__ import annotations

import re
import secrets
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from server.common.errors import InvalidField

PASSWORD_MIN, PASSWORD_MAX = 12, 128
# A longer text is not looked at in a log-in: no account has such a password.
TYPED_MAX = 1024
HISTORY_MAX = 10
# SP 800-63B asks to refuse names of the service. `core` of a password is compared with them.
PRODUCT_NAMES = ("bas", "basserver", "buildingautomation", "buildingautomationserver")
COMMON = Path(__file__).with_name("common_passwords.txt.gz")
CORE_MIN = 6
# A repeated piece that is shorter is guessed as quickly as once.
PIECE_MIN = 8

_ENDS = re.compile(r"^[^a-z]+|[^a-z]+$")


@dataclass(frozen=True)
class PasswordRules:
    """What a site demands of new passwords.

    `min_length` counts characters, `history` how many former passwords an account may not use.
    """

    min_length: int = PASSWORD_MIN
    history: int = 5

    def check(self, password: str, username: str = "", tenant_id: str = "") -> str:
        """The password in the form that is hashed; this reads a file. Raises InvalidField."""
        text = normalised(password)
        if not self.min_length <= len(text) <= PASSWORD_MAX:
            raise _refusal(
                f"has {len(text)} characters: take {self.min_length} to {PASSWORD_MAX}. Several "
                "words that do not belong together are easy to remember"
            )
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _refusal("has half a character (a lone surrogate): type it again") from None
        folded = text.casefold()
        if is_name(folded, (username, tenant_id, *PRODUCT_NAMES)):
            raise _refusal(
                "is the name of the user, the tenant or this product, at most with digits and "
                "signs around it: take another one"
            )
        if is_repeated(folded):
            raise _refusal(
                f"repeats a piece of fewer than {PIECE_MIN} characters: take words that differ"
            )
        if is_common(folded):
            raise _refusal(
                "is one of the most used passwords, at most with digits and signs around it, so it "
                "is among the first guesses: take several words that do not belong together"
            )
        return text


def random_password(min_length: int = PASSWORD_MIN) -> str:
    """A password of letters, digits, `-` and `_`, of 16 characters (96 random bits) or more."""
    return secrets.token_urlsafe(PASSWORD_MAX)[: max(16, min_length)]


def normalised(password: str) -> str:
    """The one form (NFKC) in which a password is hashed."""
    return password if password.isascii() else unicodedata.normalize("NFKC", password)


def typed_forms(password: str) -> tuple[str, ...]:
    """The forms in which a password that is typed at log-in may have been hashed.

    Earlier versions, and the existing server, hashed it as it was typed.
    """
    form = normalised(password)
    return (form,) if form == password else (form, password)


def core(folded: str) -> str:
    """A password in lower case without the digits and signs around its letters a to z."""
    return _ENDS.sub("", folded)


def is_name(folded: str, names: tuple[str, ...]) -> bool:
    """Whether a password in lower case is one of the names, once or repeated.

    Digits and signs do not count: `j.doe-2024` and `JDoe!JDoe!` are the name `j.doe`.
    """
    letters = _letters(folded)
    found = {folded, letters, _piece(letters)} - {""}
    lower = [normalised(name).casefold() for name in names]
    return any(name in found or _letters(name) in found for name in lower)


def is_repeated(folded: str) -> bool:
    """Whether a password is one short piece, repeated: `aaaaaaaaaaaa`, `abc1abc1abc1`."""
    return len(_piece(folded)) < min(PIECE_MIN, len(folded))


def is_common(folded: str) -> bool:
    """Whether a password in lower case is among the most used ones.

    So is one that repeats such a one, or adds at most as many digits and signs around it as it has
    characters: `password2024!`. The list is read for each call, line by line, and not kept: this
    takes about 15 ms.
    """
    import gzip  # a server that sets no password does not load it

    wanted = {folded, _piece(folded)}
    wanted |= {core(text) for text in wanted if 2 * len(core(text)) >= len(text)}
    words = {b"%b\n" % word.encode() for word in wanted if len(word) >= CORE_MIN}
    with gzip.open(COMMON) as lines:
        return not words.isdisjoint(lines)


def _letters(folded: str) -> str:
    return "".join(character for character in folded if character.isalpha())


def _piece(text: str) -> str:
    """The shortest piece that makes the text when it is repeated, also if the last one is cut.

    At most 128 characters: the text is compared with itself, shifted.
    """
    for size in range(1, len(text)):
        if 2 * size <= len(text) + 1 and text.startswith(text[size:]):
            return text[:size]
    return text


def _refusal(why: str) -> InvalidField:
    return InvalidField("password", why)
