"""The operating-system user in audit entries about commands."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from server.common import os_user
from server.common.os_user import command_actor
from server.services.firestore.users_store import USERNAME

NAME = pwd.getpwuid(os.getuid()).pw_name


@pytest.fixture
def login_uid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(os_user, "LOGIN_UID", tmp_path / "loginuid")
    return tmp_path / "loginuid"


@pytest.mark.parametrize("text", [None, "", "4294967295", "x", str(os.getuid())])
def test_a_command_is_of_the_user_that_runs_it(login_uid: Path, text: str | None) -> None:
    if text is not None:
        login_uid.write_text(text)
    assert command_actor() == f"{NAME}@command line"


def test_a_user_that_became_another_one_is_named_too(login_uid: Path) -> None:
    """OWASP ASVS 5.0, V16.2.1: an entry says who did it."""
    login_uid.write_text("54321")
    assert command_actor() == f"user 54321 as {NAME}@command line"


def test_environment_variables_do_not_change_the_user(
    login_uid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOGNAME", "USER", "USERNAME", "SUDO_USER"):
        monkeypatch.setenv(name, "mallory")
    assert "mallory" not in command_actor()


def test_no_account_can_have_such_a_name() -> None:
    assert not USERNAME.fullmatch(command_actor())
