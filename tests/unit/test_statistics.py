"""Reports of a scripted month: every figure is what happened; who reads them is not fooled."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from html.parser import HTMLParser
from pathlib import Path

import attrs
import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from mdirclient import Header
from mdirclient.cli.smtp import main
from mdirclient.errors import SettingsError
from mdirclient.settings import Settings
from mdirclient.smtp.spam.votes import Votes
from mdirclient.smtp.state import State
from mdirclient.smtp.statistics import figures as f
from mdirclient.smtp.statistics import totals
from mdirclient.smtp.statistics.archive import Archive, View
from mdirclient.smtp.statistics.figures import Period, as_json, day_of, month_of
from mdirclient.smtp.statistics.owner import owners
from mdirclient.smtp.statistics.page import page_of
from mdirclient.smtp.statistics.privacy import hiding
from mdirclient.smtp.statistics.publish import periods_due
from mdirclient.smtp.statistics.rebuild import record_of
from tests.traffic import ACCOUNTS, MONTH, Truth, compare, compare_days, month, play, whole

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
    """Rare names lose their name; the sums stay, and what was folded is folded once."""
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
    assert "" == after.sources[-1].network
    state.close()
    archive.close()


def test_a_day_is_bounded_while_it_lasts(tmp_path: Path) -> None:
    """A stranger's names are others when there are too many; no mail is forgotten."""
    path = str(tmp_path / "smtp.sqlite3")
    base = attrs.evolve(next(iter(month(1))), verdict="accepted", user="")
    most, count = totals.MAX_NEW_NAMES, 0
    for start in range(0, most + 2_000, 700):
        state = State(path)  # one that is started again does not begin to count anew
        for place in range(start, start + 700, 100):
            state.add(
                [
                    attrs.evolve(base, reverse_path=f"a@{n}.test", anchor=f"mdir:{n}@x/1")
                    for n in range(place, place + 100)
                ]
            )
            count += 100
        state.close()
    archive = Archive(path)
    with archive.reading() as connection:
        rows = connection.execute("SELECT count(*) FROM total WHERE kind = 'site'").fetchone()
    assert most <= rows[0] <= most + 1
    found = archive.figures(day_of(f.date_of(base.at)), VIEW)
    assert count == found.mails == sum(row.mails for row in found.sites)
    archive.close()


def test_names_that_come_again_are_no_new_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many transactions a day has; hours are never others."""
    monkeypatch.setattr(totals, "MAX_NEW_NAMES", 5)
    path = str(tmp_path / "smtp.sqlite3")
    state, archive = State(path), Archive(path)
    base = attrs.evolve(next(iter(month(1))), at=MONTH + 60, verdict="accepted", user="")
    for number in range(60):
        state.add(
            [
                attrs.evolve(
                    base, at=MONTH + 60 + number * 1_460, reverse_path=f"a@{number % 4}.test"
                )
            ]
        )
    found = archive.figures(day_of(FIRST), VIEW)
    assert ["0.test", "1.test", "2.test", "3.test"] == sorted(row.name for row in found.sites)
    assert 60 == sum(hour.accepted for hour in found.hours)
    assert 24 == sum(hour.accepted > 0 for hour in found.hours)
    state.close()
    archive.close()


def test_a_mail_belongs_to_the_day_of_its_answer(tmp_path: Path) -> None:
    """A report that was made at midnight lacks nothing."""
    path = str(tmp_path / "smtp.sqlite3")
    state, archive = State(path), Archive(path)
    late = attrs.evolve(next(iter(month(1))), at=1_790_812_790.0, seconds=120.0)  # 23:59:50
    state.add([late])
    days = (date(2026, 9, 30), FIRST)
    assert [0, 1] == [len(archive.figures(day_of(day), VIEW).days) for day in days]
    state.close()
    archive.close()


def test_what_others_know_is_merged(tmp_path: Path) -> None:
    """A mail to two accounts is one, and one that is known stays as it is."""
    path = str(tmp_path / "smtp.sqlite3")
    state, archive = State(path), Archive(path)
    base = attrs.evolve(next(iter(month(1))), verdict="accepted", anchor="mdir:a@b/1")
    base = attrs.evolve(base, seconds=0.0)  # how long its answer took, nobody knows
    known = [attrs.evolve(base, recipients=(one,), accounts=(one,)) for one in ACCOUNTS[:3]]
    for _ in range(2):
        state.merge(known)
    (record,) = state.find("mdir:a@b/1")
    assert ACCOUNTS[:3] == record.recipients
    found = archive.figures(day_of(f.date_of(base.at)), VIEW)
    assert (1, base.size, 3) == (found.mails, found.stored, len(found.received))
    assert (0, 0) == found.answered
    state.close()
    archive.close()


def test_the_time_of_a_header(monkeypatch: pytest.MonkeyPatch) -> None:
    """`-0000` is UTC, wherever the host is."""
    received = "from x by y; Fri, 27 Nov 2026 10:00:00 -0000"
    header = Header([("client-address", "192.0.2.1"), ("received", received)])
    for zone in ("UTC", "America/Los_Angeles"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        record = record_of(header, ACCOUNTS[0])
        assert record
        assert datetime(2026, 11, 27, 10, tzinfo=UTC).timestamp() == record.at
        assert "" == record.user
    sent = Header([*header, ("envelope-from", "jo@x.test")]).replace(
        "received", received.replace("by y", "by y with ESMTPSA")
    )
    by_user = record_of(sent, ACCOUNTS[0])
    assert by_user
    assert "jo@x.test" == by_user.user
    for size in ("9" * 30, "0" * 20 + "9" * 19, "9" * 5_000, "-1", "1e3"):
        assert record_of(Header([*header, ("message-size", size)]), ACCOUNTS[0]) is None
    monkeypatch.undo()
    time.tzset()


def test_what_is_hidden_is_sorted_after(tmp_path: Path) -> None:
    """Names that look alike are one, the most frequent first; an address is hidden anywhere."""
    path = str(tmp_path / "smtp.sqlite3")
    state, archive = State(path), Archive(path)
    base = attrs.evolve(next(iter(month(1))), verdict="refused", accounts=())
    few = [attrs.evolve(base, client=f"10.1.{n}.1") for n in range(3) for _ in range(4)]
    many = [attrs.evolve(base, client=f"10.2.{n}.1") for n in range(200)]
    literal = attrs.evolve(
        base, verdict="accepted", reverse_path="a@[203.0.113.77]", client="10.1.0.1"
    )
    bare = attrs.evolve(literal, reverse_path="a@203.0.113.78")
    state.add([*few, *many, literal, bare])
    day = day_of(f.date_of(base.at))
    found = archive.figures(day, attrs.evolve(VIEW, privacy="truncated"))
    assert ["10.2.0.0/16", "10.1.0.0/16"] == [one.network for one in found.sources]
    assert [("203.0.0.0/16", 2)] == [(row.name, row.mails) for row in found.sites]
    hidden = archive.figures(day, attrs.evolve(VIEW, privacy="hashed"))
    assert "203.0" not in json.dumps(as_json(hidden)) + page_of(hidden)
    state.close()
    archive.close()


def test_a_report_is_made_once(played: tuple[Archive, dict[int, Truth]]) -> None:
    """A message that was begun with stays the same until it is published."""
    archive, _ = played
    assert not archive.is_published("r", 9.0)
    assert b"one" == archive.message("r", lambda: b"one", 8.0)
    assert b"one" == archive.message("r", lambda: b"two", 9.0)
    assert not archive.is_published("r", 9.0)
    archive.publish("r")
    assert archive.is_published("r", 9.0)
    assert archive.message("r", lambda: b"late", 9.0) is None  # another process was first
    assert not archive.is_published("r", 7.0)  # the clock was wrong then, or is now
    assert b"right" == archive.message("r", lambda: b"right", 7.0)


def test_two_processes_make_a_report(played: tuple[Archive, dict[int, Truth]]) -> None:
    """The first one's counts, also while the second one makes it."""
    archive, _ = played

    def make() -> bytes:
        assert b"first" == archive.message("two", lambda: b"first", 8.0)
        return b"second"

    assert b"first" == archive.message("two", make, 8.0)


def test_a_message_of_the_future(played: tuple[Archive, dict[int, Truth]]) -> None:
    """What was begun when the clock was ahead is made anew, and comes once."""
    archive, _ = played
    assert b"half" == archive.message("ahead", lambda: b"half", 900.0)
    assert b"whole" == archive.message("ahead", lambda: b"whole", 8.0)
    archive.publish("ahead")
    assert archive.is_published("ahead", 9.0)


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
    spam = sum(networks[f"192.0.{number}.0/24", "spam"] for number in range(8))
    total = whole(truths)
    assert row.share == pytest.approx((expected + spam) / (total.refused + total.spam))


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
        if tag not in ("meta", "wbr"):
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
    page.feed(text := page_of(found))
    assert "\u202e" not in text
    assert ([], []) == (page.open, page.outside)
    state.close()
    archive.close()


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
    assert (whole(truths).mails, "month", "2026-11-01") == (
        found["mails"], found["period"], found["until"]
    )  # fmt: skip
    assert 0 == main(["stats", *days])
    text = capsys.readouterr().out
    assert f"{whole(truths).mails:,} mails received" in text
    assert "2026-10-01 to 2026-10-31, days of UTC" in text
    assert "\nBy hour\nhour\taccepted\tnot taken\n00\t" in text
    assert "\nAnswered\nshare\tmilliseconds\nhalf of them within\t64\n99 % within\t128\n" in text
    page = tmp_path / "page.html"
    page.touch(0o600)
    assert 0 == main(["stats", "--html", str(page), *days])
    assert 0o600 == stat.S_IMODE(page.stat().st_mode)
    assert page.read_text().startswith("<!doctype html>")
    capsys.readouterr()
    assert 0 == main(["stats", "--html", "-", *days])
    assert page.read_text() == capsys.readouterr().out
    os.symlink(page, tmp_path / "link.html")
    assert 0 == main(["stats", "--html", str(tmp_path / "link.html"), *days])
    assert (tmp_path / "link.html").is_symlink()
    os.mkfifo(tmp_path / "pipe")
    assert 64 == main(["stats", "--html", str(tmp_path / "pipe")])
    for words in (["--until", "9999-12-31"], ["--until", "0001-01-01"],
                  ["--since", "9999-12-30", "--until", "9999-12-30"], ["--html", str(tmp_path)],
                  ["--html", f"{tmp_path}/none/page.html"]):  # fmt: skip
        assert 64 == main(["stats", *words])
    assert 64 == main(["stats", "--since", "2026-10-02", "--until", "2026-10-01"])
    assert 64 == main(["stats", "--since", "yesterday"])
    monkeypatch.setenv("MDIR_SMTP_STATISTICS_PRIVACY", "none")
    assert 78 == main(["stats"])


@pytest.mark.parametrize("columns", [50, 80])
def test_the_command_on_a_terminal(
    played: tuple[Archive, dict[int, Truth]], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    """All figures are there, and whole days, however narrow it is; bars where there is room."""
    archive, truths = played
    monkeypatch.setenv("MDIR_SMTP_STATE", archive.path)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", str(columns))
    ours, its = pty.openpty()
    command = [sys.executable, "-m", "mdirclient.cli.smtp", "stats", "--since", "2026-10-01"]
    with subprocess.Popen([*command, "--until", "2026-10-31"], stdout=its) as process:
        os.close(its)
        text = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while data := os.read(ours, 65536):
                text += data
        os.close(ours)
    assert 0 == process.returncode
    lines = text.decode().splitlines()
    for number, truth in truths.items():
        (line,) = (one for one in lines if one.startswith(f"2026-10-{number + 1:02} "))
        accepted, refused = line.replace("█", " ").split()[1:3]
        assert (truth.mails + truth.sent, truth.refused) == (int(accepted), int(refused))
    assert ("█" in text.decode()) == (columns == 80)
    assert max(map(len, lines[1:])) <= columns


def test_the_command_only_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While somebody writes; where there is no database it makes none."""
    path = tmp_path / "smtp.sqlite3"
    monkeypatch.setenv("MDIR_SMTP_STATE", str(path))
    for words in (["stats"], ["spam", "--list"]):
        assert 0 != main(words)
        assert "there is none yet" in capsys.readouterr().err
    assert not path.exists()
    state = State(str(path))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for words in (["stats", "--json"], ["spam", "--list"], ["stats"]):
            assert 0 == main(words)
    assert "Answered" not in capsys.readouterr().out  # where nothing came
    state.close()
