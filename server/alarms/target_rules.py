"""What a notice target may be, beyond the types of its fields."""

from __future__ import annotations

import re

from server.alarms.notice_models import NoticeTarget
from server.alarms.targets.http_post import web_address
from server.alarms.targets.mail import is_mail_address
from server.alarms.targets.sending import topic_of
from server.alarms.targets.wanted import wrong_hours
from server.common.errors import InvalidField

NAME_MAX, URL_MAX, SECRET_MAX, RECIPIENTS_MAX = 64, 2000, 500, 20
_HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*|[0-9a-fA-F:.]{2,45}")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ASCII = re.compile(r"[\x21-\x7e]*")


def check_target(target: NoticeTarget) -> None:
    """Raise InvalidField for what no target may be."""
    if not _ID.fullmatch(target.target_id):
        raise InvalidField("id", "1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit")
    if not target.name.strip() or len(target.name) > NAME_MAX or not target.name.isprintable():
        raise InvalidField("name", f"1 to {NAME_MAX} printable characters")
    if target.hours is not None and (why := wrong_hours(target.hours)):
        raise InvalidField("hours", why)
    if len(target.secret) > SECRET_MAX or not target.secret.isprintable():
        raise InvalidField("secret", f"at most {SECRET_MAX} printable characters")
    if target.kind == "email":
        _check_mail(target)
    else:
        _check_url(target)


def _check_url(target: NoticeTarget) -> None:
    mail = (target.host, target.port, target.username, target.sender, target.recipients)
    if any(mail):
        raise InvalidField("kind", "host, port, username, sender and recipients are for email")
    if len(target.url) > URL_MAX:
        raise InvalidField("url", f"at most {URL_MAX} characters")
    try:
        web_address(target.url)
    except ValueError as error:
        raise InvalidField("url", str(error)) from None
    if target.kind == "ntfy":
        if not topic_of(target.url):
            raise InvalidField("url", "of ntfy ends with a topic: https://ntfy.sh/topic")
        if not _ASCII.fullmatch(target.secret):
            raise InvalidField("secret", "an access token of ntfy is ASCII without spaces")


def _check_mail(target: NoticeTarget) -> None:
    if target.url:
        raise InvalidField("url", "an e-mail has none: give host, sender and recipients")
    if not _HOST.fullmatch(target.host):
        raise InvalidField("host", "the name or the address of an SMTP server")
    if not 1 <= target.port <= 65535:
        raise InvalidField("port", "1 to 65535")
    if not is_mail_address(target.sender):
        raise InvalidField("sender", "an e-mail address in ASCII, without a name")
    if not 1 <= len(target.recipients) <= RECIPIENTS_MAX:
        raise InvalidField("recipients", f"1 to {RECIPIENTS_MAX}")
    if not all(map(is_mail_address, target.recipients)):
        raise InvalidField("recipients", "e-mail addresses in ASCII, without names")
    if len(target.username) > SECRET_MAX or not target.username.isprintable():
        raise InvalidField("username", f"at most {SECRET_MAX} printable characters")
    if bool(target.username) != bool(target.secret):
        raise InvalidField("username", "a user name needs a secret, its password, and the reverse")


def moved(before: NoticeTarget, after: NoticeTarget) -> bool:
    """Whether the secret would go elsewhere than before, or with less protection."""
    if before.kind != after.kind:
        return True
    if after.kind == "email":
        return (before.host, before.port, before.tls) != (after.host, after.port, after.tls)
    if not before.url or not after.url:
        return True
    try:
        old, new = web_address(before.url), web_address(after.url)
    except ValueError:
        return False  # `check_target` says what is wrong with it
    return old[:3] != new[:3]
