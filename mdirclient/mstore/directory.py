"""A store in a directory (docs: formats/mstore)::

    mstore                        a header: format and base
    messages/<message-id>/        one directory a message, published whole by one rename
        1, 2, …                   the decoded content of each part
        recipe                    how the original is made again, with its SHA-256
    incoming/                     messages on their way; what a crash left is swept

Reads and writes this directory only.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import IO, TYPE_CHECKING, Final, TypeVar

import attrs

from mdirclient import _fs
from mdirclient.errors import (
    DamagedMessageError,
    DiskReserveError,
    StoreError,
    UnknownContentError,
)
from mdirclient.header import Header
from mdirclient.mail import Limits, MailFields, Part
from mdirclient.mail.limits import DEFAULT
from mdirclient.mail.recipe import FORMAT, RECIPE, RecipeWriter
from mdirclient.mail.segment import Same
from mdirclient.mail.stored import StoredMessage
from mdirclient.mstore.receiver import DirectoryReceiver, Staged
from mdirclient.mstore.shelf import DirectoryShelf
from mdirclient.url import DEFAULT_BASE, PartURL, check_file_id, file_id

if TYPE_CHECKING:
    from mdirclient.interfaces import URL, Content, Receiver
    from mdirclient.mail.rebuild import EndRecord

_Answer = TypeVar("_Answer")
#: Of the directory; recipes have a number of their own.
STORE_FORMAT: Final = "2"
#: What a crash left in `incoming` is removed after this many seconds.
_SWEEP_AFTER: Final = 24 * 3600.0
#: How often it is looked for.
_SWEEP_EVERY: Final = 3600.0
#: Bytes of the disk that are left to others.
DEFAULT_RESERVE: Final = 64 << 20


class DirectoryMstore:
    """An mstore in a directory. Shared by threads and processes without locks.

    Args:
        path: the directory.
        create: make it if it is missing.
        base: of the urls, when it is made; afterwards the store knows it.
        limits: of mails that are added.
        reserve: bytes of the disk that are left free; below, nothing is added.

    Raises:
        StoreError: it is not an mstore, or of another format.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        create: bool = True,
        base: str = DEFAULT_BASE,
        limits: Limits = DEFAULT,
        reserve: int = DEFAULT_RESERVE,
    ) -> None:
        self.path = os.path.abspath(path)
        self.limits = limits
        self._reserve = reserve
        self._messages = os.path.join(self.path, "messages")
        self._incoming = os.path.join(self.path, "incoming")
        self._is_durable = False
        self._syncfs: bool | None = None
        self._next_sweep = 0.0
        mark = os.path.join(self.path, "mstore")
        if create and not os.path.exists(mark):
            self._make(mark, base)
        self.base = _read_base(mark)
        # `Mstore` is found where case makes no difference; ids then have to be compared.
        self._folds_case = os.path.exists(os.path.join(self.path, "Mstore"))

    def _make(self, mark: str, base: str) -> None:
        _fs.make_directories(self.path, mode=0o700)
        _fs.make_directories(self._messages)
        _fs.make_directories(self._incoming)
        head = Header([("mstore", STORE_FORMAT), ("base", base)])
        staged = self._staged()
        _fs.create(staged, head.to_bytes())
        # Race: of two that make the store the first decides; a base is fixed for good.
        with contextlib.suppress(FileExistsError):
            _fs.publish(staged, mark)
        _fs.remove(staged)
        _fs.sync_directory(self.path)

    def add(self, message: bytes | IO[bytes]) -> StoredMessage:
        """Take a mail apart and store it; durable on return. See `Mstore.add`."""
        with self.receive() as receiver:
            for chunk in _fs.chunks(message):
                receiver.write(chunk)
            return receiver.commit()

    def receive(self) -> DirectoryReceiver:
        """The same, pushed in pieces. See `Mstore.receive`."""
        return DirectoryReceiver(self, self._staged())

    def commit_all(self, receivers: Sequence[Receiver]) -> list[StoredMessage | Exception]:
        """Publish several with two flushes for all. See `Mstore.commit_all`."""
        return self._commit_all([_tried(_own(receiver).taken) for receiver in receivers])

    def add_file(
        self,
        content: Content,
        *,
        media_type: str,
        suggested_name: str | None = None,
        message_id: str | None = None,
    ) -> StoredMessage:
        """Store anything that is no mail as one part. See `Mstore.add_file`."""
        self.check_reserve()
        chosen = file_id(os.urandom(16)) if message_id is None else check_file_id(message_id)
        shelf = DirectoryShelf(self._staged())
        try:
            size, sha256 = _shelve(shelf, self._within_reserve(_fs.chunks(content)))
            anchor = self._published(shelf, chosen, size, sha256)
        finally:
            shelf.remove()
        described = (("content-type", media_type),)
        part = Part(1, "1", (), media_type, suggested_name, described, size, sha256)
        return StoredMessage(anchor, (part,), MailFields((), (), chosen), size, sha256)

    def open(self, url: URL) -> IO[bytes]:
        """The content of a part. See `Mstore.open`."""
        part_url = self._checked(url)
        try:
            if part_url.part == 0:
                from mdirclient.mstore.original import open_original  # seldom asked for

                return open_original(self._message_path(part_url.segment))
            return open(self._part_path(part_url), "rb")
        except (FileNotFoundError, NotADirectoryError):
            raise UnknownContentError(str(part_url)) from None

    def contents(self, url: URL) -> tuple[EndRecord, ...]:
        """Size and SHA-256 of the original of a message, and of each part, as stored.

        Raises:
            UnknownContentError: not in this store, or of another base.
            DamagedMessageError: its recipe cannot be read.
        """
        from mdirclient.mstore.original import contents  # who delivers needs it not

        part_url = self._checked(url)
        try:
            return contents(self._message_path(part_url.segment))
        except (FileNotFoundError, NotADirectoryError):
            raise UnknownContentError(str(part_url)) from None

    def __contains__(self, url: URL) -> bool:
        try:
            part_url = self._checked(url)
        except (UnknownContentError, ValueError):
            return False
        name = str(part_url.part or RECIPE)
        return os.path.isfile(os.path.join(self._message_path(part_url.segment), name))

    # -- storing

    def stage(self, staged: Staged) -> None:
        """Write the recipe of a mail that is new here, and check it."""
        segment = PartURL(self.base, staged.message_id, 1).segment
        if not os.path.lexists(self._message_path(segment)):
            _write_recipe(staged.shelf, segment, staged.size, staged.sha256)

    def keep(self, staged: Staged) -> StoredMessage:
        """Publish a mail under its name; durable on return."""
        size, sha256 = staged.size, staged.sha256
        return staged.stored(self._published(staged.shelf, staged.message_id, size, sha256))

    def _commit_all(self, found: list[Staged | Exception]) -> list[StoredMessage | Exception]:
        new = [one for one in found if isinstance(one, Staged) and one.shelf.segment]
        groups = [one.shelf.group for one in new]
        flush = partial(_fs.flush_together, groups, at_once=self._has_syncfs())
        failed = _tried(flush)
        named = {} if failed else {id(one): _tried(partial(self._name, one)) for one in new}
        if any(outcome is True for outcome in named.values()):
            failed = _tried(partial(_fs.sync_directory, self._messages))
        outcome: list[StoredMessage | Exception] = []
        for one in found:
            done = failed or named.get(id(one))
            if isinstance(one, Exception):
                outcome.append(one)
            elif isinstance(done, Exception) and one.shelf.segment:
                outcome.append(done)
            elif done is True:
                outcome.append(one.stored(PartURL(self.base, one.message_id, 1)))
            else:  # another mail has its name, or the same was here before
                outcome.append(_tried(partial(self.keep, one)))
        self._settle()
        return outcome

    def _name(self, staged: Staged) -> bool:
        """Give a mail that is written its name, not durable yet; False if it is taken."""
        assert staged.shelf.segment
        path = self._message_path(staged.shelf.segment)
        return _fs.publish_directory(staged.shelf.path, path, durable=False)

    def _has_syncfs(self) -> bool:
        if self._syncfs is None:
            self._syncfs = _fs.has_syncfs(self.path)
        return self._syncfs

    def _published(self, shelf: DirectoryShelf, message_id: str, size: int, sha256: str) -> PartURL:
        """Publish a message under its message-id, or as a variant, or find that it is there."""
        anchor = PartURL(self.base, message_id, 1)
        if not self._is_kept(shelf, anchor.segment, size, sha256):
            # A different mail, or one that is damaged, stays; this one is kept beside it.
            anchor = attrs.evolve(anchor, variant=sha256[:16])
            if not self._is_kept(shelf, anchor.segment, size, sha256):
                raise DamagedMessageError(
                    self._message_path(anchor.segment), "something else is stored as this variant"
                )
        self._settle()
        return anchor

    def _is_kept(self, shelf: DirectoryShelf, segment: str, size: int, sha256: str) -> bool:
        """Publish a message, or find that it was; False if something else is in its place."""
        if not os.path.lexists(self._message_path(segment)) and self._publish(
            shelf, segment, size, sha256
        ):
            return True
        if not self._has_same(segment, sha256):
            return False
        # Race: whoever collects garbage must see that it is wanted again, or have removed it.
        try:
            _fs.touch(self._message_path(segment))
        except FileNotFoundError:
            return self._publish(shelf, segment, size, sha256)
        # Durable on return, also if its writer died before it could flush the name.
        _fs.sync_directory(self._messages)
        return True

    def _has_same(self, segment: str, sha256: str) -> bool:
        """Whether this very mail is stored, and can be made again: its sender lets go of it."""
        try:
            if self._held_sha256(segment) != sha256:
                return False
            _check(self._message_path(segment))
        except (DamagedMessageError, FileNotFoundError):
            return False
        return True

    def _publish(self, shelf: DirectoryShelf, segment: str, size: int, sha256: str) -> bool:
        """Publish what is on the shelf; False if another process was faster."""
        _write_recipe(shelf, segment, size, sha256)
        shelf.flush()
        return _fs.publish_directory(shelf.path, self._message_path(segment))

    def check_reserve(self) -> None:
        """Raises DiskReserveError: a full disk would hurt all who write there."""
        free = _fs.free_bytes(self.path)
        if free < self._reserve:
            raise DiskReserveError(self.path, free, self._reserve)

    def _within_reserve(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.check_reserve()
            yield chunk

    def _settle(self) -> None:
        """What has to be done once, and what has to be done from time to time."""
        if not self._is_durable:
            # Whoever made the store may have died before its mark was flushed.
            _fs.sync_directory(self.path)
            self._is_durable = True
        now = time.monotonic()
        if now >= self._next_sweep:
            self._next_sweep = now + _SWEEP_EVERY
            _fs.sweep(self._incoming, older_than=time.time() - _SWEEP_AFTER)

    def _staged(self) -> str:
        return os.path.join(self._incoming, os.urandom(8).hex())

    # -- looking after it

    def segments(self) -> Iterator[str]:
        """Message-ids (with variant) of what is stored, in no order."""
        with os.scandir(self._messages) as entries:
            for entry in entries:
                yield entry.name

    def stored_at(self, segment: str) -> float:
        """When a message was stored, or the same came again: seconds since 1970.

        Raises:
            FileNotFoundError: it is not there.
        """
        return os.stat(self._message_path(segment)).st_mtime

    def set_aside(self, segment: str) -> str:
        """Take a message away, so that the same is stored anew if it comes; its place now."""
        removing = os.path.join(self.path, "removing")
        _fs.make_directory(removing, exist_ok=True)
        place = os.path.join(removing, segment)
        _fs.publish_directory(self._message_path(segment), place)
        return place

    def put_back(self) -> None:
        """Bring back what was set aside, unless the same was stored since then."""
        removing = os.path.join(self.path, "removing")
        if not os.path.isdir(removing):
            return
        for segment in os.listdir(removing):
            place = os.path.join(removing, segment)
            if not _fs.publish_directory(place, self._message_path(segment)):
                _fs.remove_tree(place)

    def drop(self, place: str) -> None:
        """Remove for good what was set aside. Cut in the middle, it is swept like a delivery."""
        staged = self._staged()
        _fs.move(place, staged)
        _fs.remove_tree(staged)

    def take(self, other: DirectoryMstore, segment: str, *, is_checked: bool = False) -> bool:
        """Copy a message of another store; durable on return. False if it is there already.

        Another one under this name (its message-id was used again), or one that is damaged, is
        replaced. One that has gone meanwhile is none.

        Args:
            other: where the message is.
            segment: its message-id, with variant.
            is_checked: look at the contents of one that is there, not at its digest alone.
        """
        path = self._message_path(segment)
        if os.path.lexists(path) and self._is_copy(other, segment, is_checked=is_checked):
            return False
        shelf = DirectoryShelf(self._staged())
        try:
            shelf.copy(os.path.join(other.path, "messages", segment))
            place = self.set_aside(segment) if os.path.lexists(path) else None
            is_taken = _fs.publish_directory(shelf.path, path)
            if place:
                self.drop(place)
            return is_taken
        except FileNotFoundError:
            return False
        finally:
            shelf.remove()

    def _is_copy(self, other: DirectoryMstore, segment: str, *, is_checked: bool) -> bool:
        from mdirclient.mstore.original import read_recipe_head

        try:
            theirs = read_recipe_head(os.path.join(other.path, "messages", segment))
        except (DamagedMessageError, FileNotFoundError):
            return True  # what is here is not worse
        try:
            if self._held_sha256(segment) != theirs.get("message-sha256"):
                return False
            if is_checked:
                _check(self._message_path(segment))
        except DamagedMessageError:
            return False
        return True

    # -- reading

    def _checked(self, url: URL) -> PartURL:
        part_url = PartURL.parse(url)
        if part_url.base != self.base:
            raise UnknownContentError(str(part_url), f"this store answers for {self.base} only")
        if self._folds_case and not self._held_sha256(part_url.segment):
            raise UnknownContentError(str(part_url))
        return part_url

    def _held_sha256(self, segment: str) -> str | None:
        """SHA-256 of the message stored under this very segment; None if there is none.

        A message that differs in case only counts as a different one: an empty text.
        """
        directory = self._message_path(segment)
        if not os.path.isfile(os.path.join(directory, RECIPE)):
            return None
        from mdirclient.mstore.original import read_recipe_head  # a new message needs it not

        head = read_recipe_head(directory)
        return head.get("message-sha256", "") if head.get("message-id") == segment else ""

    def _message_path(self, segment: str) -> str:
        return os.path.join(self._messages, segment)

    def _part_path(self, url: PartURL) -> str:
        return os.path.join(self._messages, url.segment, str(url.part))


def _own(receiver: Receiver) -> DirectoryReceiver:
    if not isinstance(receiver, DirectoryReceiver):
        raise TypeError(f"a receiver of another store: {receiver!r}")
    return receiver


def _tried(do: Callable[[], _Answer]) -> _Answer | Exception:
    """What it returns or raises."""
    try:
        return do()
    except Exception as error:  # noqa: BLE001 - it is the answer to one of many
        return error


def _write_recipe(shelf: DirectoryShelf, segment: str, size: int, sha256: str) -> None:
    """Write the recipe for a name, unless it is written, and check that it gives the original.

    Raises:
        StoreError: it does not.
    """
    if shelf.segment == segment:
        return
    fields = [("recipe", FORMAT), ("message-id", segment)]
    fields += [("message-size", str(size)), ("message-sha256", sha256)]
    shelf.write_recipe(Header(fields))
    try:
        _check(shelf.path)
    except DamagedMessageError as error:
        raise StoreError(
            f"a mail of {size} bytes could not be made again from what was written "
            f"({error.reason}); nothing was stored"
        ) from error
    shelf.segment = segment


def _read_base(mark: str) -> str:
    try:
        with open(mark, "rb") as file:
            head = Header.parse(file.read(), source=mark)
    except FileNotFoundError:
        raise StoreError(
            f"{os.path.dirname(mark)} is not an mstore: it has no file `mstore`"
        ) from None
    if head.get("mstore") != STORE_FORMAT or "base" not in head:
        raise StoreError(f"{mark}: an mstore of another format than {STORE_FORMAT}")
    return head["base"]


def _check(directory: str) -> None:
    """Whether what is stored gives the original: its sender lets go of it because of us.

    Raises:
        FileNotFoundError: there is no message.
        DamagedMessageError: it does not.
    """
    from mdirclient.mstore.original import original

    for _ in original(directory):
        pass


def _shelve(shelf: DirectoryShelf, content: Iterable[bytes]) -> tuple[int, str]:
    """Put a file that is no mail on a shelf; returns its size and SHA-256."""
    digest = hashlib.sha256()
    size = 0
    shelf.begin(1)
    for chunk in content:
        digest.update(chunk)
        size += len(chunk)
        shelf.write(chunk)
    shelf.end()
    recipe = RecipeWriter()
    records = [recipe.begin(1), recipe.add([Same(size)]), recipe.end(size, digest.hexdigest())]
    shelf.record(b"".join([*records, recipe.close()]))
    return size, digest.hexdigest()
