"""One message on its way into a directory store. Writes to the store's `incoming`."""

from __future__ import annotations

import contextlib
import io
import os
from typing import IO, Final

from mdirclient import _fs
from mdirclient.header import Header
from mdirclient.mail.recipe import RECIPE

#: Records stay in memory up to this size.
_IN_MEMORY: Final = 1 << 20


class DirectoryShelf:
    """A staged directory: contents, and then their recipe, with which all is durable.

    Args:
        path: a free name in `incoming`.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._file: _fs.NewFile | None = None
        self._records: list[bytes] = []
        self._records_bytes = 0
        self._spooled: IO[bytes] | None = None  # the first of the records, if they are many
        self._final: IO[bytes] | None = None  # all records, once the recipe is written
        #: What is not flushed yet.
        self.group = _fs.Group(path)
        #: The message-id (with variant) of the recipe, once it is written.
        self.segment: str | None = None
        _fs.make_directory(path)

    def begin(self, number: int) -> None:
        """See `Shelf`."""
        self._file = _fs.NewFile(self._place(number), group=self.group)

    def write(self, data: bytes) -> None:
        """See `Shelf`."""
        assert self._file
        self._file.write(data)

    def end(self) -> None:
        """See `Shelf`."""
        assert self._file
        self._file.close()
        self._file = None

    def discard(self, number: int) -> None:
        """See `Shelf`."""
        _fs.remove(self._place(number))

    def rename(self, number: int, new_number: int) -> None:
        """See `Shelf`."""
        _fs.move(self._place(number), self._place(new_number))

    def record(self, data: bytes) -> None:
        """See `Shelf`."""
        self._records.append(data)
        self._records_bytes += len(data)
        if self._records_bytes > _IN_MEMORY:
            self._spooled = self._spooled or _fs.spool(self.path)
            self._spooled.write(self._taken())

    def open_part(self, number: int) -> IO[bytes]:
        """See `Shelf`."""
        return open(self._place(number), "rb")

    def take_records(self) -> IO[bytes]:
        """See `Shelf`."""
        taken = self._spooled or io.BytesIO()
        taken.write(self._taken())
        taken.seek(0)
        self._spooled = None
        return taken

    def write_recipe(self, head: Header) -> None:
        """Write it, in the place of one with another head; `flush` makes all durable."""
        if self._final is None:
            self._final = self.take_records()
        else:
            _fs.remove(self._place(RECIPE))
        self._final.seek(0)
        with _fs.NewFile(self._place(RECIPE), group=self.group) as file:
            file.write(head.to_bytes() + b"\n")
            for chunk in _fs.chunks(self._final):
                file.write(chunk)
            file.close()

    def flush(self) -> None:
        """Make all that was written durable, unless it is."""
        if not self.group.is_empty():
            self.group.flush()

    def copy(self, directory: str) -> None:
        """Copy the files of a message; all is durable on return.

        Raises:
            FileNotFoundError: the message went meanwhile.
        """
        for name in os.listdir(directory):
            with (
                open(os.path.join(directory, name), "rb") as content,
                _fs.NewFile(self._place(name), group=self.group) as file,
            ):
                for chunk in _fs.chunks(content):
                    file.write(chunk)
                file.close()
        self.group.flush()

    def remove(self) -> None:
        """Everything goes, unless the directory has another name by now.

        What cannot be removed is swept later.
        """
        self.group.close()
        for spooled in (self._spooled, self._final):
            if spooled:
                spooled.close()
        with contextlib.suppress(OSError):
            if self._file:
                self._file.discard()
        with contextlib.suppress(OSError):
            _fs.remove_tree(self.path)

    def _taken(self) -> bytes:
        records = b"".join(self._records)
        self._records.clear()
        self._records_bytes = 0
        return records

    def _place(self, name: int | str) -> str:
        return os.path.join(self.path, str(name))
