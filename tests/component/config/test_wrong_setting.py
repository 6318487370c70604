"""A wrong setting, as seen by the operator who starts the server."""

from __future__ import annotations

import subprocess
import sys

from tools.process import REPOSITORY as ROOT


def run(tmp_path, *arguments, **settings):
    """A command of the server with these settings, to its end."""
    return subprocess.run(
        [sys.executable, ROOT / "bas_server.py", *arguments],
        env={"BAS_DATA_DIR": str(tmp_path / "data"), **settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_wrong_setting_ends_the_command_with_its_name_and_no_traceback(tmp_path):
    done = run(tmp_path, "list-users", BAS_PORT="eighty")
    assert done.returncode == 2
    assert "BAS_PORT must be a whole number, not 'eighty'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_does_not_start_with_an_empty_setting_that_would_turn_log_in_off(tmp_path):
    """ASVS 5.0 v5.0.0-16.5.3: compose writes this for a variable that is not set."""
    done = run(tmp_path, BAS_AUTH_ENABLED="")
    assert done.returncode == 2
    assert "BAS_AUTH_ENABLED is empty" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()
