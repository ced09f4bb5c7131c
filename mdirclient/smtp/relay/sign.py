"""DKIM signatures. Pure, linear in the size of a mail.

Sources: RFC 6376 (§5.4 for what is signed), RFC 8463 (Ed25519).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from typing import Final

import dkim

from mdirclient.errors import MdirError
from mdirclient.mail.block import lines_of
from mdirclient.mail.mend import header_end
from mdirclient.smtp.relay.keys import Key

#: What is signed where it is there, and once more than it is, so that nobody adds another.
_SIGNED: Final = frozenset(
    b"from sender reply-to subject date message-id to cc mime-version content-type"
    b" content-transfer-encoding content-id content-description in-reply-to references"
    b" resent-date resent-from resent-sender resent-to resent-cc resent-message-id"
    b" list-id list-help list-unsubscribe list-unsubscribe-post list-subscribe list-post"
    b" list-owner list-archive".split()
)
#: What nobody is to add where it is not there: it would be shown, or followed.
_NEVER_ADDED: Final = (b"from", b"subject", b"to", b"cc", b"reply-to")
#: Fields of one name that are signed, from below: so many are somebody's joke.
_MAX_SAME: Final = 30
_FIELDS: Final = lines_of(b"\n")
_LINE_END = re.compile(rb"\r?\n")
_ALGORITHMS: Final = {"rsa": b"rsa-sha256", "ed25519": b"ed25519-sha256"}
# The body as it is: dkimpy takes quadratic time to see its blanks as one.
_CANONICAL: Final = (b"relaxed", b"simple")


def sign(data: bytes, keys: Sequence[Key]) -> bytes:
    """The fields `DKIM-Signature`, one for each key, to stand before a mail.

    Args:
        data: the mail as it will be sent, with CRLF at the end of every line.
        keys: of the domain of its author.

    Raises:
        MdirError: it cannot be signed.
    """
    end = header_end(data)
    fields = [(name, value) for name, value in _fields(data[:end]) if name in _SIGNED]
    names = _signed_names([name for name, _ in fields])
    # dkimpy reads a folded field in quadratic time; signed it is on one line anyway (§3.4.2), and
    # empty lines at the end do not count (§3.4.3).
    head = b"".join(b"%s:%s\r\n" % field for field in fields)
    signer = dkim.DKIM(head + b"\r\n" + data[end + 2 :].rstrip(b"\r\n") + b"\r\n")
    try:
        return b"".join(
            signer.sign(
                key.selector.encode(),
                key.domain.encode(),
                key.private if key.kind == "rsa" else base64.b64encode(key.private),
                signature_algorithm=_ALGORITHMS[key.kind],
                canonicalize=_CANONICAL,
                include_headers=names,
            )
            for key in keys
        )
    except dkim.DKIMException as error:
        raise MdirError(f"the mail cannot be signed: {error}") from error


def _fields(head: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The fields of a header, name in lower case, value on one line."""
    place = 0
    while match := _FIELDS.field.match(head, place):
        yield match[1].lower(), _LINE_END.sub(b"", match[3])
        place = match.end()


def _signed_names(found: Sequence[bytes]) -> list[bytes]:
    counts = {name: min(found.count(name), _MAX_SAME) for name in dict.fromkeys(found)}
    names = [name for name, count in counts.items() for _ in range(count + 1)]
    return names + [name for name in _NEVER_ADDED if name not in counts]
