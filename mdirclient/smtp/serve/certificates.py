"""TLS of the SMTP server: its certificate, and a new one while it runs."""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mdirclient.errors import SettingsError
from mdirclient.service.log import Log
from mdirclient.service.tls import fingerprint, own_certificate, server_context

if TYPE_CHECKING:
    from mdirclient.settings import Settings

#: Seconds between two looks whether the certificate has changed.
_LOOK: Final = 60.0


class Certificates:
    """The TLS contexts of all listeners; a new certificate is for new connections.

    Args:
        settings: where they are said to be.
        directory: of the certificate that the server makes for itself, where none is said.
        log: of what is used.

    Raises:
        SettingsError: they cannot be used.
    """

    def __init__(self, settings: Settings, directory: str, log: Log) -> None:
        name = settings.find("MDIR_SMTP_HOSTNAME") or os.uname().nodename
        self._file = settings.find("MDIR_SMTP_TLS_CERT") or own_certificate(directory, name)
        self._key = settings.find("MDIR_SMTP_TLS_KEY")
        self._log = log
        self._stamp = self._looked()
        self._plain = _context(self._file, self._key)
        # Certificates of clients are asked for where users come in only.
        self._users = _context(self._file, self._key)
        if authorities := settings.find("MDIR_SMTP_CLIENT_CA"):
            try:
                self._users.load_verify_locations(authorities)
            except OSError as error:
                raise SettingsError("MDIR_SMTP_CLIENT_CA", authorities, str(error)) from error
            # A user's own certificate may be the authority itself.
            self._users.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            self._users.verify_mode = ssl.CERT_OPTIONAL
        self._say()

    def of(self, kind: str) -> Callable[[], ssl.SSLContext]:
        """Gives the context of a listener."""
        return lambda: self._users if kind.startswith("submission") else self._plain

    def reload(self) -> None:
        """Use what the files hold now; the old one if they cannot be used."""
        try:
            stamp = self._looked()
            # Tried in one that nobody uses: of a pair that does not fit nothing is taken.
            _context(self._file, self._key)
            for context in (self._plain, self._users):
                context.load_cert_chain(self._file, self._key)
        except (SettingsError, OSError) as error:
            self._log("certificate-failed", reason=error)
            return
        self._stamp = stamp
        self._say()

    async def watch(self) -> None:
        """Notice a new certificate, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK)
            try:
                has_changed = self._looked() != self._stamp
            except OSError:
                continue  # it is being replaced
            if has_changed:
                self.reload()

    def _looked(self) -> list[tuple[int, int]]:
        found = [os.stat(file) for file in (self._file, self._key) if file]
        return [(one.st_mtime_ns, one.st_ino) for one in found]

    def _say(self) -> None:
        pin = fingerprint(self._file)
        self._log("certificate", file=self._file, fingerprint=f"sha256:{pin}")


def fingerprint_of(transport: asyncio.Transport) -> str | None:
    """SHA-256 of the certificate of the client, which has been verified, if it gave one."""
    secured: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    certificate = secured.getpeercert(binary_form=True) if secured else None
    return hashlib.sha256(certificate).hexdigest() if certificate else None


def _context(certificate: str, key: str | None) -> ssl.SSLContext:
    context = server_context(certificate, key)
    # Senders of Microsoft give up where tickets are offered (chasquid #64, maddy #730).
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    return context
