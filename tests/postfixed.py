"""A real Postfix on loopback, in a directory of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.served import free_port

POSTFIX = shutil.which("postfix", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
_SERVICES = """
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
local unix - n n - - local
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
pickup unix n - n 60 1 pickup
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """Where it is, and what it has."""

    def __init__(self, path: Path, port: int) -> None:
        self.path = path
        self.port = port

    def mails(self, user: str = "mail") -> list[bytes]:
        """What was delivered to a user of this system."""
        new = self.path / "mail" / user / "new"
        return [one.read_bytes() for one in sorted(new.iterdir())] if new.is_dir() else []

    def queued(self) -> int:
        """Mails on their way."""
        queue = self.path / "queue"
        names = ("maildrop", "incoming", "active", "deferred")
        return sum(len(files) for name in names for _, _, files in os.walk(queue / name))

    def drained(self, timeout: float = 20) -> None:
        """Wait until nothing is on its way."""
        deadline = time.monotonic() + timeout
        while self.queued() and time.monotonic() < deadline:
            time.sleep(0.05)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A command of Postfix, such as `postqueue -f`."""
        command = shutil.which(words[0], path="/usr/sbin:/usr/bin")
        assert command
        words = (command, "-c", str(self.path / "etc"), *words[1:])
        return subprocess.run(words, capture_output=True, text=True, timeout=60)


@contextmanager
def postfix(path: Path, **settings: str) -> Iterator[Postfix]:
    """Start one; skips where there is none, or where we may not."""
    if not POSTFIX or os.getuid() != 0:
        pytest.skip("needs Postfix, and to be root")
    port = free_port()
    for name in ("etc", "queue", "data", "mail"):
        (path / name).mkdir(parents=True)
    for parent in (path, *path.parents):
        if parent.is_relative_to("/tmp") and parent != Path("/tmp"):
            parent.chmod(0o755)  # its processes are other users
    shutil.chown(path / "data", "postfix")
    shutil.chown(path / "mail", "mail")
    main = {
        "compatibility_level": "3.6",
        "queue_directory": str(path / "queue"),
        "data_directory": str(path / "data"),
        "maillog_file": str(path / "log"),
        "maillog_file_prefixes": "/",
        "inet_interfaces": "127.0.0.1",
        "inet_protocols": "ipv4",
        "myhostname": "postfix.test",
        "mydestination": "postfix.test",
        "mynetworks": "127.0.0.0/8",
        "alias_maps": "",
        "alias_database": "",
        "mail_spool_directory": f"{path}/mail/",
        **settings,
    }
    text = "".join(f"{name} = {value}\n" for name, value in main.items())
    (path / "etc" / "main.cf").write_text(text)
    (path / "etc" / "master.cf").write_text(f"127.0.0.1:{port} inet n - n - - smtpd{_SERVICES}")
    server = Postfix(path, port)
    started = server.run("postfix", "start")
    assert started.returncode == 0, started.stderr + (path / "log").read_text()
    try:
        yield server
    finally:
        server.run("postfix", "stop")
