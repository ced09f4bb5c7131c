"""Reports of a scripted month: every figure is what happened; who reads them is not fooled."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import attrs
import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from mdirclient.cli.smtp import main
from mdirclient.errors import SettingsError, StoreError
from mdirclient.settings import Settings
from mdirclient.smtp.spam.votes import Votes
from mdirclient.smtp.state import State, open_state
from mdirclient.smtp.statistics import figures as f
from mdirclient.smtp.statistics import totals
from mdirclient.smtp.statistics.archive import Archive, View
from mdirclient.smtp.statistics.figures import Period, as_json, day_of, month_of
from mdirclient.smtp.statistics.owner import owners
from mdirclient.smtp.statistics.page import page_of, size_of
from mdirclient.smtp.statistics.privacy import hiding
from mdirclient.smtp.statistics.publish import periods_due
from tests.traffic import Truth, compare, compare_days, month, play, whole

VIEW = View("mx.test", lambda network: network, "network", "full")
FIRST = date(2026, 10, 1)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Archive, dict[int, Truth]]]:
    """A month of 6,000 transactions, with a server that is started again several times."""
    path = str(tmp_path_factory.mktemp("state") / "smtp.sqlite3")
    records, truths = list(month(6_000)), dict[int, Truth]()
    for start in range(0, len(records), 500):
        state, votes = State(path), Votes(path)
        for place in range(start, start + 500, 50):
            play(state, votes, records[place : place + 50], truths)
        state.close()
        votes.close()
    archive = Archive(path)
    yield archive, truths
    archive.close()


def test_every_day_and_the_month(played: tuple[Archive, dict[int, Truth]]) -> None:
    """The figures are those that happened."""
    archive, truths = played
    for number, truth in truths.items():
        compare(truth, as_json(archive.figures(day_of(date(2026, 10, 1 + number)), VIEW)))
    found = as_json(archive.figures(month_of(FIRST), VIEW))
    compare(whole(truths), found)
    compare_days(truths, found)
    week = Period("range", date(2026, 10, 8), date(2026, 10, 15))
    compare(whole({n: truths[n] for n in range(7, 14)}), as_json(archive.figures(week, VIEW)))
    empty = archive.figures(day_of(date(2020, 1, 1)), VIEW)
    compare(Truth(), as_json(empty))
    assert (0, 0) == empty.answered


def test_old_days_are_folded(tmp_path: Path) -> None:
    """Rare names become `others`; the sums stay, and what was folded is folded once."""
    path = str(tmp_path / "smtp.sqlite3")
    state, archive = State(path), Archive(path)
    base = next(iter(month(1)))
    many = totals.MAX_NAMES + 500
    records = [
        attrs.evolve(base, client=f"10.{n >> 8}.{n & 255}.1", verdict="refused", accounts=())
        for n in range(many)
        for _ in range(1 + (n < 10))
    ]
    state.add(records)
    day = int(base.at) // totals.DAY
    before = archive.figures(day_of(f.date_of(base.at)), VIEW)
    assert 0 == archive.fold(day)
    assert 501 == archive.fold(day + 1)
    assert 0 == archive.fold(day + 1)
    after = archive.figures(day_of(f.date_of(base.at)), VIEW)
    assert before.sources[: f.MAX_ROWS] == after.sources[: f.MAX_ROWS]
    assert sum(one.refused for one in before.sources) == sum(one.refused for one in after.sources)
    assert f.OTHERS == after.sources[-1].network
    state.close()
    archive.close()


def test_a_report_is_made_once(played: tuple[Archive, dict[int, Truth]]) -> None:
    """A message that was begun with stays the same until it is published."""
    archive, _ = played
    assert not archive.is_published("r")
    assert b"one" == archive.message("r", lambda: b"one", 1.0)
    assert b"one" == archive.message("r", lambda: b"two", 2.0)
    assert not archive.is_published("r")
    archive.publish("r")
    assert archive.is_published("r")


def test_periods() -> None:
    """Days and months that are over; 35 days are made up for."""
    found = list(periods_due(date(2026, 9, 29), date(2026, 10, 2)))
    assert ["2026-09-29", "2026-09-30", "2026-09", "2026-10-01"] == [one.name for one in found]
    found = list(periods_due(date(2020, 1, 1), date(2026, 10, 15)))
    assert ["2026-09-10", "2026-10-14"] == [found[0].name, found[-1].name]
    assert ["2026-09"] == [one.name for one in found if one.kind == "month"]
    assert [] == list(periods_due(date(2026, 10, 15), date(2026, 10, 15)))


@pytest.mark.parametrize(
    ("way", "name", "expected"),
    [
        ("full", "jo@ours.test", "jo@ours.test"),
        ("truncated", "jo@ours.test", "j…@ours.test"),
        ("truncated", "192.0.2.0/24", "192.0.0.0/16"),
        ("truncated", "2001:db8:1::/48", "2001:db8::/32"),
        ("truncated", "jo", "j…"),
        ("truncated", "", "…"),
    ],
)
def test_privacy(way: str, name: str, expected: str) -> None:
    """What is shown of addresses and networks."""
    assert expected == hiding(way, b"secret")(name)


def test_hashed_names(played: tuple[Archive, dict[int, Truth]]) -> None:
    """The same each time, others with another secret; in a report no address is left."""
    archive, truths = played
    assert hiding("hashed", b"a")("x") == hiding("hashed", b"a")("x") != hiding("hashed", b"b")("x")
    for privacy in ("hashed", "truncated"):
        found = archive.figures(month_of(FIRST), attrs.evolve(VIEW, privacy=privacy))
        text = json.dumps(as_json(found)) + page_of(found)
        assert not re.search(r"user\d@|192\.0\.\d+\.0/24", text)
        assert whole(truths).mails == found.mails
        assert sum(whole(truths).received.values()) == sum(row.mails for row in found.received)
    assert archive.secret() == archive.secret()


def test_an_asn_database(played: tuple[Archive, dict[int, Truth]], tmp_path: Path) -> None:
    """Networks of one owner are one; who is not in it is a network."""
    path = str(tmp_path / "asn.mmdb")
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="GeoLite2-ASN")
    entry = {"autonomous_system_number": 64500, "autonomous_system_organization": "Example"}
    writer.insert_network(IPSet(["192.0.0.0/21"]), entry)
    writer.to_db_file(path)
    owner, source = owners(Settings({"MDIR_SMTP_ASN_DB": path}))
    assert ("AS64500 Example", "192.0.8.0/24", "asn.mmdb") == (
        owner("192.0.7.0/24"), owner("192.0.8.0/24"), source,
    )  # fmt: skip
    assert ["2001:db8::/48", "nonsense"] == [owner("2001:db8::/48"), owner("nonsense")]
    archive, truths = played
    found = archive.figures(month_of(FIRST), attrs.evolve(VIEW, owner=owner, owner_source=source))
    networks = whole(truths).networks
    expected = sum(networks[f"192.0.{number}.0/24", "refused"] for number in range(8))
    (row,) = [one for one in found.owners if one.network == "AS64500 Example"]
    assert expected == row.refused


def test_owners(tmp_path: Path) -> None:
    """Without a database the network; with one that is none a clear error."""
    owner, source = owners(Settings({}))
    assert ("192.0.2.0/24", "network") == (owner("192.0.2.0/24"), source)
    wrong = tmp_path / "asn.mmdb"
    wrong.write_bytes(b"nonsense")
    for path in (str(wrong), str(tmp_path / "missing")):
        with pytest.raises(SettingsError, match="MDIR_SMTP_ASN_DB"):
            owners(Settings({"MDIR_SMTP_ASN_DB": path}))


class _Page(HTMLParser):
    """Tags that are open, and what would leave the page."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br") and tag != "rect":
            self.open.append(tag)
        names = {name for name, _ in attrs}
        if tag in ("script", "img", "link", "iframe", "a") or names & {"src", "href", "onload"}:
            self.outside.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A tag without content."""

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.open.pop()


def test_a_page_of_strangers(tmp_path: Path) -> None:
    """Whatever names they choose, it is one page, and nothing leaves it."""
    path = str(tmp_path / "smtp.sqlite3")
    state, archive = State(path), Archive(path)
    base = next(iter(month(1)))
    evil = '"><script src="//x.test"></script>&<svg onload=1>\u202e'
    strange = attrs.evolve(base, reverse_path=f"a@{evil}", client=evil)
    state.add([attrs.evolve(strange, accounts=(evil,), reasons=(evil,))])
    found = archive.figures(day_of(f.date_of(base.at)), attrs.evolve(VIEW, server=evil))
    page = _Page()
    page.feed(page_of(found))
    assert ([], []) == (page.open, page.outside)
    state.close()
    archive.close()


def test_sizes() -> None:
    """For people."""
    assert ["0 bytes", "1,023 bytes", "1.0 KiB", "1.5 MiB"] == [
        size_of(count) for count in (0, 1023, 1024, 3 << 19)
    ]


def test_sources_of_ipv6() -> None:
    """A /48 is one."""
    assert "2001:db8:7::/48" == totals.source("2001:db8:7:8::9")
    assert "192.0.2.0/24" == totals.source("::ffff:192.0.2.9")


def test_the_command(
    played: tuple[Archive, dict[int, Truth]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The same figures in a pipe, as JSON and as a page."""
    archive, truths = played
    monkeypatch.setenv("MDIR_SMTP_STATE", archive.path)
    monkeypatch.setenv("MDIR_SMTP_HOSTNAME", "mx.test")
    days = ["--since", "2026-10-01", "--until", "2026-10-31"]
    assert 0 == main(["stats", "--json", *days])
    found = json.loads(capsys.readouterr().out)
    assert (whole(truths).mails, "range", "2026-11-01") == (
        found["mails"], found["period"], found["until"]
    )  # fmt: skip
    assert 0 == main(["stats", *days])
    text = capsys.readouterr().out
    assert f"{whole(truths).mails:,} mails received" in text
    assert "\nBy hour\n00\t" in text
    page = tmp_path / "page.html"
    assert 0 == main(["stats", "--html", str(page), *days])
    assert page.read_text().startswith("<!doctype html>")
    assert 0 == main(["stats", "--html", "-"])
    assert 64 == main(["stats", "--since", "2026-10-02", "--until", "2026-10-01"])
    assert 64 == main(["stats", "--since", "yesterday"])
    monkeypatch.setenv("MDIR_SMTP_STATISTICS_PRIVACY", "none")
    assert 78 == main(["stats"])


@pytest.mark.parametrize("place", [0, 5_000, 50_000])
def test_a_file_that_is_damaged(tmp_path: Path, place: int) -> None:
    """Found when it is opened, wherever the damage is; what is newer is not damaged."""
    path = tmp_path / "smtp.sqlite3"
    state, aside = open_state(str(path), 1.0)
    assert aside is None
    state.add(list(month(500)))
    state._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    state.close()
    data = bytearray(path.read_bytes())
    data[place : place + 9_000] = b"x" * 9_000
    path.write_bytes(data)
    state, aside = open_state(str(path), 1.0)
    assert f"{path}.damaged-1" == aside
    assert () == state.since(0)
    state._connection.execute("PRAGMA user_version=99")
    state.close()
    with pytest.raises(StoreError, match="newer version"):
        open_state(str(path), 2.0)
