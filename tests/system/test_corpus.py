"""Real mails, from a folder outside of the repository ($MDIR_TEST_CORPUS)."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mdirclient import Folder, PartURL, connect
from tests.system.commands import World

ACCOUNT = "SMTP/Accounts/jo@machin.com"


def _of_mail(data: bytes) -> bytes:
    """Without the line of a mailbox file before it, which is of no mail."""
    return data.partition(b"\n")[2] if data.startswith(b"From ") else data


def test_real_mails_deliver_sync_and_rebuild(served: World, corpus: list[Path]) -> None:
    """All of them, by the commands, byte for byte."""

    def deliver(mail: Path) -> None:
        done = served.deliver(mail.read_bytes())
        assert (0, "", "") == (done.status, done.output, done.errors), (mail.name, done)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(deliver, corpus))
    served.right("mdir", "sync", ACCOUNT, "inbox")
    expected = {hashlib.sha256(_of_mail(mail.read_bytes())).hexdigest() for mail in corpus}
    found = set()
    with connect(served.environ["MDIRD"]) as mdird, Folder(served.path / "inbox") as folder:
        entries = list(folder)
        for message in folder.messages():
            assert int(message.anchor.header["parts"]) == len(message.parts)
            for entry in message.parts:
                content = entry.path.read_bytes()
                assert entry.header["sha256"] == hashlib.sha256(content).hexdigest()
                with mdird.store.open(entry.url) as file:
                    assert content == file.read()
            url = message.anchor.url
            with mdird.store.open(PartURL(url.base, url.message_id, 0, url.variant)) as file:
                found.add(hashlib.sha256(file.read()).hexdigest())
        assert not folder.pending()
    assert expected == found
    visible = [path for path in (served.path / "inbox").iterdir() if not path.name.startswith(".")]
    assert len(entries) == len(visible)
    print(f"{len(corpus)} mails, {len(found)} of them different, {len(entries)} parts")
