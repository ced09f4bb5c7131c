"""Who is told to come again, who is let in, and when: with a clock that is set by hand."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from mdirclient.errors import StoreError
from mdirclient.smtp.antispam.greylisting import Delay, Greylisting, Verdict, subnet
from mdirclient.smtp.antispam.greys import DAY, MEMORY, Greys, Key
from mdirclient.smtp.engine import Connection, Profile
from mdirclient.smtp.serve.limits import Limits, parse_networks
from mdirclient.smtp.serve.note import Note
from mdirclient.smtp.serve.server import Listener

JO, LI = "jo@ours.test", "li@ours.test"
THEM, NEAR, FAR = "192.0.2.1", "192.0.2.200", "198.51.100.7"
SENDER = "Al@there.test"


@attrs.define
class World:
    """Greylisting of one server; nobody is asked by DNS, the tests say what SPF would."""

    path: str
    limits: Limits = attrs.field(factory=Limits)
    most: int = 10**6
    now: float = 1_800_000_000.0
    log: list[str] = attrs.field(factory=list)
    delays: list[Delay] = attrs.field(factory=list)
    returns: list[Key] = attrs.field(factory=list)
    greylisting: Greylisting = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        """Begin with what is in the database."""
        self.greylisting = Greylisting(
            Greys(self.path),
            self.limits,
            None,
            lambda event, **_: self.log.append(event),
            now=lambda: self.now,
            most=self.most,
        )
        self.greylisting.on_delay = self.delays.append
        self.greylisting.on_return = self.returns.append

    def note(
        self,
        client: str = THEM,
        sender: str = SENDER,
        *,
        vouched: str = "",
        kind: str = "smtp",
        user: str | None = None,
    ) -> Note:
        """A mail that begins."""
        engine = Connection(Profile("mx.test"))
        engine.helo, engine.user = "client.test", user
        listener = Listener(kind, Profile("mx.test"), False, lambda: None)
        note = Note(listener, engine, client, sender, self.now)
        note.vouched = vouched
        return note

    async def judged(self, *given: tuple[Note, str]) -> list[Verdict]:
        """What is to be done with senders; what is known then is written."""
        found = [self.greylisting.judge(note, account) for note, account in given]
        while self.greylisting._writing:
            await asyncio.wait([self.greylisting._writing])
        return found

    def judge(self, client: str = THEM, sender: str = SENDER, to: str = JO, **more: str) -> Verdict:
        """The same of one."""
        note = self.note(client, sender, **more)
        return asyncio.run(self.judged((note, to)))[0]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An empty database."""
    world = World(str(tmp_path / "smtp.sqlite3"))
    yield world
    world.greylisting.greys.close()


def test_who_comes_again_is_let_in(world: World) -> None:
    """After 300 seconds, from the same /24, in any spelling; then for 35 days at once."""
    assert Verdict.DELAY is world.judge()
    world.now += 299
    assert Verdict.DELAY is world.judge()
    world.now += 1
    assert Verdict.LET_IN is world.judge(NEAR, SENDER.lower())
    assert 1 == len(world.delays) == len(world.returns)
    assert (SENDER, THEM, "client.test") == attrs.astuple(world.delays[0])[1:4]
    for _ in range(3):
        world.now += MEMORY - 1
        assert Verdict.LET_IN is world.judge()
    world.now += MEMORY + 1
    assert Verdict.DELAY is world.judge()
    world.now += 10
    assert Verdict.DELAY is world.judge()


def test_what_is_told_apart(world: World) -> None:
    """Networks, senders and recipients."""
    assert Verdict.DELAY is world.judge()
    world.now += 400
    assert Verdict.DELAY is world.judge(FAR)
    assert Verdict.DELAY is world.judge(sender="other@there.test")
    assert Verdict.DELAY is world.judge(to=LI)
    assert Verdict.DELAY is world.judge(sender="<>")
    assert Verdict.LET_IN is world.judge()


def test_who_comes_too_late_is_new(world: World) -> None:
    """A day after the first time it begins anew."""
    assert Verdict.DELAY is world.judge()
    world.now += DAY + 1
    assert Verdict.DELAY is world.judge()
    assert 2 == len(world.delays)
    world.now += 300
    assert Verdict.LET_IN is world.judge()


def test_a_pool_of_addresses(world: World) -> None:
    """Where SPF vouches for the domain any of its clients may come again, for any sender of it."""
    assert Verdict.DELAY is world.judge(THEM, "bounce+1@there.test", vouched="there.test")
    world.now += 300
    assert Verdict.DELAY is world.judge(FAR, "bounce+1@there.test")
    assert Verdict.LET_IN is world.judge("203.0.113.9", "bounce+1@there.test", vouched="there.test")
    assert Verdict.LET_IN is world.judge("203.0.114.9", "bounce+2@there.test", vouched="there.test")
    assert Verdict.DELAY is world.judge("203.0.114.9", "x@there.test", to=LI, vouched="there.test")
    assert Verdict.DELAY is world.judge("203.0.115.9", "x@other.test", vouched="other.test")


def test_spf_does_not_skip_it(world: World) -> None:
    """Whoever can buy a domain can write its record: it is delayed all the same."""
    assert Verdict.DELAY is world.judge(vouched="there.test")
    assert Verdict.DELAY is world.judge(vouched="there.test")


def test_a_known_good_network(world: World) -> None:
    """When three senders came back all of it is let in, until 35 days after the last mail."""
    for number in range(3):
        world.judge(sender=f"{number}@there.test")
    world.now += 300
    for number in range(3):
        assert Verdict.DELAY is world.judge(sender="new@there.test", to=LI)
        assert Verdict.LET_IN is world.judge(sender=f"{number}@there.test")
    assert Verdict.LET_IN is world.judge(NEAR, "new@there.test", LI)
    assert Verdict.LET_IN is world.judge(sender="another@elsewhere.test")
    world.now += 30 * DAY
    assert Verdict.LET_IN is world.judge(sender="another@elsewhere.test", to=LI)
    world.now += 30 * DAY
    assert Verdict.LET_IN is world.judge(sender="third@elsewhere.test", to=LI)
    world.now += MEMORY + DAY + 1
    assert Verdict.DELAY is world.judge(sender="fourth@elsewhere.test", to=LI)


def test_correspondents(world: World) -> None:
    """An answer comes at once, if SPF vouches for its domain: a sender is easily forged."""
    world.greylisting.greys.wrote(JO, ["AL@there.test"], world.now)
    assert Verdict.DELAY is world.judge()
    assert Verdict.DELAY is world.judge(to=LI, vouched="there.test")
    assert Verdict.LET_IN is world.judge(FAR, vouched="there.test")
    assert Verdict.LET_IN is world.judge(FAR)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "lmtp"},
        {"kind": "submission", "user": "jo"},
        {"client": ""},
        {"client": "127.0.0.1"},
    ],
)
def test_who_is_exempt(world: World, change: dict[str, str]) -> None:
    """Users, LMTP and whoever is allowed."""
    assert Verdict.LET_IN is world.judge(**change)


def test_it_can_be_off(tmp_path: Path) -> None:
    """With 0 nobody is delayed."""
    for number, limits in enumerate(
        [Limits(grey_for=0), Limits(allow=parse_networks("", ["192.0.2.0/24"]))]
    ):
        world = World(str(tmp_path / f"{number}.sqlite3"), limits)
        assert Verdict.LET_IN is world.judge()
        world.greylisting.greys.close()


def test_a_restart(world: World) -> None:
    """What was known is known."""
    world.judge()
    world.greylisting.greys.close()
    world.open()
    world.now += 300
    assert Verdict.LET_IN is world.judge()


def test_a_release(world: World) -> None:
    """Who is released is let in, and the domain that SPF vouched for; the others are not."""
    world.judge(vouched="there.test")
    world.judge(sender="x@other.test")
    greys = world.greylisting.greys
    assert [SENDER.lower(), "x@other.test"] == [key.sender for key, _ in greys.waiting(0)]
    assert 0 == greys.release_sender(SENDER, LI, world.now)
    assert 1 == greys.release_sender(SENDER, None, world.now)
    assert ["x@other.test"] == [key.sender for key, _ in greys.waiting(0)]
    assert Verdict.LET_IN is world.judge()
    assert Verdict.LET_IN is world.judge(FAR, "y@there.test", vouched="there.test")
    assert Verdict.DELAY is world.judge(sender="x@other.test")
    greys.release(Key("192.0.2.0/24", "x@other.test", JO), world.now)
    assert Verdict.LET_IN is world.judge(sender="x@other.test")


def test_who_came_again_is_counted_once(world: World) -> None:
    """Whatever lets it in: its network is good by now, its account wrote to it, or released it."""
    greys, others = world.greylisting.greys, [f"{number}@there.test" for number in range(3)]
    for sender in (SENDER, *others):
        world.judge(sender=sender)
    world.judge(FAR, "friend@far.test", vouched="far.test")
    world.judge(FAR, "released@far.test")
    world.now += 300
    for sender in others:
        world.judge(sender=sender)
    assert others == [key.sender for key in world.returns]
    greys.wrote(JO, ["friend@far.test"], world.now)
    greys.release_sender("released@far.test", None, world.now)
    for _ in range(2):
        world.now += 120
        assert Verdict.LET_IN is world.judge()
        assert Verdict.LET_IN is world.judge(FAR, "friend@far.test", vouched="far.test")
        assert Verdict.LET_IN is world.judge(FAR, "released@far.test")
    came = [key.sender for key in world.returns[3:]]
    assert [SENDER.lower(), "friend@far.test", "released@far.test"] == came


def test_who_comes_after_days_is_late(world: World) -> None:
    """It does not count as one that came again, though its network is let in by now."""
    world.judge()
    world.now += 2 * DAY
    for number in range(3):
        world.judge(sender=f"{number}@there.test")
    world.now += 300
    for number in range(3):
        world.judge(sender=f"{number}@there.test")
    world.now += 120
    assert Verdict.LET_IN is world.judge()
    assert 3 == len(world.returns)


def test_a_clock_that_was_wrong(world: World) -> None:
    """What came in the future is new."""
    world.now += 100 * DAY
    world.judge()
    world.now -= 100 * DAY
    assert Verdict.DELAY is world.judge()
    world.now += 300
    assert Verdict.LET_IN is world.judge()


def test_strangers_push_out_strangers(tmp_path: Path) -> None:
    """However many come, who was let in is known."""
    world = World(str(tmp_path / "smtp.sqlite3"), most=10)
    world.judge()
    world.now += 300
    assert Verdict.LET_IN is world.judge()
    for number in range(30):
        world.now += 1
        world.judge(f"10.0.{number}.1")
    world.greylisting.forget()
    world.now += 100
    assert Verdict.LET_IN is world.judge()
    world.greylisting.greys.close()


def test_it_is_bounded(tmp_path: Path) -> None:
    """Of too many the oldest are forgotten, and all after 35 days."""
    world = World(str(tmp_path / "smtp.sqlite3"), most=10)
    for number in range(30):
        world.now += 1
        world.judge(f"10.0.{number}.1")
    world.greylisting.forget()
    left = [key.source for key, _ in world.greylisting.greys.waiting(0)]
    assert [f"10.0.{number}.0/24" for number in range(20, 30)] == left
    world.now += MEMORY + 60
    world.greylisting.forget()
    assert [] == list(world.greylisting.greys.waiting(0))
    world.greylisting.greys.close()


def test_a_database_that_fails(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It lets everybody in, or keeps what is new in memory, and says so."""

    def fail(*_: object) -> None:
        raise StoreError("no")

    monkeypatch.setattr(Greys, "put", fail)
    assert Verdict.DELAY is world.judge()
    assert ["state-failed"] == world.log
    world.now += 300
    assert Verdict.LET_IN is world.judge()
    monkeypatch.setattr(Greys, "find", fail)
    assert Verdict.LET_IN is world.judge(FAR)


def test_it_survives_a_kill(tmp_path: Path) -> None:
    """What was committed is there after SIGKILL."""
    path = str(tmp_path / "smtp.sqlite3")
    script = (
        "import os, signal, sys\n"
        "from mdirclient.smtp.antispam.greys import Grey, Greys, Key\n"
        "greys = Greys(sys.argv[1])\n"
        "for number in range(1000):\n"
        "    greys.put({Key(f'{number}', 'a', 'b'): Grey(1.0, 1.0, False)}, {})\n"
        "    print(number, flush=True)\n"
        "    if number == 500:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True)
    last = int(done.stdout.split()[-1])
    greys = Greys(path)
    assert all(greys.find(Key(f"{number}", "a", "b")) for number in range(last + 1))
    greys.close()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("nonsense", "nonsense"),
    ],
)
def test_networks(address: str, expected: str) -> None:
    """What an address counts as."""
    assert expected == subnet(address)
