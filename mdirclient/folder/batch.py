"""Many changes of a folder that become one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Final

import attrs

from mdirclient import _fs
from mdirclient.errors import ContentMismatchError, HeaderError
from mdirclient.folder.apply import staged_header
from mdirclient.folder.entry import Layout
from mdirclient.folder.origin import Origin
from mdirclient.header import Header
from mdirclient.interfaces import URL, Content
from mdirclient.url import PartURL

if TYPE_CHECKING:
    from typing import Self

    from mdirclient.folder.folder import Folder

_CHUNK: Final = 1 << 20
#: In a pending header: why the content could not be had.
PENDING_REASON: Final = "pending-reason"


@attrs.frozen
class Add:
    """A staged entry."""

    url: PartURL
    header: Header
    staged: str


@attrs.frozen
class Replace:
    """A staged header, and content if `has_content`, for an entry that is there."""

    url: PartURL
    header: Header
    staged: str
    has_content: bool


@attrs.frozen
class Remove:
    """An entry to remove; with `keep_modified` a content that was changed by hand stays."""

    url: PartURL
    keep_modified: bool


@attrs.frozen
class Rename:
    """An entry to rename."""

    url: PartURL
    name: str


@attrs.frozen
class Pend:
    """A staged header whose content could not be had."""

    url: PartURL
    staged: str


Request = Add | Replace | Remove | Rename | Pend


class Batch:
    """Changes that are applied together when the context ends without an error.

    Contents are staged at once, names are chosen and everything appears at the end: all
    of it, durable, or after an error nothing.
    """

    def __init__(self, folder: Folder, layout: Layout, *, durable: bool) -> None:
        self._folder = folder
        self._layout = layout
        self._durable = durable
        self._prefix = os.urandom(8).hex()
        self.requests: list[Request] = []
        self.version: tuple[int, int] | None = None
        self.origin: Origin | None = None

    def add(self, header: Header, content: Content) -> None:
        """Stage an entry; without effect if the folder has its url.

        Raises:
            ContentMismatchError: `size` or `sha256` of the header are not those of the content.
            HeaderError: the header has no url.
        """
        url = _url(header)
        staged = self._stage(header, content)
        self.requests.append(Add(url, header, staged))

    def replace(self, header: Header, content: Content | None = None) -> None:
        """Stage another header, and content if given, for the entry with the same url.

        An entry that is not there is added if there is content, else ignored.
        """
        url = _url(header)
        staged = self._stage(header, content)
        self.requests.append(Replace(url, header, staged, content is not None))

    def remove(self, url: URL, *, keep_modified: bool = False) -> None:
        """Remove an entry, if it is there.

        Args:
            url: of the entry.
            keep_modified: keep a physical file that is not what the header says.
        """
        self.requests.append(Remove(PartURL.parse(url), keep_modified))

    def rename(self, url: URL, name: str) -> None:
        """Rename an entry, if it is there; the name is made safe and free as in `add`."""
        self.requests.append(Rename(PartURL.parse(url), name))

    def pend(self, header: Header, reason: str) -> None:
        """Note an entry whose content could not be had, to try it again later."""
        staged = self._stage(header.replace(PENDING_REASON, reason), None)
        self.requests.append(Pend(_url(header), staged))

    def set_version(self, version: int, *, before: int) -> None:
        """Advance `.version` with the changes, if it still holds `before` then."""
        self.version = (version, before)

    def set_origin(self, origin: Origin) -> None:
        """Write `.origin` with the changes."""
        self.origin = origin

    def _stage(self, header: Header, content: Content | None) -> str:
        self._folder.make()
        staged = f"{self._prefix}-{len(self.requests)}"
        path = os.path.join(self._layout.stage, staged)
        try:
            if content is not None:
                self._write_content(path, header, content)
            _fs.create(staged_header(path), header.to_bytes(), durable=self._durable)
        except BaseException:
            _fs.remove(path)
            _fs.remove(staged_header(path))
            raise
        return staged

    def _write_content(self, path: str, header: Header, content: Content) -> None:
        digest = hashlib.sha256()
        size = 0
        with _fs.NewFile(path, durable=self._durable) as file:
            for chunk in chunks(content):
                digest.update(chunk)
                size += len(chunk)
                file.write(chunk)
            file.close()
        # Pitfall: a truncated download must not appear as the file.
        for name, found in (("size", str(size)), ("sha256", digest.hexdigest())):
            expected = header.get(name)
            if expected is not None and expected != found:
                raise ContentMismatchError(header["url"], f"{name} {expected}", f"{name} {found}")

    def discard(self) -> None:
        """Remove what was staged."""
        for request in self.requests:
            if isinstance(request, (Add, Replace, Pend)):
                path = os.path.join(self._layout.stage, request.staged)
                _fs.remove(path)
                _fs.remove(staged_header(path))
        self.requests = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self._folder.apply(self)
        else:
            self.discard()


def chunks(content: Content) -> Iterator[bytes]:
    """The bytes of a content in pieces."""
    if isinstance(content, bytes):
        yield content
    elif isinstance(content, os.PathLike):
        with open(content, "rb") as file:
            yield from chunks(file)
    else:
        while chunk := content.read(_CHUNK):
            yield chunk


def _url(header: Header) -> PartURL:
    if "url" not in header:
        raise HeaderError("an entry needs a `url`")
    return PartURL.parse(header["url"])
