"""A real Postfix on loopback, in a directory of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.mounted import SENDER, Mta, open_to_all, running, users
from tests.ports import free_port

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
virtual unix - n n - - virtual
verify unix - - n - 1 verify
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
pickup unix n - n 60 1 pickup
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix(Mta):
    """Where it is, and what it has."""

    def queued(self) -> int:
        """Mails on their way."""
        queue = self.path / "queue"
        # Those that it moves back, from deferred to incoming, are looked for there once more.
        names = ("maildrop", "incoming", "active", "deferred", "incoming", "active")
        return len(
            {file for name in names for _, _, files in os.walk(queue / name) for file in files}
        )

    def retry(self) -> None:
        """Try now whatever is deferred; returns before that is done."""
        self.run("postqueue", "-f")

    def run(self, *words: str) -> str:
        """What a command of Postfix says, such as `postqueue -f`."""
        words = (words[0], "-c", str(self.path / "etc"), *words[1:])
        if self.binds:
            return super().run(*words)
        command = shutil.which(words[0], path="/usr/sbin:/usr/bin")
        assert command
        done = subprocess.run([command, *words[1:]], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr + self.log
        return done.stdout


@contextmanager
def postfix(path: Path, *, services: str = "", **settings: str) -> Iterator[Postfix]:
    """Start one; skips where there is none, or where we may not.

    Args:
        path: Where it keeps everything.
        services: Further lines of master.cf.
        settings: For main.cf.
    """
    port = _configure(path, services, settings)
    server = Postfix(path, port, {})
    server.run("postfix", "start")
    try:
        yield server
    finally:
        server.run("postfix", "stop")


@contextmanager
def enclosed_postfix(path: Path, *, services: str = "", **settings: str) -> Iterator[Postfix]:
    """The same in namespaces of its own, where our commands run and there is a user `mdir`."""
    port = _configure(path, services, settings)
    server = Postfix(path, port, users(path))
    words = ["postfix", "-c", str(path / "etc"), "start-fg"]
    with running(words, server.binds, port=port, log=path / "log"):
        yield server


def _configure(path: Path, services: str, settings: Mapping[str, str]) -> int:
    """Write its files; the port that it will listen on."""
    if not POSTFIX or os.getuid() != 0:
        pytest.skip("needs Postfix, and to be root")
    for name in ("etc", "queue", "data", "mail"):
        (path / name).mkdir(parents=True)
    open_to_all(path)  # its processes are other users
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
        **_bounces(path),
        **settings,
    }
    text = "".join(f"{name} = {value}\n" for name, value in main.items())
    (path / "etc" / "main.cf").write_text(text)
    port = free_port()
    listener = f"127.0.0.1:{port} inet n - n - - smtpd"
    (path / "etc" / "master.cf").write_text(f"{listener}{_SERVICES}{services}\n")
    return port


def _bounces(path: Path) -> dict[str, str]:
    """To where `Mta.bounces` looks for them, whatever local delivery does."""
    return {
        "virtual_mailbox_domains": SENDER.partition("@")[2],
        "virtual_mailbox_maps": f"inline:{{{SENDER}=sender/}}",
        "virtual_mailbox_base": f"{path}/mail",
        "virtual_minimum_uid": "1",
        "virtual_uid_maps": f"static:{pwd.getpwnam('mail').pw_uid}",
        "virtual_gid_maps": f"static:{pwd.getpwnam('mail').pw_gid}",
    }
