"""What a mail and its parts say of themselves, as fields of mdir (docs: formats/header). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from mdirclient.header import OWN_FIELDS
from mdirclient.mail.block import Block
from mdirclient.mail.events import Leaf
from mdirclient.mail.limits import DEFAULT, Limits
from mdirclient.mail.text import decode_addresses, decode_text, unfold
from mdirclient.url import is_usable_message_id

#: Fields copied from a mail: of the 1,000 of a header some are mdir's own.
MAX_COPIED: Final = 800
_DESCRIBED: Final = (
    ("content-type", b"content-type"),
    ("content-id", b"content-id"),
    ("content-disposition", b"content-disposition"),
)
_MAX_NAME: Final = 100
_MAX_TRUNCATED: Final = 50

Fields = tuple[tuple[str, str], ...]

#: A display name that is decoded is quoted again in these.
ADDRESS_FIELDS: Final = frozenset(
    "from sender reply-to to cc bcc resent-from resent-sender resent-to resent-cc resent-bcc "
    "disposition-notification-to return-path errors-to mail-followup-to mail-reply-to "
    "apparently-to return-receipt-to delivered-to x-original-to".split()
)
#: By their grammar these have no encoded words; decoding would put words in their mouth.
STRUCTURED_FIELDS: Final = frozenset(
    "authentication-results arc-authentication-results arc-message-signature arc-seal "
    "content-disposition content-id content-transfer-encoding content-type dkim-signature "
    "in-reply-to message-id mime-version received references".split()
)
_DECODERS: Final = dict.fromkeys(STRUCTURED_FIELDS, unfold) | dict.fromkeys(
    ADDRESS_FIELDS, decode_addresses
)


@attrs.frozen
class Part:
    """A leaf part as it is stored.

    Attributes:
        number: from 1, in the order of the mail; 1 is the anchor.
        section: IMAP part specifier.
        within: media types of the enclosing multiparts, outermost first.
        media_type: lower-case, `text/plain` where the mail says nothing usable.
        suggested_name: the sender's proposal in Unicode, a stranger's input, or None.
        described: the part's content-* fields that are kept.
        size: bytes of the content.
        sha256: of the content, hexadecimal.
    """

    number: int
    section: str
    within: tuple[str, ...]
    media_type: str
    suggested_name: str | None
    described: Fields
    size: int = 0
    sha256: str = ""

    def own_fields(self) -> Fields:
        """Section, within, suggested name and content-* fields, as in its header."""
        within = tuple(("within", media_type) for media_type in self.within)
        name = (("suggested-name", self.suggested_name),) if self.suggested_name else ()
        return (("section", self.section), *within, *name, *self.described)


@attrs.frozen
class MailFields:
    """The top-level fields of a mail in Unicode, within the limits.

    Attributes:
        fields: names as sent, lower-case; mdir's own names are not yet renamed.
        truncated: names of what was cut or left out.
        message_id: the usable message-id, or None.
    """

    fields: Fields
    truncated: tuple[str, ...]
    message_id: str | None

    def renamed(self, authserv_ids: Sequence[str] = ()) -> Fields:
        """The fields as they stand in a header: mdir's own names become `mail-<name>`.

        Args:
            authserv_ids: whose `authentication-results` keep their name (RFC 8601 §2.5).
        """
        return tuple((_own_name(name, value, authserv_ids), value) for name, value in self.fields)


def describe(block: Block, limits: Limits = DEFAULT) -> MailFields:
    """Decode the mail's own fields."""
    fields: list[tuple[str, str]] = []
    truncated: dict[str, None] = {}
    room = limits.fields_bytes
    for field in block.fields:
        sent = field.name
        # Whoever removes forged results before us looks for the strict form only.
        is_forged = field.blanks and sent == "authentication-results"
        name = f"mail-{sent}" if is_forged else sent[:_MAX_NAME]
        if len(fields) == MAX_COPIED or room <= 0:
            truncated[name] = None
            continue
        text = _DECODERS.get(sent, decode_text)(field.value)
        value = _cut(text, min(limits.field_bytes, room), sent)
        room -= _size(value) + len(name)
        if value is not text or field.is_cut or len(sent) > _MAX_NAME:
            truncated[name] = None
        fields.append((name, value))
    if block.more:
        truncated["more-fields"] = None
    return MailFields(tuple(fields), tuple(truncated)[:_MAX_TRUNCATED], _message_id(block))


def describe_leaf(leaf: Leaf, number: int, limits: Limits = DEFAULT) -> Part:
    """A leaf with what its header block says; size and digest are not known yet."""
    described = []
    for name, raw_name in _DESCRIBED:
        raw = leaf.block.get(raw_name)
        if raw is not None:
            described.append((name, _cut(unfold(raw), limits.field_bytes)))
    if b"content-type" not in leaf.block.first:
        described.insert(0, ("content-type", leaf.media_type))
    proposed = suggested_name(leaf)
    return Part(
        number,
        leaf.section,
        leaf.within,
        leaf.media_type,
        _cut(proposed, limits.field_bytes) if proposed else None,
        tuple(described),
    )


def suggested_name(leaf: Leaf) -> str | None:
    """The name that the sender proposes.

    Content-Disposition `filename`, Content-Type `name` as old mailers write it, and of a
    forwarded mail its Content-Description. Source: RFC 2183 §2.3, RFC 2045 §8.
    """
    for field, word in ((b"content-disposition", "filename"), (b"content-type", "name")):
        raw = leaf.block.get(field)
        if raw is None or b"name" not in raw.lower():
            continue
        from mdirclient.mail.parameters import parse_parameters  # most texts propose none

        if name := parse_parameters(raw).parameters.get(word, "").strip():
            return name
    if leaf.media_type == "message/rfc822":
        described = decode_text(leaf.block.get(b"content-description") or b"").strip()
        # A description is no name of a file: what opens it is added.
        is_named = not described or described.lower().endswith(".eml")
        return (described if is_named else f"{described}.eml") or None
    return None


def _message_id(block: Block) -> str | None:
    raw = block.get(b"message-id")
    if raw is None:
        return None
    text = unfold(raw)
    _, opened, inside = text.partition("<")
    message_id = inside.partition(">")[0] if opened else text
    return message_id if is_usable_message_id(message_id) else None


def _own_name(name: str, value: str, authserv_ids: Sequence[str]) -> str:
    if name not in OWN_FIELDS:
        return name
    if name == "authentication-results":
        words = value.partition(";")[0].split()
        if words and words[0].lower() in {authserv_id.lower() for authserv_id in authserv_ids}:
            return name
    return f"mail-{name}"


def _cut(text: str, limit: int, name: str = "") -> str:
    """The text itself if it is within the limit, in bytes of UTF-8."""
    if _size(text) <= limit:
        return text
    kept = text.encode()[:limit].decode(errors="ignore")
    if name in ADDRESS_FIELDS:
        # Half an address is another address.
        kept = kept[: max(kept.rfind(","), 0)]
    return kept


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())
