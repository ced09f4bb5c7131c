"""What is noted of a mail while it comes, and the record that it becomes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from mdirclient.smtp.engine import Connection, Forwarded, Path, Reply
from mdirclient.smtp.serve import answers
from mdirclient.smtp.state import (
    ABANDONED,
    ACCEPTED,
    BLOCKED,
    DEFERRED,
    GREYLISTED,
    REFUSED,
    UNKNOWN,
    Record,
)
from mdirclient.smtp.trace import protocol_name

if TYPE_CHECKING:
    from mdirclient.smtp.book import Account
    from mdirclient.smtp.serve.server import Listener

#: Recipients that were refused, of which the record tells; and of which the reasons are counted.
_MAX_REFUSED: Final = 50
_MAX_REASONS: Final = 1_000
#: Replies that say why a mail was not taken.
_VERDICTS: Final = {
    answers.NO_ACCOUNT: UNKNOWN,
    answers.GREYLISTED: GREYLISTED,
    answers.BLOCKED: BLOCKED,
}


class Note:
    """A mail on its way, as the record will tell it.

    Attributes:
        address: of the client: this one, or that of the MTA that speaks here (XFORWARD).
        client_name: its verified name, or None.
        helo: what it called itself; empty: not known.
        recipients: that were accepted, in their order, with the account that gets it.
        foreign: of other hosts, each with the account whose outbox has the mail then.
        refused: that were not, and with which codes: `reasons`.
        wishes: recipient → of what the sender wants to be told (RFC 3461).
        vouched: the sender's domain, if it vouches for the client (SPF); empty if not; None: it
            was not asked.
        size: bytes that came.
        is_utf8: whether MAIL said SMTPUTF8.
        is_overdue: whether it was answered before its outcome was known.
    """

    __slots__ = (
        "_last",
        "address",
        "at",
        "client_name",
        "engine",
        "foreign",
        "helo",
        "is_overdue",
        "is_utf8",
        "listener",
        "reasons",
        "recipients",
        "refused",
        "reverse_path",
        "size",
        "vouched",
        "wishes",
    )

    def __init__(
        self, listener: Listener, engine: Connection, address: str, reverse_path: str, at: float
    ) -> None:
        self.listener = listener
        self.engine = engine
        forwarded = engine.forwarded
        is_forwarded = forwarded != Forwarded()
        self.address = (forwarded.address or "") if is_forwarded else address
        self.client_name = forwarded.name
        self.helo = (forwarded.helo if is_forwarded else engine.helo) or ""
        self.reverse_path = reverse_path
        self.at = at
        self.recipients: list[tuple[Path, Account]] = []
        self.foreign: list[tuple[Path, Account]] = []
        self.refused: list[str] = []
        self.reasons: list[str] = []
        self._last: Reply | None = None
        self.wishes: dict[str, tuple[str, ...]] = {}
        self.vouched: str | None = None
        self.size = 0
        self.is_utf8 = False
        self.is_overdue = False

    @property
    def protocol(self) -> str:
        """Such as `ESMTPS`."""
        return protocol_name(
            is_lmtp=self.listener.profile.is_lmtp,
            is_extended=self.engine.is_extended,
            is_utf8=self.is_utf8,
            is_secured=self.engine.is_secured,
            has_user=self.engine.user is not None,
        )

    def accept(self, path: Path, account: Account) -> None:
        """A recipient was accepted."""
        self.recipients.append((path, account))

    def refuse(self, path: Path, reply: Reply) -> None:
        """A recipient was not."""
        self._last = reply
        if len(self.refused) < _MAX_REFUSED:
            self.refused.append(f"{reply.code} {path}")
        if len(self.reasons) < _MAX_REASONS:
            self.reasons.append(f"{reply.code} {reply.enhanced}")

    def settle(self, answered: Sequence[Reply]) -> None:
        """Each recipient that was accepted has its own reply in the end (RFC 2033 §4.2)."""
        pairs = list(zip(self.recipients, answered, strict=True))
        self.recipients = [one for one, reply in pairs if reply.is_positive]
        for (path, _), reply in pairs:
            if not reply.is_positive:
                self.refuse(path, reply)

    def record(
        self, reply: Reply | None, now: float, *, anchor: str = "", verdict: str = ""
    ) -> Record:
        """What happened: `reply` was the last one; None: the client gave up.

        Args:
            reply: see above.
            now: seconds since 1970.
            anchor: url of part 1, once it is stored.
            verdict: where the reply does not say it.
        """
        if reply is None and not (self.recipients or self.foreign):
            reply = self._last  # nobody wanted it
        if not verdict:
            temporary = DEFERRED if reply and reply.code < 500 else REFUSED
            verdict = _VERDICTS.get(reply, temporary) if reply else ABANDONED
        reasons = [*self.reasons]
        if reply and not reply.is_positive and reply is not self._last:
            reasons.append(f"{reply.code} {reply.enhanced}")
        accounts = [account.name for _, account in self.recipients]
        return Record(
            at=self.at,
            listener=self.listener.kind,
            client=self.address,
            helo=self.helo,
            protocol=self.protocol,
            user=self.engine.user or "",
            reverse_path=self.reverse_path,
            recipients=tuple(str(path) for path, _ in [*self.recipients, *self.foreign]),
            refused=tuple(self.refused),
            size=self.size,
            verdict=verdict,
            reply=f"{reply.code} {reply.enhanced}".strip() if reply else "",
            anchor=anchor,
            accounts=tuple(accounts) if verdict == ACCEPTED else (),
            foreign=tuple(str(path) for path, _ in self.foreign) if verdict == ACCEPTED else (),
            reasons=tuple(reasons),
            seconds=max(0.0, now - self.at),
        )
