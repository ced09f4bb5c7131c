"""What left the spam box by its user: whether it is back, and for whom that counts."""

from __future__ import annotations

import asyncio
import contextlib
import unicodedata
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import attrs
import pytest

from mdirclient import Header, aio, connect, folder_id, make_folder
from mdirclient.interfaces import AsyncMdird
from mdirclient.naming import fold
from mdirclient.settings import Settings, file_url
from mdirclient.smtp.accounts import add_account
from mdirclient.smtp.following import Following
from mdirclient.smtp.spam.back import Search
from mdirclient.smtp.spam.box import SpamBox
from mdirclient.smtp.spam.votes import Votes
from mdirclient.smtp.state import Record, State
from tests.places import PLACES

JO, OTHER = "jo@ours.test", "other@ours.test"
TRASH = frozenset([fold("Trash"), fold("Gelöscht")])


def anchor(number: int) -> str:
    """Of a mail."""
    return f"mdir:{number}@x.test/1"


def entry(number: int) -> Header:
    """Its first part, as far as it matters."""
    return Header([("url", anchor(number)), ("part", "1")])


@pytest.fixture
def url(tmp_path: Path) -> str:
    """An mdir with a user of two accounts."""
    found = file_url(str(tmp_path / "mdir"))
    with connect(found) as mdird:
        add_account(mdird, PLACES, JO)
        add_account(mdird, PLACES, OTHER, user=JO)
    return found


@attrs.define
class Asked:
    """A real mdird, and what it was asked."""

    mdird: AsyncMdird
    questions: list[str] = attrs.field(factory=list)

    async def lookup(self, folder: str, pattern: Header) -> AsyncIterator[Header]:
        """Pass it on."""
        self.questions.append(folder)
        async for header in self.mdird.lookup(folder, pattern):
            yield header


def search(url: str, anchors: list[str]) -> tuple[set[str], list[str]]:
    """What is back, and which folders were asked."""

    async def work() -> tuple[set[str], list[str]]:
        async with await aio.connect(settings=Settings({"MDIRD": url})) as mdird:
            asked = Asked(mdird)
            found = Search(asked, f"{PLACES.accounts}/{JO}", TRASH, anchors)  # type: ignore[arg-type]
            while not await found.step():
                pass
            return found.found, asked.questions

    return asyncio.run(work())


def test_it_is_looked_for_where_mails_are(url: str) -> None:
    """In the account's folder and those below, each once; not in the trash, and what is in it."""
    account = f"{PLACES.accounts}/{JO}"
    places = ["Work/Lists", "trash", "Trash/Old", unicodedata.normalize("NFD", "gelöscht")]
    with connect(url) as mdird:
        for number, place in enumerate(places):
            make_folder(mdird, f"{account}/{place}")
            mdird.put(f"{account}/{place}", entry(number))
        make_folder(mdird, "Home/Trash")
        mdird.put("Home/Trash", entry(4))
        again = [("type", "dir"), ("name", "Again"), ("id", folder_id(mdird, f"{account}/Work"))]
        mdird.put(account, Header(again))
        mdird.put(account, entry(5))
    found, asked = search(url, [anchor(number) for number in range(7)])
    assert {anchor(0), anchor(5)} == found
    assert {account, f"{account}/Work", f"{account}/Work/Lists"} == set(asked)


def test_the_work_does_not_grow_with_both(url: str) -> None:
    """Of many mails each folder is asked once, not once for each; of a few it is not read whole."""
    account, count = f"{PLACES.accounts}/{JO}", 25
    with connect(url) as mdird:
        for number in range(count):
            make_folder(mdird, f"{account}/{number}")
            mdird.put(f"{account}/{number}", entry(number))
    found, asked = search(url, [anchor(number) for number in range(10 * count)])
    assert count == len(found)
    assert 2 * (count + 1) == len(asked)
    found, asked = search(url, [anchor(3), anchor(99)])
    assert {anchor(3)} == found
    assert len(asked) <= 3 * (count + 1)
    _, asked = search(url, [anchor(3)])
    assert len(asked) < 2 * (count + 1)  # it ends where all were found


def test_a_vote_is_open_while_a_box_has_the_mail(url: str, tmp_path: Path) -> None:
    """The time of one box ends; from the user's other one the mail is moved back in its own."""
    path, now, events = str(tmp_path / "smtp.sqlite3"), [100.0], list[str]()
    state = State(path)
    state.add([attrs.evolve(_RECORD, anchor=anchor(1))])
    state.close()

    def log(event: str, **_: object) -> None:
        events.append(event)

    async def until(is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not is_so():  # noqa: ASYNC110 - others write
                await asyncio.sleep(0.05)

    def put(place: str, account: str) -> None:
        with connect(url) as mdird:
            mdird.put(f"{place}/{account}", entry(1))

    def is_gone(account: str) -> bool:
        with connect(url) as mdird:
            return not list(mdird.lookup(f"{PLACES.spam}/{account}", entry(1)))

    async def work() -> list[str]:
        async with await aio.connect(settings=Settings({"MDIRD": url})) as mdird:
            following = Following(mdird, PLACES, log)
            with contextlib.closing(Votes(path)) as votes:
                box = SpamBox(
                    mdird, following, votes, places=PLACES, kept=3_600, log=log, now=lambda: now[0]
                )
                tasks = [asyncio.create_task(one.run()) for one in (following, box)]
                put(PLACES.spam, JO)
                await until(lambda: events.count("spam") == 1)
                now[0] += 1_800
                put(PLACES.spam, OTHER)
                await until(lambda: events.count("spam") == 2)
                now[0] += 1_801
                box._toucher(JO)()
                await until(lambda: is_gone(JO))
                found = [vote.account for vote in votes.listed()]
                with connect(url) as other:
                    put(PLACES.accounts, OTHER)
                    other.remove(f"{PLACES.spam}/{OTHER}", entry(1))
                await until(lambda: "spam-undone" in events)
                found += [vote.account for vote in votes.listed()]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                return found

    assert [JO] == asyncio.run(work())


def test_one_vote_whatever_comes_first(tmp_path: Path) -> None:
    """Of a user's accounts the one that got the mail counts."""
    path = str(tmp_path / "smtp.sqlite3")
    state = State(path)
    state.add([attrs.evolve(_RECORD, recipients=(JO,), anchor=anchor(1))])
    state.close()
    with contextlib.closing(Votes(path)) as votes:
        for account, other in ((OTHER, JO), (JO, OTHER), (OTHER, JO)):
            votes.add(account, anchor(1), 9.0, account.__eq__, [other])
        assert [(JO, True)] == [(one.account, one.is_known) for one in votes.listed()]


_RECORD = Record(
    at=1.0, listener="smtp", client="192.0.2.1", helo="x", protocol="ESMTP", user="",
    reverse_path="a@x.test", recipients=(JO, OTHER), refused=(), size=1, verdict="accepted",
    reply="250 2.0.0", accounts=(JO, OTHER),
)  # fmt: skip
