"""TLS of a client: who the other side must be. Reads the file of certificates."""

from __future__ import annotations

import hashlib
import hmac
import ssl

from mdirclient.errors import TransportError
from mdirclient.protocol.address import Address


def client_context(address: Address) -> ssl.SSLContext:
    """The context of a connection to an address.

    Raises:
        TransportError: the file of certificates cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=address.ca)
    except OSError as error:  # of the file, or of what is in it
        raise TransportError(str(address), f"{address.ca}: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if address.fingerprint:
        # Deviation: a pinned certificate needs no authority and no name; see `check_pin`.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def check_pin(address: Address, certificate: bytes | None) -> None:
    """Compare the certificate with the fingerprint, if there is one, before anything is sent.

    Args:
        address: with the fingerprint.
        certificate: of the other side, in DER.

    Raises:
        TransportError: it is another one.
    """
    if not address.fingerprint:
        return
    found = hashlib.sha256(certificate or b"").hexdigest()
    if not hmac.compare_digest(found, address.fingerprint):
        raise TransportError(
            str(address),
            f"its certificate has the fingerprint {found}, not {address.fingerprint}; if it was "
            f"renewed, correct the address",
        )
