#!/usr/bin/env bash
# httpx with http2=True offers HTTP/1.1 before HTTP/2; with http1=False it speaks HTTP/2 also when the server chose HTTP/1.1.
#
# Seen with: httpx 0.28.1, httpcore 1.0.9 and h2 4.4.1 from PyPI, CPython 3.11; lighttpd 1.4.69 of Debian 12, December 2026.
# Expected: http2=True prefers HTTP/2, as curl and browsers do, and http1=False offers HTTP/2 alone. RFC 7301, section 3.1:
#   a client lists its protocols in descending order of preference.
# Seen: the offer is always "http/1.1, h2". A server that follows the client's order, as lighttpd does, chooses HTTP/1.1:
#   with http2=True HTTP/2 is never used, and with http1=False each request fails. lighttpd takes `PRI * HTTP/2.0` for a
#   request of an unknown version, answers 505 in HTTP/1.0 and closes; the client shows an error of the network without a cause.
# Why it matters: it looks as if the server broke off uploads over HTTP/2. nginx, HAProxy, Caddy and Apache follow their own
#   order and hide it. Remedy: a context that puts h2 first, as below.
# Exit code: 0 while this is so, 1 when it has changed.
set -euo pipefail
folder=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
apt-get download lighttpd lighttpd-mod-openssl >/dev/null 2>&1
for package in *.deb; do dpkg -x "$package" root; done
python3 -m venv venv
venv/bin/pip install --quiet httpx==0.28.1 httpcore==1.0.9 h2==4.4.1
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
    -keyout key -out certificate 2>/dev/null
cat key certificate >pem
mkdir site
echo hello >site/index.txt
free=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >lighttpd.conf <<CONFIG
server.port = $free
server.bind = "127.0.0.1"
server.document-root = "$folder/site"
server.modules = ("mod_openssl")
ssl.engine = "enable"
ssl.pemfile = "$folder/pem"
CONFIG
root/usr/sbin/lighttpd -D -f lighttpd.conf -m root/usr/lib/lighttpd 2>log &
pids+=($!)
url=https://localhost:$free/index.txt
version=$(curl -s -o /dev/null --cacert certificate --http2 -w '%{http_version}' \
    --retry 20 --retry-connrefused --retry-delay 1 "$url")
cat >program.py <<'PROGRAM'
import ssl
import sys

import httpx


class PrefersHttp2(ssl.SSLContext):
    def set_alpn_protocols(self, alpn_protocols):
        super().set_alpn_protocols(sorted(alpn_protocols))


def outcome(kind=ssl.SSLContext, **options):
    context = kind(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations("certificate")
    with httpx.Client(verify=context, http2=True, trust_env=False, **options) as client:
        try:
            return client.get(sys.argv[1]).http_version
        except httpx.TransportError:
            return "an error"


seen = outcome(), outcome(http1=False), outcome(PrefersHttp2)
print("httpx, http2=True: {}; with http1=False: {}; with h2 first: {}".format(*seen))
raise SystemExit(seen != ("HTTP/1.1", "an error", "HTTP/2"))
PROGRAM
echo "curl --http2: HTTP/$version"
if [ "$version" != 2 ] || ! venv/bin/python program.py "$url"; then
    echo "changed"
    exit 1
fi
