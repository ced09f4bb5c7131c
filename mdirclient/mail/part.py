"""What a mail and its parts say of themselves, as fields of mdir (docs: formats/header). Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from mdirclient.header import OWN_FIELDS, Header
from mdirclient.mail.block import Block, Buffer, RawField
from mdirclient.mail.split import Leaf, Limits, Structure, keep_whole, split
from mdirclient.mail.text import decode_addresses, decode_text, unfold
from mdirclient.url import is_usable_message_id

#: One field copied from a mail, and all of them, in bytes of UTF-8.
MAX_FIELD: Final = 8 << 10
MAX_TOGETHER: Final = 64 << 10
#: Fields copied from a mail: of the 1,000 of a header some are mdir's own.
MAX_COPIED: Final = 800
#: All headers of a mail together.
MAX_OVER_ALL_PARTS: Final = 64 << 20
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
    size: int
    sha256: str

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


def take_apart(data: Buffer, limits: Limits | None = None) -> tuple[Structure, MailFields]:
    """Find the parts of a mail and decode its own fields.

    A mail whose headers would take more than 64 MiB over all its parts is kept whole.
    """
    structure = split(data, limits)
    mail = describe(structure)
    if _is_over_all(structure, mail):
        return keep_whole(data, structure.block, "more than 64 MiB of headers"), mail
    return structure, mail


def _is_over_all(structure: Structure, mail: MailFields) -> bool:
    """Whether the headers of all parts, as they are written, take more than 64 MiB."""
    together = sum(len(name) + len(value) for name, value in mail.fields)
    own = sum(len(field.value) for leaf in structure.leaves for field in leaf.block.fields) + sum(
        len(within) for leaf in structure.leaves for within in leaf.within
    )
    # No escape is longer than six characters, and nearly all mail ends here.
    if 6 * (together * len(structure.leaves) + own) <= MAX_OVER_ALL_PARTS:
        return False
    common = len(Header(mail.fields).to_bytes())
    parts = (describe_leaf(leaf, 1, 0, "").own_fields() for leaf in structure.leaves)
    written = sum(common + len(Header(fields).to_bytes()) for fields in parts)
    return written > MAX_OVER_ALL_PARTS


def describe(structure: Structure) -> MailFields:
    """Decode the mail's own fields."""
    fields: list[tuple[str, str]] = []
    truncated: dict[str, None] = {}
    room = MAX_TOGETHER
    for field in structure.block.fields:
        name = _name(field)
        if len(fields) == MAX_COPIED or room <= 0:
            truncated[name] = None
            continue
        value, is_cut = _cut(_decoded(field), min(MAX_FIELD, room), field.name)
        room -= len(value.encode()) + len(name)
        if is_cut or field.is_cut or len(field.name) > _MAX_NAME:
            truncated[name] = None
        fields.append((name, value))
    if structure.block.more:
        truncated["more-fields"] = None
    return MailFields(
        tuple(fields), tuple(truncated)[:_MAX_TRUNCATED], _message_id(structure.block)
    )


def describe_leaf(leaf: Leaf, number: int, size: int, sha256: str) -> Part:
    """A leaf with what its header block says."""
    described = []
    for name in ("content-type", "content-id", "content-disposition"):
        raw = leaf.block.get(name)
        if raw is not None:
            described.append((name, _cut(unfold(raw), MAX_FIELD)[0]))
    if not any(name == "content-type" for name, _ in described):
        described.insert(0, ("content-type", leaf.media_type))
    proposed = suggested_name(leaf.block)
    return Part(
        number,
        leaf.section,
        leaf.within,
        leaf.media_type,
        _cut(proposed, MAX_FIELD)[0] if proposed else None,
        tuple(described),
        size,
        sha256,
    )


def suggested_name(block: Block) -> str | None:
    """The name that the sender proposes. Source: RFC 2183 §2.3; `name` as in old mailers."""
    for field, parameter in (("content-disposition", "filename"), ("content-type", "name")):
        raw = block.get(field)
        if raw is None or b"name" not in raw.lower():
            continue
        from mdirclient.mail.parameters import parse_parameters  # most texts propose none

        if name := parse_parameters(raw).parameters.get(parameter, "").strip():
            return name
    return None


def _message_id(block: Block) -> str | None:
    raw = block.get("message-id")
    if raw is None:
        return None
    text = unfold(raw)
    _, opened, inside = text.partition("<")
    message_id = inside.partition(">")[0] if opened else text
    return message_id if is_usable_message_id(message_id) else None


def _name(field: RawField) -> str:
    """The name that a field has here.

    Whoever removes forged results before us looks for the strict form only.
    """
    if field.name == "authentication-results" and not field.is_strict:
        return "mail-authentication-results"
    return field.name[:_MAX_NAME]


def _decoded(field: RawField) -> str:
    if field.name in STRUCTURED_FIELDS:
        return unfold(field.value)
    return (decode_addresses if field.name in ADDRESS_FIELDS else decode_text)(field.value)


def _own_name(name: str, value: str, authserv_ids: Sequence[str]) -> str:
    if name not in OWN_FIELDS:
        return name
    if name == "authentication-results":
        words = value.partition(";")[0].split()
        if words and words[0].lower() in {authserv_id.lower() for authserv_id in authserv_ids}:
            return name
    return f"mail-{name}"


def _cut(text: str, limit: int, name: str = "") -> tuple[str, bool]:
    data = text.encode()
    if len(data) <= limit:
        return text, False
    kept = data[:limit].decode(errors="ignore")
    if name in ADDRESS_FIELDS:
        # Half an address is another address.
        kept = kept[: max(kept.rfind(","), 0)]
    return kept, True
