"""TLS of a server: a certificate that is given, or one that it makes for itself."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import ssl
from typing import Final

from mdirclient import _fs
from mdirclient.errors import SettingsError

CERTIFICATE: Final = "certificate.pem"
_YEARS: Final = 10


def server_context(certificate: str, key: str | None = None) -> ssl.SSLContext:
    """The context of a server.

    Args:
        certificate: file with the chain, in PEM.
        key: file with the private key; None: the same.

    Raises:
        SettingsError: they cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:  # of the file, or of what is in it
        raise SettingsError("certificate", certificate, str(error)) from error
    return context


def own_certificate(directory: str, host: str) -> str:
    """The file with this server's own certificate and key; made once, and kept.

    Args:
        directory: where it is kept.
        host: its name.
    """
    path = os.path.join(directory, CERTIFICATE)
    if not os.path.exists(path):
        # Not by the number of this process: in a container each start has the same.
        staged = f"{path}.{os.urandom(4).hex()}"
        _fs.create(staged, _self_signed(host), mode=0o600)
        # Race: of two that make one the first decides.
        with contextlib.suppress(FileExistsError):
            _fs.publish(staged, path)
        _fs.remove(staged)
    return path


def fingerprint(certificate: str) -> str:
    """SHA-256 of the first certificate of a file, as clients pin it.

    Raises:
        SettingsError: there is none.
    """
    try:
        with open(certificate, encoding="ascii", errors="replace") as file:
            text = file.read()
        begin = text.index("-----BEGIN CERTIFICATE-----")
        end = text.index("-----END CERTIFICATE-----") + len("-----END CERTIFICATE-----")
        der = ssl.PEM_cert_to_DER_cert(text[begin:end])
    except (OSError, ValueError) as error:
        raise SettingsError("certificate", certificate, str(error)) from error
    return hashlib.sha256(der).hexdigest()


def _self_signed(host: str) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host[:64])])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365 * _YEARS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ) + certificate.public_bytes(serialization.Encoding.PEM)
