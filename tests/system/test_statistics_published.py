"""Reports as messages in a real mdird: one of every day and month, once, filed by rules."""

from __future__ import annotations

import asyncio
import email
import email.policy
import json
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path

import attrs
import pytest

from mdirclient import Header, aio, connect
from mdirclient.errors import PermanentReplyError
from mdirclient.mdird.rules import install_rules
from mdirclient.mdird.tree import make_folder
from mdirclient.settings import Settings
from mdirclient.smtp.spam.votes import Votes
from mdirclient.smtp.state import State, open_state
from mdirclient.smtp.statistics.archive import Archive, View
from mdirclient.smtp.statistics.figures import Period
from mdirclient.smtp.statistics.publish import Publisher
from tests.traffic import Truth, month, play

_VIEW = View("mx.test", lambda network: network, "network", "full")
_FOLDER = "SMTP/Statistics"


class World:
    """An mdir, and a month that was recorded."""

    def __init__(self, path: Path) -> None:
        self.state = f"{path}/smtp.sqlite3"
        self.url = f"file://{path}/mdir"
        self.truths: dict[int, Truth] = {}
        state, votes = State(self.state), Votes(self.state)
        play(state, votes, list(month(600)), self.truths)
        state.close()
        votes.close()
        with connect(self.url):
            pass

    def publish(self, now: datetime) -> list[str]:
        """What a server publishes that starts at a time; what it says of it."""
        said: list[str] = []

        def log(event: str, **fields: object) -> None:
            said.append(f"{event} {fields.get('name') or fields.get('reason')}")

        async def run() -> None:
            archive = Archive(self.state)
            settings = Settings({"MDIRD": self.url})
            async with await aio.connect(settings=settings) as mdird:
                publisher = Publisher(
                    mdird, archive, _VIEW, folder=_FOLDER, log=log, now=now.timestamp
                )
                await publisher.publish_due()
            archive.close()

        asyncio.run(run())
        return said

    def reports(self, folder: str = _FOLDER) -> list[Header]:
        """The first parts of those that are there."""
        with connect(self.url) as mdird:
            found = mdird.lookup(folder, Header([("type", "statistics")]))
            return [one for one in found if one["part"] == "1"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """See the class."""
    return World(tmp_path)


def test_once_each(world: World) -> None:
    """Late ones are made up for; a restart publishes nothing twice."""
    early = datetime(2026, 10, 3, 0, 0, 30, tzinfo=UTC)  # the last records of a day still come
    assert ["statistics 2026-10-01"] == world.publish(early)
    assert 1 == len(world.reports())
    later = datetime(2026, 11, 2, 12, tzinfo=UTC)
    # The other days of October, the first of November, and the month.
    assert 30 + 1 + 1 == len(world.publish(later))
    names = Counter((one["period"], one["from"]) for one in world.reports())
    assert {1} == set(names.values())
    assert 32 == sum(kind == "day" for kind, _ in names)
    assert [("month", "2026-10-01")] == [name for name in names if name[0] == "month"]
    assert [] == world.publish(later)


def test_a_clock_that_was_wrong(world: World) -> None:
    """What was published of days that were not over comes again when they are."""
    world.publish(datetime(2026, 10, 6, 12, tzinfo=UTC))
    early = world.publish(datetime(2026, 10, 3, 0, 0, 30, tzinfo=UTC))
    assert ["statistics 2026-10-01"] == early
    found = world.publish(datetime(2026, 10, 4, 0, 5, tzinfo=UTC))
    assert ["statistics 2026-10-02", "statistics 2026-10-03"] == found
    # Of days whose figures are the same it is the same message.
    assert 5 == len(world.reports())


def test_a_new_database(world: World, tmp_path: Path) -> None:
    """In the place of a damaged one it does not tell again, and otherwise, of what is over."""
    world.publish(datetime(2026, 10, 12, 12, tzinfo=UTC))
    count = len(world.reports())
    (tmp_path / "smtp.sqlite3").write_bytes(b"x")
    begun = datetime(2026, 10, 12, 15, tzinfo=UTC).timestamp()
    state, aside = open_state(world.state, begun)
    assert aside
    state.merge([one for one in month(600) if one.at < begun and one.verdict == "accepted"])
    state.close()
    assert ["statistics 2026-10-12"] == world.publish(datetime(2026, 10, 13, 12, tzinfo=UTC))
    assert count + 1 == len(world.reports())


def test_one_that_cannot_be_published(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are, and what is old is folded and forgotten all the same."""
    real, folded = Publisher._publish, list[int]()

    async def fails(publisher: Publisher, period: Period) -> None:
        if period.name == "2026-10-02":
            raise PermanentReplyError(403, "no")
        await real(publisher, period)

    monkeypatch.setattr(Publisher, "_publish", fails)
    monkeypatch.setattr(Archive, "fold", lambda _, day: folded.append(day))
    said = world.publish(datetime(2026, 10, 4, 12, tzinfo=UTC))
    assert "statistics 2026-10-01" == said[0]
    assert said[1].startswith("statistics-failed")
    assert "statistics 2026-10-03" == said[2]
    assert 1 == len(folded)


def test_votes_go_after_400_days(world: World) -> None:
    """They are forgotten when a report is published."""
    world.publish(datetime(2026, 11, 2, 12, tzinfo=UTC))
    votes = Votes(world.state)
    assert list(votes.listed())
    state = State(world.state)
    state.add(
        [attrs.evolve(next(iter(month(1))), at=datetime(2027, 12, 20, tzinfo=UTC).timestamp())]
    )
    state.close()
    world.publish(datetime(2027, 12, 21, 12, tzinfo=UTC))
    assert [] == list(votes.listed())
    votes.close()


def test_a_server_that_ends_meanwhile(world: World) -> None:
    """What was filed and not noted is made again from the same bytes: it comes once."""
    now = datetime(2026, 10, 2, 12, tzinfo=UTC)
    world.publish(now)
    archive, votes = Archive(world.state), Votes(world.state)
    with archive.transaction() as connection:
        data = _message(world, world.reports()[0])
        connection.execute("UPDATE published SET message = ?", (data,))
    # Meanwhile a user has called something spam: another report would have other bytes.
    record = next(one for one in month(600) if one.accounts)
    votes.add(record.accounts[0], record.anchor, record.at, lambda _: True)
    archive.close()
    votes.close()
    assert 1 == len(world.publish(now))
    assert 1 == len(world.reports())


def test_what_it_says(world: World) -> None:
    """Fields for rules, a page, and the same as JSON."""
    world.publish(datetime(2026, 10, 2, 12, tzinfo=UTC))
    (report,) = world.reports()
    truth = world.truths[0]
    expected = {
        "server": "mx.test", "period": "day", "from": "2026-10-01", "until": "2026-10-02",
        "mails": str(truth.mails), "refused": str(truth.refused), "spam": str(truth.spam),
        "greylisted": str(truth.verdicts["greylisted"]),
    }  # fmt: skip
    assert expected == {name: report[name] for name in expected}
    message = email.message_from_bytes(_message(world, report), policy=email.policy.default)
    assert [] == message.defects
    page, figures = message.iter_parts()
    assert page.get_content().startswith("<!doctype html>")
    found = json.loads(figures.get_content())
    assert (truth.mails, "UTC", "2026-10-01") == (found["mails"], found["time_zone"], found["name"])
    assert "statistics-2026-10-01.html" == page.get_filename()


def test_rules_file_it(world: World) -> None:
    """The server publishes, and supposes nothing of how it is sorted."""
    with connect(world.url) as mdird:
        make_folder(mdird, _FOLDER)
        script = (
            b'require ["fileinto"];\nif header :is "period" "month" { fileinto "Months"; stop; }\n'
        )
        install_rules(mdird, _FOLDER, script)
    world.publish(datetime(2026, 11, 2, 12, tzinfo=UTC))
    assert {"day"} == {one["period"] for one in world.reports()}
    assert ["2026-10-01"] == [one["from"] for one in world.reports(f"{_FOLDER}/Months")]
    assert date(2026, 11, 1) == date.fromisoformat(world.reports(f"{_FOLDER}/Months")[0]["until"])


def _message(world: World, report: Header) -> bytes:
    with connect(world.url) as mdird, mdird.store.open(report["anchor"][:-1] + "0") as file:
        return file.read()
