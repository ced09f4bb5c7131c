"""Greylisting of a real server, with real DNS: who comes again, pools, answers, releases."""

from __future__ import annotations

import json
import smtplib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

from mdirclient import Header
from mdirclient.cli.smtp import main
from mdirclient.smtp.antispam.delayed import PLACES as SHOWN
from mdirclient.smtp.serve.limits import Limits
from tests.named import named, needs_dnsmasq
from tests.outboxed import outboxed
from tests.places import PLACES
from tests.ports import free_port
from tests.smtped import ACCOUNTS, Smtped, code, eventually, smtp_serving

JO, LI = ACCOUNTS
GREY = Limits(allow=(), early=0, block_for=0)
#: All of 127/8 is loopback: these are clients of several networks.
THEM, NEAR, FAR = "127.0.2.1", "127.0.2.9", "127.0.9.1"
_RECORDS = {
    "pool.test": [("TXT", "v=spf1 ip4:127.0.2.0/24 ip4:127.0.9.0/24 -all")],
    "strict.test": [("TXT", "v=spf1 -all")],
}


@attrs.define
class Clock:
    """Set by hand."""

    at: float = attrs.field(factory=time.time)

    def __call__(self) -> float:
        return self.at


@contextmanager
def greylisting(path: Path, dns: int | None = None) -> Iterator[tuple[Smtped, Clock]]:
    """A server that delays everybody, and its clock."""
    clock = Clock()
    with smtp_serving(path, GREY, dns=dns, now=clock) as world:
        yield world, clock


def asked(world: Smtped, client: str, sender: str, *recipients: str) -> list[str]:
    """The answers to RCPT that a client gets."""
    return _asked(world.ports["smtp"], client, sender, *recipients)


def _asked(port: int, client: str, sender: str, *recipients: str) -> list[str]:
    with smtplib.SMTP(source_address=(client, 0)) as connection:
        connection.connect("127.0.0.1", port)
        connection.ehlo()
        connection.mail(sender)
        return [code(lambda one=one: connection.rcpt(one)) for one in recipients]  # type: ignore[misc]


def shown(world: Smtped, account: str = JO) -> list[Header]:
    """The senders that a user sees."""
    with world.served.embedded() as mdird:
        pattern = Header([("type", "delayed")])
        return list(mdird.lookup(f"{PLACES.delayed}/{account}", pattern))


def test_who_comes_again(tmp_path: Path) -> None:
    """It is told to, its recipient sees it meanwhile, and then it is let in."""
    with greylisting(tmp_path) as (world, clock):
        assert ["450 4.2.0", "450 4.2.0"] == asked(world, THEM, "Al@there.test", JO, LI)
        eventually(lambda: len(shown(world)) == 1 == len(shown(world, LI)))
        (entry,) = shown(world)
        expected = {"from": "Al@there.test", "client-address": THEM, "envelope-to": JO}
        assert expected == {name: entry[name] for name in expected}
        assert "remove this entry" in entry["reason"]
        clock.at += 299
        assert ["450 4.2.0"] == asked(world, THEM, "al@there.test", JO)
        clock.at += 1
        assert ["250 2.1.5"] == asked(world, NEAR, "al@there.test", JO)
        eventually(lambda: shown(world) == [])
        assert 1 == len(shown(world, LI))
        assert [] == world.events("released")


def test_who_is_not_asked_to(tmp_path: Path) -> None:
    """Postmaster is for everybody; unknown recipients are unknown at once."""
    with greylisting(tmp_path) as (world, _):
        recipients = ("postmaster@ours.test", "nobody@ours.test", JO)
        expected = ["250 2.1.5", "550 5.1.1", "450 4.2.0"]
        assert expected == asked(world, THEM, "al@there.test", *recipients)
        with world.client("lmtp") as client:
            client.ehlo()
            client.mail("al@there.test")
            assert "250 2.1.5" == code(lambda: client.rcpt(JO))


def test_a_user_lets_somebody_in(tmp_path: Path) -> None:
    """By removing its entry, whatever program does that."""
    with greylisting(tmp_path) as (world, _):
        asked(world, THEM, "al@there.test", JO)
        asked(world, THEM, "bo@there.test", JO)
        eventually(lambda: len(shown(world)) == 2)
        (entry,) = [one for one in shown(world) if one["from"] == "al@there.test"]
        with world.served.embedded() as mdird:
            mdird.remove(f"{PLACES.delayed}/{JO}", Header([("url", entry["url"])]))
        eventually(lambda: world.events("released") != [])
        assert ["250 2.1.5"] == asked(world, THEM, "al@there.test", JO)
        assert ["450 4.2.0"] == asked(world, THEM, "bo@there.test", JO)
        assert [{"account": JO, "sender": "al@there.test"}] == world.events("released")


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It lists senders and lets them in; a running server follows."""
    monkeypatch.setenv("MDIR_SMTP_STATE", str(tmp_path / "smtp.sqlite3"))
    with greylisting(tmp_path) as (world, _):
        assert 0 == main(["delayed", "--list"])
        asked(world, THEM, "al@there.test", JO, LI)
        eventually(lambda: len(shown(world)) == 1)
        assert 0 == main(["delayed", "--list", "--json", "--to", JO])
        (found,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        expected = {"sender": "al@there.test", "recipient": JO, "network": "127.0.2.0/24"}
        assert expected == {name: found[name] for name in expected}
        assert 0 == main(["delayed", "--list"])
        assert 2 == len(capsys.readouterr().out.splitlines())
        assert 66 == main(["delayed", "--release", "bo@there.test"])
        assert 0 == main(["delayed", "--release", "<Al@there.test>", "--to", JO])
        assert ["250 2.1.5", "450 4.2.0"] == asked(world, THEM, "al@there.test", JO, LI)
        assert 64 == main(["delayed", "--list", "--since", "0"])


@needs_dnsmasq
def test_a_pool_that_changes_its_address(tmp_path: Path) -> None:
    """Where its domain vouches for all of it; where it does not each network is for itself."""
    with named(tmp_path, _RECORDS) as dns, greylisting(tmp_path, dns) as (world, clock):
        for sender in ("al@pool.test", "al@strict.test"):
            assert ["450 4.2.0"] == asked(world, THEM, sender, JO)
        clock.at += 300
        assert ["250 2.1.5"] == asked(world, FAR, "al@pool.test", JO)
        assert ["250 2.1.5"] == asked(world, FAR, "other@pool.test", JO)
        assert ["450 4.2.0"] == asked(world, FAR, "al@strict.test", JO)
        assert ["450 4.2.0"] == asked(world, "127.0.7.1", "al@pool.test", JO)
        # Who came from another network is not shown as delayed any more.
        left = {("al@pool.test", "127.0.7.1"), ("al@strict.test", THEM), ("al@strict.test", FAR)}
        eventually(lambda: {(one["from"], one["client-address"]) for one in shown(world)} == left)


@needs_dnsmasq
def test_answers(tmp_path: Path) -> None:
    """Of people to whom an account wrote, if SPF says that it is theirs."""
    with named(tmp_path, _RECORDS) as dns, greylisting(tmp_path, dns) as (world, _):
        assert world.server
        greys = world.server.greylisting.greys
        greys.wrote(JO, ["al@pool.test", "al@strict.test"], 1.0)
        assert ["250 2.1.5", "450 4.2.0"] == asked(world, THEM, "al@pool.test", JO, LI)
        assert ["450 4.2.0"] == asked(world, THEM, "bo@pool.test", JO)
        assert ["450 4.2.0"] == asked(world, THEM, "al@strict.test", JO)


def test_no_dns(tmp_path: Path) -> None:
    """Without DNS nobody is refused: who comes again from the same network is let in."""
    with greylisting(tmp_path, free_port()) as (world, clock):
        assert ["450 4.2.0"] == asked(world, THEM, "al@pool.test", JO)
        clock.at += 300
        assert ["250 2.1.5"] == asked(world, THEM, "al@pool.test", JO)


def test_many_senders(tmp_path: Path) -> None:
    """A folder shows the last 50; who had to make room is not let in by that."""
    with greylisting(tmp_path) as (world, clock):
        for number in range(SHOWN + 20):
            clock.at += 1
            asked(world, f"127.1.{number}.1", f"{number}@there.test", JO)
        last = f"{SHOWN + 19}@there.test"
        eventually(lambda: any(one["from"] == last for one in shown(world)))
        eventually(lambda: len(shown(world)) == SHOWN)
        assert [] == world.events("released")
        assert ["450 4.2.0"] == asked(world, "127.1.0.1", "0@there.test", JO)


def test_a_client_that_goes_away_meanwhile(tmp_path: Path) -> None:
    """While its domain is asked it may say more, or nothing any more."""
    with greylisting(tmp_path, free_port()) as (world, _):
        with world.socket() as sock:
            sock.sendall(b"EHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<jo@ours.test>\r\n")
        with world.socket() as sock:
            sock.sendall(
                b"EHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<jo@ours.test>\r\nRSET\r\nQUIT\r\n"
            )
            said = b""
            while piece := sock.recv(4096):
                said += piece
        assert [b"450", b"250", b"221"] == [line[:3] for line in said.splitlines()[-3:]]
        eventually(lambda: world.server is not None and not world.server.sessions)


def test_a_server_that_is_killed(tmp_path: Path) -> None:
    """Who is blocked stays so, and who was told to come again is known when it does."""
    harvester = "127.0.3.1"
    words = ["--early", "0", "--allow", "192.0.2.1/32", "--grey-for", "1"]
    with outboxed(tmp_path) as world:
        world.environ["MDIR_SMTP_DNS"] = f"127.0.0.1:{free_port()}"
        with world.serving(*words) as (process, port):
            unknown = [f"{name}@ours.test" for name in ("amy", "bob", "cat")]
            assert ["550 5.1.1"] * 3 == _asked(port, harvester, "x@there.test", *unknown)
            assert ["450 4.2.0"] == _asked(port, THEM, "al@there.test", JO)
            first = time.time()
            eventually(lambda: "blocked network=127.0.3.1" in world.log)
            eventually(lambda: "al@there.test" in world.run("delayed", "--list").stdout)
            process.kill()
            process.wait(30)
        with world.serving(*words) as (_, port):
            assert ["450 4.7.0"] == _asked(port, harvester, "x@there.test", JO)
            eventually(lambda: time.time() > first + 1)
            assert ["250 2.1.5"] == _asked(port, THEM, "al@there.test", JO)
            assert ["450 4.2.0"] == _asked(port, THEM, "bo@there.test", JO)
