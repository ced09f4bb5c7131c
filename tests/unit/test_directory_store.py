"""The store in a directory, where it is damaged or elsewhere than on ext4."""

from __future__ import annotations

import array
import errno
import os
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

from mdirclient import Limits
from mdirclient.errors import DamagedMessageError, StoreError, UnknownContentError
from mdirclient.mail.recipe import RecipeWriter
from mdirclient.mstore import DirectoryMstore
from tests.crash.ladder import counted
from tests.mails import small, two_photos


@pytest.fixture
def store(tmp_path: Path) -> DirectoryMstore:
    """A fresh one."""
    return DirectoryMstore(tmp_path / "store")


def spoil(path: Path) -> None:
    """Cut a file to nothing."""
    path.write_bytes(b"")


def change(path: Path) -> None:
    """Other bytes, as many."""
    path.write_bytes(path.read_bytes()[:-3] + b"XYZ")


def replace(path: Path) -> None:
    """By a directory."""
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("name", ["recipe", "1", "3"])
@pytest.mark.parametrize("damage", [Path.unlink, spoil, change, replace])
def test_what_is_damaged_stops_no_mail(
    store: DirectoryMstore, name: str, damage: Callable[[Path], None]
) -> None:
    """The sender lets go of its copy: so the same mail is kept again, beside what is damaged."""
    first = store.add(two_photos())
    damage(Path(store.path, "messages", "photos@example.org", name))
    for mail in (two_photos(), two_photos("another text\r\n")):
        again = store.add(mail)
        assert again.anchor.variant
        assert first.anchor != again.anchor == store.add(mail).anchor
        with store.open(attrs.evolve(again.anchor, part=0)) as file:
            assert mail == file.read()


def test_two_that_are_damaged(store: DirectoryMstore) -> None:
    """It is told where, and nothing is overwritten."""
    store.add(two_photos())
    spoil(Path(store.path, "messages", "photos@example.org", "1"))
    variant = store.add(two_photos()).anchor.segment
    spoil(Path(store.path, "messages", variant, "1"))
    with pytest.raises(DamagedMessageError, match=variant.partition(";")[2]):
        store.add(two_photos())


def test_after_a_failed_write_nothing_is_kept(
    store: DirectoryMstore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever goes on after an error does not store half a mail."""
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) > 100_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data)

    for limits in (Limits(), Limits(parts=0)):
        limited = DirectoryMstore(store.path, limits=limits)
        with limited.receive() as receiver:
            receiver.write(small(1))
            with monkeypatch.context() as patch:
                patch.setattr(os, "write", full)
                with pytest.raises(OSError, match="space"):
                    receiver.write(b"y" * 500_000)
            for refused in (lambda: receiver.write(b"z"), receiver.commit):
                with pytest.raises(ValueError, match="from its beginning"):
                    refused()
    assert [] == os.listdir(os.path.join(store.path, "messages"))
    assert [] == os.listdir(os.path.join(store.path, "incoming"))


def test_after_a_failed_beginning_nothing_is_kept(store: DirectoryMstore) -> None:
    """A mail without its first bytes is none."""
    incoming = Path(store.path, "incoming")
    with store.receive() as receiver:
        incoming.rename(incoming.with_name("away"))
        with pytest.raises(FileNotFoundError):
            receiver.write(small(1))
        incoming.with_name("away").rename(incoming)
        for refused in (lambda: receiver.write(b"Subject: x"), receiver.commit):
            with pytest.raises(ValueError, match="from its beginning"):
                refused()


@pytest.mark.parametrize("damage", ["recipe", "content", "disk"])
def test_what_cannot_be_made_again_is_not_acknowledged(
    store: DirectoryMstore, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    """Be it our mistake or the disk's: the sender keeps the mail."""
    if damage == "recipe":
        between = RecipeWriter.between
        monkeypatch.setattr(RecipeWriter, "between", lambda self, data: between(self, data[:-1]))
    elif damage == "content":
        monkeypatch.setattr("binascii.a2b_base64", lambda text: b"x" * (len(text) // 4 * 3))
    else:
        write = os.write
        monkeypatch.setattr(os, "write", lambda file, data: write(file, bytes(len(data))))
    with pytest.raises(StoreError, match="nothing was stored"):
        store.add(two_photos())
    monkeypatch.undo()
    assert [] == os.listdir(os.path.join(store.path, "messages"))
    assert [] == os.listdir(os.path.join(store.path, "incoming"))
    assert not store.add(two_photos()).anchor.variant


def test_a_receiver_is_committed_once(store: DirectoryMstore) -> None:
    """And takes anything that is bytes."""
    with store.receive() as receiver:
        receiver.write(b"")
        receiver.write(bytearray(small(1)))  # type: ignore[arg-type]
        receiver.write(memoryview(array.array("I", [0x41414141] * 5)))  # type: ignore[arg-type]
        stored = receiver.commit()
        for refused in (lambda: receiver.write(b"z"), receiver.commit):
            with pytest.raises(ValueError, match="from its beginning"):
                refused()
    assert len(small(1)) + 20 == stored.size
    assert store.add(bytearray(small(2))).anchor == store.add(small(2)).anchor  # type: ignore[arg-type]


def test_an_error_of_cleaning_up_is_none_of_the_mail(
    store: DirectoryMstore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is stored; what is left is swept later."""

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    first = store.add(small(1))
    with monkeypatch.context() as patch:
        patch.setattr(os, "rmdir", fail)
        assert first.anchor == store.add(small(1)).anchor
    (left,) = os.listdir(os.path.join(store.path, "incoming"))
    os.utime(os.path.join(store.path, "incoming", left), (0, 0))
    DirectoryMstore(store.path).add(small(1))
    assert [] == os.listdir(os.path.join(store.path, "incoming"))


def test_the_first_of_two_makers_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A base is fixed when the store is made."""
    make = DirectoryMstore._make

    def second(self: DirectoryMstore, mark: str, base: str) -> None:
        monkeypatch.undo()
        first = DirectoryMstore(tmp_path / "store", base="https://one.org/")
        assert "https://one.org/" == first.base
        make(self, mark, base)

    monkeypatch.setattr(DirectoryMstore, "_make", second)
    assert "https://one.org/" == DirectoryMstore(tmp_path / "store", base="https://two.org/").base


@pytest.mark.parametrize("name", ["1", "3", "recipe"])
def test_damage_is_named_and_never_handed_out(store: DirectoryMstore, name: str) -> None:
    """As the original."""
    store.add(two_photos())
    path = os.path.join(store.path, "messages", "photos@example.org", name)
    with open(path, "r+b") as file:
        file.seek(-30, os.SEEK_END) if name == "recipe" else file.seek(3)
        file.write(b"X")
    with pytest.raises(DamagedMessageError, match="recipe" if name == "recipe" else f"part {name}"):
        store.open("mdir:photos@example.org/0")


def test_where_case_makes_no_difference_ids_are_compared(tmp_path: Path) -> None:
    """Simulated: the directory of one id is found under another spelling too."""
    store = DirectoryMstore(tmp_path / "store")
    store.add(b"Message-ID: <A@x>\n\nupper")
    messages = tmp_path / "store" / "messages"
    (messages / "a@x").symlink_to(messages / "A@x")
    (tmp_path / "store" / "Mstore").symlink_to(tmp_path / "store" / "mstore")
    folding = DirectoryMstore(tmp_path / "store")
    with pytest.raises(UnknownContentError):
        folding.open("mdir:a@x/1")
    other = folding.add(b"Message-ID: <a@x>\n\nlower")
    with folding.open(other.anchor) as lower, folding.open("mdir:A@x/1") as upper:
        assert (b"lower", b"upper") == (lower.read(), upper.read())


@pytest.mark.parametrize("mark", [None, b"", b"mstore: 9\nbase: mdir:\n", b"mstore: 1\n"])
def test_what_is_no_store_is_refused(tmp_path: Path, mark: bytes | None) -> None:
    """With the reason."""
    (tmp_path / "store").mkdir()
    if mark is not None:
        (tmp_path / "store" / "mstore").write_bytes(mark)
    with pytest.raises(StoreError, match="mstore"):
        DirectoryMstore(tmp_path / "store", create=False)


def test_another_base_stays_with_the_store(tmp_path: Path) -> None:
    """It is fixed when the store is made."""
    DirectoryMstore(tmp_path / "store", base="https://mail.example.org/m/")
    store = DirectoryMstore(tmp_path / "store", base="mdir:")
    assert "https://mail.example.org/m/1@example.org/1" == str(store.add(small(1)).anchor)


def test_what_is_flushed_before_what(store: DirectoryMstore) -> None:
    """Pitfall 3: the calls, not the intention. Each file, its directory, the rename, the names."""
    store.add(small(0))
    with counted(None, lambda: None) as counter:
        store.add(two_photos())
    names = [name for name in counter.calls if name in ("fsync", "rename")]
    # Three parts and the recipe, their directory; the rename; the directory of messages.
    assert ["fsync"] * 5 + ["rename"] + ["fsync"] == names


def test_a_large_mail_goes_through_a_file(store: DirectoryMstore) -> None:
    """Memory does not hold it; nothing is left of it in `incoming`."""
    mail = b"Message-ID: <large@x>\n\n" + b"line\n" * 600_000
    with store.receive() as receiver:
        for at in range(0, len(mail), 65536):
            receiver.write(mail[at : at + 65536])
        assert 1 == len(os.listdir(os.path.join(store.path, "incoming")))
        receiver.commit()
    assert [] == os.listdir(os.path.join(store.path, "incoming"))
    with store.open("mdir:large@x/0") as file:
        assert mail == file.read()
    with pytest.raises(ZeroDivisionError), store.receive() as receiver:
        receiver.write(mail)
        raise ZeroDivisionError
    assert [] == os.listdir(os.path.join(store.path, "incoming"))
