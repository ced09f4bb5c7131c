"""Who asks for many recipients that there are not is blocked for a time.

Docs: explanation/blocking.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import attrs

from mdirclient.errors import StoreError
from mdirclient.service.throttle import network as network_of
from mdirclient.smtp.antispam.blocks import Block, Blocks, Writing
from mdirclient.smtp.antispam.remembered import Remembered
from mdirclient.smtp.serve.limits import Limits

if TYPE_CHECKING:
    from mdirclient.service.log import Log
    from mdirclient.smtp.engine import Path
    from mdirclient.smtp.serve.note import Note

#: Seconds in which a network is not looked up again: whether it is blocked, whether it is good.
_MOMENT: Final = 1.0
_MINUTE: Final = 60.0
_MAX_REMEMBERED: Final = 10_000
_HOUR: Final = 3_600.0
_DAY: Final = 86_400.0
#: Different unknown recipients within an hour that are too many.
_TOO_MANY: Final = 3
_LONGEST: Final = 7 * _DAY
#: After which good mail and earlier blocks are forgotten.
_MEMORY: Final = 35 * _DAY
_MAX_ROWS: Final = 10**6
#: Unknown recipients of a network that are kept until its session ends.
_MAX_MISSED: Final = 100
_MAX_VISITS: Final = 10_000


@attrs.define
class Visit:
    """What a network did, as far as it counts.

    Attributes:
        network: an IPv4 address or an IPv6 /64.
        missed: recipients that there are not → when it asked for them last.
        is_good: whether it brought good mail.
    """

    network: str
    missed: dict[str, float] = attrs.field(factory=dict)
    is_good: bool = False


class Blocking:
    """Decides who is blocked. Used in one loop, but for `judge` and `forget`.

    Args:
        blocks: what is known of networks.
        limits: who is exempt, and for how long the first block is; 0: nobody is blocked.
        log: of blocks.
        now: seconds since 1970.
        most: rows that are kept.
    """

    def __init__(
        self,
        blocks: Blocks,
        limits: Limits,
        log: Log,
        *,
        now: Callable[[], float],
        most: int = _MAX_ROWS,
    ) -> None:
        self._blocks = blocks
        self._limits = limits
        self._log = log
        self._now = now
        self._most = most
        self._until = Remembered[str, float](_MOMENT, _MAX_REMEMBERED)
        self._good = Remembered[str, bool](_MINUTE, _MAX_REMEMBERED)
        self._visits: dict[str, Visit] = {}
        self._ended: list[Visit] = []
        self._judging: asyncio.Task[None] | None = None

    def watched(self, kind: str, user: str | None, address: str) -> str | None:
        """The network of a client that may be blocked; None: it is exempt.

        Args:
            kind: of the listener.
            user: who authenticated, or None.
            address: of the client; empty on a Unix socket.
        """
        is_watched = kind == "smtp" and user is None and self._limits.block_for > 0
        if not is_watched or self._limits.is_allowed(address):
            return None
        return network_of(address)

    def is_blocked(self, network: str) -> bool:
        """Whether a network is blocked now, as known since a second ago at most.

        Quick; a database that fails blocks nobody.
        """
        now = self._now()
        until = self._until.get(network, now)
        if until is None:
            try:
                found = self._blocks.find(network)
            except StoreError as error:
                self._log("state-failed", error=error)
                return False
            until = self._until.put(network, found.until if found else 0.0, now)
        return until > now

    def refuses(self, note: Note) -> bool:
        """Whether the client of a mail is blocked now."""
        network = self._watched(note)
        return network is not None and self.is_blocked(network)

    def miss(self, note: Note, path: Path) -> None:
        """The client of a mail asked for a recipient that there is not."""
        if network := self._watched(note):
            self.miss_in(network, str(path))

    def miss_in(self, network: str, recipient: str) -> None:
        """A network did."""
        missed = self._visit(network).missed
        if len(missed) < _MAX_MISSED:
            missed[recipient.lower()] = self._now()

    def welcome(self, note: Note) -> None:
        """A mail was accepted."""
        if network := self._watched(note):
            self.welcome_in(network)

    def welcome_in(self, network: str) -> None:
        """A mail of a network was. It is written at most once a day."""
        now = self._now()
        if self._good.get(network, now):
            return
        try:
            is_known = self._blocks.good_at(network) > now - _DAY
        except StoreError as error:
            self._log("state-failed", error=error)
            return
        self._good.put(network, True, now)
        if not is_known:
            self._visit(network).is_good = True

    def end(self, network: str) -> None:
        """A session is over: what its network did is judged beside the loop."""
        visit = self._visits.pop(network, None)
        if visit is None:
            return
        self._ended = [*self._ended[1 - _MAX_VISITS :], visit]
        if self._judging is None:
            self._judging = asyncio.get_running_loop().create_task(self._judge_ended())

    async def close(self) -> None:
        """Wait for what is judged, and close the database."""
        if self._judging:
            await asyncio.wait([self._judging])
        self._blocks.close()

    def judge(self, visits: Iterable[Visit]) -> list[tuple[Block, int]]:
        """Keep what networks did, and block those that have to be. May wait for the disk.

        Returns:
            The new blocks, each with how many unknown recipients there were.

        Raises:
            StoreError: it cannot be kept now.
        """
        now = self._now()
        with self._blocks.writing() as writing:
            return [found for visit in visits if (found := self._judge(writing, visit, now))]

    def forget(self) -> None:
        """Remove what is old or too much. May wait for the disk.

        Raises:
            StoreError: it cannot be removed now.
        """
        old = self._now() - _MEMORY
        before = {"unknown": self._now() - _HOUR, "blocked": old, "good": old}
        self._blocks.forget(before, self._most)

    def _watched(self, note: Note) -> str | None:
        return self.watched(note.listener.kind, note.engine.user, note.address)

    def _visit(self, network: str) -> Visit:
        return self._visits.setdefault(network, Visit(network))

    async def _judge_ended(self) -> None:
        try:
            while self._ended:
                visits, self._ended = self._ended, []
                for block, missed in await asyncio.to_thread(self.judge, visits):
                    self._until.forget(block.network)
                    self._log(
                        "blocked",
                        network=block.network,
                        until=datetime.fromtimestamp(block.until, UTC).isoformat(
                            timespec="seconds"
                        ),
                        unknown=missed,
                    )
        except StoreError as error:
            self._log("state-failed", error=error)
        finally:
            self._judging = None

    def _judge(self, writing: Writing, visit: Visit, now: float) -> tuple[Block, int] | None:
        network = visit.network
        if visit.is_good:
            writing.welcome(network, now)
        if not visit.missed or writing.good_at(network) > now - _MEMORY:
            return None
        earlier = writing.find(network)
        if earlier and earlier.until > now:
            return None  # by another session that ended before
        writing.miss(network, visit.missed.items())
        missed = writing.missed(network, now - _HOUR)
        if missed < _TOO_MANY:
            return None
        count = earlier.count if earlier and earlier.until > now - _MEMORY else 0
        seconds = min(self._limits.block_for * 2 ** min(count, 30), _LONGEST)
        block = Block(network, now + seconds, count + 1, now, "unknown recipients")
        writing.put(block)
        return block, missed
