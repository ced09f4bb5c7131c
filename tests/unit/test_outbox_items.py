"""Mails of the outbox as values: states, times, what the end of sendmail means, notifications."""

from __future__ import annotations

import email
import email.policy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdirclient import Header
from mdirclient.errors import SettingsError
from mdirclient.smtp.followed import Followed, Live
from mdirclient.smtp.outbox import item as items
from mdirclient.smtp.outbox.box import Box
from mdirclient.smtp.outbox.item import Retries, items_of, later, read_time, write_time
from mdirclient.smtp.outbox.report import MAX_RETURNED, Notice, compose_report
from mdirclient.smtp.outbox.sendmail import outcome_of, parse_words

NOW = datetime(2026, 11, 27, 6, 0, tzinfo=UTC)
ANCHOR = "mdir:0123456789abcdef0123456789abcdef@file.invalid/1"


def live(url: str, *fields: tuple[str, str], anchor: str = ANCHOR) -> Live:
    """An entry."""
    return Live(Header([("url", url), ("anchor", anchor), *fields]), 7)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-27T06:00:00Z", NOW),
        ("2026-11-27T07:00:00+01:00", NOW),
        ("2026-11-27 06:00", NOW),
        ("Fri, 27 Nov 2026 06:00:00 +0000", NOW),
        ("Fri, 27 Nov 2026 08:00:00 +0200", NOW),
        ("tomorrow", None),
        ("", None),
        (None, None),
        ("9999-12-31T23:59:59-23:59", None),
        ("0001-01-01T00:00:00+23:59", None),
    ],
)
def test_times(text: str | None, expected: datetime | None) -> None:
    """RFC 3339 and RFC 5322; without a zone it is UTC."""
    assert expected == read_time(text)


def test_who_is_settled() -> None:
    """Who has it and who never will, also with blanks in a quoted local part."""
    taken = frozenset(['"j d"@x.test', "b@x.test", '"50% (off"@x.test'])
    refused = frozenset(['"x y"@x.test', "c@x.test"])
    header = Header([("url", ANCHOR), ("settled", items.write_settled(taken, refused))])
    item = items.make_item("jo@ours.test", ANCHOR, [Live(header, 1)])
    assert taken == item.taken
    assert refused == item.refused
    assert taken | refused == item.settled


def test_a_folder_changes_between_two_questions() -> None:
    """What left the folder a moment ago is not there, whoever asks first."""
    nothing: Any = None
    followed = Followed(nothing, "x", None, lambda: None, lambda *_, **__: None, event="stale")
    box = Box(followed)
    followed.entries[ANCHOR] = live(ANCHOR)
    assert followed.touched == set()
    followed.touched.add(ANCHOR)
    assert box.item("al@a.test", ANCHOR, is_whole=False)
    del followed.entries[ANCHOR]
    followed.touched.add(ANCHOR)
    assert box.item("al@a.test", ANCHOR, is_whole=True) is None
    assert {ANCHOR} == box.changed()
    assert set() == box.changed()


@given(st.text(max_size=40))
def test_any_text_as_a_time(text: str) -> None:
    """A time or None."""
    found = read_time(text)
    assert found is None or found.tzinfo is UTC


@given(st.datetimes(timezones=st.just(UTC)).map(lambda one: one.replace(microsecond=0)))
def test_times_come_back(moment: datetime) -> None:
    """To the second."""
    if moment.year >= 1000:
        assert moment == read_time(write_time(moment))


def test_waiting() -> None:
    """Twice as long each time, up to the most; without an end nothing overflows."""
    retries = Retries(10, 100, 1000)
    assert [10, 20, 40, 80, 100, 100] == [retries.after(number) for number in range(1, 7)]
    assert 100 == retries.after(10**6)
    assert later(NOW, 1e30).year == 9999


def test_items() -> None:
    """Parts come together by their anchor, which comes first; strangers' nonsense is no part."""
    part = "mdir:fedcba9876543210fedcba9876543210@file.invalid/1"
    entries = [
        live(part, ("part", "2")),
        live(ANCHOR, ("part", "1"), ("parts", "2")),
        live("nonsense", anchor="nonsense"),
        live("mdir:other@x/1", ("parts", "99999999999"), anchor="mdir:other@x/1"),
        live("mdir:whole@x/0", anchor="mdir:whole@x/0"),
    ]
    found = items_of("jo@ours.test", entries)
    assert {ANCHOR, "mdir:other@x/1", "mdir:whole@x/0"} == found.keys()
    mail = found[ANCHOR]
    assert mail.is_complete
    assert mail.is_composed
    assert [ANCHOR, part] == [one.header["url"] for one in mail.entries]
    assert found["mdir:other@x/1"].is_complete
    assert not found["mdir:other@x/1"].is_composed
    assert found["mdir:whole@x/0"].is_complete
    lonely = items_of("jo@ours.test", entries[:1])[ANCHOR]
    assert (False, None, None) == (lonely.is_complete, lonely.head, lonely.due(NOW))


@pytest.mark.parametrize(
    ("fields", "due"),
    [
        ([], NOW),
        ([("status", "queued")], NOW),
        (
            [("status", "deferred"), ("next-attempt", "2026-11-27T07:00:00Z")],
            NOW + timedelta(hours=1),
        ),
        ([("next-attempt", "2026-11-27T05:00:00Z")], NOW),
        ([("send-after", "2026-11-28T06:00:00Z")], NOW + timedelta(days=1)),
        ([("send-after", "nonsense"), ("attempts", "x")], None),
        ([("status", "held")], None),
        ([("status", "failed")], None),
        ([("status", "sending")], None),
        ([("parts", "2")], None),
    ],
)
def test_due(fields: list[tuple[str, str]], due: datetime | None) -> None:
    """When it may be tried."""
    (mail,) = items_of("jo@ours.test", [live(ANCHOR, *fields)]).values()
    assert due == mail.due(NOW)


def test_state_in_a_header() -> None:
    """Only what is named changes."""
    header = Header([("url", ANCHOR), ("status", "queued"), ("subject", "x"), ("attempts", "1")])
    changed = items.with_state(header, {"status": "deferred", "attempts": None, "reason": "r"})
    assert [("url", ANCHOR), ("status", "deferred"), ("subject", "x"), ("reason", "r")] == list(
        changed
    )


@pytest.mark.parametrize(
    ("code", "output", "status", "reason"),
    [
        (0, "noise", "2.0.0", ""),
        (
            75,
            "try\nlater",
            "4.3.0",
            "sendmail exited with 75, it wants to be asked again: try later",
        ),
        (67, "", "5.1.1", "sendmail exited with 67, there is no such user"),
        (69, "x", "4.3.0", "sendmail exited with 69, it is not available: x"),
        (
            69,
            "server message: 550 5.7.1 no",
            "5.7.1",
            "sendmail exited with 69, it is not available: server message: 550 5.7.1 no",
        ),
        (
            69,
            "server message: 550 no",
            "5.0.0",
            "sendmail exited with 69, it is not available: server message: 550 no",
        ),
        (
            69,
            "server message: 451 4.3.0 no",
            "4.3.0",
            "sendmail exited with 69, it is not available: server message: 451 4.3.0 no",
        ),
        (1, "", "4.3.0", "sendmail exited with 1, nobody knows why"),
        (-9, "", "4.3.0", "sendmail was ended by signal 9"),
        (None, "", "4.4.7", "sendmail did not end in time"),
    ],
)
def test_outcomes(code: int | None, output: str, status: str, reason: str) -> None:
    """Each end has a meaning."""
    outcome = outcome_of(code, output)
    assert (status, reason) == (outcome.status, outcome.reason)


def test_words() -> None:
    """Quotes as in a shell, which is never used."""
    assert ("/usr/bin/msmtp", "-C", "/a b/c;d") == parse_words("/usr/bin/msmtp -C '/a b/c;d'")
    for text in ("", "sendmail", "/bin/x '"):
        with pytest.raises(SettingsError):
            parse_words(text)


@pytest.mark.parametrize(
    "original",
    [
        b"",
        b"Subject: x\r\n\r\nbody\r\n",
        b"Subject: \xe9\r\n\r\n\xff\r\n",
        b"Subject: large\r\n\r\n" + b"x" * MAX_RETURNED,
        b"Subject: large\n\n" + b"x" * MAX_RETURNED,
        b"no header " * (MAX_RETURNED // 5),
    ],
)
def test_notifications(original: bytes) -> None:
    """Another parser reads all of it; lines are short, and nothing can be put in."""
    notice = Notice(
        address="jo@ours.test",
        subject="Grüße\u2028",
        recipients=("x@there.test", "y@there.test"),
        status="5.4.7",
        reason="said: ünïcode " + "w" * 600 + " " + "word " * 100,
        queued=NOW,
        attempts=3,
        key="k",
        what_now="Nothing.",
    )
    data = compose_report(notice, original, host="mx.test", now=NOW)
    assert data == compose_report(notice, original, host="mx.test", now=NOW)
    report = email.message_from_bytes(data, policy=email.policy.default)
    parts = list(report.iter_parts())
    assert [] == report.defects
    assert "auto-replied" == report["auto-submitted"]
    assert "Grüße" in parts[0].get_content()
    groups: Any = parts[1].get_payload()
    assert 3 == len(groups)
    assert {"5.4.7"} == {group["status"] for group in groups[1:]}
    head = data[: data.find(original)] if original else data
    assert max(map(len, head.split(b"\r\n"))) < 998
    kinds = [part.get_content_type() for part in parts[2:]]
    if b"Subject" not in original:
        assert [] == kinds
    else:
        is_large = len(original) > MAX_RETURNED
        assert ["text/rfc822-headers" if is_large else "message/rfc822"] == kinds
