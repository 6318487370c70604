"""Certificates that a test makes: a server's, an authority's, and those that it signs."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PEM = serialization.Encoding.PEM
PKCS8 = serialization.PrivateFormat.PKCS8
NOW = datetime.now(UTC)


@dataclass(frozen=True)
class Identity:
    """A certificate and its key, also as files."""

    certificate: x509.Certificate
    private_key: ec.EllipticCurvePrivateKey
    cert: str
    key: str

    def settings(self) -> dict[str, str]:
        """The fields of ServerConfig for a server with this certificate."""
        return {"tls_cert": self.cert, "tls_key": self.key}

    def environment(self) -> dict[str, str]:
        """The environment of a server with this certificate."""
        return {"BAS_TLS_CERT": self.cert, "BAS_TLS_KEY": self.key}


def identity(
    folder: Path,
    name: str = "localhost",
    *,
    signer: Identity | None = None,
    begins: timedelta = timedelta(days=-1),
    ends: timedelta = timedelta(days=90),
    is_authority: bool = False,
    passphrase: bytes | None = None,
) -> Identity:
    """Make a certificate for `name` and 127.0.0.1; without a signer it signs itself.

    It is valid from `begins` to `ends`, both counted from now.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    signing = key if signer is None else signer.private_key
    own = signing.public_key()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if signer is None else signer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + begins)
        .not_valid_after(NOW + ends)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.BasicConstraints(ca=is_authority or signer is None, path_length=None),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(own), False)
        .sign(signing, hashes.SHA256())
    )
    locked = (
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption()
    )
    folder.mkdir(parents=True, exist_ok=True)
    files = folder / f"{name}.pem", folder / f"{name}.key"
    files[0].write_bytes(certificate.public_bytes(PEM))
    files[1].write_bytes(key.private_bytes(PEM, PKCS8, locked))
    return Identity(certificate, key, *map(str, files))


def trusting(*authorities: Identity, client: Identity | None = None) -> ssl.SSLContext:
    """The TLS of a client that trusts these, and shows the certificate of `client`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for one in authorities:
        context.load_verify_locations(one.cert)
    if client is not None:
        context.load_cert_chain(client.cert, client.key)
    return context
