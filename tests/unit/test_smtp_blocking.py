"""Who is blocked for asking for unknown recipients, for how long, and who never is."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from mdirclient.cli.smtp import main
from mdirclient.errors import StoreError
from mdirclient.smtp.antispam.blocking import Blocking, Visit
from mdirclient.smtp.antispam.blocks import Block, Blocks
from mdirclient.smtp.serve.limits import Limits, parse_networks

HOUR, DAY = 3600.0, 86_400.0
THEM = "192.0.2.1"


@attrs.define
class World:
    """Blocking with a clock that is set by hand."""

    path: str
    limits: Limits = attrs.field(factory=Limits)
    most: int = 10**6
    now: float = 1_800_000_000.0
    log: list[str] = attrs.field(factory=list)
    blocks: Blocks = attrs.field(init=False)
    blocking: Blocking = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        """Open the database."""
        self.blocks = Blocks(self.path)
        self.blocking = Blocking(
            self.blocks,
            self.limits,
            lambda event, **_: self.log.append(event),
            now=lambda: self.now,
            most=self.most,
        )

    def visit(self, *recipients: str, network: str = THEM, is_good: bool = False) -> list[Block]:
        """A session with these unknown recipients; the new blocks."""
        missed = dict.fromkeys(recipients, self.now)
        found = self.blocking.judge([Visit(network, missed, is_good)])
        return [block for block, _ in found]

    def harvest(self, network: str = THEM) -> list[Block]:
        """A session of a harvester."""
        return self.visit("a@x", "b@x", "c@x", network=network)

    def count(self) -> int:
        """Rows of all tables."""
        with self.blocks.writing() as writing:
            return writing.count()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An empty database."""
    world = World(str(tmp_path / "smtp.sqlite3"))
    yield world
    world.blocks.close()


def test_a_harvester_is_blocked(world: World) -> None:
    """Three different ones within an hour, in one session or several."""
    assert not world.visit("a@x", "b@x")
    assert not world.blocking.is_blocked(THEM)
    world.now += HOUR - 1
    (block,) = world.visit("c@x")
    assert Block(THEM, world.now + HOUR, 1, world.now, "unknown recipients") == block
    assert world.blocking.is_blocked(THEM)
    assert not world.blocking.is_blocked("192.0.2.2")


def test_one_recipient_counts_once(world: World) -> None:
    """Who tries the same typo again and again is not blocked."""
    for _ in range(5):
        assert not world.visit("a@x")
    assert not world.visit("b@x", "a@x")
    assert not world.blocking.is_blocked(THEM)


def test_over_more_than_an_hour(world: World) -> None:
    """Few typos a day are not too many."""
    for recipient in ("a@x", "b@x", "c@x", "d@x"):
        assert not world.visit(recipient)
        world.now += HOUR / 2 + 1
    assert not world.blocking.is_blocked(THEM)


def test_a_good_sender_is_not_blocked(world: World) -> None:
    """Neither with the good mail in the same session nor 35 days later; then it is."""
    assert not world.visit("a@x", "b@x", "c@x", is_good=True)
    world.now += 35 * DAY - 1
    assert not world.harvest()
    world.now += 2
    assert 1 == len(world.harvest())


def test_blocks_grow(world: World) -> None:
    """Each is twice as long, up to 7 days; 35 days after the last one it begins anew."""
    hours = []
    for _ in range(10):
        (block,) = world.harvest()
        hours.append((block.until - world.now) / HOUR)
        world.now = block.until
    assert [1, 2, 4, 8, 16, 32, 64, 128, 168, 168] == hours
    world.now += 35 * DAY
    (block,) = world.harvest()
    assert (1, HOUR) == (block.count, block.until - world.now)


def test_a_block_ends(world: World) -> None:
    """After its time; what led to it does not count again, nor what comes while it lasts."""
    world.harvest()
    assert not world.visit("d@x", "e@x", "f@x")
    world.now += HOUR - 1
    assert world.blocking.is_blocked(THEM)
    world.now += 1
    assert not world.blocking.is_blocked(THEM)
    assert not world.visit("a@x", "b@x")


def test_networks(world: World) -> None:
    """An IPv6 /64 is one; a mapped address is the IPv4 one."""
    watched = world.blocking.watched
    assert "2001:db8::/64" == watched("smtp", None, "2001:db8::1")
    assert "2001:db8::/64" == watched("smtp", None, "2001:db8::ffff:1")
    assert "2001:db8:0:1::/64" == watched("smtp", None, "2001:db8:0:1::1")
    assert THEM == watched("smtp", None, f"::ffff:{THEM}")


def test_who_is_exempt(tmp_path: Path) -> None:
    """Networks that are allowed, users, other listeners, Unix sockets; all, if it is off."""
    allow = parse_networks("--allow", ["192.0.2.0/24"])
    world = World(str(tmp_path / "some"), Limits(allow=allow))
    watched = world.blocking.watched
    assert "192.0.3.1" == watched("smtp", None, "192.0.3.1")
    assert [None] * 5 == [
        watched("smtp", None, THEM),
        watched("smtp", "jo", "192.0.3.1"),
        watched("lmtp", None, "192.0.3.1"),
        watched("submission", None, "192.0.3.1"),
        watched("smtp", None, ""),
    ]
    world.blocks.close()
    world = World(str(tmp_path / "off"), Limits(block_for=0))
    assert world.blocking.watched("smtp", None, "192.0.3.1") is None
    world.blocks.close()
    world = World(str(tmp_path / "default"))
    assert world.blocking.watched("smtp", None, "127.0.0.1") is None
    world.blocks.close()


def test_by_hand(world: World) -> None:
    """Added, listed and removed; who is removed has a new start."""
    with world.blocks.writing() as writing:
        writing.add(Block("192.0.2.9", world.now + DAY, 0, world.now, "by hand"))
    world.harvest()
    assert [THEM, "192.0.2.9"] == [block.network for block in world.blocks.listed(world.now)]
    assert world.blocks.remove(THEM, world.now)
    assert not world.blocks.remove(THEM, world.now)
    assert not world.blocking.is_blocked(THEM)
    assert not world.visit("d@x", "e@x")
    assert world.blocking.is_blocked("192.0.2.9")


def test_removal_forgets_what_was_counted(world: World) -> None:
    """Two unknown recipients before it do not count with the next one."""
    world.visit("a@x", "b@x")
    world.blocks.remove(THEM, world.now)
    assert not world.visit("c@x")


def test_it_survives(world: World) -> None:
    """What is known is there after the database was opened again, counts and blocks."""
    world.harvest()
    world.visit("a@x", "b@x", network="192.0.2.2")
    world.blocks.close()
    world.open()
    assert world.blocking.is_blocked(THEM)
    assert 1 == len(world.visit("c@x", network="192.0.2.2"))


def test_it_survives_a_kill(world: World) -> None:
    """A block that was kept by a process is there after SIGKILL."""
    program = (
        "import os, sys; from mdirclient.smtp.antispam.blocks import Block, Blocks\n"
        "with Blocks(sys.argv[1]).writing() as writing:\n"
        "    writing.put(Block('192.0.2.1', 4e9, 1, 0, ''))\n"
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program, world.path], timeout=60)
    assert -9 == done.returncode
    assert world.blocking.is_blocked(THEM)


def test_it_is_bounded(tmp_path: Path) -> None:
    """The oldest go; what is over goes anyway."""
    world = World(str(tmp_path / "smtp.sqlite3"), most=6_000)
    many = [Visit(f"good{number}", {}, is_good=True) for number in range(5_000)]
    world.blocking.judge(many)
    for number in range(3_000):
        world.visit("a@x", network=f"net{number}")
    world.now += 1
    world.visit("a@x", "b@x", network="last")
    world.blocking.forget()
    assert 6_000 == world.count()
    assert 1 == len(world.visit("c@x", network="last"))
    world.now += 2 * HOUR
    world.blocking.forget()
    assert 5_001 == world.count()
    world.now += 36 * DAY
    world.blocking.forget()
    assert 0 == world.count()
    world.blocks.close()


def test_a_broken_database_blocks_nobody(world: World) -> None:
    """It is logged; mail comes in."""
    world.harvest()
    world.blocks.close()
    assert not world.blocking.is_blocked(THEM)
    assert ["state-failed"] == world.log
    with pytest.raises(StoreError):
        world.harvest()


def test_readers_do_not_wait_for_a_writer(world: World) -> None:
    """A decision is made while a transaction goes on, from what was before it."""
    world.harvest()
    with world.blocks.writing() as writing:
        writing.remove(THEM)
        assert world.blocking.is_blocked(THEM)
    world.now += 1
    assert not world.blocking.is_blocked(THEM)


def test_what_is_asked_often(world: World) -> None:
    """A second long a network is not looked up again, but for a block of this server's own."""
    assert not world.blocking.is_blocked(THEM)
    with world.blocks.writing() as writing:
        writing.add(Block(THEM, world.now + HOUR, 0, world.now, "by hand"))
    assert not world.blocking.is_blocked(THEM)
    world.now += 1
    assert world.blocking.is_blocked(THEM)


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`mdir-smtp block` adds, lists and removes; what is no network, or not there, is told."""
    monkeypatch.setenv("MDIR_SMTP_STATE", str(tmp_path / "smtp.sqlite3"))
    assert 0 == main(["block", "--add", THEM])
    assert 0 == main(["block", "--add", "2001:db8::1", "--for", "60"])
    capsys.readouterr()
    assert 0 == main(["block", "--list", "--json"])
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert ["2001:db8::/64", THEM] == [one["network"] for one in listed]
    assert ["by hand", "by hand"] == [one["reason"] for one in listed]
    assert 0 == main(["block", "--remove", "2001:db8::/64"])
    assert 66 == main(["block", "--remove", "2001:db8::/64"])
    assert "2001:db8::/64 is not blocked" in capsys.readouterr().err
    for wrong in ("192.0.2.0/24", "2001:db8::/48", "2001:db8::1/64", "x", ""):
        assert 64 == main(["block", "--add", wrong])
    assert 64 == main(["block"])
    assert 64 == main(["block", "--add", THEM, "--for", "0"])
    with contextlib.closing(Blocks(str(tmp_path / "smtp.sqlite3"))) as blocks:
        assert [THEM] == [block.network for block in blocks.listed(0)]
