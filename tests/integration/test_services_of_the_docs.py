"""The nginx and the Redis that docs/operations.md configures, really started with a server."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.nginx import TEMPORARY, need_nginx
from tests.support.pages import run_here
from tests.support.reader import Reader, need_environment
from tests.support.redis import need_redis
from tests.support.stream import caller, eventually, figures
from tools.daemon import Daemon, free_port
from tools.nginx import EXECUTABLE as NGINX
from tools.process import ServerProcess
from tools.redis_server import EXECUTABLE as REDIS

PAGE = "docs/operations.md"
SETTINGS = run_here(PAGE, "BAS_HOST=127.0.0.1\nBAS_PORT=8081")
FOLDER = run_here(PAGE, "sudo mkdir -p /etc/ssl/bas")
CERTIFICATE = run_here(PAGE, "sudo openssl req -x509")
CONFIG = run_here(PAGE, "sed -e '/127.0.0.1:8082/d'")
REDIS_CONFIG = run_here(PAGE, "port 0\ntls-port 6379")
REDIS_URL = "rediss://bas:LONG-RANDOM-PASSWORD@redis.example:6379/0"
OWN_AUTHORITY = "?ssl_ca_certs=/etc/ssl/own.pem"
WANTS_CERTIFICATES = "`tls-auth-clients yes` and `tls-ca-cert-file /etc/redis/clients.pem`"
CLIENT_CERTIFICATE = "&ssl_certfile=/etc/bas/client.pem&ssl_keyfile=/etc/bas/client-key.pem"
STOP_S = 30
NAMED = {"Host": "bas.local"}
READING = {"device_id": "attic", "temp_tenths": 300, "sensor_ok": True}


def _certificate(reader: Reader, name: str = "bas.local") -> Path:
    """Make the certificate as the page does; its folder."""
    reader.types(FOLDER)
    reader.types(CERTIFICATE.replace("bas.local", name))
    return Path(reader.typed("/etc/ssl/bas"))


class _Nginx(Daemon):
    """nginx with the file that the page makes; its ports and paths are this machine's."""

    def __init__(self, reader: Reader, server_port: int) -> None:
        super().__init__("nginx")
        self.plain, self.old, self.https = free_port(), reader.port, free_port()
        self._config = Path(reader.typed("/etc/nginx/nginx.conf"))
        text = reader.typed(self._config.read_text())
        own = {
            "127.0.0.1:8081": f"127.0.0.1:{server_port}",
            "listen 80;": f"listen 127.0.0.1:{self.plain};",
            f"listen {self.old};": f"listen 127.0.0.1:{self.old};",
            "listen 443 ": f"listen 127.0.0.1:{self.https} ",
            "listen [::]": "# listen [::]",
            "/run/nginx.pid": f"{self._folder}/pid",
            "/var/log/nginx": self._folder,
            "http {\n": "http {\n"
            + "".join(f"    {name}_temp_path {self._folder}/{name};\n" for name in TEMPORARY),
        }
        for theirs, ours in own.items():
            assert theirs in text, theirs
            text = text.replace(theirs, ours)
        self._config.write_text(text)
        Path(self._folder).chmod(0o755)

    def _command(self) -> Sequence[str]:
        assert NGINX is not None
        return [NGINX, "-p", self._folder, "-c", str(self._config), "-g", "daemon off;"]

    def _answers(self) -> bool:
        try:
            httpx.get(f"http://127.0.0.1:{self.old}/", trust_env=False)
        except httpx.TransportError:
            return False
        return True

    def kill(self) -> None:
        """SIGTERM: a master that is killed leaves its workers behind."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(STOP_S)
            self._process = None

    def tested(self) -> str:
        """What `nginx -t` says; AssertionError unless it takes the file."""
        done = subprocess.run([*self._command(), "-t"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stderr


@contextmanager
def _behind_nginx(reader: Reader) -> Iterator[tuple[ServerProcess, _Nginx]]:
    words = SETTINGS.split()
    settings = dict(word.split("=", 1) for word in words) | {"BAS_PORT": "0"}
    reader.port = free_port()
    reader.types(CONFIG)
    with (
        reader.server("scripts/run.sh", **settings) as server,
        _Nginx(reader, server.port) as nginx,
    ):
        yield server, nginx


def test_step_6_serves_browsers_with_tls_and_controllers_on_both_ports(tmp_path: Path) -> None:
    need_environment()
    need_nginx()
    reader = Reader(tmp_path)
    tls = ssl.create_default_context(cafile=str(_certificate(reader) / "fullchain.pem"))
    with _behind_nginx(reader) as (server, nginx):
        assert "test is successful" in nginx.tested()
        for port in (nginx.plain, nginx.old):
            url = f"http://127.0.0.1:{port}/api/sensor_data"
            answer = httpx.post(url, json=READING, trust_env=False)
            assert (answer.status_code, answer.json()["cool_active"]) == (200, True)
            page = httpx.get(f"http://127.0.0.1:{port}/", headers=NAMED, trust_env=False)
            assert page.status_code == 308
            assert page.headers["location"] == "https://bas.local/"
        login = {"username": "admin", "password": server.password}
        with httpx.Client(verify=tls, trust_env=False, http2=True) as browser:
            url = f"https://127.0.0.1:{nginx.https}/auth/login"
            extensions = {"sni_hostname": NAMED["Host"]}
            answer = browser.post(url, json=login, headers=NAMED, extensions=extensions)
        assert answer.status_code == 200, answer.text
        assert "Secure" in answer.headers["set-cookie"]


class _Redis(Daemon):
    """Redis with the page's file, and the certificate of this machine."""

    def __init__(self, reader: Reader, certificate: Path, client: Path | None = None) -> None:
        """With `client`, only programs with the certificate in that folder are answered."""
        super().__init__("redis")
        self._client = client
        text = REDIS_CONFIG.replace("6379", str(self.port)).replace(
            "/etc/redis/", f"{certificate}/"
        )
        self._certificate = certificate / "fullchain.pem"
        self._config = Path(self._folder) / "redis.conf"
        if client is not None:
            assert "tls-auth-clients no" in text
            authority = f"tls-ca-cert-file {client}/fullchain.pem"
            text = text.replace("tls-auth-clients no", f"tls-auth-clients yes\n{authority}")
        self._config.write_text(f"{text}\ndir {self._folder}\nbind 127.0.0.1\n")

    def _command(self) -> Sequence[str]:
        assert REDIS is not None
        return [REDIS, str(self._config)]

    def _answers(self) -> bool:
        """It refuses a question of the user that the page switches off."""
        command = ["redis-cli", "-p", str(self.port), "--tls", "--cacert", str(self._certificate)]
        if self._client is not None:
            certificate, key = self._client / "fullchain.pem", self._client / "privkey.pem"
            command += ["--cert", str(certificate), "--key", str(key)]
        done = subprocess.run([*command, "PING"], capture_output=True, text=True, check=False)
        return "NOAUTH" in done.stdout

    @property
    def url(self) -> str:
        url = REDIS_URL.replace("redis.example:6379", f"localhost:{self.port}")
        url += OWN_AUTHORITY.replace("/etc/ssl/own.pem", str(self._certificate))
        if self._client is None:
            return url
        return url + CLIENT_CERTIFICATE.replace(
            "/etc/bas/client-key.pem", f"{self._client}/privkey.pem"
        ).replace("/etc/bas/client.pem", f"{self._client}/fullchain.pem")


@pytest.mark.parametrize("certificates", [False, True], ids=["", "of clients too"])
async def test_two_processes_work_with_the_redis_user_and_the_tls_of_the_page(
    tmp_path: Path, certificates: bool
) -> None:
    need_environment()
    need_redis()
    reader = Reader(tmp_path)
    text = (reader.checkout / PAGE).read_text(encoding="utf-8")
    assert f"REDIS_URL={REDIS_URL}" in text
    for part in (OWN_AUTHORITY, WANTS_CERTIFICATES, CLIENT_CERTIFICATE):
        assert part in text
    certificate = _certificate(reader, "localhost")
    with (
        _Redis(reader, certificate, certificate if certificates else None) as redis,
        reader.server("scripts/run.sh", REDIS_URL=redis.url, BAS_PROCESSES="2") as server,
    ):
        async with caller(server.url) as client:
            assert (await client.post("/api/sensor_data", json=READING)).status_code == 200

            async def published() -> bool:
                return (await figures(client))["bas_events_published_total"] >= 1

            await eventually(published, "the event is in the history")
            assert (await client.get("/readyz")).json()["status"] == "ready"
            assert (await client.get("/api/health")).json()["sse"]["scope"] == "site"
            shown = await figures(client)
            assert not any(shown[name] for name in shown if "bas_log_failures_total" in name)
        assert server.terminate() == 0
        assert "NOPERM" not in server.output
        assert "maxmemory-policy" not in server.output
