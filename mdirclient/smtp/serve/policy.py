"""Who may send to whom: decisions, from the list of accounts as it is now."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from mdirclient.errors import ComposeError, ReplyError
from mdirclient.header import Header
from mdirclient.mail.fields import mailboxes
from mdirclient.service.login import Login
from mdirclient.smtp.antispam.blocking import Blocking
from mdirclient.smtp.antispam.greylisting import Greylisting, Verdict
from mdirclient.smtp.engine import NULL_PATH, Connection, Path, Reply, Transaction
from mdirclient.smtp.engine import reply as replies
from mdirclient.smtp.engine.sasl import Credentials
from mdirclient.smtp.outbox.prepare import UnsendableError, check_authors, check_hops, texts_of
from mdirclient.smtp.serve import answers
from mdirclient.smtp.serve.limits import Limits
from mdirclient.smtp.serve.note import Note

if TYPE_CHECKING:
    from mdirclient.service.log import Log
    from mdirclient.smtp.following import Following

#: Why a mail cannot be sent → the answer; any other is about its author.
_OF_STATUS: Final = {"5.7.1": answers.NOT_YOURS, "5.4.6": answers.LOOPS}
_HOUR: Final = 3600.0
_MAX_USERS: Final = 100_000


class Policy:
    """Decides about senders, recipients and users. Used in one loop.

    Args:
        following: the accounts.
        limits: of users.
        over: called with the name of a user who is over their limit, once an hour.
        log: of failures to authenticate.
        blocking: of clients that ask for unknown recipients.
        greylisting: of senders that come for the first time.
        has_relay: whether users' mails to other hosts are taken.
    """

    def __init__(
        self,
        following: Following,
        limits: Limits,
        over: Callable[[str], None],
        log: Log,
        *,
        blocking: Blocking,
        greylisting: Greylisting,
        has_relay: bool = False,
    ) -> None:
        self._has_relay = has_relay
        self.following = following
        self._blocking = blocking
        self._greylisting = greylisting
        self._over = over
        self._log = log
        self._login = Login()
        self._quota = Quota(limits.per_hour)

    def sender(self, user: str | None, transaction: Transaction) -> Reply:
        """May this sender begin a mail? Users send in their own names only."""
        path = transaction.reverse_path
        if user is None or path == NULL_PATH:
            return replies.SENDER_OK
        if not self.following.is_current:
            return answers.TRY_AGAIN
        is_own = self.following.book.is_own(user, path.local, path.domain)
        return replies.SENDER_OK if is_own else answers.NOT_YOURS

    def recipient(self, user: str | None, path: Path, note: Note) -> Reply | None:
        """Is this a recipient? The note takes down who it is.

        Returns:
            The reply; None: the sender's domain is to be asked first, see `recipient_later`.
        """
        if not self._is_postmaster(path) and self._blocking.refuses(note):
            reply = answers.BLOCKED
        else:
            found = self._recipient(user, path, note)
            if found is None:
                return None
            reply = found
        if reply is answers.NO_ACCOUNT:
            self._blocking.miss(note, path)
        if not reply.is_positive:
            note.refuse(path, reply)
        return reply

    def content(self, user: str, fields: Iterable[tuple[str, str]]) -> Reply | None:
        """Why a user's mail is not taken for what its header says; None: it is.

        Users write in their own names only, and nothing goes round in circles (RFC 5321 §6.3).
        """
        texts = texts_of(fields)
        if any("\r" in value for values in texts.values() for value in values):
            return answers.BARE_CR  # it would hide a field from us
        try:
            check_hops(texts)
            check_authors(texts, user, self.following.book)
        except UnsendableError as error:
            return _OF_STATUS.get(error.status, answers.NO_AUTHOR)
        except ComposeError:
            return answers.NO_AUTHOR
        return None

    async def recipient_later(self, user: str | None, path: Path, note: Note) -> Reply:
        """The same, after the sender's domain was asked."""
        await self._greylisting.ask(note)
        return self.recipient(user, path, note) or answers.TRY_AGAIN

    def _is_postmaster(self, path: Path) -> bool:
        if path.local.lower() != "postmaster":
            return False
        return not path.domain or self.following.book.has_domain(path.domain)

    def _recipient(self, user: str | None, path: Path, note: Note) -> Reply | None:
        book = self.following.book
        if not self.following.is_current or not book.accounts:
            return answers.TRY_AGAIN
        account = book.find(path.local, path.domain)
        if account is None and not self.following.is_settled:
            return answers.TRY_AGAIN
        if account is None:
            is_ours = book.has_domain(path.domain) or not path.domain
            return answers.NO_ACCOUNT if is_ours else self._foreign(user, path, note)
        if user is not None and not self._is_within_quota(user):
            return answers.OVER_QUOTA
        verdict = Verdict.LET_IN
        if not self._is_postmaster(path):
            verdict = self._greylisting.judge(note, account.name)
        if verdict is not Verdict.LET_IN:
            return None if verdict is Verdict.ASK else answers.GREYLISTED
        note.accept(path, account)
        return replies.RECIPIENT_OK

    def _foreign(self, user: str | None, path: Path, note: Note) -> Reply:
        if user is None:
            return answers.NOT_OURS
        if not self._has_relay:
            return answers.NO_RELAY
        if refused := _unsendable(path):
            return refused
        account = self.following.book.sending(user, note.reverse_path)
        if account is None:
            return answers.NOT_YOURS
        if not self._is_within_quota(user):
            return answers.OVER_QUOTA
        note.foreign.append((path, account))
        return replies.RECIPIENT_OK

    def _is_within_quota(self, user: str) -> bool:
        is_within, is_first = self._quota.take(user, time.monotonic())
        if is_first:
            self._over(user)
        return is_within

    async def authenticate(
        self, engine: Connection, credentials: Credentials, address: str
    ) -> Reply:
        """Is it this user? Then the engine is told. Wrong passwords count by address and user."""
        name = credentials.user
        if not self.following.is_current:
            return answers.AUTH_BUSY
        if credentials.mechanism == "EXTERNAL":
            found = self._of_certificate(name, engine.fingerprint)
        else:
            try:
                found = await self._of_password(name, credentials.password, address)
            except ReplyError:
                return answers.AUTH_BUSY
        if found is None:
            self._log("auth-failed", client=address, user=name, mechanism=credentials.mechanism)
            return answers.BAD_CREDENTIALS
        engine.user = found
        return replies.AUTHENTICATED

    async def _of_password(self, name: str, password: str, address: str) -> str | None:
        user = self._user(name)
        proof = await self._login.check(user, name, password, address, tokens=False)
        return user["name"] if user and proof else None

    def _of_certificate(self, name: str, fingerprint: str | None) -> str | None:
        holder = self.following.book.holder(fingerprint or "")
        user = self._user(name) if name else None
        return holder if not name or (user and user["name"] == holder) else None

    def _user(self, name: str) -> Header | None:
        """A user by name, or by the address of an account of theirs."""
        book = self.following.book
        return book.users.get(name) or book.users.get(book.owner(name) or "")


def _unsendable(path: Path) -> Reply | None:
    """Why nothing can be sent to an address, which others need not suffer for."""
    if not path.is_ascii:
        return answers.NO_UTF8_RELAY
    try:
        mailboxes("envelope-to", str(path))
    except ComposeError:
        return answers.UNSENDABLE
    return None


class Quota:
    """Recipients of each user in an hour. Bounded: of too many users the oldest are forgotten.

    Args:
        most: recipients.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._users: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def take(self, user: str, now: float) -> tuple[bool, bool]:
        """Count one more recipient.

        Returns:
            Whether it is within the limit, and whether it is the first in this hour that is not.
        """
        begun, count = self._users.pop(user, (now, 0))
        if now - begun >= _HOUR:
            begun, count = now, 0
        self._users[user] = begun, count + 1
        if len(self._users) > _MAX_USERS:
            self._users.popitem(last=False)
        return count < self._most, count == self._most
