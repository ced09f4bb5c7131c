"""`mdir-smtp stats`: what the SMTP server did, on a terminal, as JSON, or as a page."""

from __future__ import annotations

import argparse
import contextlib
import os
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import compress
from typing import TYPE_CHECKING, Final

from mdirclient.cli import exits
from mdirclient.cli.arguments import Parser, UsageError, add_config, settings_of, shown

if TYPE_CHECKING:
    from mdirclient.smtp.statistics.figures import Day, Figures, Period, Row, Source

#: Rows of a list on a terminal, and characters of a bar.
_ROWS: Final = 10
_BAR: Final = 24
#: Columns of a terminal that has room for bars.
_WIDE: Final = 72
#: Characters of a day: names are not folded further.
_DAY: Final = 10
_WEEK: Final = timedelta(days=7)

Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]


def add_stats(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command."""
    command = commands.add_parser(
        "stats",
        help="what the SMTP server did",
        description="Show what the SMTP server did, of the last 7 days if nothing else is said."
        " Days are those of UTC.",
    )
    command.add_argument("--since", metavar="DAY", type=_day, help="the first day: 2026-11-01")
    command.add_argument("--until", metavar="DAY", type=_day, help="the last day; default: today")
    outputs = command.add_mutually_exclusive_group()
    outputs.add_argument("--json", action="store_true", help="one object")
    outputs.add_argument(
        "--html", metavar="FILE", type=_file, help="write a page of HTML; - for standard output"
    )
    add_config(command)
    command.set_defaults(command=_stats)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a day, such as 2026-11-01, not {text!a}"
        ) from None


def _file(text: str) -> str:
    if text != "-" and (not text or (os.path.exists(text) and not os.path.isfile(text))):
        raise argparse.ArgumentTypeError(f"expected a file, or - for standard output, not {text!a}")
    if not os.path.isdir(os.path.dirname(text) or "."):
        raise argparse.ArgumentTypeError(f"there is no directory for {text!a}; make it first")
    return text


def _stats(arguments: argparse.Namespace) -> int:
    from mdirclient.cli.output import print_json
    from mdirclient.smtp.statistics.archive import Archive
    from mdirclient.smtp.statistics.figures import as_json
    from mdirclient.smtp.statistics.view import view_of

    settings = settings_of(arguments)
    view = view_of(settings)
    period = _period(arguments.since, arguments.until)
    with contextlib.closing(Archive(settings.smtp_state(), read_only=True)) as archive:
        figures = archive.figures(period, view)
    if arguments.json:
        print_json(as_json(figures))
    elif arguments.html:
        _write_page(figures, arguments.html)
    else:
        _print(figures)
    return exits.OK


def _period(since: date | None, until: date | None) -> Period:
    from mdirclient.smtp.statistics.figures import Period, month_of

    last = until or datetime.now(UTC).date()
    try:
        first, end = since or last - _WEEK + timedelta(days=1), last + timedelta(days=1)
        month = month_of(first)
    except OverflowError:
        raise UsageError(f"--until {last}: there is no calendar for that") from None
    if first > last:
        end_of = "--until" if until else "today,"
        raise UsageError(f"--since {first} is after {end_of} {last}")
    if (month.since, month.until) == (first, end):
        return month
    return Period("day" if end - first == timedelta(days=1) else "range", first, end)


def _write_page(figures: Figures, path: str) -> None:
    from mdirclient import _fs
    from mdirclient.smtp.statistics.page import page_of

    page = page_of(figures)
    if path == "-":
        sys.stdout.buffer.write(page.encode())
    else:
        path, mode = os.path.realpath(path), 0o666
        with contextlib.suppress(OSError):
            mode = stat.S_IMODE(os.stat(path).st_mode)
        _fs.replace(path, page.encode(), staged=f"{path}.{os.urandom(4).hex()}", mode=mode)


# -- on a terminal


def _print(figures: Figures) -> None:
    from mdirclient.smtp.statistics.page import size_of

    unknown = f" ({figures.spam_unknown:,} without a record)" if figures.spam_unknown else ""
    print(
        f"{figures.server}, {figures.period.since} to {figures.period.last}, days of UTC:"
        f" {figures.mails:,} mails received ({size_of(figures.bytes)}), {figures.sent:,} sent,"
        f" {figures.refused:,} not taken, {figures.spam:,} called spam{unknown},"
        f" {size_of(figures.stored)} more in the store"
    )
    for table in _tables(figures):
        _draw(*table)


def _tables(figures: Figures) -> Iterator[Table]:
    if figures.period.kind != "day":
        yield _days(figures.days)
    hours = [(f"{one.hour:02}", one.accepted, one.refused) for one in figures.hours]
    most = max(accepted + refused for _, accepted, refused in hours) or 1
    yield "By hour", ("hour", "", "accepted", "not taken"), [
        (hour, _bar((accepted + refused) / most), f"{accepted:,}", f"{refused:,}")
        for hour, accepted, refused in hours
    ]  # fmt: skip
    yield _sources("Who brought what nobody wanted", figures.owners)
    yield _rows("What became of it", figures.verdicts)
    yield _rows("Why it was not taken", figures.reasons, count="times")
    yield _rows("Received by", figures.received)
    yield _rows("Sent by", figures.senders)
    yield _rows("Called spam by", figures.reporters)
    yield _rows("From where", figures.sites)
    yield _rows("To where", figures.destinations)
    shares = zip(("half of them within", "99 % within"), figures.answered, strict=True)
    yield "Answered", ("share", "milliseconds"), [
        (share, f"{found:,}") for share, found in shares if found
    ]  # fmt: skip
    counts = (figures.delayed, figures.returned, figures.never_returned)
    names = ("told to come again", "came again", "did not")
    yield "Greylisting", ("senders", "number"), [
        (name, f"{count:,}") for name, count in zip(names, counts, strict=True) if any(counts)
    ]  # fmt: skip


def _days(days: Sequence[Day]) -> Table:
    from mdirclient.smtp.statistics.page import size_of

    most = max((one.accepted + one.refused for one in days), default=0) or 1
    lines: list[tuple[str, ...]] = [
        (
            one.day,
            _bar((one.accepted + one.refused) / most),
            f"{one.accepted:,}",
            f"{one.refused:,}",
            size_of(one.stored),
        )
        for one in days
    ]
    return "By day", ("day", "", "accepted", "not taken", "more in the store"), lines


def _rows(title: str, rows: Sequence[Row], count: str = "mails") -> Table:
    from mdirclient.smtp.statistics.figures import first

    found = first(rows, _ROWS)
    most = max((row.mails for row in found), default=0) or 1
    lines: list[tuple[str, ...]] = [
        (_name(row.name), _bar(row.mails / most), f"{row.mails:,}") for row in found
    ]
    return title, ("name", "", count), lines


def _sources(title: str, sources: Sequence[Source]) -> Table:
    from mdirclient.smtp.statistics.figures import worst

    bad = worst([one for one in sources if one.bad], _ROWS)
    lines: list[tuple[str, ...]] = [
        (
            _name(one.network),
            _bar(one.share),
            f"{one.share:.1%}",
            f"{one.refused:,}",
            f"{one.spam:,}",
        )
        for one in bad
    ]
    return title, ("owner", "", "share", "not taken", "spam"), lines


def _name(name: str) -> str:
    from mdirclient.smtp.statistics.page import ALL_OTHERS

    return shown(name) if name else ALL_OTHERS


def _bar(share: float) -> str:
    return "█" * max(1 if share > 0 else 0, round(share * _BAR))


def _draw(title: str, heads: tuple[str, ...], lines: list[tuple[str, ...]]) -> None:
    """A table: of rich on a terminal, where it is installed; else lines with tabs between."""
    if not lines:
        return
    if draw := _rich():
        draw(title, heads, lines)
        return
    print(f"\n{title}")
    for line in (heads, *lines):
        print("\t".join(cell for cell, head in zip(line, heads, strict=True) if head))


def _rich() -> Callable[[str, tuple[str, ...], list[tuple[str, ...]]], None] | None:
    if not sys.stdout.isatty():
        return None
    try:
        from rich.console import Console
        from rich.table import Table as RichTable
        from rich.text import Text
    except ModuleNotFoundError:
        return None

    def draw(title: str, heads: tuple[str, ...], lines: list[tuple[str, ...]]) -> None:
        console = Console()
        is_shown = [bool(head) or console.width >= _WIDE for head in heads]
        table = RichTable(box=None, pad_edge=False)
        for number, head in enumerate(compress(heads, is_shown)):
            is_bar = not head
            table.add_column(
                head,
                justify="left" if number == 0 or is_bar else "right",
                style="cyan" if is_bar else "",
                no_wrap=number > 0,
                overflow="crop" if is_bar else "fold",
                min_width=_DAY if number == 0 else None,
            )
        for line in lines:
            table.add_row(*map(Text, compress(line, is_shown)))
        print()
        console.print(Text(title, style="bold"), table, sep="\n")

    return draw
