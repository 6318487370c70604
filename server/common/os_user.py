"""Names the operating-system user that runs this process."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

COMMAND_LINE = "command line"
# The user that logged in, which sudo and su do not change. The kernel keeps it:
# https://man7.org/linux/man-pages/man5/proc_pid_loginuid.5.html
LOGIN_UID = Path("/proc/self/loginuid")
UNSET = 2**32 - 1


def command_actor() -> str:
    """The user name in audit entries about commands, such as `root@command line`.

    It has a space, so it is no account's name. If somebody logged in under another name and became
    this user, that name stands in front: `olga as root@command line`. Environment variables such as
    LOGNAME do not count, since anybody may set them.
    """
    own, login = os.getuid(), _login_uid()
    became = f"{_name(login)} as " if login not in (None, own) else ""
    return f"{became}{_name(own)}@{COMMAND_LINE}"


def own_name() -> str:
    """The name of the user that runs this process."""
    return _name(os.getuid())


def _login_uid() -> int | None:
    try:
        uid = int(LOGIN_UID.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return None if uid == UNSET else uid


def _name(uid: int | None) -> str:
    if uid is None:
        return ""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a container may run as a user without a name
        return f"user {uid}"
