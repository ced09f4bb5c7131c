"""The url of a part: `<base><message-id>/<part>` (docs: formats/url). Pure.

Source: RFC 3986 §2 for the percent-encoding.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

from mdirclient.errors import PartURLError

DEFAULT_BASE: Final = "mdir:"
MAX_MESSAGE_ID: Final = 200
MAX_URL: Final = 8192

_HEX = r"%[0-9A-Fa-f]{2}"
_BASE = re.compile(
    r"mdir:|https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?/"
    rf"(?:(?!\.{{1,2}}/)(?:[A-Za-z0-9._~!$&'()*+,=-]|{_HEX})+/)*"
)
#: What may stand in a path segment (RFC 3986 §3.3).
_SEGMENT = re.compile(rf"(?:[A-Za-z0-9._~!$&'()*+,=:@-]|{_HEX})*")
_PERCENT = re.compile(r"%([0-9A-Fa-f]{2})")
_TO_ENCODE = re.compile(r"[^A-Za-z0-9\-._~@]")
_PART = re.compile(r"0|[1-9][0-9]{0,8}")
_VARIANT = re.compile(r"[0-9a-f]{16}")
_UNUSABLE = re.compile(r"[^!-~]|[/\\%;]")
_FILE_ID = re.compile(r"[0-9a-f]{32}@file\.invalid")


#: What `str` gives for nearly every url there is.
_PLAIN = re.compile(r"mdir:(?!\.{1,2}/)[A-Za-z0-9._~@-]{1,200}/(?:0|[1-9][0-9]{0,8})")


def canonical_url(url: str) -> str:
    """A url as it is written canonically; the same as parsing and writing it, but faster.

    Raises:
        PartURLError: not the url of a part.
    """
    return url if _PLAIN.fullmatch(url) else str(PartURL.parse(url))


def is_usable_message_id(message_id: str) -> bool:
    """Whether a message-id (without angle brackets) can stand in a url and name a directory."""
    return (
        0 < len(message_id) <= MAX_MESSAGE_ID
        and not _UNUSABLE.search(message_id)
        and message_id not in (".", "..")
    )


def file_id(random: bytes) -> str:
    """The message-id of something that is no mail, from 16 random bytes."""
    return f"{random.hex()}@file.invalid"


def check_file_id(message_id: str) -> str:
    """The message-id, if `file_id` could have made it: others belong to mails.

    Raises:
        PartURLError: it could not.
    """
    if not _FILE_ID.fullmatch(message_id):
        raise PartURLError(message_id, "a file has 32 hexadecimal digits and `@file.invalid`")
    return message_id


@attrs.frozen
class PartURL:
    """The url of one part of one message.

    Attributes:
        base: all before the message-id: `mdir:`, or `https://host/path/`.
        message_id: without angle brackets, decoded; 1 to 200 bytes of printable ASCII.
        part: 1 for the anchor, 0 for the whole original.
        variant: 16 hexadecimal digits where a different mail has the same message-id, or None.

    Compared decoded, written canonically by `str()`.

    Raises:
        PartURLError: a component cannot stand in a url.
    """

    base: str
    message_id: str
    part: int
    variant: str | None = None

    def __attrs_post_init__(self) -> None:
        reason = None
        if not _BASE.fullmatch(self.base):
            reason = "the base must be like `mdir:` or `https://host/path/`"
        elif not is_usable_message_id(self.message_id):
            reason = "the message-id must be 1 to 200 printable ASCII characters without / \\ % ;"
        elif not 0 <= self.part < 10**9:
            reason = "the part number must have at most nine digits"
        elif self.variant is not None and not _VARIANT.fullmatch(self.variant):
            reason = "the variant must be 16 lower-case hexadecimal digits"
        if reason:
            raise PartURLError(f"{self.base}{self.message_id}/{self.part}", reason)

    @classmethod
    def parse(cls, url: str | PartURL) -> PartURL:
        """Read a url with any valid percent-encoding.

        Raises:
            PartURLError: not the url of a part.
        """
        if isinstance(url, PartURL):
            return url
        if len(url) > MAX_URL:
            raise PartURLError(url, f"longer than {MAX_URL} characters")
        head, slash, part = url.rpartition("/")
        if not slash or not _PART.fullmatch(part):
            raise PartURLError(url, "it must end with /<part number>")
        cut = max(head.rfind("/"), head.find(":")) + 1
        if not cut:
            raise PartURLError(url, "it must begin with a base such as `mdir:`")
        segment, semicolon, variant = head[cut:].partition(";")
        if not _SEGMENT.fullmatch(segment):
            raise PartURLError(url, "characters that cannot stand in a url must be written as %XX")
        try:
            return cls(
                base=head[:cut],
                message_id=_PERCENT.sub(lambda match: chr(int(match[1], 16)), segment),
                part=int(part),
                variant=variant if semicolon else None,
            )
        except PartURLError as error:
            raise PartURLError(url, error.reason) from error

    @property
    def segment(self) -> str:
        """The decoded path segment: the message-id, with `;variant` if there is one."""
        return f"{self.message_id};{self.variant}" if self.variant else self.message_id

    @property
    def anchor(self) -> PartURL:
        """The url of part 1 of the same message."""
        return attrs.evolve(self, part=1)

    def __str__(self) -> str:
        encoded = _TO_ENCODE.sub(lambda match: f"%{ord(match[0]):02X}", self.message_id)
        variant = f";{self.variant}" if self.variant else ""
        return f"{self.base}{encoded}{variant}/{self.part}"
