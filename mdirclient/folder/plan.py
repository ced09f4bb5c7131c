"""What a batch comes to: the journal's steps, with names chosen. Reads the folder.

Runs under the folder's lock, on a refreshed index.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

from mdirclient.errors import CounterMovedError
from mdirclient.folder.apply import stamp_of
from mdirclient.folder.entry import Layout
from mdirclient.folder.index import Index, Item
from mdirclient.folder.journal import Step
from mdirclient.folder.names import Names
from mdirclient.folder.pending import pending_name
from mdirclient.folder.request import Add, Claim, Pend, Remove, Rename, Replace, Request
from mdirclient.folder.scan import read_header
from mdirclient.folder.status import is_modified, is_regular
from mdirclient.header import Header
from mdirclient.naming import fold, is_form_of, safe_name, wanted_name, with_conflict
from mdirclient.url import PartURL


class Planner:
    """Turns requests into steps. Each url has one request, so they do not meet."""

    def __init__(self, layout: Layout, index: Index, names: Names) -> None:
        self._layout = layout
        self._index = index
        self._names = names
        self._steps: list[Step] = []
        self._claimed: set[str] = set()
        self._pending: frozenset[str] = frozenset()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            self._pending = frozenset(os.listdir(layout.pending))

    def plan(self, requests: Mapping[PartURL, Request]) -> tuple[Step, ...]:
        """The steps for all requests, in order."""
        for url, request in requests.items():
            match request:
                case Add():
                    self._add(url, request.header, request.staged)
                case Replace():
                    self._replace(url, request)
                case Claim():
                    self._claim(url, request)
                case Remove():
                    self._remove(url, request)
                case Rename():
                    self._rename(url, request)
                case Pend():
                    self._steps.append(Step("pend", pending_name(url), request.staged))
        return tuple(self._steps)

    def _add(
        self, url: PartURL, header: Header, staged: str, instead_of: PartURL | None = None
    ) -> None:
        self._unpend(url)
        for each in (url, instead_of):
            if each is None or not self._index.has_rows(each):
                continue
            if each == url and self._index.known(url):
                return
            if orphan := self._index.orphan(each):
                # A person removed the file and left its header: it comes back as a whole.
                self._steps.append(Step("replace", orphan, staged, has_content=True))
                return
        name = self._names.choose(_wanted(url, header))
        self._steps.append(Step("add", name, staged))

    def _replace(self, url: PartURL, request: Replace) -> None:
        item = self._index.known(url)
        if not item and request.instead_of:
            item = self._index.known(request.instead_of)
        if not item:
            if request.has_content:
                self._add(url, request.header, request.staged, request.instead_of)
            return
        self._unpend(url)
        if not request.has_content and item.header == request.header:
            return
        path = self._layout.content_of(item.name)
        is_foreign = is_modified(path, item.header, self._layout.header_of(item.name))
        # No file looks like this: what a person made of it is moved, not overwritten.
        stamp = "modified" if is_foreign else stamp_of(path)
        new_name = self._followed(item, url, request.header)
        if new_name and request.has_content:
            stamp = "" if is_foreign else stamp
            self._steps += [
                Step("remove", item.name, stamp=stamp, url=str(item.url)),
                Step("add", new_name, request.staged),
            ]
            return
        beside = ""
        if is_foreign and request.has_content and request.conflict:
            beside = self._names.choose(with_conflict(item.name, request.conflict))
        self._steps.append(
            Step("replace", item.name, request.staged, request.has_content, beside, stamp)
        )
        if new_name:
            self._steps.append(Step("rename", item.name, new_name=new_name, url=str(url)))

    def _followed(self, item: Item, url: PartURL, header: Header) -> str:
        """The new name of an entry that is suggested another one; empty: it keeps its own."""
        wanted = _wanted(url, header)
        is_as_before = is_form_of(item.name, _wanted(item.url, item.header))
        if is_as_before and not is_form_of(item.name, wanted):
            return self._names.choose(wanted)
        return ""

    def _claim(self, url: PartURL, request: Claim) -> None:
        if self._index.known(url):
            return
        if not self._may_claim(request):
            if request.is_needed:
                raise CounterMovedError(self._layout.path)
            return
        self._claimed.add(request.name)
        self._unpend(url)
        self._steps.append(Step("claim", request.name, request.staged))

    def _may_claim(self, request: Claim) -> bool:
        """Whether a file is still there, and of nobody else."""
        path = self._layout.content_of(request.name)
        if request.name in self._claimed or not is_regular(path):
            return False
        header = self._layout.header_of(request.name)
        if not os.path.lexists(header):
            return True
        before = read_header(self._layout, request.name).url
        return request.instead_of is not None and before == str(request.instead_of)

    def _remove(self, url: PartURL, request: Remove) -> None:
        self._unpend(url)
        if item := self._index.known(url):
            path = self._layout.content_of(item.name)
            is_kept = request.keep_file or (
                request.keep_modified
                and is_modified(path, item.header, self._layout.header_of(item.name))
            )
            stamp = "" if is_kept else stamp_of(path)
            self._steps.append(Step("remove", item.name, stamp=stamp, url=str(url)))
        elif orphan := self._index.orphan(url):
            self._steps.append(Step("remove", orphan, url=str(url)))

    def _rename(self, url: PartURL, request: Rename) -> None:
        item = self._index.known(url)
        name = safe_name(request.name)
        if item and name != item.name:
            # Another spelling of its own name is free for it.
            is_own = fold(name) == fold(item.name)
            new_name = name if is_own else self._names.choose(name)
            self._steps.append(Step("rename", item.name, new_name=new_name, url=str(url)))

    def _unpend(self, url: PartURL) -> None:
        if self._pending and (name := pending_name(url)) in self._pending:
            self._steps.append(Step("unpend", name))


def _wanted(url: PartURL, header: Header) -> str:
    return wanted_name(header, url.segment, url.part)
