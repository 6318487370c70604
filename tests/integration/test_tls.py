"""A server process with a certificate: start, wrong files, SIGHUP, several processes, --demo."""

from __future__ import annotations

import signal
import ssl
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from tests.support.certificates import Identity, identity, trusting
from tests.support.stream import eventually
from tools.process import REPOSITORY, ServerProcess
from tools.redis_server import RedisServer

BOUND_S = 60.0
POST = {"temp_tenths": 235, "sensor_ok": True, "device_id": "attic"}


@pytest.fixture
def own(tmp_path: Path) -> Identity:
    return identity(tmp_path / "tls")


def client(server: ServerProcess, own: Identity) -> httpx.Client:
    return httpx.Client(
        base_url=server.url, verify=trusting(own), timeout=BOUND_S, trust_env=False, http2=True
    )


def shown(server: ServerProcess) -> bytes:
    """The certificate that a new connection gets."""
    pem = ssl.get_server_certificate(("127.0.0.1", server.port), timeout=BOUND_S)
    return ssl.PEM_cert_to_DER_cert(pem)


def certificate(one: Identity) -> bytes:
    return ssl.PEM_cert_to_DER_cert(Path(one.cert).read_text())


def replace(own: Identity, other: Identity) -> None:
    for old, new in ((own.cert, other.cert), (own.key, other.key)):
        Path(old).write_bytes(Path(new).read_bytes())


async def test_a_server_with_a_certificate_serves_its_zones_by_https_and_renews_it_on_sighup(
    tmp_path: Path, own: Identity
) -> None:
    with ServerProcess(tmp_path / "data", "--demo", **own.environment()) as server:
        assert server.url.startswith("https://")
        with client(server, own) as http:

            def stored() -> bool:
                text = http.get("/metrics").text
                return "bas_readings_stored_total 0.0" not in text

            await eventually(stored, "the simulated zones post over TLS")
            expires = own.certificate.not_valid_after_utc.timestamp()
            lines = dict(line.split(" ", 1) for line in http.get("/metrics").text.splitlines())
            assert float(lines["bas_tls_certificate_expires_timestamp_seconds"]) == expires
        other = identity(tmp_path / "new")
        replace(own, other)
        assert shown(server) != certificate(other)
        server.signal(signal.SIGHUP)
        await eventually(lambda: shown(server) == certificate(other), "the new certificate")
        assert server.terminate() == 0


async def test_every_process_of_a_site_reads_the_renewed_certificate(
    tmp_path: Path, own: Identity, redis: RedisServer
) -> None:
    settings = {"BAS_PROCESSES": "2", "REDIS_URL": redis.url, **own.environment()}
    with ServerProcess(tmp_path / "data", **settings) as server:
        with client(server, own) as http:
            assert http.post("/api/sensor_data", json=POST).status_code == 200
        other = identity(tmp_path / "new")
        replace(own, other)
        server.signal(signal.SIGHUP)
        await eventually(
            lambda: "all server processes are replaced" in server.output, "both are replaced"
        )
        assert {shown(server) for _ in range(8)} == {certificate(other)}


@pytest.mark.parametrize("processes", [1, 2])
def test_an_expired_certificate_stops_the_start_with_the_remedy(
    tmp_path: Path, processes: int
) -> None:
    old = identity(tmp_path / "tls", begins=timedelta(days=-9), ends=timedelta(days=-1))
    settings = {"BAS_PROCESSES": str(processes), "REDIS_URL": "redis://127.0.0.1:1"}
    server = ServerProcess(tmp_path / "data", **old.environment(), **settings)
    server.launch()
    assert server.wait(BOUND_S) == 1
    assert f"BAS_TLS_CERT={old.cert} expired on" in server.output
    assert "renew the certificate" in server.output
    assert "Traceback" not in server.output


def test_a_server_without_a_certificate_loads_nothing_for_tls_and_http2(tmp_path: Path) -> None:
    """Their modules take megabytes."""
    code = (
        "import sys, asyncio, pathlib, dataclasses\n"
        "from server.common.lazy_modules import import_later\n"
        "import_later()\n"
        "from bas_server import open_container\n"
        "from server.config.config import ServerConfig\n"
        "import server.processes.run\n"
        "async def main():\n"
        "    async with open_container(ServerConfig(data_dir=pathlib.Path(sys.argv[1]))):\n"
        "        pass\n"
        "asyncio.run(main())\n"
        "from server.common.lazy_modules import is_loaded\n"
        "loaded = set(filter(is_loaded, sys.modules))\n"
        "print(sorted(loaded & {'h2.connection', 'hpack', 'cryptography.x509',\n"
        "    'server.http.http2_connection'}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "data")],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=120,
        check=True,
    )
    assert done.stdout.strip() == "[]"
