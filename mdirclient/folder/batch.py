"""Many changes of a folder that become one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final

import attrs

from mdirclient import _fs
from mdirclient.errors import ContentMismatchError, HeaderError
from mdirclient.folder.apply import staged_header
from mdirclient.folder.entry import Layout
from mdirclient.folder.origin import Origin
from mdirclient.folder.request import Add, Claim, Pend, Remove, Rename, Replace, Request
from mdirclient.folder.scan import Written
from mdirclient.header import Header
from mdirclient.interfaces import URL, Content
from mdirclient.url import PartURL

if TYPE_CHECKING:
    from typing import Self

_MAX_REASON: Final = 1000
#: In a pending header: why the content could not be had.
PENDING_REASON: Final = "pending-reason"


@attrs.frozen
class Counted:
    """What a sync moves: `.version`, and `.origin` if given.

    The batch is applied only if both still are what the sync began with.
    """

    version: int
    version_before: int
    origin: Origin | None = None
    origin_before: Origin | None = None


class Batch:
    """Changes that are applied together when the context ends without an error.

    Contents are staged at once, names are chosen and everything appears at the end: all
    of it, durable, or after an error nothing. One change a url: adding twice counts once,
    removing takes back what was added, and anything else is a `ValueError`.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        make: Callable[[], None],
        apply: Callable[[Batch], None],
        durable: bool,
    ) -> None:
        self._layout = layout
        self._make = make
        self._apply = apply
        self._durable = durable
        self._prefix = os.urandom(8).hex()
        self._number = 0
        self._group = _fs.Group(layout.stage) if durable else None
        self._written: dict[str, Written] = {}
        self.requests: dict[PartURL, Request] = {}
        self.counted: Counted | None = None

    def add(self, header: Header, content: Content) -> None:
        """Stage an entry; without effect if the folder has its url.

        Raises:
            ContentMismatchError: `size` or `sha256` of the header are not those of the content.
            HeaderError: the header has no url.
        """
        url = _url(header)
        if not isinstance(self.requests.get(url), Add):
            self._check_free(url)
            self.requests[url] = Add(header, self._stage(header, content))

    def replace(
        self,
        header: Header,
        content: Content | None = None,
        *,
        instead_of: URL | None = None,
        conflict: str = "",
    ) -> None:
        """Stage another header, and content if given, for the entry with the same url.

        An entry that is not there is added if there is content, else ignored. The name follows
        another `suggested-name`, unless the user has given the file one of their own.

        Args:
            header: of the entry.
            content: None: it stays.
            instead_of: the url of another entry that it replaces, whose name it gets.
            conflict: a word for the name of a physical file that was changed by hand, which is
                kept beside it as `name (conflict <word>).ext`; empty: in `.meta/.lost+found`.
        """
        url = _url(header)
        self._check_free(url)
        before = None if instead_of is None else PartURL.parse(instead_of)
        staged = self._stage(header, content)
        self.requests[url] = Replace(header, staged, content is not None, before, conflict)

    def claim(
        self,
        header: Header,
        name: str,
        *,
        instead_of: URL | None = None,
        is_needed: bool = False,
    ) -> None:
        """Make an entry of a file that is there, without touching it.

        Without effect if the file is gone by then, or belongs to another entry.

        Args:
            header: of the entry.
            name: of the file.
            instead_of: the entry that the file belonged to.
            is_needed: in that case applying raises `CounterMovedError`, and nothing happens.
        """
        url = _url(header)
        self._check_free(url)
        before = None if instead_of is None else PartURL.parse(instead_of)
        self.requests[url] = Claim(name, self._stage(header, None), before, is_needed)

    def remove(self, url: URL, *, keep_modified: bool = False, keep_file: bool = False) -> None:
        """Remove an entry, if it is there.

        Args:
            url: of the entry.
            keep_modified: keep a physical file that is not what the header says.
            keep_file: keep the physical file, whatever it is, as one of the user's own.
        """
        part_url = PartURL.parse(url)
        added = self.requests.get(part_url)
        if isinstance(added, Add):
            self._unstage(added.staged)
        elif not isinstance(added, Remove):
            self._check_free(part_url)
        self.requests[part_url] = Remove(keep_modified, keep_file)

    def rename(self, url: URL, name: str) -> None:
        """Rename an entry, if it is there; the name is made safe and free as in `add`."""
        part_url = PartURL.parse(url)
        self._check_free(part_url)
        self.requests[part_url] = Rename(name)

    def pend(self, header: Header, reason: str) -> None:
        """Note an entry whose content could not be had, to try it again later."""
        url = _url(header)
        self._check_free(url)
        text = reason[:_MAX_REASON].encode("utf-8", "replace").decode()
        try:
            noted = header.replace(PENDING_REASON, text)
        except HeaderError:
            noted = header  # it is full; the entry counts for more than the reason
        self.requests[url] = Pend(self._stage(noted, None))

    def count(self, counted: Counted) -> None:
        """Move the counter with the changes. Applying raises `CounterMovedError` if somebody
        else moved it in the meantime.
        """
        self.counted = counted

    def _check_free(self, url: PartURL) -> None:
        if url in self.requests:
            raise ValueError(f"this batch changes {url} already; use another one")

    def _stage(self, header: Header, content: Content | None) -> str:
        if not self._number:
            self._make()
        self._number += 1
        staged = f"{self._prefix}-{self._number}"
        try:
            mark = None
            if content is not None:
                mark = self._write_content(self._path(staged), header, content)
            with self._new_file(staged_header(self._path(staged))) as file:
                file.write(header.to_bytes())
                self._written[staged] = Written(header, file.mark(), mark)
                file.close()
        except BaseException:
            self._unstage(staged)
            raise
        return staged

    def _write_content(self, path: str, header: Header, content: Content) -> int | None:
        """Write a content; returns its mark if the header tells what the content must be."""
        digest = hashlib.sha256()
        size = 0
        with self._new_file(path) as file:
            for chunk in _fs.chunks(content):
                digest.update(chunk)
                size += len(chunk)
                file.write(chunk)
            mark = file.mark() if "sha256" in header else None
            file.close()
        # Pitfall: a truncated download must not appear as the file.
        for name, found in (("size", str(size)), ("sha256", digest.hexdigest())):
            expected = header.get(name)
            if expected is not None and expected != found:
                raise ContentMismatchError(header["url"], f"{name} {expected}", f"{name} {found}")
        return mark

    def _new_file(self, path: str) -> _fs.NewFile:
        return _fs.NewFile(path, durable=self._durable, group=self._group)

    def _unstage(self, staged: str) -> None:
        _fs.remove(self._path(staged))
        _fs.remove(staged_header(self._path(staged)))

    def _path(self, staged: str) -> str:
        return self._layout.staged(staged)

    def flush(self) -> None:
        """Make what was staged durable."""
        if self._group and self._number:
            self._group.flush()

    def written(self, staged: str) -> Written | None:
        """What was staged under a name."""
        return self._written.get(staged)

    def discard(self) -> None:
        """Remove what was staged."""
        if self._group:
            self._group.close()
        for request in self.requests.values():
            if isinstance(request, (Add, Replace, Claim, Pend)):
                self._unstage(request.staged)
        self.requests = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self._apply(self)
        else:
            self.discard()


def _url(header: Header) -> PartURL:
    if "url" not in header:
        raise HeaderError("an entry needs a `url`")
    return PartURL.parse(header["url"])
