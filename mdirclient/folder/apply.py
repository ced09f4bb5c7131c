"""Applies a journal to a folder. Each step can be done again after a crash anywhere in it.

Writes the folder, under its lock.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping

import attrs

from mdirclient import _fs
from mdirclient.errors import VersionFormatError
from mdirclient.folder.entry import Layout
from mdirclient.folder.journal import Action, Journal, Step
from mdirclient.folder.own import read_version
from mdirclient.folder.scan import read_header
from mdirclient.folder.version import version_to_bytes
from mdirclient.naming import plainer_name, safe_name

#: Does a step; returns it when it is done, or what is to be done in its place.
_Do = Callable[[Step], Step]

_HEADER = ".header"
#: The system does not let us take something away: permissions, an immutable file, a mount point.
_REFUSALS = frozenset(
    [errno.EACCES, errno.EPERM, errno.EBUSY, errno.EISDIR, errno.ENOTDIR, errno.EXDEV]
)
#: How file systems say that they cannot have a name: too long, or characters they do not know.
_REFUSED_NAMES = frozenset([errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL])


def staged_header(staged: str) -> str:
    """The name in `.stage` of the header that belongs to a staged content."""
    return staged + _HEADER


class Applier:
    """Does what a journal says.

    Args:
        layout: of the folder.
        choose_name: gives a free name for one that a person took in the meantime.
        durable: whether to flush.
        is_recovery: whether some steps may have been done before.
    """

    def __init__(
        self,
        layout: Layout,
        choose_name: Callable[[str], str],
        *,
        durable: bool,
        is_recovery: bool = False,
    ) -> None:
        self._layout = layout
        self._choose_name = choose_name
        self._durable = durable
        self._is_recovery = is_recovery
        self._is_reserving = False
        # Contents first: a header makes an entry of what has its name.
        self._contents: dict[Action, _Do] = {"add": self._add, "rename": self._rename}
        self._others: dict[Action, _Do] = {
            "add": self._add_header,
            "replace": self._replace_entry,
            "claim": self._claim,
            "remove": self._unless_refused(self._remove),
            "rename": self._rename_header,
            "pend": self._pend,
            "unpend": self._unless_refused(self._unpend),
            "keep": self._unless_refused(self._keep),
        }
        self._refused: OSError | None = None

    def record(self, journal: Journal) -> None:
        """Write the journal; durable on return. What it stages must be durable before.

        Raises:
            FileNotFoundError: something staged is gone, after a day: nothing was changed.
        """
        for path in self._needed(journal):
            os.stat(path)
        # What is in the way of a directory must be found before there is a journal.
        if any(step.action == "pend" for step in journal.steps):
            self._make(self._layout.pending)
        if any(step.action == "keep" or step.has_content for step in journal.steps):
            self._make(self._layout.lost_and_found)
        self._replace(self._layout.journal, journal.to_bytes())

    def run(self, journal: Journal) -> Journal:
        """Do all steps, `.version` last, and remove the journal; durable on return.

        What was staged stays: it goes when it is certain that the journal is gone.

        Returns:
            The journal with the names that the entries really got.
        """
        journal = self._each(journal, self._contents)
        self._settle_reserved()
        journal = self._each(journal, self._others)
        self._sync(self._layout.path, self._layout.meta, self._layout.pending)
        if renames := [step for step in journal.steps if step.action == "rename"]:
            # Crash: an old name goes only when the new one is certain to stay.
            retire = self._unless_refused(self._retire)
            for step in renames:
                retire(step)
            self._sync(self._layout.path, self._layout.meta)
        self._set_version(journal)
        if journal.origin:
            self._replace(self._layout.origin, journal.origin.to_header().to_bytes())
        # Crash: staged files go after the journal, which may need them, is gone for sure.
        _fs.remove(self._layout.journal)
        self._sync(self._layout.meta)
        return journal

    @property
    def refused(self) -> OSError | None:
        """Why something could not be removed or moved; all else of the journal was done."""
        return self._refused

    def _unless_refused(self, do: _Do) -> _Do:
        """A step that takes away; one that the system refuses must not stop the folder for ever."""

        def done(step: Step) -> Step:
            try:
                return do(step)
            except OSError as error:
                if error.errno not in _REFUSALS:
                    raise
            try:
                return do(step)  # perhaps for a moment only
            except OSError as error:
                if error.errno not in _REFUSALS:
                    raise
                self._refused = error
            return step

        return done

    def clean(self, journal: Journal) -> None:
        """Remove what a finished journal had staged."""
        for step in journal.steps:
            if step.staged:
                _fs.remove(self._stage(step.staged))
                _fs.remove(self._stage(staged_header(step.staged)))

    def replace_version(self, version: int) -> None:
        """Write `.version`; durable on return."""
        self._replace(self._layout.version, version_to_bytes(version))

    # -- the steps

    def _each(self, journal: Journal, actions: Mapping[Action, _Do]) -> Journal:
        for number in range(len(journal.steps)):
            journal = self._one(journal, number, actions)
        return journal

    def _one(self, journal: Journal, number: int, actions: Mapping[Action, _Do]) -> Journal:
        step = journal.steps[number]
        do = actions.get(step.action)
        while do and (done := do(step)) != step:
            # Race: a person took the name. The journal must name the pair that appears.
            steps = (*journal.steps[:number], done, *journal.steps[number + 1 :])
            journal = attrs.evolve(journal, steps=steps)
            # Crash: what was taken back must not come back when the journal has forgotten it.
            self._sync(self._layout.path, self._layout.meta)
            self._replace(self._layout.journal, journal.to_bytes())
            if actions is self._others and step.action in self._contents:
                journal = self._one(journal, number, self._contents)
                self._settle_reserved()
            step = journal.steps[number]
        return journal

    def _settle_reserved(self) -> None:
        if self._is_reserving:
            # Crash: a name that was reserved is empty until its replacement is durable.
            self._sync(self._layout.path)

    def _add(self, step: Step) -> Step:
        staged = self._stage(step.staged)
        if self._is_recovery and not os.path.lexists(staged):
            return step  # published before the crash, without hard links
        try:
            is_free = self._publish(staged, self._content(step))
        except OSError as error:
            return attrs.evolve(step, name=self._choose_plainer(step.name, error))
        return step if is_free else attrs.evolve(step, name=self._choose_name(step.name))

    def _add_header(self, step: Step) -> Step:
        content, header = self._stage(step.staged), self._stage(staged_header(step.staged))
        if self._is_recovery and not (
            os.path.lexists(content) or os.path.lexists(self._content(step))
        ):
            return step  # published before the crash, without hard links, and then removed
        if self._publish(header, self._header(step)):
            return step
        _unpublish(self._content(step), content)
        return attrs.evolve(step, name=self._choose_name(step.name))

    def _replace_entry(self, step: Step) -> Step:
        # Race: a reader can meet the new content with the old header for a moment; contents
        # of one url change only where a program uses SET with another content.
        content, header = self._stage(step.staged), self._stage(staged_header(step.staged))
        if step.has_content and os.path.lexists(content):
            self._keep_foreign(step)
            _fs.replace_with(content, self._content(step))
        if os.path.lexists(header):
            _fs.replace_with(header, self._header(step))
        return step

    def _claim(self, step: Step) -> Step:
        header = self._stage(staged_header(step.staged))
        if os.path.lexists(header):
            _fs.replace_with(header, self._header(step))
        return step

    def _remove(self, step: Step) -> Step:
        if self._holds_url(step.name, step.url):
            _fs.remove(self._header(step))
        if step.stamp and stamp_of(self._content(step)) == step.stamp:
            _fs.remove(self._content(step))
        return step

    def _rename(self, step: Step) -> Step:
        """Give the pair its new name; the old one goes when the new one is durable."""
        if step.new_name == step.name:
            return step
        old, new = self._content(step), self._layout.content_of(step.new_name)
        old_header, new_header = self._header(step), self._layout.header_of(step.new_name)
        if _is_alias(old, new) or _is_alias(old_header, new_header):
            # One file that this file system finds under both names: it keeps the one it has.
            return attrs.evolve(step, new_name=step.name)
        if self._holds_url(step.name, step.url) and os.path.lexists(old):
            try:
                is_free = self._publish(old, new)
            except OSError as error:
                return attrs.evolve(step, new_name=self._choose_plainer(step.new_name, error))
            if not is_free:
                return attrs.evolve(step, new_name=self._choose_name(step.new_name))
        return step

    def _rename_header(self, step: Step) -> Step:
        if step.new_name == step.name or not self._holds_url(step.name, step.url):
            return step
        if self._publish(self._header(step), self._layout.header_of(step.new_name)):
            return step
        _unpublish(self._layout.content_of(step.new_name), self._content(step))
        return attrs.evolve(step, new_name=self._choose_name(step.new_name))

    def _retire(self, step: Step) -> Step:
        """Remove the old name of a pair."""
        if step.new_name == step.name or not self._holds_url(step.new_name, step.url):
            return step
        # The old header goes last: while it is there, what has the old name is the entry's.
        _remove_one_of_two(self._content(step), self._layout.content_of(step.new_name))
        if self._holds_url(step.name, step.url):
            _fs.remove(self._header(step))
        return step

    def _pend(self, step: Step) -> Step:
        header = self._stage(staged_header(step.staged))
        if os.path.lexists(header):
            self._make(self._layout.pending)
            _fs.replace_with(header, os.path.join(self._layout.pending, step.name))
        return step

    def _unpend(self, step: Step) -> Step:
        _fs.remove(os.path.join(self._layout.pending, step.name))
        return step

    def keep(self, paths: Iterable[str]) -> None:
        """Move things in the folder to `.lost+found`, without a journal; durable on return."""
        for path in paths:
            self._keep(Step("keep", path, new_name=kept_name(path)))

    def _keep(self, step: Step) -> Step:
        self._make(self._layout.lost_and_found)
        path = os.path.join(self._layout.path, step.name)
        kept = os.path.join(self._layout.lost_and_found, step.new_name)
        # The name is ours alone: what has it is what this step moved before a crash.
        if os.path.lexists(path) and not os.path.lexists(kept):
            _fs.move(path, kept)
            self._sync(self._layout.lost_and_found, os.path.dirname(path))
        return step

    # -- their tools

    def _publish(self, staged: str, path: str) -> bool:
        """Publish, or find that it was done; False if something else has the name."""
        if self._is_recovery and not os.path.lexists(staged):
            return True  # done before the crash, without hard links
        try:
            self._is_reserving |= not _fs.publish(staged, path)
        except FileExistsError:
            if self._is_recovery and _is_same_file(staged, path):
                return True
            if not self._is_reservation(staged, path):
                return False
            self._is_reserving = True
            _fs.replace_with(staged, path)
        return True

    def _choose_plainer(self, name: str, error: OSError) -> str:
        """Another name for one that this file system does not take."""
        plainer = plainer_name(name)
        if error.errno not in _REFUSED_NAMES or plainer == name:
            raise error
        return self._choose_name(plainer)

    def _is_reservation(self, staged: str, path: str) -> bool:
        """Whether an empty file is what a crash left of a publication without hard links."""
        is_empty = os.lstat(path).st_size == 0 and os.path.isfile(path)
        probe = self._stage(os.urandom(8).hex())
        return self._is_recovery and is_empty and not _fs.has_hard_links(staged, probe)

    def _keep_foreign(self, step: Step) -> None:
        """Move a content that a person has changed to `.lost+found`, durably."""
        path = self._content(step)
        if stamp_of(path) not in ("", step.stamp):
            if _is_same_file(path, self._stage(step.staged)):
                return  # our own content, which was replaced before the crash
            if step.new_name:
                self._keep_beside(path, step.new_name)
                return
            self._make(self._layout.lost_and_found)
            name = f"{step.staged}-{plainer_name(safe_name(step.name))}"
            kept = os.path.join(self._layout.lost_and_found, name)
            if os.path.lexists(kept) and not _is_same_file(path, kept):
                # Crash: what has the name was kept before; the user has saved again since.
                kept = os.path.join(self._layout.lost_and_found, kept_name(step.name))
            with contextlib.suppress(FileExistsError):
                _fs.publish(path, kept)
            self._sync(self._layout.lost_and_found)
            _fs.remove(path)

    def _keep_beside(self, path: str, name: str) -> None:
        """Give a content that a person has changed a name of its own, durably."""
        while True:
            beside = self._layout.content_of(name)
            try:
                _fs.publish(path, beside)
            except FileExistsError:
                if self._is_reservation(path, beside):
                    _fs.replace_with(path, beside)
                elif not _is_same_file(path, beside):
                    name = self._choose_name(name)
                    continue
            except OSError as error:
                name = self._choose_plainer(name, error)
                continue
            break
        self._sync(self._layout.path)
        _fs.remove(path)

    def _make(self, path: str) -> None:
        _fs.make_directory(path, exist_ok=True)
        self._sync(self._layout.meta)

    def _holds_url(self, name: str, url: str) -> bool:
        try:
            found = read_header(self._layout, name)
        except PermissionError:
            if not self._is_recovery:
                raise
            return False  # one bad entry must not stop the folder for ever
        return found.url == url

    def _set_version(self, journal: Journal) -> None:
        if journal.version is None or journal.version == journal.version_before:
            return
        # A person who corrected `.version` in the meantime has the last word, whatever it is.
        with contextlib.suppress(VersionFormatError):
            if read_version(self._layout) == journal.version_before:
                self.replace_version(journal.version)

    def keep_version(self) -> None:
        """Keep what is in the place of `.version` in `.lost+found`; durable on return.

        A file gets a second name there and stays; anything else is moved.
        """
        path = self._layout.version
        if os.path.lexists(path):
            self._make(self._layout.lost_and_found)
            kept = os.path.join(self._layout.lost_and_found, kept_name(".version"))
            if stat.S_ISREG(os.lstat(path).st_mode):
                _fs.publish(path, kept)
            else:
                _fs.move(path, kept)
            self._sync(self._layout.lost_and_found)

    def _needed(self, journal: Journal) -> Iterator[str]:
        for step in journal.steps:
            if step.staged:
                yield self._stage(staged_header(step.staged))
            if step.action == "add" or step.has_content:
                yield self._stage(step.staged)

    def _replace(self, path: str, data: bytes) -> None:
        staged = self._stage(os.urandom(8).hex())
        _fs.replace(path, data, staged=staged, durable=self._durable)

    def _sync(self, *paths: str) -> None:
        if self._durable:
            for path in paths:
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    _fs.sync_directory(path)

    def _stage(self, name: str) -> str:
        return self._layout.staged(name)

    def _content(self, step: Step) -> str:
        return self._layout.content_of(step.name)

    def _header(self, step: Step) -> str:
        return self._layout.header_of(step.name)


def stamp_of(path: str) -> str:
    """What a physical file looks like, as text for the journal; empty if it is not there.

    Links made and removed by the journal itself do not count, so ctime is left out.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return ""
    return f"{status.st_ino} {status.st_size} {status.st_mtime_ns}"


def kept_name(path: str) -> str:
    """A name in `.lost+found` that nothing else has: 16 digits and what the file was called."""
    return f"{os.urandom(8).hex()}-{plainer_name(safe_name(os.path.basename(path).lstrip('.')))}"


def _is_same_file(one: str, other: str) -> bool:
    try:
        return os.path.samestat(os.lstat(one), os.lstat(other))
    except FileNotFoundError:
        return False


def _is_alias(path: str, other: str) -> bool:
    """Whether `other` finds the file `path` without being a name of its own.

    Such as the same name in another case, or the 8.3 form that Windows makes. What the names
    in the directory are is looked up only then.
    """
    if not _is_same_file(path, other):
        return False
    directory, name = os.path.split(other)
    composed = unicodedata.normalize("NFC", name)
    with os.scandir(directory) as entries:
        return all(unicodedata.normalize("NFC", entry.name) != composed for entry in entries)


def _remove_one_of_two(path: str, other: str) -> None:
    """Remove a name if another name has the same file.

    One file with one link is one name that this file system spells in two ways.
    """
    if _is_same_file(path, other) and os.lstat(path).st_nlink > 1:
        _fs.remove(path)


def _unpublish(path: str, staged: str) -> None:
    """Take back a publication: the file is under its staged name alone."""
    if os.path.lexists(staged):
        _remove_one_of_two(path, staged)
    else:
        _fs.replace_with(path, staged)
