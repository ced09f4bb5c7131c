"""What reports are made of, and which were published: tables of the SMTP server's own database."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from mdirclient.smtp.spam.votes import Votes
from mdirclient.smtp.statistics import totals
from mdirclient.smtp.statistics.figures import Figures, Period, figures_of
from mdirclient.smtp.statistics.privacy import hiding


@attrs.frozen
class View:
    """How a report shows things.

    Attributes:
        server: name of the host.
        owner: of a network.
        owner_source: where owners are from.
        privacy: one of `privacy.WAYS`.
    """

    server: str
    owner: Callable[[str], str]
    owner_source: str
    privacy: str


class Archive(Votes):
    """Votes, totals and what was published. May be shared by threads."""

    def figures(self, period: Period, view: View) -> Figures:
        """The report of some days.

        Raises:
            StoreError: it cannot be read now.
        """
        begin, end = period.seconds
        votes = [vote for vote in self.listed(begin) if vote.at < end]
        with self.reading() as connection:
            found = list(totals.read(connection, *period.days))
        return figures_of(
            found,
            votes,
            server=view.server,
            period=period,
            owner=view.owner,
            owner_source=view.owner_source,
            hide=hiding(view.privacy, self.secret()),
        )

    def days(self) -> tuple[int, int] | None:
        """The first and the last day of which there is something, counted from 1970-01-01.

        Raises:
            StoreError: it cannot be read now.
        """
        with self.reading() as connection:
            return totals.days(connection)

    def secret(self) -> bytes:
        """Random bytes of this server, the same each time.

        Raises:
            StoreError: they cannot be read now.
        """
        with self.reading() as connection:
            (value,) = connection.execute("SELECT value FROM secret").fetchone()
        return bytes(value)

    def begun(self) -> float | None:
        """When the database took the place of a damaged one; None: it did not.

        Raises:
            StoreError: it cannot be read now.
        """
        with self.reading() as connection:
            (at,) = connection.execute("SELECT max(at) FROM begun").fetchone()
        return float(at) if at is not None else None

    # -- what was published

    def is_published(self, report: str, now: float) -> bool:
        """Whether a report is where it belongs; not if that was in the future: the clock was wrong.

        Raises:
            StoreError: it cannot be read now.
        """
        query = "SELECT message IS NULL AND at <= ? FROM published WHERE report = ?"
        with self.reading() as connection:
            row = connection.execute(query, (now, report)).fetchone()
        return bool(row and row[0])

    def message(self, report: str, make: Callable[[], bytes], now: float) -> bytes | None:
        """The message of a report: the one that was begun with, so that it comes once.

        Of two processes that make it, the first one's counts.

        Returns:
            It; None: it was published meanwhile.

        Raises:
            StoreError: it cannot be kept now.
        """
        # What was begun, or published, in the future: the clock was wrong.
        query = "SELECT message FROM published WHERE report = ? AND at <= ?"
        with self.reading() as connection:
            row = connection.execute(query, (report, now)).fetchone()
        if row is None:
            made = make()
            with self.transaction() as connection:
                connection.execute(
                    "INSERT INTO published VALUES (?, ?, ?) ON CONFLICT DO UPDATE"
                    " SET at = excluded.at, message = excluded.message WHERE at > excluded.at",
                    (report, now, made),
                )
                row = connection.execute(query, (report, now)).fetchone()
        return None if row[0] is None else bytes(row[0])

    def publish(self, report: str) -> None:
        """A report is where it belongs now.

        Raises:
            StoreError: it cannot be written now.
        """
        with self.transaction() as connection:
            connection.execute("UPDATE published SET message = NULL WHERE report = ?", (report,))

    def fold(self, before: int) -> int:
        """Fold the rare names of the days before this one; returns how many.

        Raises:
            StoreError: it cannot be written now.
        """
        with self.reading() as connection:
            found = totals.crowded(connection, before)
        count = 0
        for day, kind in found:  # each for itself: mails are recorded meanwhile
            with self.transaction() as connection:
                count += totals.fold(connection, day, kind)
        return count
