"""Day two: history, garbage, checks, backups, a disk that gets full."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from mdirclient import End, Folder, Header, Mdird, Now, Patch, connect, make_folder, sync
from mdirclient.errors import DiskReserveError, TemporaryReplyError, TransportError
from mdirclient.mdird import EmbeddedMdird
from mdirclient.mdird.check import check
from mdirclient.mdird.history import forget
from mdirclient.mstore import DirectoryMstore
from mdirclient.mstore.gc import collect
from mdirclient.server.backup import back_up, restore
from mdirclient.server.upkeep import collect_garbage
from tests.served import serving
from tests.system.commands import World

DAY = 24 * 3600.0


def mail(number: int) -> bytes:
    """A small mail."""
    return b"Message-ID: <%d@x.org>\r\n\r\nmail %d\r\n" % (number, number)


def filled(path: Path, count: int) -> tuple[EmbeddedMdird, DirectoryMstore]:
    """An mdir with mails in the folder A."""
    store = DirectoryMstore(path / "store")
    mdird = EmbeddedMdird(path, store)
    make_folder(mdird, "A")
    for number in range(count):
        for header in store.add(mail(number)).headers():
            mdird.put("A", header)
    return mdird, store


def remove(mdird: Mdird, *numbers: int) -> None:
    """Remove entries."""
    for number in numbers:
        mdird.remove("A", Header([("url", f"mdir:{number}@x.org/1")]))


def forget_all(mdird: EmbeddedMdird, history: int) -> int:
    """Forget the history; how many removals went."""
    with closing(mdird.open_connection()) as connection:
        return sum(forget(connection, history))


def rows(mdird: EmbeddedMdird) -> int:
    """Rows of removed entries."""
    with closing(mdird.open_connection()) as connection:
        row = connection.execute("SELECT count(*) FROM entry WHERE NOT is_live").fetchone()
        return int(row[0])


# -- history


def test_the_journal_is_bounded(tmp_path: Path) -> None:
    """Live entries and the history, however much was removed; versions never go back."""
    mdird, _ = filled(tmp_path, 0)
    for turn in range(30):
        for number in range(10):
            mdird.put("A", Header([("url", f"mdir:{turn}.{number}@x.org/1")]))
        mdird.remove("A", Header([("url", f"mdir:{turn}.0@x.org/1")]))
        mdird.remove("A", Header([("url", f"mdir:{turn}.1@x.org/1")]))
    with closing(mdird.subscribe("A", timeout=0)) as before:
        assert 57 == forget_all(mdird, 3)
        assert 0 == forget_all(mdird, 3)
        assert 3 == rows(mdird)
    assert mdird.put("A", Header([("url", "mdir:new@x.org/1")])) > before.version
    assert 241 == len(list(mdird.lookup("A")))
    mdird.close()


def test_versions_never_go_back_when_all_is_forgotten(tmp_path: Path) -> None:
    """Neither of a folder without an entry, nor of an entry that comes back."""
    mdird, _ = filled(tmp_path, 3)
    remove(mdird, 0, 1, 2)
    forget_all(mdird, 0)
    assert 0 == rows(mdird)
    assert 7 == mdird.put("A", Header([("url", "mdir:0@x.org/1")]))
    mdird.close()


def test_an_old_client_lists_and_converges(tmp_path: Path) -> None:
    """A version older than the history is 205; one within it gets what it misses."""
    mdird, _ = filled(tmp_path / "mdir", 40)
    with Folder(tmp_path / "old") as old, Folder(tmp_path / "recent") as recent:
        sync(old, mdird, "A")
        remove(mdird, 0, 1, 2, 3)
        sync(recent, mdird, "A")
        remove(mdird, 4, 5)
        forget_all(mdird, 2)
        with closing(mdird.subscribe("A", old.version)) as subscription:
            assert subscription.is_listing
        with closing(mdird.subscribe("A", recent.version)) as subscription:
            assert not subscription.is_listing
        for folder in (old, recent):
            sync(folder, mdird, "A")
            assert {f"mdir:{n}@x.org/1" for n in range(6, 40)} == {str(e.url) for e in folder}
    mdird.close()


@pytest.mark.parametrize("is_listing", [False, True])
def test_a_client_in_the_middle_begins_again(tmp_path: Path, *, is_listing: bool) -> None:
    """END 205 where a removal that it needed was forgotten, and then a listing."""
    mdird, _ = filled(tmp_path, 0)
    with mdird.batch() as batch:
        for number in range(1200):
            batch.put("A", Header([("url", f"mdir:{number}@x.org/1")]))
    version = 0 if is_listing else 1
    events = iter(mdird.subscribe("A", version, timeout=0))
    assert isinstance(next(events), Patch)
    remove(mdird, 0)
    remove(mdird, 1)
    forget_all(mdird, 0)
    rest = list(events)
    assert isinstance(rest[-1], End)
    assert 205 == rest[-1].status
    assert not any(isinstance(event, Now) for event in rest)
    assert 1198 == sum(
        isinstance(event, Patch) for event in mdird.subscribe("A", version, timeout=0)
    )
    mdird.close()


def test_a_sync_in_the_middle_begins_again_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is forgotten while patches come does not stop it."""
    from mdirclient.mdird.cursor import Cursor

    mdird, _ = filled(tmp_path / "mdir", 30)
    missing = Cursor.missing
    calls = []

    def slow(cursor: Cursor, *, limit: int = 500) -> object:
        calls.append(cursor)
        if len(calls) == 2:
            remove(mdird, 0, 1)
            forget_all(mdird, 0)
        return missing(cursor, limit=10)

    monkeypatch.setattr(Cursor, "missing", slow)
    with Folder(tmp_path / "a") as folder:
        sync(folder, mdird, "A")
        assert {f"mdir:{n}@x.org/1" for n in range(2, 30)} == {str(e.url) for e in folder}
    mdird.close()


def test_a_server_forgets_by_itself(tmp_path: Path) -> None:
    """Online, to the history that it was given."""
    mdird, _ = filled(tmp_path / "mdir", 20)
    remove(mdird, *range(10))
    with serving(tmp_path / "mdir", history=4) as served:
        deadline = time.monotonic() + 30
        while not any("compacted" in line for line in served.log):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert 4 == rows(mdird)
    mdird.close()


# -- garbage


def test_garbage_is_what_nobody_names_and_old(tmp_path: Path) -> None:
    """Live entries, the history and young contents keep theirs."""
    mdird, store = filled(tmp_path, 4)
    store.add(mail(100))  # a delivery that was cut
    remove(mdird, 0, 1)
    later = time.time() + 31 * DAY
    assert [] == list(collect_garbage(mdird, store, now=time.time()))
    assert [100] == numbers(collect_garbage(mdird, store, now=later, dry_run=True))
    assert "mdir:100@x.org/1" in store
    assert [0, 1, 100] == numbers(collect_garbage(mdird, store, now=later, history=0))
    assert {"2@x.org", "3@x.org"} == set(store.segments())
    mdird.close()


def numbers(found: object) -> list[int]:
    """The numbers of the mails."""
    return sorted(int(one.anchor.message_id.partition("@")[0]) for one in found)  # type: ignore[attr-defined]


def test_a_delivery_that_comes_again_keeps_its_content(tmp_path: Path) -> None:
    """At each moment of a collection: before it looked, and when it has taken it away."""
    store = DirectoryMstore(tmp_path)
    before = time.time() - 40 * DAY

    def aged() -> None:
        store.add(mail(1))
        os.utime(tmp_path / "messages" / "1@x.org", (before, before))

    asked = []

    def delivered_meanwhile(_: object) -> bool:
        asked.append(1)
        if len(asked) == moment:
            store.add(mail(1))
        return False

    for moment in (1, 2):
        asked.clear()
        aged()
        went = list(collect(store, delivered_meanwhile, now=time.time()))
        assert moment - 1 == len(went)  # in the second case what was there before
        with store.open("mdir:1@x.org/0") as file:
            assert mail(1) == file.read()


def test_a_collection_that_was_cut_is_taken_back(tmp_path: Path) -> None:
    """What was set aside comes back first."""
    store = DirectoryMstore(tmp_path)
    store.add(mail(1))
    store.set_aside("1@x.org")
    assert "mdir:1@x.org/1" not in store
    assert [] == list(collect(store, lambda _: True, now=time.time() + 99 * DAY))
    assert "mdir:1@x.org/1" in store
    store.set_aside("1@x.org")
    store.add(mail(1))  # delivered again since then
    store.put_back()
    assert ["1@x.org"] == list(store.segments())
    assert [] == os.listdir(tmp_path / "removing")


def test_gc_by_command(world: World) -> None:
    """Dry run, JSON, and an mdird that is not there."""
    mdird, store = filled(world.path / "mdir", 1)
    store.add(mail(7))
    mdird.close()
    dry = world.right("mdird", "gc", "--dry-run", "--days", "0")
    assert dry.startswith("mdir:7@x.org/1\n1 messages of ")
    assert (
        "mdir:7@x.org/1"
        == json.loads(world.right("mdird", "gc", "--days", "0", "--json"))["anchor"]
    )
    assert "0 messages of 0 bytes removed\n" == world.right("mdird", "gc", "--days", "0")
    assert 69 == world.run("mdird", "gc", MDIRD=f"file://{world.path}/none").status
    assert 78 == world.run("mdird", "gc", MDIRD="unix:///x").status


# -- checks


def test_check_finds_what_is_broken(world: World) -> None:
    """A missing content, another size, a damaged original: each with its remedy."""
    mdird, store = filled(world.path / "mdir", 4)
    mdird.close()
    assert "nothing is broken\n" == world.right("mdird", "check", "--full")
    messages = world.path / "mdir" / "store" / "messages"
    shutil.rmtree(messages / "0@x.org")
    (messages / "1@x.org" / "1").write_bytes(b"short")
    (messages / "2@x.org" / "recipe").write_bytes(b"nonsense")
    (messages / "3@x.org" / "1").write_bytes(b"mail x\r\n")
    done = world.run("mdird", "check", "--json")
    assert 65 == done.status
    found = [json.loads(line) for line in done.output.splitlines()]
    assert [
        ("missing", "mdir:0@x.org/1"),
        ("different", "mdir:1@x.org/1"),
        ("damaged", "2@x.org"),
    ] == [(one["problem"], one["url"]) for one in found]
    assert all(one["remedy"] for one in found)
    done = world.run("mdird", "check", "--full")
    assert {"1@x.org", "2@x.org", "3@x.org"} == {
        line.split()[1].rstrip(";")
        for line in done.output.splitlines()
        if line.startswith("damaged")
    }
    assert store.path


def test_check_finds_a_damaged_database(tmp_path: Path) -> None:
    """And says so instead of what follows from it."""
    mdird, store = filled(tmp_path, 300)
    with closing(mdird.open_connection()) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    mdird.close()
    with open(tmp_path / "mdird.sqlite3", "r+b") as file:
        file.seek(4096 * 12)
        file.write(os.urandom(4096 * 4))
    with EmbeddedMdird(tmp_path, store) as damaged:
        found = list(check(damaged, store))
    assert {"unreadable"} == {defect.problem for defect in found}


# -- backups


def test_a_backup_is_taken_while_others_write(tmp_path: Path) -> None:
    """It is of one moment, complete, and the next one copies what is new only."""
    mdird, store = filled(tmp_path / "mdir", 20)
    with serving(tmp_path / "mdir") as served, connect(served.unix) as writer:
        for header in writer.store.add(mail(50)).headers():
            writer.put("A", header)
        assert 21 == back_up(mdird, store, str(tmp_path / "backup")).messages
        for header in writer.store.add(mail(51)).headers():
            writer.put("A", header)
        copied = back_up(mdird, store, str(tmp_path / "backup"))
    assert (1, 21) == (copied.messages, copied.kept)
    kept = DirectoryMstore(tmp_path / "backup" / "store")
    with EmbeddedMdird(tmp_path / "backup", kept) as backup:
        assert 22 == len(list(backup.lookup("A")))
        assert [] == list(check(backup, kept, full=True))
    mdird.close()


def test_a_restored_mdird_is_another_epoch(tmp_path: Path) -> None:
    """Clients that were ahead of the backup list anew, and converge."""
    mdird, store = filled(tmp_path / "mdir", 5)
    back_up(mdird, store, str(tmp_path / "backup"))
    for header in store.add(mail(9)).headers():
        mdird.put("A", header)
    with Folder(tmp_path / "mirror") as folder:
        sync(folder, mdird, "A")
        mdird.close()
        with pytest.raises(TransportError, match="there is an mdird already"):
            restore(str(tmp_path / "backup"), str(tmp_path / "mdir"))
        with pytest.raises(TransportError, match="no backup"):
            restore(str(tmp_path / "mirror"), str(tmp_path / "other"))
        for name in os.listdir(tmp_path / "mdir"):
            if name.startswith("mdird.sqlite3"):
                os.unlink(tmp_path / "mdir" / name)
        copied = restore(str(tmp_path / "backup"), str(tmp_path / "mdir"))
        assert (0, 5) == (copied.messages, copied.kept)
        with connect(f"file://{tmp_path}/mdir") as restored:
            make_folder(restored, "A")
            with closing(restored.subscribe("A", folder.version, epoch=folder.origin.epoch)) as one:  # type: ignore[union-attr]
                assert one.is_listing
            sync(folder, restored, "A")
            assert 5 == len(folder)


def test_backup_and_restore_by_command(world: World) -> None:
    """The whole way."""
    mdird, _ = filled(world.path / "mdir", 3)
    mdird.close()
    assert "3 messages copied, 0 were there\n" == world.right("mdird", "backup", "b")
    assert "0 messages copied, 3 were there\n" == world.right("mdird", "backup", "b")
    other = f"file://{world.path}/other"
    assert 69 == world.run("mdird", "restore", "nothing", MDIRD=other).status
    done = world.run("mdird", "restore", "b", MDIRD=other)
    assert (0, "3 messages copied, 0 were there\n") == (done.status, done.output)
    assert "nothing is broken\n" == world.run("mdird", "check", MDIRD=other).output


def test_a_backup_is_never_the_mdird_itself(tmp_path: Path) -> None:
    """Nor beside what a killed process left, which SQLite would take for its changes."""
    mdird, store = filled(tmp_path / "mdir", 2)
    with pytest.raises(TransportError, match="the mdird itself"):
        back_up(mdird, store, str(tmp_path / "mdir" / ".." / "mdir"))
    back_up(mdird, store, str(tmp_path / "backup"))
    mdird.close()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mdird.sqlite3-wal").write_bytes(b"x")
    with pytest.raises(TransportError, match="move it away"):
        restore(str(tmp_path / "backup"), str(tmp_path / "other"))


def test_a_message_id_that_was_used_again(tmp_path: Path) -> None:
    """The backup has the content that the entry names now, and a damaged one is restored."""
    mdird, store = filled(tmp_path / "mdir", 1)
    back_up(mdird, store, str(tmp_path / "backup"))
    remove(mdird, 0)
    later = time.time() + 31 * DAY
    assert [0] == numbers(collect_garbage(mdird, store, now=later, history=0))
    second = b"Message-ID: <0@x.org>\r\n\r\nsecond"
    for header in store.add(second).headers():
        mdird.put("A", header)
    assert 1 == back_up(mdird, store, str(tmp_path / "backup")).messages
    mdird.close()
    part = tmp_path / "mdir" / "store" / "messages" / "0@x.org" / "1"
    part.write_bytes(b"damage")
    os.unlink(tmp_path / "mdir" / "mdird.sqlite3")
    assert 1 == restore(str(tmp_path / "backup"), str(tmp_path / "mdir")).messages
    with connect(f"file://{tmp_path}/mdir") as restored, restored.store.open("mdir:0@x.org/0") as f:
        assert second == f.read()


def test_a_damaged_database_replaces_no_backup(tmp_path: Path) -> None:
    """What was good stays."""
    mdird, store = filled(tmp_path / "mdir", 300)
    back_up(mdird, store, str(tmp_path / "backup"))
    before = (tmp_path / "backup" / "mdird.sqlite3").read_bytes()
    with closing(mdird.open_connection()) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    mdird.close()
    with open(tmp_path / "mdir" / "mdird.sqlite3", "r+b") as file:
        file.seek(4096 * 12)
        file.write(os.urandom(4096 * 4))
    with EmbeddedMdird(tmp_path / "mdir", store) as damaged, pytest.raises(TransportError):
        back_up(damaged, store, str(tmp_path / "backup"))
    assert before == (tmp_path / "backup" / "mdird.sqlite3").read_bytes()


def test_a_backup_beside_a_writer_ends(tmp_path: Path) -> None:
    """However much is written meanwhile."""
    mdird, store = filled(tmp_path / "mdir", 0)
    with mdird.batch() as batch:
        for number in range(20_000):
            batch.put("A", Header([("url", f"mdir:{number}@x.org/1"), ("x", "y" * 500)]))
    stop = threading.Event()
    written: list[int] = []

    def write() -> None:
        with EmbeddedMdird(tmp_path / "mdir", store) as beside:
            while not stop.is_set():
                written.append(beside.put("A", Header([("url", f"mdir:w{len(written)}@x/1")])))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        while len(written) < 10:
            time.sleep(0.001)
        back_up(mdird, store, str(tmp_path / "backup"))
        count = len(written)
    finally:
        stop.set()
        thread.join()
    with connect(f"file://{tmp_path}/backup") as backup:
        assert 20_010 <= len(list(backup.lookup("A"))) <= 20_001 + count
    mdird.close()


# -- a disk that gets full


def test_a_reserve_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """503, and for contents an error that says try again; removing goes on."""
    mdird, store = filled(tmp_path, 2)
    mdird.close()
    huge = 1 << 60
    with EmbeddedMdird(tmp_path, store, reserve=huge) as full:
        with pytest.raises(TemporaryReplyError) as caught:
            full.put("A", Header([("url", "mdir:x@x.org/1")]))
        assert 503 == caught.value.status
        assert 1 == full.remove("A", Header([("url", "mdir:0@x.org/1")]))
    nearly = DirectoryMstore(tmp_path / "store", reserve=huge)
    with pytest.raises(DiskReserveError, match="make room"):
        nearly.add(mail(9))
    with pytest.raises(DiskReserveError, match="make room"):
        nearly.add_file(b"x", media_type="a/b")
    free = iter([huge, 0])
    monkeypatch.setattr("mdirclient._fs.free_bytes", lambda _: next(free, 0))
    small = DirectoryMstore(tmp_path / "store", reserve=1)
    with pytest.raises(DiskReserveError):  # while it is being written
        small.add_file(b"x" * (4 << 20), media_type="a/b")
    assert [] == os.listdir(tmp_path / "store" / "incoming")
    with nearly.open("mdir:1@x.org/1") as file:
        assert b"mail 1\r\n" == file.read()
