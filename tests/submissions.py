"""A real Dovecot on loopback that takes mails of users and passes them on: RFC 6409."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

from tests.dovecot import DOVECOT, running
from tests.mounted import open_to_all
from tests.ports import free_port

_LOGIN = Path("/usr/lib/dovecot/submission-login")
_CONFIG = """
protocols = submission
listen = 127.0.0.1
base_dir = {path}/run
state_dir = {path}/state
log_path = {path}/log
ssl = required
ssl_cert = <{certificate}
ssl_key = <{certificate}
disable_plaintext_auth = yes
mail_location = maildir:{path}/home/Maildir
first_valid_uid = 1
hostname = dovecot.test
submission_relay_host = 127.0.0.1
submission_relay_port = {sink}
submission_relay_ssl = no
submission_max_mail_size = 1M
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={path}/home allow_all_users=yes
}}
service anvil {{
  chroot =
}}
service submission-login {{
  chroot =
  inet_listener submission {{
    port = {port}
  }}
}}
"""


@attrs.frozen
class Submission:
    """Where it is."""

    path: Path
    port: int

    @property
    def log(self) -> str:
        """What it says of its work."""
        return (self.path / "log").read_text(errors="replace")


@contextmanager
def submission(
    path: Path, *, sink: int, certificate: str, password: str, port: int | None = None
) -> Iterator[Submission]:
    """Start one that passes on to a port; skips where there is none, or where we may not."""
    if not DOVECOT or not _LOGIN.exists() or os.getuid() != 0:
        pytest.skip("needs Dovecot with submission, and to be root")
    for name in ("run", "state", "home"):
        (path / name).mkdir(parents=True, exist_ok=True)
    open_to_all(path)
    shutil.chown(path / "home", "mail", "mail")
    server = Submission(path, port or free_port())
    config = _CONFIG.format(
        path=path, port=server.port, sink=sink, certificate=certificate, password=password
    )
    with running(path, config, server.port):
        yield server
