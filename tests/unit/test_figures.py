"""Figures from totals, and how lists and charts show them; strangers choose many of the names."""

from __future__ import annotations

import math
from datetime import date

import attrs

from mdirclient.smtp.statistics import figures as f
from mdirclient.smtp.statistics import totals
from mdirclient.smtp.statistics.figures import day_of
from mdirclient.smtp.statistics.page import page_of, size_of
from tests.traffic import month

FIRST = date(2026, 10, 1)


def test_owners_of_a_network_that_is_truncated() -> None:
    """Where it has several, nobody is named for what another did."""
    rows = [
        totals.Total(1, totals.SOURCE, f"192.0.{number}.0/24", verdict, 9, 9)
        for number, verdict in ((1, "refused"), (2, "accepted"), (9, "refused"))
    ]
    found = f.figures_of(
        rows, (), server="x", period=day_of(FIRST), owner_source="x",
        owner=lambda network: "AS1" if network < "192.0.2" else "AS2",
        hide=lambda name: name.replace("1.0/24", "0.0/16").replace("2.0/24", "0.0/16"),
    )  # fmt: skip
    expected = [("192.0.0.0/16", "192.0.0.0/16", 9, 9), ("192.0.9.0/24", "AS2", 0, 9)]
    assert expected == [
        (one.network, one.owner, one.accepted, one.refused) for one in found.sources
    ]


def _row(name: str, mails: int, size: int = 0) -> totals.Total:
    return totals.Total(1, totals.SITE, name, "accepted", mails, size)


def _figures(*rows: totals.Total) -> f.Figures:
    return f.figures_of(
        rows, (), server="x", period=day_of(FIRST), owner=lambda network: network,
        owner_source="network",
    )  # fmt: skip


def test_the_rest_of_a_list() -> None:
    """It is one row without a name, which nobody can choose; what is shown of it counts it all."""
    found = _figures(_row("others", 9, 90), *(_row(f"{n:02}.test", 100 - n) for n in range(60)))
    assert ("", 464) == (found.sites[-1].name, found.sites[-1].mails)
    assert f.MAX_ROWS + 1 == len(found.sites)
    few = f.first(found.sites, 2)
    assert [100, 99, found.sites[-1].mails + sum(range(51, 99))] == [one.mails for one in few]
    text = page_of(found)
    assert "38 more are in the JSON." in text
    assert "all others" in text


def test_shares_are_of_whole_mails() -> None:
    """However many networks there are, none has more than all, and together they have all."""
    for count in range(1, 60):
        found = _figures(
            *(totals.Total(1, totals.SOURCE, f"10.{n}.0.0/24", "refused", 1, 0)
              for n in range(count)), totals.Total(1, totals.SOURCE, "", "refused", 1, 0),
        )  # fmt: skip
        assert max(one.share for one in found.sources) <= 1
        assert math.isclose(1, sum(one.share for one in found.sources))
        assert math.isclose(1, sum(one.share for one in f.worst(found.sources, 3)))


def test_a_domain_in_both_forms() -> None:
    """In Unicode and in ASCII it is the same one."""
    record = next(iter(month(1)))
    senders = ("a@m\u00fcnchen.test", "b@xn--mnchen-3ya.test", "c@M\u00dcNCHEN.test.", "<>")
    records = [attrs.evolve(record, user="", reverse_path=one) for one in senders]
    rows = [attrs.evolve(one, verdict="accepted") for one in totals.counted(records)]
    sites = [(one.name, one.mails) for one in _figures(*rows).sites]
    assert [("xn--mnchen-3ya.test", 3), ("<>", 1)] == sites


def test_all_days_have_a_place() -> None:
    """A chart shows its period, also where nothing happened."""
    happened = f.Day("2026-10-01", 3, 4, 5)
    period = f.Period("range", date(2026, 9, 20), date(2026, 10, 3))
    assert "2026-09-20..2026-10-02" == period.name
    figures = attrs.evolve(_figures(), period=period, days=(happened,))
    text = page_of(figures)
    assert "<title>2026-09-20: 0 accepted, 0 not taken</title>" in text
    assert "<title>2026-10-01: 3 accepted, 4 not taken</title>" in text
    assert 2 * 13 == text.count("<title>2026-")  # of mails, and of the store
    long = f.Period("range", date(1, 1, 1), date(2026, 10, 3))
    assert 2 * 2 == page_of(attrs.evolve(figures, period=long)).count("<title>2026-")
    old = attrs.evolve(happened, day="2024-10-01")
    text = page_of(attrs.evolve(figures, period=long, days=(old, happened)))
    assert 2 * 2 == text.count("<title>202")


def test_marks_of_a_letter_are_few() -> None:
    """More would be drawn over other rows."""
    name = "x" + 40 * "\u0331" + "@ours.test"
    text = page_of(_figures(totals.Total(1, totals.RECEIVED, name, "accepted", 1, 0)))
    assert 3 == text.count("\u0331")


def test_sizes() -> None:
    """For people."""
    assert ["0 bytes", "1,023 bytes", "1.0 KiB", "1.5 MiB"] == [
        size_of(count) for count in (0, 1023, 1024, 3 << 19)
    ]


def test_sources_of_ipv6() -> None:
    """A /48 is one."""
    assert "2001:db8:7::/48" == totals.source("2001:db8:7:8::9")
    assert "192.0.2.0/24" == totals.source("::ffff:192.0.2.9")
