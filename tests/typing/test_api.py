"""The types of the public names, as mypy sees them; run too, so that they are true."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import assert_type

from mdirclient import (
    End,
    Entry,
    Folder,
    Header,
    Mdird,
    Message,
    Mstore,
    Now,
    PartURL,
    Patch,
    StoredMessage,
    SyncReport,
    connect,
    make_folder,
    open_store,
    sync,
)
from mdirclient.mdird import EmbeddedMdird
from mdirclient.mstore import DirectoryMstore
from mdirclient.settings import file_url


def test_types_of_the_main_job(tmp_path: Path) -> None:
    """What a program that mirrors a folder handles."""
    mdird = assert_type(connect(file_url(str(tmp_path / "mdir"))), Mdird)
    store = assert_type(open_store(file_url(str(tmp_path / "mdir" / "store"))), Mstore)
    make_folder(mdird, "A")
    stored = assert_type(store.add(b"Message-ID: <a@x>\n\nx"), StoredMessage)
    (header,) = assert_type(stored.headers(envelope_to="j@x"), tuple[Header, ...])
    assert_type(mdird.put("A", header), int)
    assert_type(header["url"], str)
    with Folder(tmp_path / "f") as folder:
        assert_type(sync(folder, mdird, "A"), SyncReport)
        entry = assert_type(folder[header["url"]], Entry)
        assert_type(folder.get(entry.url), Entry | None)
        assert_type(entry.url, PartURL)
        assert_type(folder.resolve(entry.url), Path)
        for message in assert_type(folder.messages(), Iterator[Message]):
            assert_type(message.parts, tuple[Entry, ...])
    for event in mdird.subscribe("A", timeout=0):
        assert_type(event, Patch | Now | End)
    mdird.close()


def test_implementations_are_of_their_protocols(tmp_path: Path) -> None:
    """Seen by mypy in the assignments."""
    store: Mstore = DirectoryMstore(tmp_path / "store")
    mdird: Mdird = EmbeddedMdird(tmp_path, store)
    with mdird.batch() as batch:
        collected: Mdird = batch
    collected.close()
    mdird.close()
