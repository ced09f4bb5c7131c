"""Parts of a date. Pure, but for the zone of this machine where a script names none.

Source: RFC 5260 §4; RFC 5322 §3.3.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from email.utils import format_datetime, parsedate_tz
from typing import Final

_ZONE = re.compile(r"([+-])([0-9]{2})([0-5][0-9])")
_JULIAN_DAY_0: Final = date(1858, 11, 17)
#: A date that is longer is none.
_MAX_LENGTH: Final = 200


def parse_zone(text: str) -> timezone | None:
    """A zone like `+0100`; None if it is none."""
    match = _ZONE.fullmatch(text)
    if not match or int(match[2]) > 23:
        return None
    minutes = int(match[2]) * 60 + int(match[3])
    return timezone(timedelta(minutes=-minutes if match[1] == "-" else minutes))


def parse_date(value: str) -> datetime | None:
    """The date in a field; of `Received` and the like what is after the last `;`."""
    text = value.rpartition(";")[2].strip()
    if len(text) > _MAX_LENGTH:
        return None
    try:
        found = parsedate_tz(text)
        if not found:
            return None
        zone = timezone(timedelta(seconds=found[9] or 0))
        return datetime(*found[:6], tzinfo=zone)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def in_zone(moment: datetime, zone: timezone | None) -> datetime | None:
    """A date in a zone, None: that of this machine; None at the ends of time."""
    try:
        return moment.astimezone(zone)
    except (ValueError, OverflowError):
        return None


def date_part(moment: datetime, name: str) -> str:
    """A part of a date, as its text."""
    return _PARTS[name](moment)


def _zone(moment: datetime) -> str:
    return moment.strftime("%z")[:5]


_PARTS: Final[dict[str, Callable[[datetime], str]]] = {
    "year": lambda moment: f"{moment.year:04}",
    "month": lambda moment: f"{moment.month:02}",
    "day": lambda moment: f"{moment.day:02}",
    "date": lambda moment: moment.date().isoformat(),
    "julian": lambda moment: str((moment.date() - _JULIAN_DAY_0).days),
    "hour": lambda moment: f"{moment.hour:02}",
    "minute": lambda moment: f"{moment.minute:02}",
    "second": lambda moment: f"{moment.second:02}",
    "time": lambda moment: f"{moment:%H:%M:%S}",
    "iso8601": lambda moment: moment.isoformat(timespec="seconds").replace("+00:00", "Z"),
    "std11": format_datetime,
    "zone": _zone,
    "weekday": lambda moment: str(moment.isoweekday() % 7),
}
DATE_PARTS: Final = frozenset(_PARTS)
