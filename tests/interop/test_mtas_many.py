"""Many mails through real MTAs, by pipe and by LMTP, while mdird is killed and started again."""

from __future__ import annotations

import contextlib
import smtplib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import attrs
import pytest

from mdirclient import connect
from tests.daemons import JO, LI, Daemons, daemons
from tests.exim import exim
from tests.mails import small
from tests.mounted import SENDER, Mta
from tests.opensmtpd import opensmtpd
from tests.places import PLACES
from tests.postfixed import enclosed_postfix
from tests.recipes import recipe, settings
from tests.smtped import eventually
from tests.system.commands import SCRIPTS

_PROGRAM, _CONFIG = "/opt/mdir/bin/mdir-deliver", "/etc/mdir/mail.toml"
_DOMAIN, _SOCKET = "machin.com", "/run/mdir/lmtp"

Start = Callable[[Path, Daemons], AbstractContextManager[Mta]]


def _is_sent(client: smtplib.SMTP, data: bytes) -> bool:
    """Whether a mail was taken; while mdird is away, Postfix's probe of the address is 450."""
    codes: set[int] = set()
    try:
        client.sendmail(SENDER, [JO], data)
    except smtplib.SMTPRecipientsRefused as error:
        codes = {code for code, _ in error.recipients.values()}
    assert codes <= {450}
    return not codes


@attrs.frozen
class Delivered:
    """How often each mail was delivered, what came back, and how often mdird was killed."""

    mails: Counter[str]
    bounces: list[bytes]
    kills: int


def _table(path: Path, value: str = "OK") -> Path:
    path.mkdir(parents=True, exist_ok=True)
    file = path / "mdir-accounts"
    file.write_text("".join(f"{address} {value}\n" for address in (JO, LI)))
    return file


@contextlib.contextmanager
def postfix_pipe(path: Path, both: Daemons) -> Iterator[Mta]:
    """`pipe(8)`, directly."""
    main: dict[str, str | Path] = {_DOMAIN: "ours.test"}
    main["/etc/postfix/mdir-accounts"] = _table(path / "table")
    program: dict[str, str | Path] = {_PROGRAM: SCRIPTS / "mdir-deliver", _CONFIG: both.config}
    with enclosed_postfix(
        path / "mta",
        services=recipe("postfix-pipe-master", program),
        **settings(recipe("postfix-pipe-main", main)),
    ) as server:
        yield server


@contextlib.contextmanager
def postfix_handover(path: Path, both: Daemons) -> Iterator[Mta]:
    """`pipe(8)`, handing over to the resident server."""
    with both.config.open("a") as file:
        file.write(f'MDIR_SMTP_SOCKET = "{both.socket}"\n')
    with postfix_pipe(path, both) as server:
        yield server


@contextlib.contextmanager
def postfix_lmtp(path: Path, both: Daemons) -> Iterator[Mta]:
    """`lmtp(8)`, with probes."""
    places: dict[str, str | Path] = {_DOMAIN: "ours.test", _SOCKET: both.socket}
    with enclosed_postfix(
        path / "mta", address_verify_map="", **settings(recipe("postfix-lmtp", places))
    ) as server:
        yield server


@contextlib.contextmanager
def exim_pipe(path: Path, both: Daemons) -> Iterator[Mta]:
    """The pipe transport."""
    router: dict[str, str | Path] = {_DOMAIN: "ours.test"}
    router["/etc/exim4/mdir-accounts"] = _table(path / "table")
    program: dict[str, str | Path] = {_PROGRAM: SCRIPTS / "mdir-deliver", _CONFIG: both.config}
    with exim(
        path / "mta",
        routers=recipe("exim-pipe-router", router),
        transports=recipe("exim-pipe-transport", program),
    ) as server:
        yield server


@contextlib.contextmanager
def exim_lmtp(path: Path, both: Daemons) -> Iterator[Mta]:
    """The smtp transport as LMTP client, with callouts."""
    with exim(
        path / "mta",
        routers=recipe("exim-lmtp-router", {_DOMAIN: "ours.test"}),
        transports=recipe("exim-lmtp-transport", {"port = 24": f"port = {both.port}"}),
        verify="recipient/callout=30s",
    ) as server:
        yield server


@contextlib.contextmanager
def opensmtpd_mda(path: Path, both: Daemons) -> Iterator[Mta]:
    """`mda`."""
    places: dict[str, str | Path] = {_DOMAIN: "ours.test", _CONFIG: both.config}
    places["/etc/mail/mdir-accounts"] = _table(path / "table", "mdir")
    places[_PROGRAM] = SCRIPTS / "mdir-deliver"
    with opensmtpd(path / "mta", actions=recipe("opensmtpd-mda", places)) as server:
        yield server


@contextlib.contextmanager
def opensmtpd_lmtp(path: Path, both: Daemons) -> Iterator[Mta]:
    """`lmtp`."""
    places: dict[str, str | Path] = {_DOMAIN: "ours.test", _SOCKET: both.socket}
    places["/etc/mail/mdir-accounts"] = _table(path / "table", "mdir")
    with opensmtpd(path / "mta", actions=recipe("opensmtpd-lmtp", places)) as server:
        yield server


#: Way → mails of the short run, of the long one, and kills in that.
MANY: dict[Start, tuple[int, int, int]] = {
    postfix_pipe: (20, 500, 10),
    postfix_handover: (20, 500, 10),
    postfix_lmtp: (100, 2_000, 10),
    exim_pipe: (15, 50, 4),
    exim_lmtp: (30, 50, 4),
    opensmtpd_mda: (15, 50, 4),
    opensmtpd_lmtp: (30, 50, 4),
}
LMTP = (postfix_lmtp, exim_lmtp, opensmtpd_lmtp)


def send(mta: Mta, count: int) -> None:
    """Send mails with ids of their own, on some connections."""
    for first in range(0, count, 100):
        with smtplib.SMTP("127.0.0.1", mta.port, "client.test", timeout=60) as client:
            for number in range(first, min(first + 100, count)):
                data = small(number, "many").replace(b"\n", b"\r\n")
                eventually(lambda data=data: _is_sent(client, data), 120)  # type: ignore[misc]


def deliver_many(path: Path, start: Start, count: int, kills: int) -> Delivered:
    """Send mails while mdird is killed so many times, each when some more are delivered."""
    with daemons(path / "w", "mdird", "lmtp") as both, start(path / "m", both) as mta:
        eventually(both.socket.exists, 30)
        sending = threading.Thread(target=send, args=(mta, count))
        sending.start()
        killed, deadline = 0, time.monotonic() + 60 + count
        while sending.is_alive() or mta.queued():
            assert time.monotonic() < deadline, mta.log[-2000:]
            # Postfix remembers a probe that failed for a minute: so not before the first mail.
            least = count * killed / (kills + 1) or int(start is postfix_lmtp)
            if killed < kills and both.delivered().total() >= least:
                both.kill("mdird")
                both.start("mdird")
                killed += 1
            mta.retry()
        sending.join()
        return Delivered(both.delivered(), mta.bounces(), killed)


@pytest.mark.parametrize("start", MANY, ids=lambda one: one.__name__)
def test_many(tmp_path: Path, start: Start) -> None:
    """All are delivered exactly once, none bounced."""
    _check(tmp_path, start, MANY[start][0], 2)


@pytest.mark.long
@pytest.mark.timeout(3_000)
@pytest.mark.parametrize("start", MANY, ids=lambda one: one.__name__)
def test_very_many(tmp_path: Path, start: Start) -> None:
    """The same, with the numbers that were promised."""
    _check(tmp_path, start, *MANY[start][1:])


def _check(path: Path, start: Start, count: int, kills: int) -> None:
    begin = time.monotonic()
    found = deliver_many(path, start, count, kills)
    took = time.monotonic() - begin
    print(f"{count} mails, {found.kills} kills of mdird, {took:.0f} s")
    assert [] == found.bounces
    assert {f"mdir:{number}@example.org/1": 1 for number in range(count)} == found.mails
    assert found.kills >= 1  # where all are delivered by one retry, there is no moment for more


@pytest.mark.parametrize("start", LMTP, ids=lambda one: one.__name__)
def test_lmtp_refuses_unknown_recipients(tmp_path: Path, start: Start) -> None:
    """While the sender waits. Postfix says whose mail it is."""
    with daemons(tmp_path / "w", "mdird", "lmtp") as both, start(tmp_path / "m", both) as mta:
        eventually(both.socket.exists, 30)
        with smtplib.SMTP("127.0.0.1", mta.port, "client.test", timeout=60) as client:
            client.ehlo()
            client.mail(SENDER)
            assert 5 == client.rcpt("nobody@ours.test")[0] // 100
            # A probe takes a moment, in which Postfix says 450.
            eventually(lambda: _is_taken(client))
            client.data(small(1).replace(b"\n", b"\r\n"))
        eventually(lambda: both.delivered().total() == 1)
        if start is postfix_lmtp:
            with connect(f"file://{both.path}/mdir") as mdird:
                entries = list(mdird.lookup(f"{PLACES.accounts}/{JO}"))
            (header,) = [one for one in entries if "part" in one]
            assert ("127.0.0.1", "client.test") == (header["client-address"], header["helo"])


def _is_taken(client: smtplib.SMTP) -> bool:
    client.rset()
    client.mail(SENDER)
    return client.rcpt(JO)[0] == 250
