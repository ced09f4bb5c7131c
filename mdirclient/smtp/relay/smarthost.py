"""Hands mails to a smarthost by SMTP, and what its replies mean for each recipient.

Reads and writes the directory of the jobs; talks to one host.

Sources: RFC 5321 (SMTP), RFC 6409 (submission), RFC 8314 (TLS for submission), RFC 3463 (enhanced
status codes).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import re
import ssl
from collections import deque
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, unquote, urlsplit

import aiosmtplib
import attrs

from mdirclient import _fs
from mdirclient.errors import SettingsError, StoreError
from mdirclient.smtp.outbox.jobs import Jobs
from mdirclient.smtp.outbox.outcome import Outcome, Refused
from mdirclient.smtp.outbox.runner import DONE, STAGED
from mdirclient.smtp.outbox.sendmail import left_outcomes
from mdirclient.smtp.relay.worker import Worker
from mdirclient.smtp.wishes import SUCCESS, is_wanted

if TYPE_CHECKING:
    from mdirclient.service.log import Log
    from mdirclient.smtp.outbox.prepare import Prepared

_NAME: Final = "MDIR_SMTP_RELAY"
#: Scheme → port, and whether TLS begins with the connection (RFC 8314 §7.3).
_SCHEMES: Final = {"smtp": (587, False), "smtps": (465, True)}
#: Seconds for one reply; RFC 5321 §4.5.3.2 wants 5 minutes for most, and 10 after the dot.
_TIMEOUT: Final = 300.0
_DATA_TIMEOUT: Final = 600.0
_SLOWEST: Final = 10_000  # bytes a second
_QUIT_TIMEOUT: Final = 5.0
#: Recipients of one transaction: what every server takes (RFC 5321 §4.5.3.1.8).
_TOGETHER: Final = 100
_TOO_MANY: Final = 452
_CLOSING: Final = 421
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})\s+")
#: How the end of a conversation shows: what was said before it counts all the same.
_LOST: Final = (aiosmtplib.SMTPException, OSError, ValueError)


@attrs.frozen
class Relay:
    """Where the smarthost is.

    Attributes:
        host: its name, or address.
        port: of it.
        is_tls: whether TLS begins with the connection; else STARTTLS is asked for.
        needs_tls: whether nothing is said without TLS.
        user: to authenticate as; None: not at all.
        password: theirs.
    """

    host: str
    port: int
    is_tls: bool
    needs_tls: bool = True
    user: str | None = None
    password: str | None = attrs.field(default=None, repr=False)


def parse_relay(text: str) -> Relay:
    """Read `smtps://user:password@host:port` and the like; user and password percent-encoded.

    Raises:
        SettingsError: something else, or a password that would be said without TLS.
    """
    shown = re.sub(r"//[^@/]*@", "//…@", text)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise SettingsError(_NAME, shown, str(error)) from None
    if parts.scheme not in _SCHEMES or not parts.hostname or parts.path.strip("/"):
        raise SettingsError(_NAME, shown, "expected smtps://host, or smtp://host with STARTTLS")
    default, is_tls = _SCHEMES[parts.scheme]
    query = parse_qs(parts.query, keep_blank_values=True)
    if query not in ({}, {"tls": ["no"]}) or (query and is_tls):
        raise SettingsError(_NAME, shown, "the only option is ?tls=no, of smtp://")
    user = None if parts.username is None else unquote(parts.username)
    relay = Relay(
        parts.hostname, port or default, is_tls, not query, user, unquote(parts.password or "")
    )
    if user is not None and not relay.needs_tls and not _is_loopback(relay.host):
        raise SettingsError(_NAME, shown, "a password is not sent without TLS")
    return relay


class Smarthost(Jobs):
    """See the module. Used in one loop.

    Args:
        relay: where it is.
        directory: of the jobs.
        host: name of this host.
        keys: directory of the keys that mails are signed with.
        log: of mails that are not signed.
        context: of TLS; None: certificates are verified by what the system trusts.
    """

    def __init__(
        self,
        relay: Relay,
        directory: str,
        *,
        host: str,
        keys: str,
        log: Log,
        context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(directory)
        self._relay = relay
        self._host = host
        self._log = log
        self._worker = Worker(keys)
        self._unsigned: set[str] = set()  # domains of which it was said
        self._context = context or ssl.create_default_context()

    @property
    def name(self) -> str:
        """The host and its port."""
        return f"{self._relay.host}:{self._relay.port}"

    async def start(self) -> None:
        """Learn what an earlier sender left."""
        await super().start()
        self.ended.update(await asyncio.to_thread(left_outcomes, self.directory))

    async def send(self, job: str, prepared: Prepared) -> Outcome:
        """Send the mail of a job. Its outcome is kept until `forget`, also by the next process."""
        outcome = await self._send(job, prepared)
        self.ended[job] = outcome
        done = {"id": job, **attrs.asdict(outcome)}
        # What is known already is kept, should this process die before the mdir has it.
        with contextlib.suppress(OSError):
            await asyncio.to_thread(self._keep, job, json.dumps(done).encode())
        return outcome

    async def stop(self) -> None:
        """End the process that signs."""
        await self._worker.close()

    def _keep(self, job: str, data: bytes) -> None:
        place = os.path.join(self.directory, job)
        _fs.replace(place + DONE, data, staged=place + STAGED)

    # -- the conversation

    async def _send(self, job: str, prepared: Prepared) -> Outcome:
        """Send a mail, by as many connections as it takes.

        A host that hangs up over the refusals of some (Postfix after 20) has not heard of the
        others yet: as long as each connection settles somebody there is another.
        """
        results: dict[str, Refused | None] = {}
        relayed: tuple[str, ...] = ()
        while True:
            known = len(results)
            outcome = await self._connection(job, prepared, results)
            relayed = outcome.relayed or relayed  # of all so far
            if len(results) in (known, len(prepared.recipients)):
                break
        if not results:
            return outcome
        for recipient in prepared.recipients:
            results.setdefault(recipient, Refused(recipient, "4.4.2", outcome.reason))
        return attrs.evolve(_outcome(results), relayed=relayed)

    async def _connection(
        self, job: str, prepared: Prepared, results: dict[str, Refused | None]
    ) -> Outcome:
        """Send it to those of whom nothing is known yet; `results` has what is known then."""
        relay = self._relay
        client = aiosmtplib.SMTP(
            hostname=relay.host,
            port=relay.port,
            local_hostname=self._host,
            timeout=_TIMEOUT,
            use_tls=relay.is_tls,
            start_tls=relay.needs_tls and not relay.is_tls,
            tls_context=self._context,
            username=relay.user,
            password=relay.password if relay.user is not None else None,
        )
        try:
            await client.connect()
            if client.is_ehlo_or_helo_needed:
                await _greet(client)
            data = await self._finished(job, prepared, client)
            has_dsn = client.supports_extension("dsn")  # not known any more when it is over
            lost = await _converse(client, prepared, data, results)
            outcome = _outcome(results) if results else Outcome("4.4.2")
            relayed = () if has_dsn else _relayed(outcome, prepared)
            reason = f"{self.name}: {lost}" if lost else outcome.reason
            return attrs.evolve(outcome, reason=reason, relayed=relayed)
        except aiosmtplib.SMTPResponseException as error:
            # Of the connection and the login, not of the mail: time or its owner mends that.
            status = _status(error.code, error.message)
            return Outcome(f"4{status[1:]}", f"{self.name}: {_said(error.code, error.message)}")
        except StoreError as error:
            return Outcome("4.3.0", str(error))
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            return Outcome("4.4.1", f"{self.name}: {_of_error(error)}")
        finally:
            await _farewell(client)

    async def _finished(self, job: str, prepared: Prepared, client: aiosmtplib.SMTP) -> bytes:
        """The bytes of a mail as they leave: what the smarthost takes is known now."""
        domain = prepared.author.rpartition("@")[2].lower()
        path = self.finished(job)
        is_8bit = client.supports_extension("8bitmime")
        signatures = await self._worker.finish(prepared.path, path, domain=domain, is_8bit=is_8bit)
        if not signatures and domain not in self._unsigned:
            self._unsigned.add(domain)
            self._log("not-signed", domain=domain, reason=f"no key: mdir-smtp dkim {domain}")
        return await asyncio.to_thread(_read, path)


async def _greet(client: aiosmtplib.SMTP) -> None:
    try:
        await client.ehlo()
    except aiosmtplib.SMTPHeloError:
        await client.helo()


async def _converse(
    client: aiosmtplib.SMTP,
    prepared: Prepared,
    data: bytes,
    results: dict[str, Refused | None],
) -> str:
    """Send a mail to those of whom nothing is known; why the connection was lost, if it was.

    `results` gets None for each who was taken, or why not.
    """
    waiting = deque(one for one in prepared.recipients if one not in results)
    try:
        while waiting:
            taken, again = await _offer(client, prepared, data, waiting, results)
            if taken:
                results.update(await _hand_over(client, taken, data))
            waiting.extendleft(reversed(again))
    except _LOST as error:
        return _of_error(error)
    return ""


async def _offer(
    client: aiosmtplib.SMTP,
    prepared: Prepared,
    data: bytes,
    waiting: deque[str],
    results: dict[str, Refused | None],
) -> tuple[list[str], list[str]]:
    """Begin a transaction: the recipients that are taken, and those for the next one."""
    options = [f"SIZE={len(data)}"] * client.supports_extension("size")
    if not data.isascii() and client.supports_extension("8bitmime"):
        options.append("BODY=8BITMIME")
    has_dsn = client.supports_extension("dsn")
    options += prepared.wishes if has_dsn else ()
    group = [waiting.popleft() for _ in range(min(len(waiting), _TOGETHER))]
    sender = "" if prepared.sender == "<>" else prepared.sender
    try:
        await client.mail(sender, options=options)
    except aiosmtplib.SMTPResponseException as error:
        results.update((one, _refused(one, error)) for one in group)
        await _reset(client, error)
        return [], []
    taken, again = list[str](), list[str]()
    for recipient in group:
        try:
            wishes = prepared.recipient_wishes.get(recipient, ()) if has_dsn else ()
            await client.rcpt(recipient, options=wishes)
            taken.append(recipient)
        except aiosmtplib.SMTPResponseException as error:
            if error.code == _TOO_MANY and taken:
                again.append(recipient)
            else:
                results[recipient] = _refused(recipient, error)
    if not taken:
        await client.rset()
    return taken, again


async def _hand_over(
    client: aiosmtplib.SMTP, taken: list[str], data: bytes
) -> dict[str, Refused | None]:
    try:
        # The time to send it counts too, and a line may be slow.
        await client.data(data, timeout=_DATA_TIMEOUT + len(data) / _SLOWEST)
    except aiosmtplib.SMTPResponseException as error:
        with contextlib.suppress(*_LOST):  # what was said counts, though the host hangs up then
            await _reset(client, error)
        return {one: _refused(one, error) for one in taken}
    except _LOST as error:  # whether it was taken nobody knows: not again at once
        return {one: Refused(one, "4.4.2", _of_error(error)) for one in taken}
    return dict.fromkeys(taken)


async def _reset(client: aiosmtplib.SMTP, error: aiosmtplib.SMTPResponseException) -> None:
    if error.code != _CLOSING:
        await client.rset()


async def _farewell(client: aiosmtplib.SMTP) -> None:
    """A mail that is taken is taken, whatever becomes of the farewell."""
    with contextlib.suppress(aiosmtplib.SMTPException, OSError):
        if client.is_connected:
            await client.quit(timeout=_QUIT_TIMEOUT)
    client.close()


# -- what replies mean


def _outcome(results: dict[str, Refused | None]) -> Outcome:
    refused = tuple(one for one in results.values() if one)
    if len(refused) < len(results):
        return Outcome("2.0.0", "", refused)
    # As long as there is one that may be taken later, the mail is tried again.
    worst = next((one for one in refused if not one.is_permanent), refused[0])
    return Outcome(worst.status, worst.reason, refused)


def _relayed(outcome: Outcome, prepared: Prepared) -> tuple[str, ...]:
    """Of whom the sender wants to be told, and will not be by a host without DSN (RFC 3461)."""
    refused = {one.recipient for one in outcome.refused}
    taken = [one for one in prepared.recipients if one not in refused] if outcome.is_sent else []
    wishes = prepared.recipient_wishes
    return tuple(one for one in taken if is_wanted(wishes.get(one, ()), SUCCESS))


def _refused(recipient: str, error: aiosmtplib.SMTPResponseException) -> Refused:
    said = _said(error.code, error.message)
    return Refused(recipient, _status(error.code, error.message), said)


def _status(code: int, message: str) -> str:
    """The enhanced code of a reply. What is not 4xx or 5xx is nothing that can be relied on."""
    first = "5" if 500 <= code < 600 else "4"
    match = _ENHANCED.match(f"{message} ")
    return match[1] if match and match[1].startswith(first) else f"{first}.0.0"


def _said(code: int, message: str) -> str:
    return f"the smarthost says {code} {' '.join(message.split())}"


def _of_error(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
