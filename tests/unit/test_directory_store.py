"""The store in a directory, where it is damaged or elsewhere than on ext4."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mdirclient.errors import DamagedMessageError, StoreError, UnknownContentError
from mdirclient.mstore import DirectoryMstore
from tests.crash.ladder import counted
from tests.mails import small, two_photos


@pytest.fixture
def store(tmp_path: Path) -> DirectoryMstore:
    """A fresh one."""
    return DirectoryMstore(tmp_path / "store")


def test_a_message_without_its_recipe_is_damaged(store: DirectoryMstore) -> None:
    """Adding the mail again ends, with an error that names it."""
    store.add(small(1))
    os.unlink(os.path.join(store.path, "messages", "1@example.org", "recipe"))
    with pytest.raises(DamagedMessageError, match="recipe is missing"):
        store.add(small(1))


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
