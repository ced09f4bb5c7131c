"""Real MTAs, by the recipes of the documentation: every fault defers, none bounces, none is taken.

One that is unknown bounces, or is refused while the sender waits. Source: the table of SMTP.md.
"""

from __future__ import annotations

import contextlib
import smtplib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.exim import exim
from tests.faults import FAULTS, GHOST, JO, Faulty, faulty
from tests.mails import small
from tests.mounted import SENDER, Mta
from tests.opensmtpd import opensmtpd
from tests.postfixed import enclosed_postfix
from tests.recipes import recipe, settings
from tests.sendmail import sendmail
from tests.smtped import eventually

_PROGRAM, _CONFIG = "/opt/mdir/bin/mdir-deliver", "/etc/mdir/mail.toml"
_DOMAIN = "machin.com"
_TABLE = f"{JO} OK\nli@ours.test OK\n{GHOST} OK\n"

Start = Callable[[Path, Faulty], AbstractContextManager[Mta]]


def _places(world: Faulty) -> dict[str, str | Path]:
    return {_PROGRAM: world.program, _CONFIG: world.config}


def _table(path: Path, text: str = _TABLE) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    file = path / "mdir-accounts"
    file.write_text(text)
    return file


@contextlib.contextmanager
def postfix_pipe(path: Path, world: Faulty) -> Iterator[Mta]:
    """`pipe(8)`."""
    table = _table(path / "table")
    main: dict[str, str | Path] = {_DOMAIN: "ours.test", "/etc/postfix/mdir-accounts": table}
    services = recipe("postfix-pipe-master", _places(world))
    with enclosed_postfix(
        path / "mta", services=services, **settings(recipe("postfix-pipe-main", main))
    ) as server:
        yield server


def _local(path: Path, world: Faulty, **given: str) -> AbstractContextManager[Mta]:
    """Postfix, with all addresses of the domain expanded to one local user."""
    return enclosed_postfix(
        path / "mta",
        mydestination="postfix.test, ours.test",
        recipient_delimiter="+",
        virtual_alias_maps="inline:{jo@ours.test=mdir@ours.test, ghost@ours.test=mdir@ours.test}",
        **given,
    )


def postfix_mailbox(path: Path, world: Faulty) -> AbstractContextManager[Mta]:
    """`mailbox_command`."""
    return _local(path, world, **settings(recipe("postfix-mailbox", _places(world))))


def postfix_procmail(path: Path, world: Faulty) -> AbstractContextManager[Mta]:
    """`mailbox_command` is procmail."""
    path.mkdir(parents=True, exist_ok=True)
    file = path / "procmailrc"
    file.write_text(recipe("procmail-rc", _places(world)))
    command = settings(recipe("procmail-postfix", {"/etc/procmailrc": file}))
    return _local(path, world, **command)


@contextlib.contextmanager
def postfix_alias(path: Path, world: Faulty) -> Iterator[Mta]:
    """The alias table."""
    path.mkdir(parents=True, exist_ok=True)
    file = path / "aliases"
    # The form of a table of texts, in which a test writes it: no colon.
    line = recipe("postfix-alias", {**_places(world), "jojolapin:": "jo"})
    file.write_text(f"{line}\n{line.replace('jo', 'ghost', 1)}\n")
    with enclosed_postfix(
        path / "mta",
        mydestination="postfix.test, ours.test",
        recipient_delimiter="+",
        default_privs="mdir",
        alias_maps=f"texthash:{file}",
    ) as server:
        yield server


def exim_pipe(path: Path, world: Faulty) -> AbstractContextManager[Mta]:
    """The pipe transport."""
    table = _table(path / "table")
    router: dict[str, str | Path] = {_DOMAIN: "ours.test", "/etc/exim4/mdir-accounts": table}
    return exim(
        path / "mta",
        routers=recipe("exim-pipe-router", router),
        transports=recipe("exim-pipe-transport", _places(world)),
    )


def opensmtpd_mda(path: Path, world: Faulty) -> AbstractContextManager[Mta]:
    """`mda`."""
    table = _table(path / "table", _TABLE.replace(" OK", " mdir"))
    places = {**_places(world), _DOMAIN: "ours.test", "/etc/mail/mdir-accounts": table}
    return opensmtpd(path / "mta", actions=recipe("opensmtpd-mda", places))


def sendmail_mailer(path: Path, world: Faulty) -> AbstractContextManager[Mta]:
    """A mailer of its own."""
    return sendmail(
        path / "mta",
        mailers=recipe("sendmail-mailer", _places(world)),
        rules=recipe("sendmail-rules", {_DOMAIN: "ours.test"}),
        settings="FEATURE(`promiscuous_relay')\n" + recipe("sendmail-table", {}),
        accounts=_TABLE,
    )


#: Which refuse an unknown recipient while the sender waits.
REFUSING = (postfix_pipe, exim_pipe, opensmtpd_mda, sendmail_mailer)
ALL = (postfix_mailbox, postfix_alias, postfix_procmail, *REFUSING)


def send(mta: Mta, recipient: str, number: int = 1) -> None:
    """Send a mail as a stranger."""
    with smtplib.SMTP("127.0.0.1", mta.port, "client.test", timeout=60) as client:
        client.sendmail(SENDER, [recipient], small(number, recipient).replace(b"\n", b"\r\n"))


@pytest.mark.parametrize("start", ALL, ids=lambda one: one.__name__)
def test_faults(tmp_path: Path, start: Start) -> None:
    """Each is deferred: no bounce, no silent acceptance. The good one is there, once."""
    with faulty(tmp_path / "w") as world, start(tmp_path / "m", world) as mta:
        send(mta, JO, 1)
        send(mta, GHOST, 2)
        eventually(lambda: len(mta.bounces()) == 1, 30)
        for number, fault in enumerate(FAULTS, 3):
            send(mta, f"jo+{fault}@ours.test", number)
        eventually(lambda: world.tried().keys() >= FAULTS.keys(), 120)
        eventually(lambda: mta.queued() == len(FAULTS), 60)
        tried = world.tried()
        (bounce,) = mta.bounces()
        # Of two recipients one has the mail, and the MTA is told to come again.
        (header,) = [one for one in world.delivered() if "two-recipients" not in world.text(one)]
    assert {fault: {75} for fault in FAULTS} == {fault: tried[fault] for fault in FAULTS}
    assert {0, 67} == tried["none"]
    assert GHOST.encode() in bounce
    assert b"5.1.1" in bounce
    # local(8) says first to whom the address was expanded.
    assert header["envelope-to"] in (JO, "mdir@ours.test")
    assert SENDER == header["envelope-from"]
    assert JO in world.text(header)


@pytest.mark.parametrize("start", REFUSING, ids=lambda one: one.__name__)
def test_unknown_recipients_are_refused(tmp_path: Path, start: Start) -> None:
    """While the sender waits, so nobody has to bounce; sub-addresses are not unknown."""
    with (
        faulty(tmp_path / "w") as world,
        start(tmp_path / "m", world) as mta,
        smtplib.SMTP("127.0.0.1", mta.port, "client.test", timeout=60) as client,
    ):
        client.helo()
        client.mail(SENDER)
        assert 5 == client.rcpt("nobody@ours.test")[0] // 100
        assert 250 == client.rcpt("jo+list@ours.test")[0]
        assert 250 == client.rcpt("JO@ours.test")[0]
