"""scripts/setup_emulators.sh starts and stops a developer's Redis and Firestore emulator."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
import redis

from tests.support.redis import need_redis
from tests.support.stream import eventually
from tools.daemon import free_port
from tools.process import REPOSITORY, clean_environment

SCRIPT = REPOSITORY / "scripts" / "setup_emulators.sh"
READY_S, MEMORY_MB = 60.0, 500.0
JARS = (
    "/usr/lib/google-cloud-sdk/platform/cloud-firestore-emulator/cloud-firestore-emulator.jar",
    str(Path.home() / ".cache/firebase/emulators/cloud-firestore-emulator-v*.jar"),
)


class Emulators:
    """The script with free ports and a new state folder."""

    def __init__(self, run: Path) -> None:
        run.mkdir(mode=0o700)
        self.state = run / f"bas-emulators-{os.getuid()}"
        self.redis_port, self.firestore_port = free_port(), free_port()
        self.environment = clean_environment(
            XDG_RUNTIME_DIR=str(run),
            BAS_EMULATORS_REDIS_PORT=str(self.redis_port),
            BAS_EMULATORS_FIRESTORE_PORT=str(self.firestore_port),
        )

    def __call__(self, action: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run the script and wait for its end."""
        return subprocess.run(
            [str(SCRIPT), action],
            capture_output=True,
            text=True,
            timeout=3 * READY_S,
            check=False,
            env=self.environment | settings,
        )

    def begin(self) -> subprocess.Popen[str]:
        """Run `start` in a new process group, as a terminal does."""
        return subprocess.Popen(
            [str(SCRIPT), "start"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
            process_group=0,
        )

    def pid(self, name: str) -> int:
        return int((self.state / f"{name}.process").read_text().split()[0])

    def redis_answers(self) -> bool:
        try:
            with redis.Redis(port=self.redis_port, socket_timeout=2, protocol=2) as client:
                return client.set("bas:test", "1") is True
        except redis.ConnectionError:
            return False

    def firestore_answers(self) -> bool:
        documents = "/v1/projects/bas/databases/(default)/documents/devices"
        url = f"http://127.0.0.1:{self.firestore_port}{documents}"
        try:
            answer = httpx.post(url, json={"fields": {}}, trust_env=False, timeout=60)
        except httpx.ConnectError:
            return False
        return answer.status_code == 200


def is_gone(pid: int) -> bool:
    """Whether the process has ended; a zombie counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def memory_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))


def path_without(folder: Path, *commands: str) -> str:
    """A PATH without these commands and without apt-get, which would install them."""
    folder.mkdir()
    for tool in (*Path("/bin").iterdir(), *Path("/usr/bin").iterdir()):
        copy = folder / tool.name
        if tool.name not in {*commands, "apt-get"} and not copy.is_symlink():
            copy.symlink_to(tool)
    return str(folder)


def need_firestore() -> None:
    """Skip the test where the Firestore emulator is not installed; fail where it must not."""
    named = os.environ.get("BAS_FIRESTORE_JAR")
    jars = [named] if named else [str(jar) for p in JARS for jar in Path("/").glob(p.lstrip("/"))]
    if shutil.which("java") is None or not any(Path(jar).exists() for jar in jars):
        reason = "the Firestore emulator is not installed: setup_emulators.sh is NOT tested with it"
        if os.environ.get("BAS_TEST_REQUIRE"):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture
def emulators(tmp_path: Path) -> Iterator[Emulators]:
    need_redis()
    script = Emulators(tmp_path / "run")
    yield script
    assert script("stop").returncode == 0
    assert not script.state.exists()


@pytest.fixture
def both(emulators: Emulators) -> Emulators:
    need_firestore()
    started = emulators("start")
    assert started.returncode == 0, started.stderr
    return emulators


@pytest.fixture
def without_firestore(emulators: Emulators) -> Emulators:
    """The script on a machine that has no Firestore emulator."""
    emulators.environment["BAS_FIRESTORE_JAR"] = str(emulators.state / "no.jar")
    return emulators


def test_both_are_ready_within_a_minute_and_500_mb(emulators):
    need_firestore()
    began = time.monotonic()
    assert emulators("start").returncode == 0
    assert emulators.redis_answers()
    assert emulators.firestore_answers()
    assert time.monotonic() - began < READY_S
    assert sum(memory_mb(emulators.pid(name)) for name in ("redis", "firestore")) < MEMORY_MB


def test_start_and_env_print_exactly_the_settings(both):
    settings = {
        "USE_EMULATORS": "1",
        "EMULATOR_REDIS_URL": f"redis://127.0.0.1:{both.redis_port}/0",
        "FIRESTORE_EMULATOR_HOST": f"127.0.0.1:{both.firestore_port}",
    }
    for action in ("start", "env"):
        shell = f'set -eu; eval "$({SCRIPT} {action})"; env -0'
        output = subprocess.run(
            ["bash", "-c", shell], capture_output=True, text=True, env=both.environment, check=True
        ).stdout
        environment = dict(entry.partition("=")[::2] for entry in output.split("\0"))
        assert {name: environment.get(name) for name in settings} == settings
        lines = both(action).stdout.splitlines()
        assert lines == [f"export {name}={value}" for name, value in settings.items()]


def test_a_second_start_keeps_the_processes(both):
    before = both.pid("redis"), both.pid("firestore")
    assert both("start").returncode == 0
    assert (both.pid("redis"), both.pid("firestore")) == before
    assert both("status").returncode == 0


async def test_start_restarts_a_killed_emulator_and_keeps_the_other_running(both):
    for victim, survivor in (("redis", "firestore"), ("firestore", "redis")):
        before = both.pid(survivor)
        os.kill(both.pid(victim), signal.SIGKILL)
        await eventually(partial(is_gone, both.pid(victim)), f"{victim} is gone")
        assert both("status").returncode == 1
        assert both("start").returncode == 0
        assert both.pid(survivor) == before
        assert both.redis_answers()
        assert both.firestore_answers()


def test_stop_leaves_no_process_and_no_files_and_can_be_repeated(both):
    pids = both.pid("redis"), both.pid("firestore")
    for _ in range(2):
        assert both("stop").returncode == 0
        assert all(is_gone(pid) for pid in pids)
        assert list(both.state.parent.iterdir()) == []
    answer = both("env")
    assert (answer.returncode, answer.stdout) == (1, "")


def test_start_reports_a_missing_firestore_emulator_and_still_starts_redis(without_firestore):
    started = without_firestore("start")
    assert started.returncode == 1
    assert "MISSING: the Firestore emulator" in started.stderr
    assert without_firestore.redis_answers()
    assert started.stdout == without_firestore("env").stdout
    assert "FIRESTORE" not in started.stdout


def test_start_reports_a_missing_redis_and_still_starts_the_firestore_emulator(emulators, tmp_path):
    need_firestore()
    started = emulators("start", PATH=path_without(tmp_path / "bin", "redis-server"))
    assert started.returncode == 1
    assert "MISSING: redis-server" in started.stderr
    assert emulators.firestore_answers()
    assert "REDIS" not in started.stdout


def test_redis_listens_on_localhost_writes_no_file_and_evicts_no_key(without_firestore):
    without_firestore("start")
    with redis.Redis(port=without_firestore.redis_port, protocol=2) as client:
        answer = client.config_get("*")
    assert (answer["bind"], answer["protected-mode"]) == ("127.0.0.1", "yes")
    assert (answer["save"], answer["appendonly"]) == ("", "no")
    assert (answer["maxmemory-policy"], int(answer["maxmemory"]) > 0) == ("noeviction", True)


def test_start_names_a_port_in_use_and_its_variable(without_firestore):
    with socket.create_server(("127.0.0.1", without_firestore.redis_port)):
        refused = without_firestore("start")
    assert refused.returncode == 1
    assert f"Port {without_firestore.redis_port} is taken" in refused.stderr
    assert "BAS_EMULATORS_REDIS_PORT" in refused.stderr
    assert not without_firestore.state.exists()


def test_start_prints_the_log_of_an_emulator_that_does_not_start(without_firestore):
    refused = without_firestore("start", BAS_EMULATORS_REDIS_PORT="99999")
    assert refused.returncode == 1
    assert 'port "99999"' in refused.stderr
    assert not without_firestore.state.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_start_leaves_no_process_and_no_files(emulators, number):
    need_firestore()
    starting = emulators.begin()
    record = emulators.state / "firestore.process"
    deadline = time.monotonic() + READY_S
    while not (record.exists() and record.read_text()):
        assert starting.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    pids = emulators.pid("redis"), emulators.pid("firestore")
    # Bash does not hear an interrupt in the moment in which one of its commands ends by itself, so
    # that people press Ctrl-C again.
    while starting.poll() is None:
        assert time.monotonic() < deadline
        os.killpg(starting.pid, number)
        time.sleep(0.1)
    output, _ = starting.communicate(timeout=READY_S)
    assert starting.returncode != 0, output
    while not all(is_gone(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not emulators.state.exists()


def test_stop_does_not_kill_another_process_that_has_the_recorded_pid(without_firestore):
    without_firestore("start")
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        record = without_firestore.state / "redis.process"
        pid, rest = record.read_text().split(" ", 1)
        record.write_text(f"{stranger.pid} {rest}")
        assert without_firestore("env").returncode == 1
        assert without_firestore("stop").returncode == 0
        assert not is_gone(stranger.pid)
    finally:
        os.kill(int(pid), signal.SIGKILL)
        stranger.kill()
        stranger.wait()


def test_start_makes_the_state_folder_private(without_firestore):
    without_firestore.state.mkdir(mode=0o777)
    without_firestore.state.chmod(0o777)
    without_firestore("start")
    assert stat.S_IMODE(without_firestore.state.stat().st_mode) == 0o700


def test_start_refuses_a_state_folder_that_is_a_symbolic_link(without_firestore, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    without_firestore.state.symlink_to(elsewhere)
    refused = without_firestore("start")
    assert refused.returncode == 1
    assert "not a folder of yours" in refused.stderr
    assert list(elsewhere.iterdir()) == []
    without_firestore.state.unlink()


def test_the_script_prints_help_and_refuses_an_unknown_action(emulators):
    assert emulators("--help").stdout.startswith("scripts/setup_emulators.sh")
    unknown = emulators("restart")
    assert (unknown.returncode, unknown.stdout) == (2, "")
