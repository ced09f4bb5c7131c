"""A message that is stored: its parts, and their headers ready for mdird. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from mdirclient.header import Header
from mdirclient.mail.part import MailFields, Part
from mdirclient.url import PartURL


@attrs.frozen
class StoredMessage:
    """A message in an mstore.

    Attributes:
        anchor: url of part 1.
        parts: in the order of the mail.
        mail: its top-level fields; empty for a file that is no mail.
        size: bytes of the original.
        sha256: of the original, hexadecimal.
        kept_whole: which limit it is over, so that part 1 is all of it, or None.
    """

    anchor: PartURL
    parts: tuple[Part, ...]
    mail: MailFields
    size: int
    sha256: str
    kept_whole: str | None = None

    @property
    def message_id(self) -> str:
        """Without angle brackets; the variant of a different mail is `anchor.variant`."""
        return self.anchor.message_id

    def headers(
        self, *, authserv_ids: Sequence[str] = (), **trace: str | Sequence[str] | None
    ) -> tuple[Header, ...]:
        """A header for each part, ready for mdird.

        Args:
            authserv_ids: whose `authentication-results` in the mail are believed.
            trace: what the receiver adds, such as `received` or `envelope_to` (with `_`
                for `-`); one value, several, or None for none.
        """
        traced = [
            (name.replace("_", "-"), value)
            for name, given in trace.items()
            for value in ([given] if isinstance(given, str) else given or ())
        ]
        copied = self.mail.renamed(authserv_ids)
        truncated = [("truncated", name) for name in self.mail.truncated]
        return tuple(
            Header([*self._own(part), *truncated, *traced, *copied]) for part in self.parts
        )

    def _own(self, part: Part) -> Iterator[tuple[str, str]]:
        yield "url", str(attrs.evolve(self.anchor, part=part.number))
        yield "anchor", str(self.anchor)
        yield "part", str(part.number)
        yield "parts", str(len(self.parts))
        yield from part.own_fields()
        yield "size", str(part.size)
        yield "sha256", part.sha256
        yield "message-size", str(self.size)
        yield "message-sha256", self.sha256
        if self.kept_whole:
            yield "kept-whole", self.kept_whole
