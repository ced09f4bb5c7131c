"""A real OpenSMTPD on loopback, in namespaces of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.mounted import PEERS, SENDER, UID, Mta, open_to_all, owned, running, users
from tests.ports import free_port

_ROOT = PEERS / "opensmtpd" / "usr"
_USERS = ("opensmtpd", "opensmtpq")
_CONFIG = """
table everybody {{ "@" = mdir }}
queue ttl 1d
listen on 127.0.0.1 port {port} hostname opensmtpd.test
action "sender" maildir "{path}/mail/sender" virtual <everybody>
{actions}
match from any for domain "{sender_domain}" action "sender"
match from any for domain "ours.test" action "mdir"
"""


class Opensmtpd(Mta):
    """Where it is, and what it has."""

    def queued(self) -> int:
        """Mails on their way, those that wait to be tried again included."""
        queue = self.path / "spool" / "queue"
        return sum(name != "message" for _, _, files in os.walk(queue) for name in files)

    def retry(self) -> None:
        """Try now whatever is deferred; returns before that is done."""
        self.run("smtpctl", "schedule", "all")


@contextmanager
def opensmtpd(path: Path, *, actions: str) -> Iterator[Opensmtpd]:
    """Start one; skips where there is none, or where we may not.

    Args:
        path: Where it keeps everything.
        actions: Lines of its configuration that define the action "mdir", which gets the domain
            `ours.test`. There is a user `mdir`, and a table <everybody> that expands every address
            to it.
    """
    if not _ROOT.is_dir():
        pytest.skip("needs OpenSMTPD, from .ci/peers")
    for name in ("spool", "empty", "run", "mail"):
        (path / name).mkdir(parents=True)
    open_to_all(path)
    (path / "spool").chmod(0o711)
    control = Path(shutil.copy(_ROOT / "sbin" / "smtpctl", path))
    os.chown(control, 0, UID + 1 + _USERS.index("opensmtpq"))  # it refuses to run otherwise
    control.chmod(0o2755)
    owned(path / "mail" / "sender")
    server = Opensmtpd(path, free_port(), _binds(path))
    (path / "smtpd.conf").write_text(
        _CONFIG.format(
            path=path, port=server.port, sender_domain=SENDER.partition("@")[2], actions=actions
        )
    )
    words = ["/usr/sbin/smtpd", "-d"]
    with running(words, server.binds, port=server.port, log=path / "log"):
        yield server


def _binds(path: Path) -> dict[Path, str]:
    return users(path, *_USERS) | {
        _ROOT / "sbin" / "smtpd": "/usr/sbin/smtpd",
        path / "smtpctl": "/usr/sbin/smtpctl",
        _ROOT / "libexec" / "opensmtpd": "/usr/libexec/opensmtpd",
        path / "smtpd.conf": "/etc/smtpd.conf",
        path / "run": "/run",
        path / "spool": "/var/spool/smtpd",
        path / "empty": "/var/lib/opensmtpd/empty",
    }
