"""A month of a real server, from outside: what it reports is what its clients and users did.

The clock is turned; all else is real: connections from many networks, greylisting and blocking,
submission and a smarthost, users who move mails, servers that end, one that is killed. All of it
(`MDIR_TEST_MONTH=3100`, the transactions of the script without those that come again) takes some
minutes.
"""

from __future__ import annotations

import contextlib
import email
import email.policy
import json
import os
import random
import smtplib
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import attrs

from mdirclient import Header
from mdirclient.mdird.users import set_password
from mdirclient.smtp.accounts import add_account
from mdirclient.smtp.spam.votes import Votes
from tests.clocked import Clock
from tests.named import named, needs_dnsmasq
from tests.outboxed import Outboxed, outboxed
from tests.places import PLACES
from tests.ports import free_port, is_listening
from tests.relayed import Host, smarthost
from tests.smtped import eventually, trusting
from tests.traffic import ACCOUNTS, DAYS, MONTH, Truth, compare, compare_days, whole

_DAY: Final = 86_400
_HOURS: Final = (0, 9, 19)
#: What happens, and how often.
_ACTORS: Final = {
    "write": 50, "send": 12, "harvest": 3, "mistype": 6, "pass_by": 12, "try_relay": 4, "leave": 4,
    "send_too_much": 2, "bounce": 4, "write_to_two": 10,
}  # fmt: skip
#: Days at whose end the server is started again; at that of one it is killed.
_RESTARTS: Final = (3, 8, 12, 17, 21, 26)
_KILL: Final = 17
_PER_SLOT: Final = int(os.environ.get("MDIR_TEST_MONTH", "1240")) // (DAYS * len(_HOURS))
_LARGEST: Final = 20_000
#: The verdict of a mail that nobody got, by the last reply.
_VERDICTS: Final = {"550 5.1.1": "unknown", "450 4.2.0": "greylisted", "450 4.7.0": "blocked"}


@attrs.define
class Mail:
    """A mail that a stranger has, and whom it is for."""

    number: int
    network: str
    sender: str
    recipients: tuple[str, ...]
    data: bytes


@attrs.define
class Month:
    """The script: what clients do, and what they were told is the truth."""

    world: Outboxed
    clock: Clock
    ports: dict[str, int]
    source: random.Random
    truths: dict[int, Truth] = attrs.field(factory=lambda: {n: Truth() for n in range(DAYS)})
    process: subprocess.Popen[bytes] | None = None
    waiting: list[Mail] = attrs.field(factory=list)
    delayed: set[tuple[str, str, str]] = attrs.field(factory=set)
    got: list[tuple[str, Mail]] = attrs.field(factory=list)
    users: dict[str, smtplib.SMTP] = attrs.field(factory=dict)
    votes: int = 0
    count: int = 0
    stored: set[int] = attrs.field(factory=set)
    strangers: int = 0

    # -- the server

    def start(self) -> None:
        """Start the server."""
        listen = ",".join(f"{kind}://127.0.0.1:{port}" for kind, port in self.ports.items())
        command = [
            *self.clock.command, "serve", "--listen", listen, "--early",
            "0", "--allow", "192.0.2.1/32", "--spam-kept", "600", "--size", str(_LARGEST),
        ]  # fmt: skip
        with (self.world.path / "log").open("ab") as log:
            self.process = subprocess.Popen(command, env=self.world.environ, stderr=log)
        eventually(lambda: is_listening(self.ports["submission"]), 30)

    def stop(self) -> None:
        """End it."""
        assert self.process
        self._hang_up()
        self.process.terminate()
        assert 0 == self.process.wait(60)

    def kill(self) -> None:
        """Kill it while a mail comes, and while users move mails."""
        assert self.process
        mail = self.mail("200.1", "a@half.test", ACCOUNTS[:1])
        self.deliver(mail)  # greylisted first
        self.clock.turn(self.clock.now + 400)
        self.deliver(self.waiting.pop())
        half = self.mail("200.1", "a@half.test", ACCOUNTS[:1])
        with self.client(half.network) as client:
            client.mail(half.sender)
            client.rcpt(half.recipients[0])
            client.docmd("DATA")
            client.send(half.data[:200])
            self.call_spam(self.got[-4:])
            self._hang_up()
            self.process.kill()
            self.process.wait(30)
            with contextlib.suppress(OSError, smtplib.SMTPException):
                client.close()
        self.call_spam(self.got[-8:-4], is_running=False)
        self.start()
        self.settle()
        self.deliver(half)

    def _hang_up(self) -> None:
        for client in self.users.values():
            with contextlib.suppress(OSError, smtplib.SMTPException):
                client.quit()
        self.users.clear()

    # -- clients

    def client(self, network: str) -> smtplib.SMTP:
        """A client of a network."""
        client = smtplib.SMTP(local_hostname="client.test", source_address=(f"{network}.9", 0))
        client.connect("127.0.0.1", self.ports["smtp"])
        client.ehlo("client.test")
        return client

    def mail(self, network: str, sender: str, recipients: Sequence[str]) -> Mail:
        """A new mail."""
        self.count += 1
        domain = sender.rpartition("@")[2].strip("<>") or "null.test"
        head = (
            f"From: <{sender.strip('<>') or 'daemon@null.test'}>\r\nTo: jo@ours.test\r\n"
            f"Subject: {self.count}\r\nMessage-ID: <{self.count}@{domain}>\r\n\r\n"
        )
        lines = "x" * 60 + "\r\n"
        data = (head + lines * self.source.randrange(1, 60)).encode()
        return Mail(self.count, f"127.{network}", sender, tuple(recipients), data)

    def deliver(self, mail: Mail) -> None:
        """A client tries to bring a mail; to whom it was told to come again it does."""
        with self.client(mail.network) as client:
            assert 250 == client.mail(mail.sender)[0]
            replies = {one: _code(client.rcpt(one)) for one in mail.recipients}
            taken = [one for one, reply in replies.items() if reply == "250 2.1.5"]
            final = _code(client.data(mail.data)) if taken else ""
        if final == "250 2.0.0":
            self.got += [(one, mail) for one in taken if one in ACCOUNTS]
        self.note(mail, replies, taken, final)
        for one, reply in replies.items():
            key = mail.network, mail.sender, one
            if reply == "450 4.2.0":
                self.truth.delayed += key not in self.delayed
                self.delayed.add(key)
            elif one in taken and key in self.delayed:
                self.delayed.discard(key)
                self.truth.returned += 1
        again = tuple(one for one, reply in replies.items() if reply.startswith("450"))
        if again:
            self.waiting.append(attrs.evolve(mail, recipients=again))

    @property
    def truth(self) -> Truth:
        """That of today."""
        return self.truths[int(self.clock.now - MONTH) // _DAY]

    def note(self, mail: Mail, replies: dict[str, str], taken: Sequence[str], final: str) -> None:
        """What a client was told is what the server did."""
        truth = self.truth
        refusals = [reply for reply in replies.values() if not reply.startswith("250")]
        if final and not final.startswith("250"):
            refusals.append(final)
        truth.reasons.update(refusals)
        if final.startswith("250"):
            verdict = "accepted"
        elif refusals:
            last = refusals[-1]
            verdict = _VERDICTS.get(last, "deferred" if last.startswith("4") else "refused")
        else:
            verdict = "abandoned"
        is_accepted = verdict == "accepted"
        truth.verdicts[verdict] += 1
        truth.hours[datetime.fromtimestamp(self.clock.now, UTC).hour, is_accepted] += 1
        truth.networks[f"{mail.network}.0/24", "accepted" if is_accepted else "refused"] += 1
        truth.refused += not is_accepted
        if is_accepted:
            truth.stored += len(mail.data) * (mail.number not in self.stored)
            self.stored.add(mail.number)
            truth.mails += 1
            truth.bytes += len(mail.data)
            truth.received.update(one for one in taken if one in ACCOUNTS)
            truth.sites[mail.sender.rpartition("@")[2]] += 1
            truth.site_bytes += len(mail.data)

    # -- what strangers do

    def site(self) -> tuple[str, str]:
        """One of those who write often."""
        number = min(self.source.randrange(30), self.source.randrange(30))
        return f"1.{number}", f"news{self.source.randrange(3)}@site{number}.test"

    def stranger(self) -> str:
        """A network that nobody has seen."""
        self.strangers += 1
        return f"{2 + self.strangers // 250}.{self.strangers % 250}"

    def write(self) -> None:
        """A mail of a site to an account."""
        self.deliver(self.mail(*self.site(), [self.source.choice(ACCOUNTS)]))

    def write_to_two(self) -> None:
        """The same to two."""
        self.deliver(self.mail(*self.site(), self.source.sample(ACCOUNTS, 2)))

    def bounce(self) -> None:
        """A notification; it has no sender."""
        self.deliver(self.mail(self.site()[0], "<>", [self.source.choice(ACCOUNTS)]))

    def mistype(self) -> None:
        """A site knows one of two accounts."""
        known = self.source.choice(ACCOUNTS)
        self.deliver(self.mail(*self.site(), [known, "nobody@ours.test"]))

    def pass_by(self) -> None:
        """A sender of spam is told to come again, and never does."""
        mail = self.mail(self.stranger(), "spam@bulk.test", [self.source.choice(ACCOUNTS)])
        self.deliver(mail)
        assert mail.recipients == self.waiting.pop().recipients

    def try_relay(self) -> None:
        """Somebody who wants us to send mail elsewhere."""
        self.deliver(self.mail(self.stranger(), "a@relay.test", ["x@elsewhere.test"]))

    def leave(self) -> None:
        """A site that goes away before it has said anything."""
        network, sender = self.site()
        mail = self.mail(network, sender, ACCOUNTS[:1])
        with self.client(mail.network) as client:
            client.mail(mail.sender)
        self.note(mail, {}, [], "")

    def send_too_much(self) -> None:
        """A mail that is larger than is taken, and does not say so."""
        network = "1.99"
        mail = self.mail(network, "big@site.test", ACCOUNTS[:1])
        mail.data += (b"x" * 60 + b"\r\n") * 400
        before = len(self.waiting)
        self.deliver(mail)
        if len(self.waiting) == before:
            assert not any(one is mail for _, one in self.got)

    def harvest(self) -> None:
        """A network that tries names is blocked, also from an account that there is."""
        network = self.stranger()
        names = [f"name{self.source.randrange(9999)}-{n}@ours.test" for n in range(4)]
        self.deliver(self.mail(network, "a@harvest.test", names))
        blocked = f"blocked network=127.{network}.9 "
        eventually(lambda: blocked in self.world.log)
        self.clock.turn(self.clock.now + 60)
        mail = self.mail(network, "a@harvest.test", ACCOUNTS[:1])
        with self.client(mail.network) as client:
            client.mail(mail.sender)
            reply = _code(client.rcpt(mail.recipients[0]))
        assert "450 4.7.0" == reply
        self.note(mail, {mail.recipients[0]: reply}, [], "")

    # -- what users do

    def send(self) -> None:
        """A user sends a mail, at times to another user as well."""
        user = self.source.choice(ACCOUNTS)
        domain = f"there{self.source.randrange(9)}.test"
        own = self.source.sample(ACCOUNTS, self.source.choice([0, 0, 1]))
        mail = self.mail("0.0", user, [f"x@{domain}", *own])
        client = self.users.get(user) or self.users.setdefault(user, self.login(user))
        assert {} == client.sendmail(user, mail.recipients, mail.data)
        truth = self.truth
        truth.sent += 1
        truth.sent_bytes += len(mail.data)
        truth.stored += len(mail.data)
        truth.senders[user] += 1
        truth.destinations[domain] += 1
        truth.verdicts["accepted"] += 1
        truth.hours[datetime.fromtimestamp(self.clock.now, UTC).hour, True] += 1
        truth.received.update(own)

    def login(self, user: str) -> smtplib.SMTP:
        """A client of a user."""
        client = smtplib.SMTP("127.0.0.1", self.ports["submission"], "client.test")
        client.starttls(context=trusting())
        client.login(user, "secret")
        return client

    def move(self, account: str, mail: Mail, source: str, target: str) -> None:
        """What a mail client does."""
        domain = mail.sender.rpartition("@")[2].strip("<>") or "null.test"
        with self.world.connect() as mdird:
            key = Header([("url", f"mdir:{mail.number}@{domain}/1")])
            (header,) = mdird.lookup(f"{source}/{account}", key)
            with mdird.batch() as batch:
                batch.put(f"{target}/{account}", header)
                batch.remove(f"{source}/{account}", key)

    def call_spam(self, found: Sequence[tuple[str, Mail]], *, is_running: bool = True) -> None:
        """Users move mails to the spam box."""
        for account, mail in found:
            self.got.remove((account, mail))
            self.delayed.discard((mail.network, mail.sender, account))  # it begins anew
            self.move(account, mail, PLACES.accounts, PLACES.spam)
            self.truth.spam += 1
            self.truth.reporters[account] += 1
            self.truth.networks[f"{mail.network}.0/24", "spam"] += 1
            self.votes += 1
        if is_running:
            self.settle()

    def think_again(self, account: str, mail: Mail) -> None:
        """A user moves a mail there, and back."""
        self.move(account, mail, PLACES.accounts, PLACES.spam)
        self.votes += 1
        self.settle()
        self.move(account, mail, PLACES.spam, PLACES.accounts)
        self.votes -= 1
        self.settle()

    def call_unknown(self, account: str) -> None:
        """A user calls something spam that did not come by SMTP."""
        with self.world.connect() as mdird:
            stored = mdird.store.add(b"Subject: x\r\n\r\n%d\r\n" % self.votes)
            mdird.put(f"{PLACES.spam}/{account}", stored.headers()[0])
        self.truth.spam += 1
        self.truth.spam_unknown += 1
        self.truth.reporters[account] += 1
        self.votes += 1
        self.settle()

    def settle(self) -> None:
        """Until the server knows what users did."""
        votes = Votes(self.world.environ["MDIR_SMTP_STATE"])
        try:
            eventually(lambda: sum(1 for _ in votes.listed()) == self.votes, 30)
        finally:
            votes.close()

    def catch_up(self) -> None:
        """Until the server has recorded all that clients did: a mail has the time of its end."""
        count = sum(truth.verdicts.total() for truth in self.truths.values())
        if not count:  # there may be no tables yet
            return
        query = "SELECT sum(mails) FROM total WHERE kind = 'hour'"
        state = sqlite3.connect(self.world.environ["MDIR_SMTP_STATE"])
        with contextlib.closing(state):
            eventually(lambda: state.execute(query).fetchone()[0] == count, 30)

    # -- the month

    def play(self) -> None:
        """All of it."""
        self.start()
        for day in range(DAYS):
            for hour in _HOURS:
                self.catch_up()
                self.clock.turn(MONTH + day * _DAY + (hour + self.source.randrange(4)) * 3600 + 30)
                self.play_slot()
            if day == _KILL:
                self.kill()
            elif day in _RESTARTS:
                self.stop()
                self.start()
        # What was told to come again, and did not, never will.
        self.stop()

    def play_slot(self) -> None:
        """Some minutes."""
        waiting, self.waiting = self.waiting, []
        for mail in waiting:
            self.deliver(mail)
        before = len(self.got)
        actors = self.source.choices(list(_ACTORS), list(_ACTORS.values()), k=_PER_SLOT)
        for actor in actors:
            getattr(self, actor)()
        new = self.got[before:]
        spam = [one for one in new if self.source.random() < 0.12]
        self.call_spam(spam)
        # Of those whose sender is told to come again by now it would not be known what is right.
        kept = [
            (account, mail)
            for account, mail in new
            if (account, mail) not in spam
            and (mail.network, mail.sender, account) not in self.delayed
        ]
        if kept and self.source.random() < 0.3:
            self.think_again(*self.source.choice(kept))
        if self.source.random() < 0.1:
            self.call_unknown(self.source.choice(ACCOUNTS))


def _code(reply: tuple[int, bytes]) -> str:
    """Code and enhanced code."""
    return f"{reply[0]} {reply[1].decode().split(' ')[0]}"


@contextlib.contextmanager
def months(path: Path) -> Iterator[tuple[Month, Host]]:
    """A server of the 1st of October, its DNS, and its smarthost."""
    host, port = Host(), free_port()
    path.joinpath("dns").mkdir()
    with (
        outboxed(path / "w") as world,
        smarthost(host, port),
        named(path / "dns", {}) as dns,
    ):
        world.environ |= {
            "MDIR_SMTP_RELAY": f"smtp://127.0.0.1:{port}?tls=no",
            "MDIR_SMTP_DNS": f"127.0.0.1:{dns}",
        }
        with world.connect() as mdird:
            for account in ACCOUNTS:
                add_account(mdird, PLACES, account)
                set_password(mdird, PLACES.users, account, "secret")
        clock = Clock(path / "clock")
        clock.turn(MONTH)
        ports = {"smtp": free_port(), "submission": free_port()}
        month = Month(world, clock, ports, random.Random(1))
        try:
            yield month, host
        finally:
            if month.process and month.process.poll() is None:
                month.process.kill()
                month.process.wait(30)


@needs_dnsmasq
def test_every_figure_is_what_happened(tmp_path: Path) -> None:
    """Of each day and of the month, in the reports and in the command."""
    with months(tmp_path) as (month, host):
        month.play()
        total = whole(month.truths)
        # In November the reports of all that was missed are made up for.
        month.clock.turn(MONTH + DAYS * _DAY + 3600)
        month.start()
        eventually(lambda: len(reports(month.world)) >= DAYS + 1, 60)
        boxes = [f"{PLACES.spam}/{account}" for account in ACCOUNTS]
        eventually(lambda: not any(month.world.entries(box) for box in boxes), 60)
        eventually(lambda: len(host.taken) == total.sent, 60)
        month.stop()
        found = reports(month.world)
        assert DAYS + 1 == len(found)
        for day, truth in month.truths.items():
            compare(truth, found["day", f"2026-10-{day + 1:02}"])
        compare(total, found["month", "2026-10-01"])
        compare_days(month.truths, found["month", "2026-10-01"])
        done = month.world.run("stats", "--json", "--since", "2026-10-08", "--until", "2026-10-21")
        compare(whole({n: month.truths[n] for n in range(7, 21)}), json.loads(done.stdout))
        assert "defect" not in month.world.log
        assert min(total.verdicts[one] for one in ("unknown", "blocked", "refused")) > 5


def reports(world: Outboxed) -> dict[tuple[str, str], dict[str, Any]]:
    """Kind and first day → the figures of each report, from the part that is JSON."""
    found = {}
    with world.connect() as mdird:
        for header in mdird.lookup("SMTP/Statistics", Header([("type", "statistics")])):
            if header["part"] == "1":
                with mdird.store.open(header["anchor"][:-1] + "0") as file:
                    mail = email.message_from_binary_file(file, policy=email.policy.default)
                _, figures = mail.iter_parts()
                key = header["period"], header["from"]
                assert key not in found
                found[key] = json.loads(figures.get_content())
    return found
