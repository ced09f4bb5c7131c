"""The spam box where it is hard: servers that die in it, removals that fail, second thoughts."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from mdirclient import Header, _fs, aio, connect
from mdirclient.errors import TransportError
from mdirclient.settings import Settings
from mdirclient.smtp.accounts import add_account
from mdirclient.smtp.followed import Followed
from mdirclient.smtp.following import Following
from mdirclient.smtp.spam import box as boxes
from mdirclient.smtp.spam.box import SpamBox, _Box
from mdirclient.smtp.spam.votes import Vote, Votes
from mdirclient.smtp.state import Record, State
from tests.places import PLACES

JO, LI = "jo@ours.test", "li@ours.test"


def test_nothing_is_due_while_the_mdird_is_away(tmp_path: Path) -> None:
    """It waits to hear of it, and does not look again and again."""
    nothing: Any = None

    def log(*_: object, **__: object) -> None:
        """Nobody listens."""

    async def waits() -> list[float | None]:
        votes = Votes(str(tmp_path / "smtp.sqlite3"))
        following = Following(nothing, PLACES, log)
        following._is_made = True
        box = SpamBox(nothing, following, votes, places=PLACES, kept=5, log=log, now=lambda: 100.0)
        followed = Followed(nothing, "x", None, lambda: None, log, event="stale")
        late = {"mdir:a@b/1": Vote("jo@ours.test", "mdir:a@b/1", 1.0)}
        task = asyncio.create_task(asyncio.sleep(0))
        box._boxes["jo@ours.test"] = late_box = _Box(followed, task, late, due=6.0)
        found = [await box._work_all()]
        followed.is_current, late_box.due = True, 105.0
        found.append(await box._work_all())
        await task
        votes.close()
        return found

    assert [None, 5.0] == asyncio.run(waits())


class _Died(BaseException):
    """The server is killed here."""


@attrs.define
class World:
    """An mdir with an account, its spam box, and what is known of its mails."""

    url: str
    path: str
    box: SpamBox | None = None

    def mail(self, name: str, *fields: tuple[str, str]) -> str:
        """A mail that came, and is in the box now; its anchor."""
        with connect(self.url) as mdird:
            stored = mdird.store.add(f"Message-ID: <{name}@x.test>\r\n\r\nx\r\n".encode())
            (header,) = stored.headers()
            for field, value in fields:
                header = header.replace(field, value)
            mdird.put(f"{PLACES.spam}/{JO}", header)
        state = State(self.path)
        state.add([attrs.evolve(_RECORD, anchor=str(stored.anchor))])
        state.close()
        return str(stored.anchor)

    def is_empty(self) -> bool:
        """Whether all mails have left the box."""
        with connect(self.url) as mdird:
            return not any("part" in one for one in mdird.lookup(f"{PLACES.spam}/{JO}"))

    def votes(self) -> list[str]:
        """Anchors of what was recorded."""
        with contextlib.closing(Votes(self.path)) as votes:
            return sorted(one.anchor for one in votes.listed() if one.is_known)

    def put(self, account: str, name: str) -> None:
        """Somebody puts something into a box of which nothing is known."""
        with connect(self.url) as mdird:
            mdird.put(f"{PLACES.spam}/{account}", Header([("url", f"mdir:{name}@x.test/1")]))

    def run(self, until: Callable[[], bool]) -> None:
        """A server's spam box, until something is so, or the server dies."""

        def log(*_: object, **__: object) -> None:
            """Nobody listens."""

        async def work() -> None:
            settings = Settings({"MDIRD": self.url})
            async with await aio.connect(settings=settings) as mdird:
                following = Following(mdird, PLACES, log)
                with contextlib.closing(Votes(self.path)) as votes:
                    box = self.box = SpamBox(
                        mdird, following, votes, places=PLACES, kept=0, log=log,
                        now=lambda: 100.0,
                    )  # fmt: skip
                    tasks = [asyncio.create_task(one.run()) for one in (following, box)]
                    async with asyncio.timeout(20):
                        while not until() and not tasks[1].done():  # noqa: ASYNC110 - others write
                            await asyncio.sleep(0.05)
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run(work())


_RECORD = Record(
    at=1.0, listener="smtp", client="192.0.2.1", helo="x", protocol="ESMTP", user="",
    reverse_path="a@x.test", recipients=(JO,), refused=(), size=1, verdict="accepted",
    reply="250 2.0.0", accounts=(JO,),
)  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> World:
    """See the class."""
    world = World(f"file://{tmp_path}/mdir", f"{tmp_path}/smtp.sqlite3")
    with connect(world.url) as mdird:
        add_account(mdird, PLACES, JO)
    return world


@pytest.mark.parametrize(
    ("owner", "step"), [(Votes, "add"), (Votes, "empty"), (SpamBox, "_remove")]
)
def test_a_server_that_dies_after_a_step(
    world: World, monkeypatch: pytest.MonkeyPatch, owner: Any, step: str
) -> None:
    """The next one goes on there: one vote for each mail, an empty box, and nothing is undone."""
    real = getattr(owner, step)

    def dies(*given: Any) -> Any:
        real(*given)
        raise _Died

    async def dies_later(*given: Any) -> None:
        await real(*given)
        raise _Died

    anchors = [world.mail("one"), world.mail("two")]
    with monkeypatch.context() as patched:
        patched.setattr(owner, step, dies if owner is Votes else dies_later)
        world.run(lambda: False)
    assert set(world.votes()) <= set(anchors)
    world.run(world.is_empty)
    for name in ("three", "four"):  # whoever comes later has looked at all that was
        anchors.append(world.mail(name))
        world.run(lambda: anchors[-1] in world.votes() and world.is_empty())
    assert sorted(anchors) == world.votes()


def test_a_removal_that_fails(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again: what is to leave the box does."""
    anchor, real, tries = world.mail("one"), SpamBox._remove, list[None]()

    async def fails_once(*given: Any) -> None:
        tries.append(None)
        if len(tries) == 1:
            raise TransportError("mdird", "away")
        await real(*given)

    monkeypatch.setattr(SpamBox, "_remove", fails_once)
    monkeypatch.setattr(boxes, "_FAILING", 0.1)
    world.run(world.is_empty)
    assert [anchor] == world.votes()
    assert 2 == len(tries)


def test_a_busy_box_and_another(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often one changes, the other is looked at when it is due."""
    monkeypatch.setattr(boxes, "_FOLLOWING", 1.0)
    with connect(world.url) as mdird:
        add_account(mdird, PLACES, LI)
    world.put(JO, "unknown")
    count, began = itertools.count(), time.monotonic()

    def has_voted() -> bool:
        if time.monotonic() > began + 0.5:
            world.put(LI, f"mail{next(count)}")
        with contextlib.closing(Votes(world.path)) as votes:
            return any(one.account == JO for one in votes.listed())

    world.run(has_voted)
    assert has_voted()


def test_another_box_on_the_same_database(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits until the first one ends."""
    monkeypatch.setattr(boxes, "_FAILING", 0.1)
    anchor, began = world.mail("one"), time.monotonic()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_fs.lock(f"{world.path}.lock", timeout=0))

        def is_waiting() -> bool:
            if time.monotonic() < began + 1:
                return False
            assert [] == world.votes()
            return True

        world.run(is_waiting)
    world.run(lambda: world.votes() == [anchor] and world.is_empty())
    assert [anchor] == world.votes()


def test_what_is_unknown_and_taken_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no vote, and not looked for any more."""
    monkeypatch.setattr(boxes, "_FOLLOWING", 60.0)
    world.put(JO, "unknown")
    seen: list[bool] = []

    def is_forgotten() -> bool:
        box = world.box._boxes.get(JO) if world.box else None
        is_waiting = bool(box and box.unknown)
        if is_waiting and not seen:
            seen.append(True)
            with connect(world.url) as mdird:
                mdird.remove(f"{PLACES.spam}/{JO}", Header([("url", "mdir:unknown@x.test/1")]))
        return bool(seen) and not is_waiting

    world.run(is_forgotten)
    assert is_forgotten()
    assert [] == world.votes()


def test_an_old_vote_on_the_same_network(world: World) -> None:
    """It does not keep what was learned after it from coming back."""
    state = State(world.path)
    state.add([attrs.evolve(_RECORD, anchor=f"mdir:{name}@x.test/1") for name in "ab"])
    state.close()
    with contextlib.closing(Votes(world.path)) as votes:
        votes.add(JO, "mdir:a@x.test/1", 9.0, lambda one: one == JO)
        votes.empty(JO, "mdir:a@x.test/1")
        with votes.transaction() as connection:
            connection.execute("INSERT INTO good VALUES ('192.0.2.1', 50)")
        votes.add(JO, "mdir:b@x.test/1", 99.0, lambda one: one == JO)
        assert [0, 0, 0] == _trusted(world.path)
        assert votes.undo(JO, "mdir:b@x.test/1")
        assert [1, 0, 0] == _trusted(world.path)


def test_a_mail_of_a_type(world: World) -> None:
    """A notification that comes by SMTP is a mail like others."""
    anchor = world.mail("one", ("type", "delivery-status"))
    world.run(lambda: world.is_empty() and bool(world.votes()))
    assert [anchor] == world.votes()


def _trusted(path: str) -> list[int]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        queries = [f"SELECT count(*) FROM {table}" for table in ("good", "known", "grey")]
        return [connection.execute(query).fetchone()[0] for query in queries]


def test_a_second_thought_gives_back_what_was_known(world: World) -> None:
    """Until the mail has left the box by us."""
    state = State(world.path)
    state.add([attrs.evolve(_RECORD, anchor=f"mdir:{name}@x.test/1") for name in "ab"])
    state.add([attrs.evolve(_RECORD, anchor="mdir:own@x.test/1", user=LI, reverse_path=LI)])
    state.close()
    with contextlib.closing(sqlite3.connect(world.path)) as connection:
        for query in (
            "INSERT INTO good VALUES ('192.0.2.1', 5)",
            "INSERT INTO known VALUES ('192.0.2.0/24', 50, 5)",
            f"INSERT INTO grey VALUES ('192.0.2.0/24', 'a@x.test', '{JO}', 1, 5, 1, '')",
            "INSERT INTO grey VALUES ('192.0.2.0/24', 'b@x.test', 'o', 1, 5, 1, '')",
        ):
            connection.execute(query)
        connection.commit()
    with contextlib.closing(Votes(world.path)) as votes:
        vote = votes.add(JO, "mdir:a@x.test/1", 9.0, lambda one: one == JO)
        assert ("192.0.2.1", True) == (vote.client, vote.is_known)
        assert [0, 0, 1] == _trusted(world.path)
        votes.undo(JO, "mdir:a@x.test/1")
        assert [1, 1, 2] == _trusted(world.path)
        # Not as long as somebody else says the same of the network.
        for name in ("a", "b"):
            votes.add(JO, f"mdir:{name}@x.test/1", 9.0, lambda one: one == JO)
        votes.undo(JO, "mdir:a@x.test/1")
        assert [0, 0, 1] == _trusted(world.path)
        votes.undo(JO, "mdir:b@x.test/1")
        assert [1, 1, 2] == _trusted(world.path)
        votes.add(JO, "mdir:a@x.test/1", 9.0, lambda one: one == JO)
        votes.empty(JO, "mdir:a@x.test/1")
        assert not votes.undo(JO, "mdir:a@x.test/1")  # it left by us
        assert [0, 0, 1] == _trusted(world.path)
        assert 1 == len(list(votes.listed()))
        # What a user of ours sent says nothing of the network from which it was sent.
        own = votes.add(JO, "mdir:own@x.test/1", 9.0, lambda one: one == JO)
        assert ("", LI, True) == (own.client, own.sender, own.is_known)
