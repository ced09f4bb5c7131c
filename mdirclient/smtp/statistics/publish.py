"""Reports as messages: one of every day and of every month, into the folder agreed on.

Each comes once, by CLASS, also after a restart; what was missed is made up for. Rules file them by
their fields. Reads and writes the mdir, and the SMTP server's own database.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, Final

from mdirclient.errors import MdirError
from mdirclient.header import Header
from mdirclient.smtp.statistics.figures import (
    Figures,
    Period,
    as_json,
    date_of,
    day_of,
    fields_of,
    month_of,
)
from mdirclient.smtp.statistics.page import page_of

if TYPE_CHECKING:
    from mdirclient.interfaces import AsyncMdird, Mstore
    from mdirclient.service.log import Log
    from mdirclient.smtp.statistics.archive import Archive, View

#: Reports that are made up for at most: days, and months.
_MAX_DAYS: Final = 35
#: Seconds that votes are kept.
_KEPT: Final = 400 * 86_400.0
#: Seconds after midnight (UTC) in which the last records of a day come, and between two looks.
_LATE: Final = 60
_LOOK: Final = 60.0


class Publisher:
    """See the module. Used in one loop.

    Args:
        mdird: where reports go.
        archive: what they are made of; used by this only.
        view: how they show things.
        folder: where they are published.
        log: of what happens.
        now: seconds since 1970.
    """

    def __init__(
        self,
        mdird: AsyncMdird,
        archive: Archive,
        view: View,
        *,
        folder: str,
        log: Log,
        now: Callable[[], float],
    ) -> None:
        self._mdird = mdird
        self._archive = archive
        self._view = view
        self._folder = folder
        self._log = log
        self._now = now
        self._kept_on: date | None = None  # the day of the last upkeep

    async def run(self) -> None:
        """Publish what is due, until cancelled."""
        while True:
            await self.publish_due()
            await asyncio.sleep(_LOOK)

    async def publish_due(self) -> None:
        """Publish the reports of days and months that are over and have none.

        One that cannot be published now is tried again; the others do not wait for it.
        """
        now = self._now()
        today = date_of(now - _LATE)
        try:
            if today != self._kept_on:  # once a day: all that is over is looked through
                await asyncio.to_thread(self._archive.fold, day_of(today).days[0] - 1)
                await asyncio.to_thread(self._archive.forget, now - _KEPT)
                self._kept_on = today
            due = await asyncio.to_thread(self._due, today)
        except MdirError as error:
            self._log("statistics-failed", reason=error)
            return
        for period in due:
            try:
                await self._publish(period)
            except (MdirError, OSError) as error:
                self._log("statistics-failed", period=period.name, reason=error)
            except Exception as error:  # noqa: BLE001 - the others do not wait for it
                self._log("defect", what=f"statistics of {period.name}", error=repr(error))

    def _due(self, today: date) -> list[Period]:
        """What is over; what was before a new database was published from the old one."""
        found = self._archive.days()
        if found is None:
            return []
        first = date(1970, 1, 1) + timedelta(days=found[0])
        begun, now = self._archive.begun(), self._now()
        if begun and begun <= now:  # else the clock was wrong
            first = max(first, date_of(begun))
        periods = periods_due(first, today)
        return [one for one in periods if not self._archive.is_published(_name(one), now)]

    async def _publish(self, period: Period) -> None:
        headers = await asyncio.to_thread(self._made, period)
        if headers is None:
            return
        await self._make_folder()
        async with self._mdird.batch() as batch:
            for header in headers:
                await batch.classify(self._folder, header)
        await asyncio.to_thread(self._archive.publish, _name(period))
        self._log("statistics", period=period.kind, name=period.name, folder=self._folder)

    def _made(self, period: Period) -> tuple[Header, ...] | None:
        def make() -> bytes:
            return message_of(self._archive.figures(period, self._view))

        message = self._archive.message(_name(period), make, self._now())
        return None if message is None else headers_of(self._mdird.store, message)

    async def _make_folder(self) -> None:
        names = self._folder.split("/")
        for place in range(len(names)):
            fields = [("type", "dir"), ("name", names[place])]
            await self._mdird.put("/".join(names[:place]), Header(fields))


def _name(period: Period) -> str:
    return f"{period.kind} {period.name}"


def periods_due(first: date, today: date) -> Iterator[Period]:
    """The days and months that are over, the oldest first.

    Args:
        first: the first day of which there is something.
        today: which is not over.
    """
    day = max(first, today - timedelta(days=_MAX_DAYS))
    while day < today:
        following = day + timedelta(days=1)
        yield day_of(day)
        if following.month != day.month:
            yield month_of(day)
        day = following


def message_of(figures: Figures) -> bytes:
    """A report as a mail: the page, and the same as JSON."""
    period = figures.period
    message = EmailMessage(policy=policy.SMTP)
    end = datetime.combine(period.until, datetime.min.time(), UTC)
    message["Subject"] = f"Mail statistics of {period.name}: {figures.server}"
    message["Date"] = format_datetime(end)
    message["Message-ID"] = f"<statistics.{period.kind}.{period.name}@{figures.server}>"
    message.set_content(page_of(figures), subtype="html", cte="quoted-printable")
    message["Content-Disposition"] = f'inline; filename="statistics-{period.name}.html"'
    data = json.dumps(as_json(figures), ensure_ascii=False, indent=1).encode()
    message.add_attachment(
        data, maintype="application", subtype="json", filename=f"statistics-{period.name}.json"
    )
    # The same figures are the same bytes, and so one message.
    message.set_boundary(hashlib.sha256(data).hexdigest())
    return message.as_bytes()


def headers_of(store: Mstore, message: bytes) -> tuple[Header, ...]:
    """Store a report; its headers, with the figures in it on which rules can file it."""
    _page, figures = message_from_bytes(message, policy=policy.default).iter_parts()
    fields: dict[str, Any] = fields_of(json.loads(figures.get_content()))
    return store.add(message).headers(type="statistics", **fields)
