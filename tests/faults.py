"""What can go wrong with a delivery, each for an address of its own, in front of real MTAs.

`dispatcher` writes a program that stands in the place of `mdir-deliver` in a recipe. It makes the
fault that the recipient's detail names (`jo+no-config@ours.test`), runs the real `mdir-deliver`,
and notes how that ended.
"""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import attrs

from mdirclient import Header, connect, make_folder
from mdirclient.smtp.accounts import add_account
from tests.mounted import UID, open_to_all
from tests.places import PLACES
from tests.system.commands import SCRIPTS

JO = "jo@ours.test"
#: An address that the MTA believes in, and the mdir does not.
GHOST = "ghost@ours.test"

#: Fault → lines of sh before the real program: `$W` is the world, `$REAL` what is run.
FAULTS = {
    "no-config": 'set -- "$@" --config /nonexistent',
    "broken-config": 'set -- "$@" --config $W/broken.toml',
    "unknown-setting": 'set -- "$@" --config $W/unknown.toml',
    "unknown-option": 'set -- "$@" --no-such-option',
    "no-mdird": "export MDIRD=file:///nonexistent",
    "nobody-at-socket": "export MDIRD=unix://$W/nobody",
    "nobody-at-port": "export MDIRD=mdird://u:t@127.0.0.1:1",
    "no-accounts": "export MDIR_SMTP_ACCOUNTS=Nowhere",
    "empty-accounts": "export MDIR_SMTP_ACCOUNTS=Empty",
    "no-address": 'set -- "$@" --recipient jo',
    "two-recipients": 'set -- "$@" --recipient jo@ours.test --recipient ghost@ours.test',
    "damaged-database": "export MDIRD=file://$W/damaged",
    "locked-database": 'export MDIRD=file://$W/locked; set -- "$@" --deadline 2',
    "no-store": "export MDIR_STORE=file:///nonexistent",
    "store-not-writable": "export MDIR_STORE=file://$W/rootstore",
    "mdir-not-readable": "export MDIRD=file://$W/closed",
    "no-room-for-files": "ulimit -f 0",
    "no-descriptors": "REAL=$W/descriptors/mdir-deliver",
    "no-memory": "ulimit -v 30000",
    "no-python": "REAL=$W/bare/mdir-deliver",
    "no-interpreter": "REAL=$W/interpreter/mdir-deliver",
    "python-not-executable": "REAL=$W/refused/mdir-deliver",
    "import-error": "REAL=$W/import/mdir-deliver",
    "killed": "REAL=$W/killed/mdir-deliver",
    "segmentation-fault": "REAL=$W/crashed/mdir-deliver",
    "terminated": "REAL=$W/terminated/mdir-deliver",
    "exits-65": "REAL=$W/exits65/mdir-deliver",
    "exits-73": "REAL=$W/exits73/mdir-deliver",
    "exits-77": "REAL=$W/exits77/mdir-deliver",
    "no-output": "exec >&- 2>&-; export MDIRD=file:///nonexistent",
    "server-is-silent": 'set -- "$@" --socket $W/silent --deadline 2',
    "server-closes": 'set -- "$@" --socket $W/closes',
    "server-is-busy": 'set -- "$@" --socket $W/busy',
    "server-talks-nonsense": 'set -- "$@" --socket $W/nonsense',
    "server-dies-in-data": 'set -- "$@" --socket $W/dies',
    "server-fails-at-end": 'set -- "$@" --socket $W/fails',
    "server-refuses-for-good": 'set -- "$@" --socket $W/refuses',
}
_FAKES = {
    "bare": None,
    "interpreter": "#!/nonexistent/python\n",
    "refused": "#!/etc\n",
    "import": f"#!{SCRIPTS}/python\nimport nonexistent\n",
    "descriptors": f'#!/bin/sh\nulimit -n 5\nexec {SCRIPTS}/mdir-smtp "$@"\n',
    "killed": "#!/bin/sh\nkill -9 $$\n",
    "crashed": "#!/bin/sh\nkill -SEGV $$\n",
    "terminated": "#!/bin/sh\nkill -TERM $$\nexit 1\n",
    "exits65": "#!/bin/sh\nexit 65\n",
    "exits73": "#!/bin/sh\nexit 73\n",
    "exits77": "#!/bin/sh\nexit 77\n",
}
_HELLO = b"250-x\r\n250 XEXACT\r\n"
#: Socket → what its server says, one after the other; None: it waits, at the end it closes.
_SERVERS: dict[str, list[bytes | None]] = {
    "silent": [None],
    "closes": [],
    "busy": [b"421 4.3.2 busy\r\n"],
    "nonsense": [b"hello\r\n\0\xff" * 100],
    "dies": [b"220 x\r\n", _HELLO, b"250 x\r\n250 x\r\n", b"354 x\r\n"],
    "fails": [b"220 x\r\n", _HELLO, b"250 x\r\n250 x\r\n", b"354 x\r\n", b"451 4.3.0 no\r\n"],
    "refuses": [b"220 x\r\n", _HELLO, b"250 x\r\n250 x\r\n", b"354 x\r\n", b"554 5.6.0 no\r\n"],
}
_DISPATCHER = """#!/bin/sh
W={path}
REAL={real}
for fault in {faults}; do
    case "$RECIPIENT $ORIGINAL_RECIPIENT $*" in
    *"+$fault@"*) break ;;
    esac
    fault=none
done
(
    case $fault in
{cases}
    esac
    "$REAL" "$@"
)
status=$?
echo "$status" >"$W/tried/$fault.$$"
exit "$status"
"""


@attrs.frozen
class Faulty:
    """The world of the faults."""

    path: Path

    @property
    def program(self) -> Path:
        """What stands for mdir-deliver."""
        return self.path / "mdir-deliver"

    @property
    def config(self) -> Path:
        """The settings."""
        return self.path / "mail.toml"

    def tried(self) -> dict[str, set[int]]:
        """How deliveries of each fault ended."""
        found: dict[str, set[int]] = {}
        for file in (self.path / "tried").iterdir():
            if text := file.read_text().strip():
                found.setdefault(file.name.partition(".")[0], set()).add(int(text))
        return found

    def delivered(self, address: str = JO) -> list[Header]:
        """The mails in an account."""
        with connect(f"file://{self.path}/mdir", create=False) as mdird:
            found = mdird.lookup(f"{PLACES.accounts}/{address}")
            return [header for header in found if header.get("part") == "1"]

    def text(self, header: Header) -> str:
        """A mail, as it was stored."""
        with (
            connect(f"file://{self.path}/mdir", create=False) as mdird,
            mdird.store.open(header["anchor"][:-1] + "0") as file,
        ):
            return file.read().decode()


@contextmanager
def faulty(path: Path) -> Iterator[Faulty]:
    """Make the mdir of the user `mdir`, all that is broken, and the program."""
    path.mkdir(parents=True)
    for name in ("mdir", "damaged", "locked", "closed"):
        with connect(f"file://{path}/{name}") as mdird:
            add_account(mdird, PLACES, JO)
            add_account(mdird, PLACES, "li@ours.test")
            make_folder(mdird, "Empty")
    (path / "damaged" / "mdird.sqlite3").write_bytes(b"garbage" * 1000)
    shutil.copytree(path / "mdir" / "store", path / "rootstore")
    (path / "tried").mkdir()
    (path / "mail.toml").write_text(
        f'MDIRD = "file://{path}/mdir"\nMDIR_SMTP_HOSTNAME = "mx.test"\n'
    )
    (path / "broken.toml").write_text("MDIRD = [[[")
    (path / "unknown.toml").write_text('MDIR_SMTP_NONSENSE = "x"')
    for name, script in _FAKES.items():
        (path / name).mkdir()
        shutil.copy(SCRIPTS / "mdir-deliver", path / name)
        if script is not None:
            (path / name / "mdir-smtp").write_text(script)
            (path / name / "mdir-smtp").chmod(0o755)
    _dispatcher(path)
    _give_away(path)
    with ExitStack() as stack:
        for name, said in _SERVERS.items():
            stack.enter_context(_server(path / name, said))
        open_to_all(path)
        stack.enter_context(_locking(path / "locked" / "mdird.sqlite3"))
        yield Faulty(path)


def _dispatcher(path: Path) -> None:
    cases = "\n".join(f"{name}) {line} ;;" for name, line in FAULTS.items())
    program = path / "mdir-deliver"
    program.write_text(
        _DISPATCHER.format(
            path=path, real=SCRIPTS / "mdir-deliver", faults=" ".join(FAULTS), cases=cases
        )
    )
    program.chmod(0o755)


def _give_away(path: Path) -> None:
    """To the user `mdir`, but for what it must not have."""
    for directory, _, files in os.walk(path):
        for one in (directory, *(os.path.join(directory, name) for name in files)):
            if "/rootstore" not in one:
                os.chown(one, UID, UID)
    os.chown(path / "closed", 0, 0)
    (path / "closed").chmod(0o700)


@contextmanager
def _server(path: Path, said: list[bytes | None]) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        os.chmod(path, 0o777)
        listening.listen()
        thread = threading.Thread(target=_serve, args=(listening, said))
        thread.start()
        try:
            yield
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def _serve(listening: socket.socket, said: list[bytes | None]) -> None:
    with ExitStack() as stack:
        while True:
            try:
                connected, _ = listening.accept()
            except OSError:
                return  # the test is over
            stack.enter_context(connected)
            with suppress(OSError):
                _say(connected, said)


def _say(connected: socket.socket, said: list[bytes | None]) -> None:
    connected.settimeout(10)
    for text in said:
        if text is None:
            return  # it stays open, and nothing is said
        connected.sendall(text)
        if not connected.recv(1 << 16):
            break
    connected.close()


@contextmanager
def _locking(database: Path) -> Iterator[None]:
    connection = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.rollback()
        connection.close()
