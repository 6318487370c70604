"""The reverse proxies of the matrix: how each is started, and with which configuration."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from scripts.matrix.relay import free_port
from tools.process import REPOSITORY

PAGE = REPOSITORY / "docs" / "proxies.md"
START_S = 15.0
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
# The command, and the shortest configuration.
COMMANDS: Mapping[str, Sequence[str]] = {
    "nginx": ("nginx", "-p", "FOLDER", "-c", "CONFIG", "-e", "FOLDER/log", "-g", "daemon off;"),
    "HAProxy": ("haproxy", "-db", "-f", "CONFIG"),
    "Caddy": ("caddy", "run", "--adapter", "caddyfile", "--config", "CONFIG"),
    "Apache": ("apache2", "-X", "-d", "FOLDER", "-f", "CONFIG"),
    "Varnish": ("varnishd", "-F", "-n", "FOLDER/work", "-a", "127.0.0.1:PORT", "-f", "CONFIG"),
    "lighttpd": ("lighttpd", "-D", "-f", "CONFIG"),
}
VERSION = {"Caddy": "version", "Varnish": "-V"}
MODULES = "".join(
    f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"
    for name in ("mpm_event", "authz_core", "headers", "proxy", "proxy_http")
)
# Around the lines of the page: where the proxy listens and where its files are.
FRAMES: Mapping[str, str] = {
    "nginx": "events {}\npid FOLDER/pid;\nhttp {\naccess_log off;\n"
    "client_body_temp_path FOLDER/b;\nproxy_temp_path FOLDER/p;\n"
    "server {\nlisten 127.0.0.1:PORT;\nLINES\n}\n}\n",
    "HAProxy": "LINES\nfrontend in\n  bind 127.0.0.1:PORT\n  default_backend bas\n",
    "Caddy": "{\n  admin off\n  auto_https off\n}\nhttp://127.0.0.1:PORT {\nLINES\n}\n",
    "Apache": f"{MODULES}Listen 127.0.0.1:PORT\nServerName localhost\nPidFile FOLDER/pid\n"
    "ErrorLog FOLDER/log\nDefaultRuntimeDir FOLDER\nLINES\n",
    "Varnish": "vcl 4.1;\nLINES\n",
    "lighttpd": 'server.port = PORT\nserver.bind = "127.0.0.1"\nserver.document-root = "FOLDER"\n'
    'server.modules += ("mod_proxy")\nLINES\n',
}
# The same with TLS and HTTP/2. PEM has the key and the certificate.
FRAMES_HTTP2: Mapping[str, str] = {
    "nginx": FRAMES["nginx"].replace(
        "listen 127.0.0.1:PORT;",
        "listen 127.0.0.1:PORT ssl http2;\nssl_certificate PEM;\nssl_certificate_key PEM;",
    ),
    "HAProxy": FRAMES["HAProxy"].replace("PORT", "PORT ssl crt PEM alpn h2,http/1.1"),
    "Caddy": "{\n  admin off\n  auto_https off\n}\nhttps://127.0.0.1:PORT {\n  tls PEM PEM\n"
    "LINES\n}\n",
    "Apache": "".join(
        f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"
        for name in ("ssl", "http2")
    )
    + FRAMES["Apache"].replace(
        "ServerName",
        "SSLEngine on\nSSLCertificateFile PEM\nSSLCertificateKeyFile PEM\n"
        "Protocols h2 http/1.1\nServerName",
    ),
    "lighttpd": FRAMES["lighttpd"]
    + 'server.modules += ("mod_openssl")\nssl.engine = "enable"\nssl.pemfile = "PEM"\n',
}
SHORTEST: Mapping[str, str] = {
    "nginx": "location / { proxy_pass http://127.0.0.1:8080; }",
    "HAProxy": "defaults\n  mode http\n  timeout connect 5s\n  timeout client 50s\n"
    "  timeout server 50s\nbackend bas\n  server one 127.0.0.1:8080",
    "Caddy": "reverse_proxy 127.0.0.1:8080",
    "Apache": "ProxyPass / http://127.0.0.1:8080/",
    "Varnish": 'backend default { .host = "127.0.0.1"; .port = "8080"; }',
    "lighttpd": 'proxy.server = ("" => (("host" => "127.0.0.1", "port" => 8080)))',
}


def documented(name: str) -> str:
    """The lines for this proxy on the page."""
    found = re.search(rf"## {name}\n.*?```\w*\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found, name
    return found[1]


@contextlib.contextmanager
def running(name: str, lines: str, server_port: int, *, http2: bool = False) -> Iterator[int]:
    """The proxy with these lines; yields its port. Raises RuntimeError if it does not start."""
    folder, port = Path(tempfile.mkdtemp()), free_port()
    folder.chmod(0o755)
    config, pem = folder / "config", folder / "pem"
    if http2:
        _certificate(pem)

    def filled(text: str) -> str:
        text = text.replace("FOLDER", str(folder)).replace("CONFIG", str(config))
        return text.replace("PORT", str(port)).replace("PEM", str(pem))

    own = lines.replace("8080", str(server_port))
    config.write_text(filled((FRAMES_HTTP2 if http2 else FRAMES)[name]).replace("LINES", own))
    program, *arguments = COMMANDS[name]
    process = subprocess.Popen(
        [shutil.which(program, path=PATH) or program, *map(filled, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=(folder / "stderr").open("w"),
        env={**os.environ, "HOME": str(folder)},
    )
    try:
        _wait(port, folder, http2=http2)
        yield port
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _certificate(pem: Path) -> None:
    """A key and a certificate of this machine, in one file."""
    about = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost")
    kind = ("-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    subprocess.run(
        ["openssl", "req", *kind, *about, "-keyout", f"{pem}.key", "-out", f"{pem}.cert"],
        capture_output=True,
        check=True,
    )
    pem.write_text(Path(f"{pem}.key").read_text() + Path(f"{pem}.cert").read_text())


def unverified(kind: type[ssl.SSLContext] = ssl.SSLContext) -> ssl.SSLContext:
    """A client's context that takes the matrix's own certificate."""
    context = kind(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _wait(port: int, folder: Path, *, http2: bool) -> None:
    ends = time.monotonic() + START_S
    while time.monotonic() < ends:
        with contextlib.suppress(OSError):
            at = "127.0.0.1", port
            if http2:
                connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                    *at, timeout=5, context=unverified()
                )
            else:
                connection = http.client.HTTPConnection(*at, timeout=5)
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.1)
    raise RuntimeError((folder / "stderr").read_text()[-500:])


def version(name: str) -> str:
    """The proxy's name and version."""
    program = shutil.which(COMMANDS[name][0], path=PATH)
    assert program
    done = subprocess.run(
        [program, VERSION.get(name, "-v")], capture_output=True, text=True, check=False
    )
    found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
    return f"{name} {found[0] if found else '?'}"
