"""The journal's text form."""

from __future__ import annotations

import pytest

from mdirclient import Origin
from mdirclient.errors import JournalError
from mdirclient.folder.journal import Journal, Step

STEPS = (
    Step("add", "a\nb", "s1"),
    Step("replace", "c", "s2", has_content=True, stamp="1 2 3"),
    Step("remove", "d", stamp="1 2 3", url="mdir:x@y/1"),
    Step("rename", "e", new_name="f", stamp="1 2 3", url="mdir:x@y/1"),
    Step("pend", "0123", "s3"),
    Step("unpend", "0123"),
)


@pytest.mark.parametrize(
    "journal",
    [
        Journal(STEPS),
        Journal(STEPS, 42, 41, Origin("id", "epoch", "name")),
        Journal((), 42, 41),
        Journal((), None, 0, Origin("id", "epoch", "")),
    ],
)
def test_comes_back(journal: Journal) -> None:
    """`parse` is the inverse of `to_bytes`."""
    assert journal == Journal.parse(journal.to_bytes(), path="j")


def test_a_cut_journal_is_an_error() -> None:
    """At every byte, or it is whole."""
    data = Journal(STEPS, 42, 41).to_bytes()
    for end in range(len(data) - 1):
        try:
            found = Journal.parse(data[:end], path="j")
        except JournalError:
            continue
        # Only the end of the last value can be missing; the file is written whole anyway.
        assert len(STEPS) == len(found.steps)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"journal: 2\nsteps: 0\n",
        b"journal: 1\nsteps: x\n",
        b"journal: 1\nsteps: 1\n\naction: explode\nname: x\n",
        b"journal: 1\nsteps: 1\n\naction: add\n",
        b"\xff",
    ],
)
def test_anything_else_is_an_error(data: bytes) -> None:
    """It names the file."""
    with pytest.raises(JournalError) as caught:
        Journal.parse(data, path="the/journal")
    assert "the/journal" in str(caught.value)
