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
from collections.abc import Callable, Iterable, Iterator
from typing import IO, TYPE_CHECKING, Final

from mdirclient import _fs
from mdirclient.errors import DamagedMessageError, StoreError, UnknownContentError
from mdirclient.header import Header
from mdirclient.mail import MailFields, Part, Structure, take_apart
from mdirclient.mail.block import Buffer
from mdirclient.mail.part import describe_leaf
from mdirclient.mail.recipe import FORMAT, RECIPE, PartRecord, write_recipe
from mdirclient.mail.stored import StoredMessage
from mdirclient.mail.transfer import decode
from mdirclient.mstore.receiver import DirectoryReceiver
from mdirclient.url import DEFAULT_BASE, PartURL

if TYPE_CHECKING:
    from mdirclient.interfaces import URL, Content

#: What a crash left in `incoming` is removed after this many seconds.
_SWEEP_AFTER: Final = 24 * 3600.0


class DirectoryMstore:
    """An mstore in a directory. Shared by threads and processes without locks.

    Args:
        path: the directory.
        create: make it if it is missing.
        base: of the urls, when it is made; afterwards the store knows it.

    Raises:
        StoreError: it is not an mstore, or of another format.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, create: bool = True, base: str = DEFAULT_BASE
    ) -> None:
        self.path = os.path.abspath(path)
        self._messages = os.path.join(self.path, "messages")
        self._incoming = os.path.join(self.path, "incoming")
        self._is_durable = False
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
        head = Header([("mstore", FORMAT), ("base", base)])
        _fs.replace(mark, head.to_bytes(), staged=self._staged())

    def add(self, message: bytes | IO[bytes]) -> StoredMessage:
        """Take a mail apart and store it; durable on return. See `Mstore.add`."""
        with self.receive() as receiver:
            for chunk in _fs.chunks(message):
                receiver.write(chunk)
            return receiver.commit()

    def receive(self) -> DirectoryReceiver:
        """The same, pushed in pieces. See `Mstore.receive`."""
        return DirectoryReceiver(self._staged(), self._store_mail)

    def add_file(
        self, content: Content, *, media_type: str, suggested_name: str | None = None
    ) -> StoredMessage:
        """Store anything that is no mail as one part. See `Mstore.add_file`."""
        message_id = f"{os.urandom(16).hex()}@file.invalid"
        with self._staging() as staged:
            size, sha256 = _write_part(os.path.join(staged, "1"), _fs.chunks(content))
            record = PartRecord(1, size, sha256, "identity").to_bytes()
            self._write_recipe(staged, message_id, size, sha256, [record])
            self._publish(staged, message_id)
        part = Part(
            1, "1", (), media_type, suggested_name, (("content-type", media_type),), size, sha256
        )
        anchor = PartURL(self.base, message_id, 1)
        return StoredMessage(anchor, (part,), MailFields((), (), message_id), size, sha256)

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

    def __contains__(self, url: URL) -> bool:
        try:
            part_url = self._checked(url)
        except (UnknownContentError, ValueError):
            return False
        name = str(part_url.part or RECIPE)
        return os.path.isfile(os.path.join(self._message_path(part_url.segment), name))

    # -- storing

    def _store_mail(self, data: Buffer, size: int, sha256: str) -> StoredMessage:
        structure, mail = take_apart(data)
        message_id = mail.message_id or f"{sha256}@sha256.invalid"
        variant = None
        parts = None
        while True:
            anchor = PartURL(self.base, message_id, 1, variant)
            held = self._held_sha256(anchor.segment)
            if held is None:
                parts = self._store_new(data, structure, anchor.segment, size, sha256)
                if parts:
                    break
                if self._held_sha256(anchor.segment) is None:
                    path = self._message_path(anchor.segment)
                    raise DamagedMessageError(path, f"its {RECIPE} is missing")
            elif held == sha256:
                # Durable on return, also if its writer died before it could flush the name.
                _fs.sync_directory(self._messages)
                break
            elif variant:
                raise DamagedMessageError(
                    self._message_path(anchor.segment), "another mail is stored as this variant"
                )
            else:
                variant = sha256[:16]
        return StoredMessage(
            anchor, parts or _hashed(data, structure), mail, size, sha256, structure.kept_whole
        )

    def _store_new(
        self, data: Buffer, structure: Structure, segment: str, size: int, sha256: str
    ) -> tuple[Part, ...] | None:
        """Write and publish a message; None if another process was faster."""
        parts: list[Part] = []
        with self._staging() as staged:

            def store(number: int, content: Iterator[bytes]) -> tuple[int, str]:
                written = _write_part(os.path.join(staged, str(number)), content)
                parts.append(describe_leaf(structure.leaves[number - 1], number, *written))
                return written

            self._write_recipe(staged, segment, size, sha256, write_recipe(data, structure, store))
            return tuple(parts) if self._publish(staged, segment) else None

    def _write_recipe(
        self, staged: str, segment: str, size: int, sha256: str, records: Iterable[bytes]
    ) -> None:
        head = Header(
            [
                ("recipe", FORMAT),
                ("message-id", segment),
                ("message-size", str(size)),
                ("message-sha256", sha256),
            ]
        )
        with _fs.NewFile(os.path.join(staged, RECIPE)) as file:
            file.write(head.to_bytes() + b"\n")
            for record in records:
                file.write(record)
            file.close()

    def _publish(self, staged: str, segment: str) -> bool:
        _fs.sync_directory(staged)
        published = _fs.publish_directory(staged, self._message_path(segment))
        if not self._is_durable:
            # Whoever made the store may have died before its mark was flushed.
            _fs.sync_directory(self.path)
            _fs.sweep(self._incoming, older_than=time.time() - _SWEEP_AFTER)
            self._is_durable = True
        return published

    def _staged(self) -> str:
        return os.path.join(self._incoming, os.urandom(8).hex())

    @contextlib.contextmanager
    def _staging(self) -> Iterator[str]:
        """A directory for one message; gone at the end if it was not published."""
        staged = self._staged()
        _fs.make_directory(staged)
        try:
            yield staged
        finally:
            _fs.remove_tree(staged)

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
        if not os.path.exists(os.path.join(directory, RECIPE)):
            return None
        from mdirclient.mstore.original import read_recipe_head  # a new message needs it not

        head = read_recipe_head(directory)
        return head.get("message-sha256", "") if head.get("message-id") == segment else ""

    def _message_path(self, segment: str) -> str:
        return os.path.join(self._messages, segment)

    def _part_path(self, url: PartURL) -> str:
        return os.path.join(self._messages, url.segment, str(url.part))


def _read_base(mark: str) -> str:
    try:
        with open(mark, "rb") as file:
            head = Header.parse(file.read(), source=mark)
    except FileNotFoundError:
        raise StoreError(
            f"{os.path.dirname(mark)} is not an mstore: it has no file `mstore`"
        ) from None
    if head.get("mstore") != FORMAT or "base" not in head:
        raise StoreError(f"{mark}: an mstore of another format than {FORMAT}")
    return head["base"]


def _write_part(path: str, content: Iterator[bytes]) -> tuple[int, str]:
    with _fs.NewFile(path) as file:
        measured = _measured(content, file.write)
        file.close()
    return measured


def _hashed(data: Buffer, structure: Structure) -> tuple[Part, ...]:
    """The parts of a message that is stored already."""
    return tuple(
        describe_leaf(
            leaf, number, *_measured(decode(leaf.encoding, data, leaf.start, leaf.end), None)
        )
        for number, leaf in enumerate(structure.leaves, 1)
    )


def _measured(content: Iterator[bytes], write: Callable[[bytes], None] | None) -> tuple[int, str]:
    """Size and SHA-256 of a content, written as it passes."""
    digest = hashlib.sha256()
    size = 0
    for chunk in content:
        digest.update(chunk)
        size += len(chunk)
        if write:
            write(chunk)
    return size, digest.hexdigest()
