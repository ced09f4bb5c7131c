"""Harvesters of addresses and the SMTP server: who is blocked, and who is not."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from mdirclient.smtp.serve.limits import Limits
from tests.mails import small
from tests.smtped import ACCOUNTS, Smtped, code, crlf, eventually, send, smtp_serving

JO = ACCOUNTS[0]
STRICT = Limits(allow=(), early=0, grey_for=0)


def asked(world: Smtped, *recipients: str) -> list[str]:
    """The answers to these recipients, in a session of their own."""
    with world.client() as client:
        client.ehlo()
        client.mail("a@b.test")
        found = [code(lambda one=one: client.rcpt(one)) for one in recipients]  # type: ignore[misc]
    eventually(lambda: world.server is not None and not world.server.sessions)
    return found


def rows(world: Smtped, table: str) -> int:
    """How many a table has."""
    with closing(sqlite3.connect(world.path / "smtp.sqlite3")) as database:
        return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def harvested(world: Smtped) -> list[str]:
    """The answers to a harvester."""
    return asked(world, *(f"{name}@ours.test" for name in ("amy", "bob", "cat")))


def test_a_harvester(tmp_path: Path) -> None:
    """It is told to come later from its next session on, but for postmaster, and it is logged."""
    with smtp_serving(tmp_path, STRICT) as world:
        assert ["550 5.1.1"] * 3 == harvested(world)
        eventually(lambda: world.events("blocked") != [])
        (event,) = world.events("blocked")
        assert ("127.0.0.1", 3) == (event["network"], event["unknown"])
        assert ["450 4.7.0", "450 4.7.0"] == asked(world, JO, "amy@ours.test")
        expected = ["250 2.1.5", "250 2.1.5", "450 4.7.0", "450 4.7.0"]
        assert expected == asked(
            world, "postmaster", "Postmaster@ours.test", "postmaster@b.test", JO
        )
        with world.client("lmtp") as client:
            client.ehlo()
            client.mail("a@b.test")
            assert "250 2.1.5" == code(lambda: client.rcpt(JO))
    with smtp_serving(tmp_path / "other", STRICT) as world:
        assert ["250 2.1.5"] == asked(world, JO)


def test_it_survives_a_restart(tmp_path: Path) -> None:
    """The block is there when the server begins again with the same database."""
    with smtp_serving(tmp_path, STRICT) as world:
        harvested(world)
        eventually(lambda: world.events("blocked") != [])
        (tmp_path / "next").mkdir()
        with (
            closing(sqlite3.connect(tmp_path / "smtp.sqlite3")) as database,
            closing(sqlite3.connect(tmp_path / "next" / "smtp.sqlite3")) as copy,
        ):
            database.backup(copy)
    with smtp_serving(tmp_path / "next", STRICT) as world:
        assert ["450 4.7.0"] == asked(world, JO)


def test_a_good_sender(tmp_path: Path) -> None:
    """Who has delivered a mail may err."""
    with smtp_serving(tmp_path, STRICT) as world:
        send(world, crlf(small(1)))
        eventually(lambda: rows(world, "good") == 1)
        assert ["550 5.1.1"] * 3 == harvested(world)
        assert ["550 5.1.1"] * 3 == harvested(world)
        assert ["250 2.1.5"] == asked(world, JO)
        assert [] == world.events("blocked")


def test_what_does_not_count(tmp_path: Path) -> None:
    """Other domains; one recipient again and again; and all while the accounts are not current."""
    with smtp_serving(tmp_path, STRICT) as world:
        others = [f"{name}@b.test" for name in ("amy", "bob", "cat")]
        assert ["550 5.7.1"] * 3 == asked(world, *others)
        assert ["550 5.1.1"] * 4 == asked(world, *["amy@ours.test"] * 4)
        assert world.server
        assert world.loop
        following = world.server.policy.following
        for followed in following.followed.values():
            followed.is_current = False
        world.loop.call_soon_threadsafe(following.changed)
        eventually(lambda: not following.is_current)
        assert ["451 4.3.0"] * 3 == harvested(world)
        eventually(lambda: rows(world, "unknown") == 1)
        assert [] == world.events("blocked")


def test_it_can_be_off(tmp_path: Path) -> None:
    """With 0, and by default for loopback, nobody is blocked."""
    for name, limits in (
        ("off", Limits(allow=(), early=0, block_for=0, grey_for=0)),
        ("local", Limits()),
    ):
        with smtp_serving(tmp_path / name, limits) as world:
            harvested(world)
            assert ["550 5.1.1", "250 2.1.5"] == asked(world, "amy@ours.test", JO)
