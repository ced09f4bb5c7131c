"""Delivery of one mail, as an MTA hands it over.

Reads the chunks it is given; writes to the store and to the mdir only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import attrs

from mdirclient.mail.stored import StoredMessage
from mdirclient.smtp.accounts import Places, UnknownRecipientError, find_account
from mdirclient.smtp.envelope import Envelope
from mdirclient.smtp.trace import received

if TYPE_CHECKING:
    from mdirclient.interfaces import Mdird


@attrs.frozen
class Host:
    """What the receiving host says of itself and believes.

    Attributes:
        name: for `received`.
        authserv_ids: whose `authentication-results` in a mail are believed.
        date: of now, as in RFC 5322 §3.3, for `received`.
    """

    name: str
    authserv_ids: tuple[str, ...]
    date: str


def deliver(
    chunks: Iterable[bytes], mdird: Mdird, *, envelope: Envelope, places: Places, host: Host
) -> StoredMessage:
    """Deliver one mail: parts to the store, headers to the account folders.

    All parts for all recipients appear in one transaction, durable on return. The same
    mail again changes nothing. Without a recipient the mail is classified at the root.

    Args:
        chunks: the mail's bytes, in pieces.
        mdird: where the accounts are.
        envelope: who sends and who receives.
        places: the folders agreed on.
        host: this host.

    Raises:
        EmptyMessageError: there are no bytes.
        UnknownRecipientError: the recipients that have no account; the mail was delivered
            to the others.
        NoAccountsError: there is no account at all.
        MdirError, OSError: nothing was delivered.
    """
    with mdird.store.receive() as receiver:
        # All is read before anything is said: an MTA may take a closed pipe for a failure.
        for chunk in chunks:
            receiver.write(chunk)
        folders: dict[str, str | None] = {}
        unknown = []
        for spellings in envelope.recipients:
            folder = find_account(mdird, places, spellings)
            if folder is None:
                unknown.append(spellings[0])
            else:
                folders.setdefault(folder, spellings[0])
        if not envelope.recipients:
            folders = {"": None}
        if not folders:
            raise UnknownRecipientError(tuple(unknown))
        message = receiver.commit()
    _classify(mdird, message, folders, envelope, host)
    if unknown:
        raise UnknownRecipientError(tuple(unknown))
    return message


def _classify(
    mdird: Mdird,
    message: StoredMessage,
    folders: dict[str, str | None],
    envelope: Envelope,
    host: Host,
) -> None:
    with mdird.batch() as batch:
        for folder, recipient in folders.items():
            headers = message.headers(
                authserv_ids=host.authserv_ids,
                received=received(
                    client=envelope.client_name or envelope.client_address,
                    host=host.name,
                    protocol="local",
                    recipient=recipient,
                    date=host.date,
                ),
                envelope_from=envelope.reverse_path or _first(message, ("return-path",)),
                envelope_to=recipient or _first(message, ("delivered-to", "x-original-to")),
                client_address=envelope.client_address,
                client_name=envelope.client_name,
                helo=envelope.helo,
            )
            for header in headers:
                batch.classify(folder, header)


def _first(message: StoredMessage, names: Sequence[str]) -> str | None:
    """The first of these fields that the MTA put on top of the mail."""
    fields = dict(reversed(message.mail.fields))
    return next((fields[name].strip("<> ") or "<>" for name in names if name in fields), None)
