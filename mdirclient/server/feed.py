"""Subscriptions: what was committed goes to those who follow a folder.

Who has everything gets each change as bytes that are made once for all. Who is behind, because
it began so or reads slowly, gets pages from the database as fast as it reads: its connection's
buffer is bounded, and nobody waits for it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import Final, Protocol

import attrs

from mdirclient.errors import ReplyError
from mdirclient.header import Header
from mdirclient.mdird.cursor import Cursor, OvertakenError, Row, snapshot
from mdirclient.mdird.rights import Actor, Rights
from mdirclient.mdird.subscription import GONE, OVERTAKEN
from mdirclient.mdird.tables import Tables
from mdirclient.patch import End, Now
from mdirclient.protocol.messages import patch_to_bytes, push_to_bytes

_PAGE: Final = 200
_REVOKED: Final = (403, "the right to read was revoked")
_USER: Final = b"type: user\n"


class Reader(Protocol):
    """The connection of a subscriber."""

    actor: Actor
    is_slow: bool

    def write(self, data: bytes) -> None:
        """Send; afterwards `is_slow` tells whether more would pile up."""

    def ended(self, folder: str) -> None:
        """The subscription is over."""


@attrs.define(eq=False)
class Subscriber:
    """One subscription.

    Attributes:
        reader: its connection.
        folder: as it was asked for.
        number: of the folder.
        cursor: what was sent.
        is_live: it has everything, so that it gets what is made for all.
        told: the version of the last NOW, or -1.
    """

    reader: Reader
    folder: str
    number: int
    cursor: Cursor
    is_live: bool = False
    told: int = -1


class Topic:
    """Who follows one folder; `cursor` is where those are who have everything."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self.subscribers: set[Subscriber] = set()


class Feed:
    """All subscriptions of a server. Used in its loop only.

    Args:
        connection: to the database, for reading.
        tables: through the same connection.
        rights: of who reads.
    """

    def __init__(self, connection: sqlite3.Connection, tables: Tables, rights: Rights) -> None:
        self._connection = connection
        self._tables = tables
        self._rights = rights
        self._topics: dict[int, Topic] = {}
        self._generation = 0
        self._seen = 0
        self._has_left_behind = False

    def subscribe(
        self, reader: Reader, folder: str, version: int, epoch: str | None
    ) -> tuple[Subscriber, Cursor]:
        """Begin a subscription; nothing is sent before `go_on`.

        Raises:
            ReplyError: 403, 404, 409.
        """
        number = self._rights.folder(reader.actor, folder)
        self._rights.check(reader.actor, number, "read")
        cursor = Cursor(self._connection, folder, number, version, epoch)
        subscriber = Subscriber(reader, folder, number, cursor)
        if number not in self._topics:
            head = Cursor(self._connection, folder, number, cursor.version, None)
            head.is_listing, head.sent = False, cursor.version
            self._topics[number] = Topic(head)
        self._topics[number].subscribers.add(subscriber)
        return subscriber, cursor

    def remove(self, subscriber: Subscriber) -> None:
        """Forget a subscription."""
        topic = self._topics.get(subscriber.number)
        if topic:
            topic.subscribers.discard(subscriber)
            if not topic.subscribers:
                del self._topics[subscriber.number]

    def go_on(self, subscriber: Subscriber) -> bool:
        """Send a page of what a subscriber misses; True if there is more, and room for it."""
        with snapshot(self._connection):
            return self._go_on(subscriber)

    def _go_on(self, subscriber: Subscriber) -> bool:
        if subscriber.is_live or subscriber.reader.is_slow:
            return False
        self._notice()
        if not self._may_read(subscriber):
            return False
        cursor = subscriber.cursor
        current = cursor.current()
        try:
            rows = cursor.missing(limit=_PAGE)
        except OvertakenError:
            self._end(subscriber, *OVERTAKEN)
            return False
        if rows:
            data = [self._patch(subscriber, row) for row in rows]
            subscriber.reader.write(b"".join(data))
            return not subscriber.reader.is_slow
        # What was committed since `current` was read may not have been sent.
        cursor.sent = max(cursor.sent, current)
        if subscriber.told != cursor.sent:
            subscriber.told = cursor.sent
            subscriber.reader.write(push_to_bytes(Now(subscriber.folder, cursor.sent)))
        topic = self._topics[subscriber.number]
        if topic.cursor.sent < cursor.sent:
            self._advance(topic)
        subscriber.is_live = topic.cursor.sent == cursor.sent and not subscriber.reader.is_slow
        return not subscriber.is_live and not subscriber.reader.is_slow

    def look(self) -> list[Subscriber]:
        """Send what was committed; returns those who are behind now and could be served."""
        with snapshot(self._connection):
            return self._look()

    def _notice(self) -> None:
        """What is sent next and the rights to it are of one moment."""
        self._tables.look()
        if self._tables.generation != self._generation:
            self._generation = self._tables.generation
            self._check_all()

    def _look(self) -> list[Subscriber]:
        self._notice()
        numbers = json.dumps(list(self._topics))
        versions = self._connection.execute(
            "SELECT number, version FROM folder WHERE number IN (SELECT value FROM json_each(?))",
            (numbers,),
        ).fetchall()
        for number, version in versions:
            topic = self._topics.get(number)
            if topic and topic.cursor.sent != version:
                self._advance(topic)
        self._has_left_behind = False
        return [
            subscriber
            for topic in self._topics.values()
            for subscriber in topic.subscribers
            if not subscriber.is_live and not subscriber.reader.is_slow
        ]

    def has_changed(self) -> bool:
        """Whether there may be something to send: this server or another process committed."""
        seen = int(self._connection.execute("PRAGMA data_version").fetchone()[0])
        is_new, self._seen = seen != self._seen, seen
        return is_new or self._has_left_behind

    def end_all(self, status: int, text: str) -> None:
        """End every subscription."""
        for subscriber in self._all():
            self._end(subscriber, status, text)

    # -- to those who have everything

    def _advance(self, topic: Topic) -> None:
        """Send what is new in a folder to those who have all before it."""
        try:
            while rows := topic.cursor.missing(limit=_PAGE):
                self._send(topic, rows)
        except OvertakenError:
            for subscriber in topic.subscribers:
                subscriber.is_live = False
            topic.cursor.sent = topic.cursor.current()
            self._has_left_behind = True

    def _send(self, topic: Topic, rows: list[Row]) -> None:
        made: dict[tuple[str, bool], bytes] = {}
        version = rows[-1].new_version
        for subscriber in list(topic.subscribers):
            if not subscriber.is_live:
                continue
            if subscriber.reader.is_slow:
                subscriber.is_live = False
                continue
            key = subscriber.folder, self._sees_secrets(subscriber)
            if key not in made:
                patches = [self._patch(subscriber, row) for row in rows]
                made[key] = b"".join([*patches, push_to_bytes(Now(subscriber.folder, version))])
            subscriber.cursor.sent = subscriber.told = version
            subscriber.reader.write(made[key])

    def _patch(self, subscriber: Subscriber, row: Row) -> bytes:
        header = row.header
        if _USER in header and not self._sees_secrets(subscriber):
            actor, number = subscriber.reader.actor, subscriber.number
            header = self._rights.shown(actor, number, Header.parse(header)).to_bytes()
        return patch_to_bytes(
            subscriber.folder, row.old_version, row.new_version, "+" if row.is_live else "-", header
        )

    def _sees_secrets(self, subscriber: Subscriber) -> bool:
        rights = self._rights.of(subscriber.reader.actor, subscriber.number)
        return bool(rights & {"admin", "connector"})

    # -- rights

    def _may_read(self, subscriber: Subscriber) -> bool:
        """Whether the folder is there and may be read; else the subscription is ended."""
        if not self._tables.has_name(subscriber.number):
            self._end(subscriber, *GONE)
            return False
        try:
            self._rights.check(subscriber.reader.actor, subscriber.number, "read")
        except ReplyError:
            self._end(subscriber, *_REVOKED)
            return False
        return True

    def _check_all(self) -> None:
        for subscriber in self._all():
            self._may_read(subscriber)

    def _all(self) -> Iterable[Subscriber]:
        return [one for topic in self._topics.values() for one in topic.subscribers]

    def _end(self, subscriber: Subscriber, status: int, text: str) -> None:
        self.remove(subscriber)
        subscriber.reader.write(push_to_bytes(End(subscriber.folder, status, text)))
        subscriber.reader.ended(subscriber.folder)
