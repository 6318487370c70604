"""Commands of another user than the server's: what helps is said, and root's leave nothing of root.

A command that may not read or write a file says so in one line.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bas_server import open_base
from server.config.config import ServerConfig
from tests.support.commands import Result, command, run, settings
from tools.process import clean_environment


@pytest.fixture
def config(tmp_path: Path) -> ServerConfig:
    """A site whose folder is `data`."""
    config = ServerConfig(data_dir=tmp_path / "data")

    async def make() -> None:
        async with open_base(config):
            pass

    asyncio.run(make())
    return config


def run_without_rights(config: ServerConfig, *arguments: str) -> Result:
    """Run a command that is bound by the modes of files, also if the tests are root's."""
    words = command(*arguments)
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv is not installed: root cannot give up its rights")
        words = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *words]
    environment = clean_environment(**settings(config))
    return subprocess.run(
        words, capture_output=True, text=True, timeout=60, check=False, env=environment
    )


def check_says_what_helps(done: Result) -> None:
    assert done.returncode == 1, done.stdout
    (line,) = done.stderr.splitlines()
    assert "the server's user" in line


def test_a_database_that_may_not_be_read(config: ServerConfig, tmp_path: Path) -> None:
    config.database.chmod(0)
    check_says_what_helps(run_without_rights(config, "backup", str(tmp_path / "copy.db")))
    assert not (tmp_path / "copy.db").exists()


@pytest.mark.parametrize("command", ["backup", "restore", "recover"])
def test_a_folder_that_may_not_be_written(
    config: ServerConfig, tmp_path: Path, command: str
) -> None:
    source = tmp_path / "source.db"
    shutil.copy(config.database, source)
    (config.data_dir / "server.lock").unlink(missing_ok=True)
    config.data_dir.chmod(0o500)
    path = {
        "backup": config.data_dir / "copy.db",
        "restore": source,
        "recover": config.database,
    }[command]
    try:
        check_says_what_helps(run_without_rights(config, command, str(path)))
    finally:
        config.data_dir.chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder to another user")
def test_what_roots_commands_make_belongs_to_the_owner_of_the_folder(
    config: ServerConfig, tmp_path: Path
) -> None:
    owner = 65534
    copy = tmp_path / "copy.db"
    assert run(config, "backup", str(copy)).returncode == 0
    new = ServerConfig(data_dir=tmp_path / "new")
    new.data_dir.mkdir()
    os.chown(new.data_dir, owner, owner)
    for arguments in (
        ("restore", str(copy)),
        ("compact", "--older-than", "0"),
        ("recover", str(new.database)),
    ):
        assert run(new, *arguments).returncode == 0
    found = {path.name: path.stat().st_uid for path in new.data_dir.iterdir()}
    assert {"bas.db", "server.lock", "copying.lock", "bas.db.sealing"} <= found.keys()
    assert set(found.values()) == {owner}, found
