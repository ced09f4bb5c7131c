"""A report as one page of HTML: charts are inline SVG; no script, nothing from elsewhere. Pure.

Every text in it may be a stranger's, and is escaped. Light and dark, on a phone and on a desk.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import date
from html import escape
from typing import Final

import attrs

from mdirclient.smtp.state import ACCEPTED
from mdirclient.smtp.statistics.figures import Day, Figures, Hour, Row, Source, first, worst

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1a2430; --soft: #4c5a69; --line: #d5dce4;
  --paper: #fbfcfd; --card: #ffffff; --good: #1f6f6b; --bad: #b3461f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8edf2; --soft: #aab7c4; --line: #34404d;
  --paper: #12181f; --card: #1a222b; --good: #5fc2b8; --bad: #f09468; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 72rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
header p, .note { color: var(--soft); margin: .2rem 0; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.1rem; margin: 0 0 .8rem; }
.tiles { display: grid; gap: .8rem; margin: 1.5rem 0;
  grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); }
.tile, section { background: var(--card); border: 1px solid var(--line); border-radius: .6rem;
  padding: 1rem; }
.tile b { display: block; font-size: 1.5rem; line-height: 1.2; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
.tile span { color: var(--soft); font-size: .9rem; }
.grid { display: grid; gap: .8rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
section { min-width: 0; overflow-x: auto; }
.wide { grid-column: 1 / -1; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th { text-align: left; font-weight: 600; color: var(--soft); }
th, td { padding: .3rem .5rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td:first-child { overflow-wrap: anywhere; min-width: 7.5rem; }
td svg { margin-top: .25rem; max-width: 22rem; }
.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
svg { display: block; width: 100%; height: auto; }
.good { fill: var(--good); } .bad { fill: var(--bad); }
.axis { fill: var(--soft); font-size: 22px; } .wide .axis { font-size: 13px; }
@media (max-width: 40rem) { main { padding: 1rem .6rem 2rem; } section, .tile { padding: .8rem; }
  h1 { font-size: 1.4rem; } th, td { padding-right: .3rem; } .axis, .wide .axis { font-size: 26px; }
  .small { display: none; } }
.key { font-size: .9rem; color: var(--soft); margin: .6rem 0 0; }
.key span { margin-right: 1.2rem; white-space: nowrap; }
.key i { display: inline-block; width: .7rem; height: .7rem; border-radius: .15rem;
  margin-right: .4rem; }
"""
_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB")
_WIDTH, _HEIGHT = 720, 190
_NONE: Final = '<p class="note">None.</p>'
#: Rows of a list on the page; JSON has more.
_ROWS: Final = 12
#: What is shown of the rest of a list.
ALL_OTHERS: Final = "all others"
#: Days of a period that each have a place in a chart, also without mail.
_MAX_DAYS: Final = 400
#: Marks above or below one letter; more would be drawn over other rows.
_MAX_MARKS: Final = 3
_TITLES: Final = {"day": "Mail of a day", "month": "Mail of a month", "range": "Mail of some days"}


def page_of(figures: Figures) -> str:
    """The whole page."""
    period = figures.period
    title = f"{_TITLES[period.kind]}: {period.name}"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)} — {_text(figures.server)}</title>",
        f"<style>{_STYLE}</style></head><body><main>",
        f"<header><h1>{escape(title)}</h1>",
        f"<p>{_text(figures.server)}, {period.since} to {period.last}, days of UTC</p>",
        "</header>",
        _tiles(figures),
        '<div class="grid">',
        *_by_day(figures),
        _section("By hour", _by_hour(figures.hours), wide=True),
        *_spammers(figures),
        _section("What became of it", _rows(figures.verdicts, "Verdict", "good", worse=ACCEPTED)),
        _section("Why it was not taken", _reasons(figures.reasons)),
        _section("Greylisting", _greylisting(figures)),
        _section("Time to the answer", _answers(figures)),
        _section("Received by", _rows(figures.received, "Account", "good")),
        _section("Sent by", _rows(figures.senders, "User", "good")),
        _section("Called spam by", _reporters(figures)),
        _section("From where", _rows(figures.sites, "Domain", "good"), note="Accepted mails."),
        _section("To where", _rows(figures.destinations, "Domain", "good"), note="Users' mails."),
        "</div></main></body></html>",
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def size_of(count: int) -> str:
    """A number of bytes for people."""
    value, unit = float(count), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:,.0f} {_UNITS[unit]}" if unit == 0 else f"{value:,.1f} {_UNITS[unit]}"


def _text(name: str) -> str:
    """A stranger's text; without what hides, turns or covers other text."""
    marks, found = 0, list[str]()
    for char in name:
        marks = marks + 1 if unicodedata.category(char).startswith("M") else 0
        found.append(char if char.isprintable() and marks <= _MAX_MARKS else "\ufffd")
    return escape("".join(found))


def _name(name: str) -> str:
    """The same in a narrow column; of the rest, which has no name, that it is the rest."""
    return re.sub("([.:/@])", r"\1<wbr>", _text(name)) if name else ALL_OTHERS


def _tiles(figures: Figures) -> str:
    tiles = [
        (f"{figures.mails:,}", "mails received"),
        (size_of(figures.bytes), "in them"),
        (f"{figures.sent:,}", "mails sent by users"),
        (size_of(figures.stored), "more in the store"),
        (f"{figures.refused:,}", "not taken"),
        (f"{figures.spam:,}", "called spam by users"),
    ]
    shown = "".join(
        f'<div class="tile"><b>{value}</b><span>{text}</span></div>' for value, text in tiles
    )
    return f'<div class="tiles">{shown}</div>'


def _section(title: str, content: str, *, note: str = "", wide: bool = False) -> str:
    kind = ' class="wide"' if wide else ""
    noted = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section{kind}><h2>{escape(title)}</h2>{content}{noted}</section>"


@attrs.frozen
class _Column:
    """A bar of a chart: what is good below, what is bad on top.

    Attributes:
        place: of it, from 0.
        good, bad: heights.
        told: of it, in words.
        label: below it, if any; `small` ones are not shown on a phone.
    """

    place: int
    good: int
    bad: int
    told: str
    label: str = ""
    is_small: bool = False


def _by_day(figures: Figures) -> list[str]:
    """Charts of a period of several days."""
    if figures.period.kind == "day" or not figures.days:
        return []
    days = _days(figures)
    mails = [
        (one, one.accepted, one.refused,
         f"{one.day}: {one.accepted:,} accepted, {one.refused:,} not taken")
        for one in days
    ]  # fmt: skip
    sizes = [(one, one.stored, 0, f"{one.day}: {size_of(one.stored)} more") for one in days]
    most = max(one.stored for one in days)
    growth = _chart(_columns(sizes), "Growth of the store by day", size_of(most))
    return [
        _section("By day", _chart(_columns(mails), "Mails by day") + _key("days")),
        _section("How the store grew", growth + '<p class="key">what came twice counts once</p>'),
    ]


def _days(figures: Figures) -> Sequence[Day]:
    """All days of the period; of a long one from where something happened, or only such days."""
    found = {one.day: one for one in figures.days}
    begin, end = figures.period.since.toordinal(), figures.period.until.toordinal()
    if end - begin > _MAX_DAYS:
        begin = date.fromisoformat(figures.days[0].day).toordinal()
    if end - begin > _MAX_DAYS:
        return figures.days
    names = (date.fromordinal(number).isoformat() for number in range(begin, end))
    return [found.get(name, Day(name, 0, 0, 0)) for name in names]


def _columns(days: Sequence[tuple[Day, int, int, str]]) -> list[_Column]:
    """A column for each day, in its place; a few have a label."""
    begin = date.fromisoformat(days[0][0].day).toordinal()
    last = date.fromisoformat(days[-1][0].day).toordinal()
    step = max(1, -(-(last - begin + 1) // 5))
    columns = []
    for one, good, bad, told in days:
        place = date.fromisoformat(one.day).toordinal() - begin
        label = one.day[5:] if place % step == 0 else ""
        columns.append(_Column(place, good, bad, told, label, place % (2 * step) != 0))
    return columns


def _by_hour(hours: Sequence[Hour]) -> str:
    if not any(one.accepted or one.refused for one in hours):
        return _NONE
    columns = [
        _Column(
            one.hour, one.accepted, one.refused,
            f"{one.hour:02}:00: {one.accepted:,} accepted, {one.refused:,} not taken",
            f"{one.hour:02}" if one.hour % 3 == 0 else "", one.hour % 6 != 0,
        )
        for one in hours
    ]  # fmt: skip
    return _chart(columns, "Mails by hour") + _key("hours")


def _chart(columns: Sequence[_Column], title: str, top: str = "") -> str:
    """Bars, and how high the highest is."""
    most = max((one.good + one.bad for one in columns), default=0) or 1
    step, floor = _WIDTH / (columns[-1].place + 1), _HEIGHT - 28
    gap = min(3.0, step / 8)
    bars = []
    for one in columns:
        left, width = one.place * step + gap, step - 2 * gap
        good, bad = (count / most * (floor - 30) for count in (one.good, one.bad))
        bars.append(
            f"<g><title>{one.told}</title>"
            + _block("good", left, floor - good, width, good)
            + _block("bad", left, floor - good - bad, width, bad)
            + "</g>"
        )
        if one.label:
            kind = "axis small" if one.is_small else "axis"
            is_last = left > 0.9 * _WIDTH  # it ends where its column does
            place = left + width if is_last else left
            bars.append(_label(kind, place, _HEIGHT - 4, one.label, is_end=is_last))
    bars.append(_label("axis", 3, 22, top or f"{most:,}"))
    label = f'role="img" aria-label="{title}"'
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" {label}>{"".join(bars)}</svg>'


def _key(what: str) -> str:
    good, bad = (f'<i style="background:var(--{color})"></i>' for color in ("good", "bad"))
    shown = (f"{good}accepted", f"{bad}not taken", f"{what} of UTC")
    return f'<p class="key">{"".join(f"<span>{one}</span>" for one in shown)}</p>'


def _block(color: str, left: float, top: float, width: float, height: float) -> str:
    place = f'x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f'<rect class="{color}" {place}/>'


def _label(kind: str, left: float, top: float, text: str, *, is_end: bool = False) -> str:
    anchor = ' text-anchor="end"' if is_end else ""
    return f'<text class="{kind}" x="{left:.1f}" y="{top:.1f}"{anchor}>{text}</text>'


def _rows(
    rows: Sequence[Row],
    head: str,
    color: str,
    *,
    has_bytes: bool = True,
    worse: str = "",
    count: str = "Mails",
) -> str:
    """A table; with `worse` all rows but the one of that name have the color of what is bad."""
    if not rows:
        return _NONE
    shown = first(rows, _ROWS)
    most = max(row.mails for row in shown) or 1
    heads = [head, count, *(["Size"] if has_bytes else [])]
    lines = (
        [_name(row.name) + _bar(row.mails / most, color if worse in ("", row.name) else "bad"),
         f"{row.mails:,}",
         *([size_of(row.bytes)] if has_bytes else [])]
        for row in shown
    )  # fmt: skip
    return _table(heads, lines) + _more(row.name for row in rows)


def _reasons(rows: Sequence[Row]) -> str:
    return _rows(rows, "Reply", "bad", has_bytes=False, count="Times")


def _reporters(figures: Figures) -> str:
    rows = _rows(figures.reporters, "Account", "bad", has_bytes=False)
    if not figures.spam_unknown:
        return rows
    return f'{rows}<p class="note">{figures.spam_unknown:,} of them without a record.</p>'


def _spammers(figures: Figures) -> list[str]:
    """By network; and by owner, where a database of them is."""
    title, owners = "Who brought what nobody wanted", _sources(figures.owners, "Owner")
    note = "Share of all that was not taken, or spam."
    networks = _sources(figures.sources, "Network")
    if figures.owner_source == "network":
        return [_section(title, networks, note=f"By network. {note}", wide=True)]
    return [
        _section(title, owners, note=f"Owners by {figures.owner_source}. {note}"),
        _section("Their networks", networks),
    ]


def _sources(sources: Sequence[Source], head: str) -> str:
    bad = [one for one in sources if one.bad]
    if not bad:
        return _NONE
    shown = worst(bad, _ROWS)
    most = max(one.bad for one in shown)
    lines = (
        [_name(one.network) + _bar(one.bad / most, "bad"), f"{one.share:.1%}",
         f"{one.refused:,}", f"{one.spam:,}", f"{one.accepted:,}"]
        for one in shown
    )  # fmt: skip
    heads = [head, "Share", "Not taken", "Spam", "Taken"]
    return _table(heads, lines, small=len(heads) - 1) + _more(one.network for one in bad)


def _more(names: Iterable[str]) -> str:
    left = sum(map(bool, names)) - _ROWS
    return f'<p class="note">{left:,} more are in the JSON.</p>' if left > 0 else ""


def _greylisting(figures: Figures) -> str:
    counts = {
        "told to come again": figures.delayed,
        "came again": figures.returned,
        "did not": figures.never_returned,
    }
    most = max(counts.values())
    if not most:
        return _NONE
    lines = ([name + _bar(count / most, "good"), f"{count:,}"] for name, count in counts.items())
    return _table(["What they did", "Senders"], lines)


def _answers(figures: Figures) -> str:
    half, most = figures.answered
    if not most:
        return _NONE
    return f"<p>One half within {half:,} ms, 99 % within {most:,} ms, from MAIL to the answer.</p>"


def _bar(share: float, color: str) -> str:
    width = max(1.0 if share > 0 else 0.0, min(1.0, share) * 100)  # also what is rare is seen
    rect = f'<rect class="{color}" width="{width:.1f}" height="1.6" rx=".5"/>'
    return f'<svg viewBox="0 0 100 1.6" aria-hidden="true">{rect}</svg>'


def _table(
    heads: Sequence[str], lines: Iterable[Sequence[str]], *, small: int | None = None
) -> str:
    """A name and numbers in each line; the column `small` is not shown on a phone."""
    kinds = ["", *(["n"] * (len(heads) - 1))]
    if small is not None:
        kinds[small] += " small"

    def row(tag: str, cells: Sequence[str]) -> str:
        shown = zip(kinds, cells, strict=True)
        return "".join(f'<{tag} class="{kind}">{cell}</{tag}>' for kind, cell in shown)

    body = "".join(f"<tr>{row('td', line)}</tr>" for line in lines)
    return f"<table><thead><tr>{row('th', heads)}</tr></thead><tbody>{body}</tbody></table>"
