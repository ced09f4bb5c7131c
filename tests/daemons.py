"""mdird and the LMTP server as processes of the user `mdir`, which can be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mdirclient import connect
from mdirclient.errors import MdirError
from mdirclient.smtp.accounts import add_account
from tests.mounted import UID, enclosed, open_to_all, users
from tests.places import PLACES
from tests.ports import free_port

JO, LI = "jo@ours.test", "li@ours.test"
_AS_MDIR = ["setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups"]


class Daemons:
    """Both, in a directory of their own, and the settings for whoever delivers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.port = free_port()
        self.socket = path / "lmtp"
        self.config = path / "mail.toml"
        path.mkdir(parents=True)
        with connect(f"file://{path}/mdir") as mdird:
            for address in (JO, LI):
                add_account(mdird, PLACES, address)
        self.config.write_text(
            f'MDIRD = "unix://{path}/mdird"\n'
            f'MDIR_STORE = "file://{path}/mdir/store"\n'
            f'MDIR_SMTP_STATE = "{path}/smtp.sqlite3"\n'
            f'MDIR_SMTP_HOSTNAME = "mx.test"\n'
        )
        self._binds: Mapping[Path, str] = users(path)
        for directory, _, files in os.walk(path):
            for one in (directory, *(os.path.join(directory, name) for name in files)):
                os.chown(one, UID, UID)
        open_to_all(path)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """Start `mdird` or `lmtp`."""
        words = {
            "mdird": ["mdirclient.cli.mdird", "serve", "--listen", f"unix:{self.path}/mdird"],
            "lmtp": [
                "mdirclient.cli.smtp", "lmtp", "--config", str(self.config),
                "--listen", f"unix:{self.socket},lmtp://127.0.0.1:{self.port}",
            ],
        }[name]  # fmt: skip
        environ = [f"HOME={self.path}", f"MDIRD=file://{self.path}/mdir"]
        if name == "lmtp":
            environ = environ[:1]
        command = [*_AS_MDIR, "env", *environ, sys.executable, "-m", *words]
        with (self.path / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                enclosed(command, self._binds), stdin=subprocess.PIPE, stdout=log, stderr=log
            )

    def kill(self, name: str) -> None:
        """Kill one without notice: it is the first of a process namespace, which ends with it."""
        process = self._processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait(20)
        assert process.stdin
        process.stdin.close()

    def delivered(self, address: str = JO) -> Counter[str]:
        """How often each mail is in an account, by its anchor."""
        while True:
            try:
                with connect(f"file://{self.path}/mdir", create=False) as mdird:
                    found = mdird.lookup(f"{PLACES.accounts}/{address}")
                    return Counter(one["anchor"] for one in found if one.get("part") == "1")
            except MdirError:
                time.sleep(0.1)


@contextmanager
def daemons(path: Path, *names: str) -> Iterator[Daemons]:
    """Start some of them, until the context ends."""
    both = Daemons(path)
    try:
        for name in names:
            both.start(name)
        yield both
    finally:
        for name in list(both._processes):
            both.kill(name)
