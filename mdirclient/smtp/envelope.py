"""The envelope of a delivery, from options and the environment that MTAs set. Pure.

Sources: RFC 5321 §2.3.1; Postfix local(8), "ENVIRONMENT"; the Exim specification, "The
pipe transport", "Environment variables"; OpenSMTPD smtpd.conf(5), `mda`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs

_CLIENT: Final = {
    "client_address": "CLIENT_ADDRESS",
    "client_name": "CLIENT_HOSTNAME",
    "helo": "CLIENT_HELO",
}
#: Characters of a value that are kept; RFC 5321 §4.5.3.1.3 allows 256 for a path.
MAX_VALUE: Final = 4096
NULL_SENDER: Final = "<>"


@attrs.frozen
class Envelope:
    """Who sends and who receives.

    Attributes:
        reverse_path: the sender's address, `<>` for none (a bounce), None if not known.
        recipients: for each recipient the spellings of the address, the preferred first.
        client_address: IP address of the client of the MTA, if known.
        client_name: its verified name, if known.
        helo: what it called itself, if known.
    """

    reverse_path: str | None
    recipients: tuple[tuple[str, ...], ...] = ()
    client_address: str | None = None
    client_name: str | None = None
    helo: str | None = None


def read_envelope(
    environ: Mapping[str, str], *, sender: str | None = None, recipients: Sequence[str] = ()
) -> Envelope:
    """The envelope; options go before the environment.

    Args:
        environ: as the MTA set it.
        sender: from the option, or None.
        recipients: from the options.
    """
    given = tuple((_bare(address),) for address in recipients)
    found = _recipient(environ)
    client = {
        field: _text(environ[name]) if environ.get(name) else None
        for field, name in _CLIENT.items()
    }
    return Envelope(
        _reverse_path(sender if sender is not None else environ.get("SENDER")),
        given or ((found,) if found else ()),
        **client,
    )


def _recipient(environ: Mapping[str, str]) -> tuple[str, ...]:
    domain = environ.get("DOMAIN")
    spellings = [environ.get("RECIPIENT")]
    spellings += [
        f"{environ[name]}@{domain}"
        for name in ("LOCAL_PART", "LOCAL")
        if domain and environ.get(name)
    ]
    if extension := environ.get("EXTENSION"):
        # That of the recipient, with whatever delimiter the MTA knows.
        spellings += [_without(extension, spelling) for spelling in spellings if spelling]
    spellings.append(environ.get("ORIGINAL_RECIPIENT"))
    return tuple(dict.fromkeys(_bare(spelling) for spelling in spellings if spelling))


def _without(extension: str, address: str) -> str:
    """An address without the extension of its local part, and the delimiter before that."""
    local, at, domain = _bare(address).rpartition("@")
    base = local.removesuffix(extension)
    is_extended = base != local and base[1:] and not base[-1].isalnum()
    return f"{base[:-1]}{at}{domain}" if is_extended else address


def _reverse_path(sender: str | None) -> str | None:
    if sender is None:
        return None
    # Postfix writes the null sender as an empty text or as the name of its own daemon.
    bare = _bare(sender)
    return NULL_SENDER if bare in ("", "MAILER-DAEMON") else bare


def _bare(address: str) -> str:
    stripped = _text(address).strip()
    is_bracketed = stripped.startswith("<") and stripped.endswith(">")
    return stripped[1:-1] if is_bracketed else stripped


def _text(value: str) -> str:
    """A value of the environment as a field can hold it, whatever bytes the client sent."""
    return value[:MAX_VALUE].encode("utf-8", "surrogateescape").decode("utf-8", "replace")
