"""The files that a package consists of: the image has what it needs, its check of health works."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.certificates import identity
from tests.support.reader import need_environment
from tools.process import REPOSITORY, ServerProcess

DOCKERFILE = (REPOSITORY / "infra" / "Dockerfile").read_text(encoding="utf-8")
# COPY SOURCE… /program/TARGET: what of the checkout is in the image, below /opt/bas.
COPIES = re.findall(r"^COPY ([\w./ -]+) /program/([\w./]*)$", DOCKERFILE, re.MULTILINE)
SCRIPTS = ("bas.sh", "lib/settings.sh")


def copied() -> dict[str, str]:
    """Path in the checkout: path below /opt/bas."""
    found = {}
    for sources, target in COPIES:
        for source in sources.split():
            name = Path(source).name
            found[source] = target + name if target.endswith("/") or not target else target
    return found


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The program's folder as the image has it; the settings and data are the test's own."""
    need_environment()
    program = tmp_path / "opt" / "bas"
    for source, target in copied().items():
        (program / target).parent.mkdir(parents=True, exist_ok=True)
        kind = shutil.copytree if (REPOSITORY / source).is_dir() else shutil.copy2
        kind(REPOSITORY / source, program / target)
    (program / ".venv").symlink_to(REPOSITORY / ".venv")
    settings = program / "scripts" / "lib" / "settings.sh"
    text = settings.read_text()
    for name in ("/etc/bas.env", "/var/lib/bas"):
        assert text.count(f"={name}\n") == 1
        text = text.replace(f"={name}\n", f"={tmp_path}{name}\n")
    settings.write_text(text)
    (tmp_path / "etc").mkdir()
    return program


def run_in(image: Path, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash after scripts/lib/settings.sh of this image."""
    return subprocess.run(
        ["bash", "-c", f"set -euo pipefail; source {image}/scripts/lib/settings.sh; {script}"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={"PATH": os.environ["PATH"], **environment},
    )


def test_what_the_image_copies_is_all_that_the_server_needs_and_its_health_is_seen(
    image: Path,
) -> None:
    (check,) = re.findall(r"^HEALTHCHECK .*\\\n +CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    words = [word.replace("/opt/bas", str(image)) for word in json.loads(check)]

    def healthy(port: int, **more: str) -> bool:
        environment = {"PATH": os.environ["PATH"], "BAS_PORT": str(port), **more}
        return subprocess.run(words, timeout=30, check=False, env=environment).returncode == 0

    program = (str(image / "scripts" / "bas.sh"),)
    data = image.parents[1] / "data"
    with ServerProcess(data, python="bash", program=program) as server:
        assert healthy(server.port)
        assert server.terminate() == 0, "bash has given its place to the server"
    assert not healthy(server.port)
    assert (data / "bas.db").exists()
    tls = identity(image.parents[1] / "tls", "bas.example").environment()
    with ServerProcess(data, python="bash", program=program, **tls) as server:
        assert healthy(server.port, **tls)
        assert not healthy(server.port)
    assert not healthy(server.port, **tls)


def test_a_server_that_says_nothing_is_not_healthy_after_some_seconds(image: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = str(silent.getsockname()[1])
        assert run_in(image, "answers || echo no", BAS_PORT=port).stdout == "no\n"


def test_the_settings_file_is_read_as_systemd_reads_it(image: Path) -> None:
    (image.parents[1] / "etc" / "bas.env").write_text(
        "# comment\n; comment\n\nBAS_PORT=8081\n  REDIS_URL = x\nBAS_HOST=  127.0.0.1  \n"
        "BAS_ALLOWED_HOSTS=\"a,b\"\nBAS_TIMEZONE='Europe/Berlin'\nGOOGLE_CLOUD_PROJECT=a=$HOME`x`\n"
        "no setting\nBAS_CORS_ORIGINS=\nBAS_AUDIT_DAYS=7"
    )
    shown = run_in(image, "load_settings; env", BAS_PORT="1")
    assert (shown.stderr, shown.returncode) == ("", 0)
    found = dict(line.split("=", 1) for line in shown.stdout.splitlines())
    names = {name for name in found if re.match("BAS_|REDIS_|GOOGLE_", name)}
    assert {name: found[name] for name in names} == {
        "BAS_DATA_DIR": f"{image.parents[1]}/var/lib/bas",
        "BAS_PORT": "8081",
        "BAS_HOST": "127.0.0.1",
        "BAS_ALLOWED_HOSTS": "a,b",
        "BAS_TIMEZONE": "Europe/Berlin",
        "GOOGLE_CLOUD_PROJECT": "a=$HOME`x`",
        "BAS_CORS_ORIGINS": "",
        "BAS_AUDIT_DAYS": "7",
    }


def test_a_machine_without_a_settings_file_has_the_defaults(image: Path) -> None:
    shown = run_in(image, 'load_settings; echo "${BAS_PORT:-none} $BAS_DATA_DIR"')
    assert shown.stdout == f"none {image.parents[1]}/var/lib/bas\n"


def test_the_example_of_settings_sets_nothing_and_is_all_right_when_everything_is_set(
    image: Path,
) -> None:
    example = (REPOSITORY / "infra" / "bas.env").read_text(encoding="utf-8")
    file = image.parents[1] / "etc" / "bas.env"
    file.write_text(example)
    assert "BAS_HOST" not in run_in(image, "load_settings; env").stdout
    file.write_text(re.sub(r"(?m)^#(?=[A-Z_]+=)", "", example))
    script = f"load_settings; {image}/.venv/bin/python {image}/bas_server.py simulate --url ftp://x"
    done = run_in(image, script)
    assert "BAS_" not in done.stderr
    assert "ftp://x" in done.stderr, "the settings are read, then the argument"


def test_docker_sends_the_build_what_is_copied_and_no_data_or_secret() -> None:
    lines = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert lines[1] == "*", "nothing else is sent: no data, no .venv, no bas.env"
    sent = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert sent == {*copied(), "requirements.txt"}
    assert all((REPOSITORY / path).exists() for path in sent)


def test_the_image_runs_as_a_user_with_a_volume_that_is_his() -> None:
    users = re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE)
    volumes = re.findall(r"^VOLUME (.*)$", DOCKERFILE, re.MULTILINE)
    assert (users, volumes) == (["bas"], ["/var/lib/bas"])
    assert "install -d -o bas -g bas -m 700 /var/lib/bas" in DOCKERFILE
    assert DOCKERFILE.index("install -d") < DOCKERFILE.index("VOLUME /var/lib/bas")


def compose(*arguments: str, **environment: str) -> dict[str, object]:
    """What Docker Compose makes of compose.yaml; skips the test where it is not installed."""
    for program in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(program[0]) is None:
            continue
        version = subprocess.run(
            [*program, "version", "--short"], capture_output=True, text=True, check=False
        ).stdout.strip()
        if re.match(r"v?(2\.(2[4-9]|[3-9]\d)|[3-9]\d*)\.", version):
            done = subprocess.run(
                [*program, "-f", str(REPOSITORY / "compose.yaml"), *arguments],
                capture_output=True,
                text=True,
                check=True,
                env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")} | environment,
            )
            found: dict[str, object] = json.loads(done.stdout)
            return found
    pytest.skip("Docker Compose 2.24 is not installed: compose.yaml is NOT checked")


def test_compose_takes_the_file_with_and_without_its_profiles() -> None:
    config = compose("config", "--format", "json")
    assert list(config["services"]) == ["bas"]  # type: ignore[call-overload]
    everything = compose(
        "--profile", "redis", "--profile", "prometheus", "config", "--format", "json", PUBLISH="9"
    )
    assert set(everything["services"]) == {"bas", "redis", "prometheus"}  # type: ignore[call-overload]
    (port,) = everything["services"]["bas"]["ports"]  # type: ignore[index]
    assert (port["published"], port["target"]) == ("9", 8080)


def test_every_path_and_setting_in_the_compose_file_exists() -> None:
    text = (REPOSITORY / "compose.yaml").read_text(encoding="utf-8")
    paths = re.findall(r"(?:- |dockerfile: )(\.?/?infra/[\w./]+)", text)
    assert len(paths) == 2
    assert all((REPOSITORY / path).exists() for path in paths)
    # Ignored, so that nobody commits a password.
    ignored = (REPOSITORY / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"/bas.env", "/.env"} <= set(ignored)
