"""What a batch comes to: the journal's steps, with names chosen. Reads the folder.

Runs under the folder's lock, on a refreshed index.
"""

from __future__ import annotations

import hashlib
import os
from typing import Final

from mdirclient.folder.batch import Add, Pend, Remove, Rename, Replace, Request
from mdirclient.folder.entry import Layout
from mdirclient.folder.index import Index, stamp_of
from mdirclient.folder.journal import Step
from mdirclient.header import Header
from mdirclient.naming import extension_of, fallback_name, safe_name
from mdirclient.url import PartURL

_CHUNK: Final = 1 << 20


def pending_name(url: PartURL) -> str:
    """The name of a pending entry in `.meta/.pending`: 32 digits of its url's SHA-256."""
    return hashlib.sha256(str(url).encode()).hexdigest()[:32]


class Planner:
    """Turns requests into steps, one after the other."""

    def __init__(self, layout: Layout, index: Index) -> None:
        self._layout = layout
        self._index = index
        self._added: dict[PartURL, Step] = {}
        self._steps: dict[Step, None] = {}

    def plan(self, requests: list[Request]) -> tuple[Step, ...]:
        """The steps for all requests, in order."""
        for request in requests:
            match request:
                case Add():
                    self._add(request.url, request.header, request.staged)
                case Replace():
                    self._replace(request)
                case Remove():
                    self._remove(request)
                case Rename():
                    self._rename(request)
                case Pend():
                    self._append(Step("pend", pending_name(request.url), request.staged))
        return tuple(self._steps)

    def _add(self, url: PartURL, header: Header, staged: str) -> None:
        if url in self._added or self._index.known(url):
            return
        if orphan := self._index.orphan(url):
            # A person removed the file and left its header: the entry comes back as a whole.
            self._append(Step("remove", orphan.name, url=str(url)))
            self._index.free(orphan.name)
        self._unpend(url)
        step = Step("add", self._index.choose_name(_wanted_name(url, header)), staged)
        self._added[url] = step
        self._append(step)

    def _replace(self, request: Replace) -> None:
        item = self._index.known(request.url)
        if not item:
            if request.has_content:
                self._add(request.url, request.header, request.staged)
        elif request.has_content or item.header != request.header:
            stamp = stamp_of(self._layout.content_of(item.name))
            self._append(
                Step("replace", item.name, request.staged, request.has_content, stamp=stamp)
            )

    def _remove(self, request: Remove) -> None:
        self._unpend(request.url)
        if step := self._added.pop(request.url, None):
            del self._steps[step]
        elif item := self._index.known(request.url):
            path = self._layout.content_of(item.name)
            is_kept = request.keep_modified and is_modified(path, item.header)
            stamp = "" if is_kept else stamp_of(path)
            self._append(Step("remove", item.name, stamp=stamp, url=str(request.url)))
        elif orphan := self._index.orphan(request.url):
            self._append(Step("remove", orphan.name, url=str(request.url)))

    def _rename(self, request: Rename) -> None:
        item = self._index.known(request.url)
        if not item or safe_name(request.name) == item.name:
            return
        self._append(
            Step(
                "rename",
                item.name,
                new_name=self._index.choose_name(request.name),
                url=str(request.url),
            )
        )

    def _unpend(self, url: PartURL) -> None:
        name = pending_name(url)
        if os.path.lexists(os.path.join(self._layout.pending, name)):
            self._append(Step("unpend", name))

    def _append(self, step: Step) -> None:
        self._steps[step] = None


def is_modified(path: str, header: Header) -> bool:
    """Whether a physical file is not the content that its header gives size or SHA-256 of."""
    size, sha256 = header.get("size"), header.get("sha256")
    try:
        if size is not None and str(os.stat(path).st_size) != size:
            return True
        if sha256 is None:
            return False
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except FileNotFoundError:
        return False
    return digest.hexdigest() != sha256


def _wanted_name(url: PartURL, header: Header) -> str:
    if suggested := header.get("suggested-name"):
        return suggested
    media_type = (header.get("content-type") or "").partition(";")[0].strip()
    return fallback_name(url.segment, url.part, extension_of(media_type))
