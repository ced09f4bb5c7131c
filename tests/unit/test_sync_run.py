"""Syncs that meet others, and entries that are no good."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mdirclient import Folder, Header, Mdird, Patch, Subscription, connect, make_folder, sync
from mdirclient.errors import CounterMovedError, TransportError
from mdirclient.settings import file_url
from tests.mails import small


@pytest.fixture
def mdird(tmp_path: Path) -> Iterator[Mdird]:
    """With the folders A and B."""
    with connect(file_url(str(tmp_path / "mdir"))) as mdird:
        make_folder(mdird, "A")
        make_folder(mdird, "B")
        yield mdird


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A local folder that is not there yet."""
    return Folder(tmp_path / "f")


def put(mdird: Mdird, number: int, folder: str = "A") -> str:
    """Store a small mail and put its header; its url."""
    (header,) = mdird.store.add(small(number)).headers()
    mdird.put(folder, header)
    return header["url"]


def urls(folder: Folder) -> set[str]:
    """The entries of a local folder."""
    return {str(entry.url) for entry in folder}


def meanwhile(mdird: Mdird, monkeypatch: pytest.MonkeyPatch, action: Callable[[], None]) -> None:
    """Do something once, after a sync has subscribed and before it applies."""
    from mdirclient.sync import pull as run

    collect = run._collect

    def collected(subscription: Subscription) -> tuple[list[Patch], int]:
        monkeypatch.setattr(run, "_collect", collect)
        found = collect(subscription)
        action()
        return found

    monkeypatch.setattr(run, "_collect", collected)


def test_a_sync_that_was_overtaken_begins_again(
    mdird: Mdird, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing that is old by now removes nothing that another sync has fetched."""
    first = put(mdird, 1)
    sync(folder, mdird, "A")
    folder.version = 0
    added = []

    def other() -> None:
        added.append(put(mdird, 2))
        sync(Folder(folder.path), mdird, "A")

    meanwhile(mdird, monkeypatch, other)
    sync(folder, mdird, "A")
    assert {first, added[0]} == urls(folder)
    assert 2 == folder.version


def test_an_entry_that_was_removed_meanwhile_is_no_ghost(
    mdird: Mdird, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the other sync has taken away is not fetched again."""
    first = put(mdird, 1)
    sync(folder, mdird, "A")
    second = put(mdird, 2)

    def other() -> None:
        mdird.remove("A", Header([("url", second)]))
        sync(Folder(folder.path), mdird, "A")

    meanwhile(mdird, monkeypatch, other)
    sync(folder, mdird, "A")
    assert {first} == urls(folder)
    assert 3 == folder.version


def test_a_counter_that_never_stands_still_is_an_error(
    mdird: Mdird, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some attempts."""
    from mdirclient.sync import pull as run

    put(mdird, 1)
    collect = run._collect

    def moved(subscription: Subscription) -> tuple[list[Patch], int]:
        folder.version += 1
        return collect(subscription)

    monkeypatch.setattr(run, "_collect", moved)
    with pytest.raises(CounterMovedError):
        sync(folder, mdird, "A")
    assert set() == urls(folder)


def test_without_an_origin_everything_is_listed(mdird: Mdird, folder: Folder) -> None:
    """A counter of another folder is never applied."""
    for number in range(3):
        put(mdird, number)
    sync(folder, mdird, "A")
    (folder.path / ".meta" / ".origin").unlink()
    expected = {put(mdird, number, "B") for number in range(10, 15)}
    sync(folder, mdird, "B")
    assert expected == urls(folder)


def test_a_damaged_origin_stops_syncs_only(mdird: Mdird, folder: Folder) -> None:
    """Entries can be added and removed all the same."""
    first = put(mdird, 1)
    sync(folder, mdird, "A")
    (folder.path / ".meta" / ".origin").write_bytes(b"\xff")
    folder.remove(first)
    with pytest.raises(ValueError, match=r"\.origin"):
        sync(folder, mdird, "A")


def test_a_content_that_the_disk_does_not_give_is_pending(
    mdird: Mdird, folder: Folder, tmp_path: Path
) -> None:
    """It stops nothing."""
    bad, good = put(mdird, 1), put(mdird, 2)
    part = tmp_path / "mdir" / "store" / "messages" / "1@example.org" / "1"
    part.unlink()
    part.mkdir()
    report = sync(folder, mdird, "A")
    assert (1, 1) == (report.fetched, report.pending)
    assert {good} == urls(folder)
    assert {bad} == {str(url) for url in folder.pending()}


def test_a_corrected_entry_is_no_longer_pending(mdird: Mdird, folder: Folder) -> None:
    """SET with a wrong digest, then with the right one: the old header is not tried again."""
    url = put(mdird, 1)
    sync(folder, mdird, "A")
    (right,) = mdird.lookup("A")
    wrong = right.replace("sha256", "0" * 64)
    mdird.set("A", wrong, base=1)
    assert 1 == sync(folder, mdird, "A").pending
    mdird.set("A", right, base=2)
    assert 0 == sync(folder, mdird, "A").pending
    assert 0 == len(sync(folder, mdird, "A").steps)
    assert {url} == urls(folder)


def test_a_cut_change_is_finished_before_the_counter_is_read(mdird: Mdird, folder: Folder) -> None:
    """So the report and the file say the same."""
    from mdirclient.folder.journal import Journal

    put(mdird, 1)
    sync(folder, mdird, "A")
    put(mdird, 2)
    (folder.path / ".meta" / ".journal").write_bytes(Journal((), 2, 1).to_bytes())
    assert 2 == sync(folder, mdird, "A").version == folder.version


def test_a_closed_mdird_says_so(mdird: Mdird) -> None:
    """And not that it is damaged."""
    mdird.close()
    with pytest.raises(TransportError, match="closed"):
        mdird.put("A", Header([("url", "mdir:1@x/1")]))


def test_subscriptions_that_are_closed_say_nothing_wrong(mdird: Mdird) -> None:
    """No Now after half of the entries."""
    with mdird.batch() as batch:
        for number in range(1200):
            batch.put("A", Header([("url", f"mdir:{number}@x/1")]))
    subscription = mdird.subscribe("A", timeout=0)
    events = iter(subscription)
    next(events)
    subscription.close()
    assert all(type(event).__name__ == "Patch" for event in events)


def test_a_foreign_database_is_an_error_of_mdird(tmp_path: Path) -> None:
    """Not one of SQLite."""
    import sqlite3

    from mdirclient.errors import MdirError

    connect(file_url(str(tmp_path / "mdir"))).close()
    database = tmp_path / "mdir" / "mdird.sqlite3"
    database.unlink()
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA user_version=2")
    connection.commit()
    connection.close()
    with connect(file_url(str(tmp_path / "mdir"))) as mdird, pytest.raises(MdirError):
        mdird.subscribe("")
