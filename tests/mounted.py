"""Real mail programs in mount and process namespaces of their own.

Their paths are built in, they take users from /etc/passwd, and they run our commands as users that
may not read where our interpreter is: all of that is mounted for them alone. Nothing is left on
the file systems, and no process once the context ends or this process does.
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
PEERS = CHECKOUT / ".peers"  # where .ci/peers unpacks what cannot be installed
UID = 64123  # of the user and group `mdir`
SENDER = "sender@sender.test"  # who gets the bounces
_WORK = ("/mnt", "/media", "/srv", "/opt")  # one of these is covered for a moment
_NEW = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


class Mta(ABC):
    """Where a mail transport agent is, and what it has."""

    def __init__(self, path: Path, port: int, binds: Mapping[Path, str]) -> None:
        self.path = path
        self.port = port
        self.binds = binds

    @property
    def log(self) -> str:
        """What it says of its work."""
        file = self.path / "log"
        return file.read_text(errors="replace") if file.exists() else ""

    def mails(self, user: str = "mail") -> list[bytes]:
        """What was delivered to a user of this system."""
        new = self.path / "mail" / user / "new"
        return [one.read_bytes() for one in sorted(new.iterdir())] if new.is_dir() else []

    def bounces(self) -> list[bytes]:
        """What came back to SENDER."""
        return self.mails("sender")

    @abstractmethod
    def queued(self) -> int:
        """Mails on their way, those that wait to be tried again included."""

    @abstractmethod
    def retry(self) -> None:
        """Try now whatever waits to be tried again."""

    def run(self, *words: str) -> str:
        """What one of its commands says, where things are mounted for it."""
        done = run_enclosed(words, self.binds)
        assert done.returncode == 0, done.stderr + self.log
        return done.stdout

    def drained(self, timeout: float = 20) -> None:
        """Wait until nothing is on its way."""
        deadline = time.monotonic() + timeout
        while self.queued() and time.monotonic() < deadline:
            time.sleep(0.05)

    def logged(self, pattern: str, count: int = 1, timeout: float = 20) -> None:
        """Wait until the log has a regular expression that often."""
        deadline = time.monotonic() + timeout
        while len(re.findall(pattern, self.log)) < count:
            assert time.monotonic() < deadline, f"no {pattern} in the log: {self.log[-2000:]}"
            time.sleep(0.05)


def open_to_all(path: Path) -> None:
    """Let other users reach a path below /tmp."""
    for parent in (path, *path.parents):
        if parent.is_relative_to("/tmp") and parent != Path("/tmp"):
            parent.chmod(0o755)


def owned(path: Path) -> Path:
    """A directory of the user `mdir`."""
    path.mkdir(parents=True, exist_ok=True)
    os.chown(path, UID, UID)
    return path


def users(path: Path, *services: str) -> dict[Path, str]:
    """What to mount: this system's users, `mdir` with a home, others without; their mailboxes."""
    made = {name: Path(name).read_text() for name in ("/etc/passwd", "/etc/group")}
    homes = {"mdir": str(owned(path / "home")), **dict.fromkeys(services, "/nonexistent")}
    for number, (name, home) in enumerate(homes.items(), UID):
        shell = "/bin/sh" if name == "mdir" else "/usr/sbin/nologin"
        made["/etc/passwd"] += f"{name}:x:{number}:{number}::{home}:{shell}\n"
        made["/etc/group"] += f"{name}:x:{number}:\n"
    mailboxes = path / "mailboxes"
    mailboxes.mkdir(exist_ok=True)
    mailboxes.chmod(0o1777)
    binds = {mailboxes: "/var/mail"}
    for target, text in made.items():
        source = path / Path(target).name
        source.write_text(text)
        binds[source] = target
    return binds


def enclosed(words: Sequence[str], binds: Mapping[Path, str]) -> list[str]:
    """The words of a process that runs others where things of ours are mounted.

    Args:
        words: The command. All that it has started ends when it does, or the standard input.
        binds: Where in the file system our files and directories are to be. What is missing on
            the way there is made in memory.
    """
    lines = ["trap 'exit 1' TERM", '{ "$@" </dev/null || :; kill $$; } &', "read -r _ || :"]
    return _in_new(lines, words, binds)


@contextmanager
def running(
    words: Sequence[str], binds: Mapping[Path, str], *, port: int, log: Path
) -> Iterator[None]:
    """Run a server until the context ends; what it says goes to the log."""
    with (
        log.open("ab") as file,
        subprocess.Popen(
            enclosed(words, binds), stdin=subprocess.PIPE, stdout=file, stderr=file
        ) as process,
    ):
        try:
            await_port(port, process, log)
            yield
        finally:
            assert process.stdin
            process.stdin.close()  # the namespace ends, and with it all that is in there
            process.wait(60)


def run_enclosed(
    words: Sequence[str], binds: Mapping[Path, str], timeout: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = _in_new(['"$@" </dev/null'], words, binds)
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout)


def _in_new(lines: Sequence[str], words: Sequence[str], binds: Mapping[Path, str]) -> list[str]:
    if not _may_mount():
        pytest.skip("needs to be root, and to be allowed to mount")
    script = "\n".join(["set -e", *_mounts(binds), *lines])
    return [*_NEW, "sh", "-c", script, "sh", *words]


@functools.cache
def _may_mount() -> bool:
    try:
        return os.getuid() == 0 and not subprocess.call(
            [*_NEW, "mount", "-t", "tmpfs", "none", "/mnt"], stderr=subprocess.DEVNULL
        )
    except OSError:
        return False


def await_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            said = log.read_text(errors="replace")
            assert process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.05)
        else:
            return


def _mounts(binds: Mapping[Path, str]) -> list[str]:
    """Lines of a shell script."""
    ours = [Path(sys.base_prefix), Path(sys.prefix), CHECKOUT, *binds]
    covers: dict[Path, list[Path]] = {}  # what others cannot enter, and what they need of it
    for path in ours:
        closed = next((one for one in reversed(path.parents) if not _is_open(one)), None)
        if closed:
            covers.setdefault(closed, []).append(path)
    every = [*ours, *(Path(target) for target in binds.values())]
    work = next(one for one in _WORK if not any(path.is_relative_to(one) for path in every))
    lines = [f"mount -t tmpfs -o mode=755 none {work}", "umask 022"]
    for number, (closed, needed) in enumerate(covers.items()):
        lines += _cover(closed, needed, f"{work}/{number}")
    missing = [Path(target) for target in binds.values() if not Path(target).exists()]
    for number, parent in enumerate(dict.fromkeys(_existing(path) for path in missing)):
        upper, scratch = f"{work}/upper{number}", f"{work}/scratch{number}"
        options = shlex.quote(f"lowerdir={parent},upperdir={upper},workdir={scratch}")
        lines.append(f"mkdir -p {upper} {scratch}")
        lines.append(f"mount -t overlay -o {options} overlay {shlex.quote(str(parent))}")
    for source, target in sorted(binds.items(), key=lambda item: item[1].count("/")):
        lines += _bind(str(source), target, is_directory=source.is_dir())
    return [*lines, f"umount -l {work}"]


def _cover(closed: Path, needed: Sequence[Path], work: str) -> list[str]:
    """Keep what is needed, mount an empty directory over the rest, put it back."""
    lines = []
    for number, path in enumerate(needed):
        lines += _bind(str(path), f"{work}.{number}", is_directory=path.is_dir())
    lines.append(f"mount -t tmpfs -o mode=755 none {shlex.quote(str(closed))}")
    for number, path in enumerate(needed):
        lines += _bind(f"{work}.{number}", str(path), is_directory=path.is_dir())
    return lines


def _bind(source: str, target: str, *, is_directory: bool) -> list[str]:
    there = shlex.quote(target)
    make = f"mkdir -p {there}" if is_directory else f'mkdir -p "$(dirname {there})"; >>{there}'
    return [f"[ -e {there} ] || {{ {make}; }}", f"mount --rbind {shlex.quote(source)} {there}"]


def _is_open(directory: Path) -> bool:
    return bool(directory.stat().st_mode & 0o001)


def _existing(path: Path) -> Path:
    """The closest directory above that there is."""
    return next(parent for parent in path.parents if parent.is_dir())
