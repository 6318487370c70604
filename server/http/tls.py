"""ServerTls: loads the certificate of BAS_TLS_CERT, checks it, and reads it again on request."""

from __future__ import annotations

import asyncio
import logging
import ssl
from datetime import UTC, datetime
from pathlib import Path

from server.common.clock import Clock
from server.common.os_user import own_name
from server.config.config import ServerConfig

log = logging.getLogger(__name__)

PROTOCOLS = ["h2", "http/1.1"]
# The header Strict-Transport-Security of answers over https: a browser then uses https only for
# this name, for a year. Browsers ignore it for addresses.
HSTS = "max-age=31536000; includeSubDomains"
DAY_S = 86_400
# A certificate is renewed when a third of its time is left, by custom of ACME clients; one of a
# year or more is near its end in the last weeks only.
SOON_S = 14 * DAY_S


class TlsError(ValueError):
    """A file of a BAS_TLS_ setting is of no use; the text names the variable and the remedy."""


def has_certificate(transport: asyncio.BaseTransport) -> bool:
    """Whether the client of a TLS connection showed a certificate, or need not show one."""
    asks = transport.get_extra_info("sslcontext").verify_mode is not ssl.CERT_NONE
    return not asks or bool(transport.get_extra_info("peercert"))


def speaks_http2(transport: asyncio.BaseTransport) -> bool:
    """Whether the client of a TLS connection chose HTTP/2."""
    chosen = transport.get_extra_info("ssl_object").selected_alpn_protocol()
    return bool(chosen == "h2")


class ServerTls:
    """The certificate of this server; `context` is for the connections that begin from now on.

    `expires_s` is when the certificate expires, in Unix seconds.
    """

    def __init__(self, config: ServerConfig, clock: Clock, *, expired_too: bool = False) -> None:
        """Read the files. `expired_too` only warns of an expired certificate. Raises TlsError."""
        _refuse_parts(config)
        self._cert, self._key = config.tls_cert, config.tls_key
        self._client_ca = config.tls_client_ca
        self._clock = clock
        self._load(expired_too)

    def renew(self) -> bool:
        """Read the files again; with files that are of no use the old certificate stays."""
        try:
            self._load(expired_too=False)
        except TlsError as error:
            log.error("the certificate stays as it was: %s", error)
            return False
        return True

    def warning(self) -> str | None:
        """What is wrong with the certificate's dates now, and the remedy; None if nothing is."""
        now_s = self._now_s()
        if now_s < self._begins_s:
            return (
                f"the certificate in BAS_TLS_CERT={self._cert} is not valid before"
                f" {_date(self._begins_s)}, and this machine's clock says {_date(now_s)}: set the"
                " clock (timedatectl), or get a certificate that is valid now"
            )
        if now_s >= self.expires_s:
            return (
                f"the certificate in BAS_TLS_CERT={self._cert} expired on {_date(self.expires_s)},"
                " and browsers and devices refuse it: renew it, and reload the server (SIGHUP)"
            )
        left_s = self.expires_s - now_s
        if left_s < min(SOON_S, (self.expires_s - self._begins_s) / 4):
            return (
                f"the certificate in BAS_TLS_CERT={self._cert} expires in"
                f" {left_s / DAY_S:.1f} days, on {_date(self.expires_s)}: renew it, and reload the"
                " server (SIGHUP)"
            )
        return None

    def _load(self, expired_too: bool) -> None:
        chain = _read("BAS_TLS_CERT", self._cert)
        _read("BAS_TLS_KEY", self._key)
        begins_s, expires_s = _validity(self._cert, chain)
        if expires_s <= self._now_s() and not expired_too:
            raise TlsError(
                f"BAS_TLS_CERT={self._cert} expired on {_date(expires_s)}: renew the certificate,"
                " or set the clock (timedatectl) if it is wrong"
            )
        context = _context(self._cert, self._key)
        if self._client_ca:
            _trust_clients(context, self._client_ca)
        self._begins_s, self.expires_s = begins_s, expires_s
        self.context = context

    def _now_s(self) -> float:
        return self._clock.now_ms() / 1000


def _refuse_parts(config: ServerConfig) -> None:
    if not config.tls_cert and not config.tls_key:
        raise TlsError(
            "BAS_TLS_CLIENT_CA needs BAS_TLS_CERT and BAS_TLS_KEY: only over TLS can a device show"
            " a certificate"
        )
    if not config.tls_cert or not config.tls_key:
        there, missing = ("CERT", "KEY") if config.tls_cert else ("KEY", "CERT")
        raise TlsError(
            f"BAS_TLS_{there} needs BAS_TLS_{missing}: a certificate and its key belong together"
        )


def _context(cert: str, key: str) -> ssl.SSLContext:
    # Python's defaults: no compression, no renegotiation, ciphers with forward secrecy.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(PROTOCOLS)

    def no_passphrase() -> str:
        # Without this function OpenSSL would ask for one at the terminal.
        raise TlsError(
            f"BAS_TLS_KEY={key} has a passphrase: remove it with openssl pkey -in OLD -out NEW"
        )

    try:
        context.load_cert_chain(cert, key, password=no_passphrase)
    except ssl.SSLError as error:
        if error.reason in {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"}:
            raise TlsError(
                f"BAS_TLS_KEY={key} is not the key of the certificate in BAS_TLS_CERT={cert}: name"
                " the key with which that certificate was made; the server's own certificate must"
                " be the first in its file"
            ) from None
        raise TlsError(
            f"BAS_TLS_CERT={cert} and BAS_TLS_KEY={key} cannot be used ({error.reason or error}):"
            " give a certificate chain and its key as PEM"
        ) from None
    return context


def _trust_clients(context: ssl.SSLContext, client_ca: str) -> None:
    _read("BAS_TLS_CLIENT_CA", client_ca)
    try:
        context.load_verify_locations(client_ca)
    except ssl.SSLError as error:
        raise TlsError(
            f"BAS_TLS_CLIENT_CA={client_ca} cannot be used ({error.reason or error}): give the"
            " certificates that sign those of your devices, as PEM"
        ) from None
    context.verify_mode = ssl.CERT_OPTIONAL


def _read(variable: str, file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except PermissionError:
        raise TlsError(
            f"{variable}={file} may not be read by the user {own_name()}, which runs the server:"
            f" give that user read access to the file and to the folders above it"
        ) from None
    except OSError as error:
        raise TlsError(
            f"{variable}={file} cannot be read ({error.strerror}): name a file that is there"
        ) from None


def _validity(file: str, chain: bytes) -> tuple[float, float]:
    """From when until when the first certificate of a chain is valid, in Unix seconds."""
    from cryptography import x509  # here, since it takes megabytes and is for TLS only

    try:
        own = x509.load_pem_x509_certificates(chain)[0]
        return own.not_valid_before_utc.timestamp(), own.not_valid_after_utc.timestamp()
    except ValueError:
        raise TlsError(
            f"BAS_TLS_CERT={file} holds no certificate as PEM, which begins with"
            " -----BEGIN CERTIFICATE-----: name the file with the server's certificate, followed"
            " by those of the authorities between"
        ) from None


def _date(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
