"""A real Exim on loopback, in namespaces of its own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.mounted import PEERS, SENDER, UID, Mta, open_to_all, running, users
from tests.ports import free_port

_EXIM = "/usr/sbin/exim4"  # what it runs for each delivery
_USER = "Debian-exim"
_CONFIG = """
primary_hostname = exim.test
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
tls_advertise_hosts =
host_lookup =
rfc1413_query_timeout = 0s
keep_environment =
log_file_path = {path}/logs/%slog
acl_smtp_rcpt = rcpt

begin acl
rcpt:
  require verify = {verify}
  accept domains = ours.test : {sender_domain}

begin routers
{routers}
sender:
  driver = accept
  domains = {sender_domain}
  transport = sender

begin transports
{transports}
sender:
  driver = appendfile
  directory = {path}/mail/sender
  maildir_format
  user = mail
  group = mail

begin retry
* * F,1d,1h
"""


class Exim(Mta):
    """Where it is, and what it has."""

    @property
    def log(self) -> str:
        """What it says of its work, of refusals and of its own failures."""
        return "".join(
            file.read_text(errors="replace") for file in sorted((self.path / "logs").iterdir())
        )

    def queued(self) -> int:
        """Mails on their way, those that wait to be tried again included."""
        return len(list((self.path / "spool" / "input").rglob("*-H")))

    def retry(self) -> None:
        """Try now whatever is deferred or frozen; returns when that is done."""
        self.run(_EXIM, "-qff")


@contextmanager
def exim(path: Path, *, routers: str, transports: str, verify: str = "recipient") -> Iterator[Exim]:
    """Start one; skips where there is none, or where we may not.

    Args:
        path: Where it keeps everything.
        routers: Those before its own, of the domain `ours.test`.
        transports: Their transports. There is a user `mdir`.
        verify: Of the ACL, how recipients are verified.
    """
    if not (PEERS / "exim").is_dir():
        pytest.skip("needs Exim, from .ci/peers")
    for name in ("etc", "spool", "run", "logs", "mail"):
        (path / name).mkdir(parents=True)
    open_to_all(path)
    shutil.chown(path / "mail", "mail")
    server = Exim(path, free_port(), _binds(path))
    config = path / "etc" / "exim4.conf"
    config.write_text(
        _CONFIG.format(
            path=path,
            port=server.port,
            sender_domain=SENDER.partition("@")[2],
            routers=routers,
            transports=transports,
            verify=verify,
        )
    )
    config.chmod(0o644)
    for name in ("spool", "run", "logs"):
        os.chown(path / name, UID + 1, UID + 1)
    with running([_EXIM, "-bdf"], server.binds, port=server.port, log=path / "said"):
        yield server


def _binds(path: Path) -> dict[Path, str]:
    return users(path, _USER) | {
        PEERS / "exim" / "usr" / "sbin" / "exim4": _EXIM,
        path / "etc": "/etc/exim4",
        path / "spool": "/var/spool/exim4",
        path / "run": "/run/exim4",
    }
