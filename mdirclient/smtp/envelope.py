"""The envelope of a delivery, from options and the environment that MTAs set. Pure.

Imports nothing, like all that runs before a mail is handed over to a resident server (docs:
decisions/0018).

Sources: RFC 5321 §2.3.1; Postfix local(8), "ENVIRONMENT"; the Exim specification, "The
pipe transport", "Environment variables"; OpenSMTPD smtpd.conf(5), `mda`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Final

#: Field → variable of Postfix's local(8).
_CLIENT: Final = {
    "client_address": "CLIENT_ADDRESS",
    "client_name": "CLIENT_HOSTNAME",
    "helo": "CLIENT_HELO",
}
#: What Postfix says of a client that it does not know.
_UNKNOWN: Final = frozenset(["", "unknown"])
#: Characters of a value that are kept; RFC 5321 §4.5.3.1.3 allows 256 for a path.
MAX_VALUE: Final = 4096
NULL_SENDER: Final = "<>"
_SEPARATOR: Final = b"From "


class Envelope:
    """Who sends and who receives.

    Attributes:
        reverse_path: the sender's address, `<>` for none (a bounce), None if not known.
        recipients: for each recipient the spellings of the address, the preferred first.
        client_address: IP address of the client of the MTA, if known.
        client_name: its verified name, if known.
        helo: what it called itself, if known.
    """

    __slots__ = ("client_address", "client_name", "helo", "recipients", "reverse_path")

    def __init__(
        self,
        reverse_path: str | None,
        recipients: tuple[tuple[str, ...], ...] = (),
        client: Mapping[str, str | None] | None = None,
    ) -> None:
        self.reverse_path = reverse_path
        self.recipients = recipients
        found = client or {}
        self.client_address = found.get("client_address")
        self.client_name = found.get("client_name")
        self.helo = found.get("helo")


def read_envelope(
    environ: Mapping[str, str],
    *,
    sender: str | None = None,
    recipients: Sequence[str] = (),
    client: Mapping[str, str | None] | None = None,
) -> Envelope:
    """The envelope; options go before the environment.

    Args:
        environ: as the MTA set it.
        sender: from the option, or None.
        recipients: from the options.
        client: from the options: `client_address`, `client_name`, `helo`.
    """
    given = tuple((_bare(address),) for address in recipients)
    found = _recipient(environ)
    options = client or {}
    return Envelope(
        _reverse_path(sender if sender is not None else environ.get("SENDER")),
        given or ((found,) if found else ()),
        {field: _known(options.get(field) or environ.get(name)) for field, name in _CLIENT.items()},
    )


def without_separator(chunks: Iterable[bytes], envelope: Envelope) -> Iterator[bytes]:
    """A mail without the line `From sender date` that a mailbox file would have before it.

    Postfix's local(8), procmail, Exim and sendmail put it there; it is of no mail. It tells the
    sender where nothing else does.
    """
    first = b""
    rest = iter(chunks)
    for chunk in rest:
        first += chunk
        if not _SEPARATOR.startswith(first[: len(_SEPARATOR)]) or b"\n" in first:
            break
        if len(first) > MAX_VALUE:
            break
    line, end, after = first.partition(b"\n")
    if end and line.startswith(_SEPARATOR):
        if envelope.reverse_path is None:
            envelope.reverse_path = _reverse_path(line.split(b" ")[1].decode("utf-8", "replace"))
        first = after
    if first:
        yield first
    yield from rest


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


def _known(value: str | None) -> str | None:
    text = _text(value or "")
    return None if text in _UNKNOWN else text


def _bare(address: str) -> str:
    stripped = _text(address).strip()
    is_bracketed = stripped.startswith("<") and stripped.endswith(">")
    return stripped[1:-1] if is_bracketed else stripped


def _text(value: str) -> str:
    """A value of the environment as a field can hold it, whatever bytes the client sent."""
    return value[:MAX_VALUE].encode("utf-8", "surrogateescape").decode("utf-8", "replace")
