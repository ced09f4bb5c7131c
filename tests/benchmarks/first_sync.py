"""A first sync, beside mbsync (Debian's isync) pulling the same mails from a local Dovecot.

    .venv/bin/python -m tests.benchmarks.first_sync [--count 100000] [--place DIR]

Needs the Debian packages dovecot-imapd and isync, and root, since Dovecot does. Makes the mails
first, without flushing, then measures both: each makes its local copy durable as it does by itself.
Some 10 minutes and 3 GB for 100,000 mails.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from mdirclient import Folder, connect, make_folder, sync
from mdirclient.mstore import DirectoryMstore
from tests.ports import free_port

_DOVECOT = """
protocols = imap
listen = 127.0.0.1
base_dir = {place}/run
log_path = {place}/dovecot.log
ssl = no
disable_plaintext_auth = no
mail_location = maildir:{place}/server
first_valid_uid = 1
passdb {{
  driver = static
  args = password=secret
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={place}/home
}}
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
"""
_MBSYNC = """
IMAPStore server
Host 127.0.0.1
Port {port}
User jo
Pass secret
SSLType None
AuthMechs LOGIN
Timeout 0

MaildirStore local
Path {place}/pulled/
Inbox {place}/pulled/inbox
SubFolders Verbatim

Channel all
Far :server:
Near :local:
Patterns INBOX
Create Near
Sync Pull
SyncState {place}/pulled/
"""


def mail(number: int) -> bytes:
    """A small mail."""
    return (
        f"Message-ID: <20261122.{number}@mail.example.org>\r\n"
        f"Date: Sun, 22 Nov 2026 12:00:00 +0000\r\n"
        f"From: Jo Lapin <jo@machin.com>\r\nTo: An <an@example.org>\r\n"
        f"Subject: Report {number}\r\nMIME-Version: 1.0\r\n"
        f"Content-Type: text/plain; charset=utf-8\r\n\r\n"
        f"This is report {number}.\r\nNothing else happened today.\r\n"
    ).encode()


def filled_mdir(place: Path, count: int) -> None:
    """An mdir with the mails in one folder."""
    with connect(f"file://{place}/mdir") as mdird:
        make_folder(mdird, "Mail")
        for first in range(0, count, 1000):
            with mdird.batch() as batch:
                for number in range(first, min(first + 1000, count)):
                    for header in mdird.store.add(mail(number)).headers():
                        batch.put("Mail", header)


def filled_maildir(place: Path, count: int) -> None:
    """The same mails where Dovecot looks for them."""
    for name in ("cur", "new", "tmp"):
        (place / "server" / name).mkdir(parents=True)
    for number in range(count):
        (place / "server" / "cur" / f"1763812800.M{number}P1.host:2,S").write_bytes(mail(number))
    for path in (place, place / "home"):
        path.mkdir(exist_ok=True)
        path.chmod(0o755)
    subprocess.run(["chown", "-R", "nobody:nogroup", place / "server", place / "home"], check=True)


@contextlib.contextmanager
def dovecot(place: Path) -> Iterator[int]:
    """Dovecot on a port of loopback."""
    port = free_port()
    config = place / "dovecot.conf"
    config.write_text(_DOVECOT.format(place=place, port=port))
    server = subprocess.Popen(["dovecot", "-F", "-c", config])
    try:
        _wait_for(port)
        yield port
    finally:
        server.terminate()
        server.wait(30)


def _wait_for(port: int) -> None:
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise SystemExit("dovecot does not answer; see dovecot.log")


def pull(place: Path, port: int, count: int) -> float:
    """Seconds that mbsync takes."""
    config = place / "mbsyncrc"
    config.write_text(_MBSYNC.format(place=place, port=port))
    (place / "pulled").mkdir()
    begin = time.perf_counter()
    subprocess.run(["mbsync", "-q", "-c", config, "all"], check=True)
    taken = time.perf_counter() - begin
    found = sum(len(list((place / "pulled" / "inbox" / sub).iterdir())) for sub in ("cur", "new"))
    assert found == count, f"mbsync pulled {found}"
    return taken


def mirror(place: Path, count: int) -> float:
    """Seconds that a sync takes, from `mdird serve` on a socket and the store's directory."""
    environ = {**os.environ, "MDIRD": f"file://{place}/mdir"}
    server = subprocess.Popen(
        [sys.executable, "-m", "mdirclient.cli.mdird", "serve", "--listen", f"unix:{place}/socket"],
        env=environ,
        stderr=subprocess.PIPE,
    )
    try:
        assert server.stderr
        assert b"listening" in server.stderr.readline()
        store = DirectoryMstore(place / "mdir" / "store")
        begin = time.perf_counter()
        with connect(f"unix://{place}/socket") as mdird, Folder(place / "mirrored") as folder:
            report = sync(folder, mdird, "Mail", store=store)
        taken = time.perf_counter() - begin
        assert report.fetched == count, report
        return taken
    finally:
        server.terminate()
        server.wait(30)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--place", default=None)
    parser.add_argument("--runs", type=int, default=1)
    arguments = parser.parse_args()
    place = Path(tempfile.mkdtemp(dir=arguments.place))
    real, os.fsync = os.fsync, lambda fd: None
    try:
        filled_mdir(place, arguments.count)
    finally:
        os.fsync = real
    filled_maildir(place, arguments.count)
    subprocess.run(["sync"], check=True)
    try:
        with dovecot(place) as port:
            for _ in range(arguments.runs):
                ours = mirror(place, arguments.count)
                theirs = pull(place, port, arguments.count)
                print(
                    f"{arguments.count} mails: sync {ours:.1f} s, mbsync {theirs:.1f} s, "
                    f"{theirs / ours:.2f} times faster",
                    flush=True,
                )
                for name in ("mirrored", "pulled"):
                    shutil.rmtree(place / name)
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
