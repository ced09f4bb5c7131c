"""A real Dovecot on loopback: LMTP and the LDA, which deliver durably into a Maildir."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import pytest

from tests.mounted import await_port, open_to_all
from tests.ports import free_port

DOVECOT = shutil.which("dovecot", path="/usr/sbin")
LDA = Path("/usr/lib/dovecot/dovecot-lda")
USER = "mail@postfix.test"
_CONFIG = """
protocols = lmtp
listen = 127.0.0.1
base_dir = {path}/run
state_dir = {path}/state
log_path = {path}/log
ssl = no
mail_location = maildir:{path}/home/Maildir
mail_fsync = always
first_valid_uid = 1
hostname = dovecot.test
postmaster_address = postmaster@dovecot.test
passdb {{
  driver = static
  args = nopassword=yes
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={path}/home allow_all_users=yes
}}
service anvil {{
  chroot =
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0666
  }}
}}
service lmtp {{
  unix_listener lmtp {{
    mode = 0666
  }}
  inet_listener lmtp {{
    port = {port}
  }}
}}
"""


@attrs.frozen
class Dovecot:
    """Where it is, and what it has."""

    path: Path
    port: int

    @property
    def socket(self) -> Path:
        """That of LMTP."""
        return self.path / "run" / "lmtp"

    @property
    def log(self) -> str:
        """What it says of its work."""
        return (self.path / "log").read_text(errors="replace")

    def mails(self) -> list[bytes]:
        """What was delivered, to whomever."""
        new = self.path / "home" / "Maildir" / "new"
        return [one.read_bytes() for one in sorted(new.iterdir())] if new.is_dir() else []

    def lda(self, recipient: str = USER, sender: str = "") -> list[str]:
        """The words of a process that delivers the one mail on its standard input.

        It needs no environment, but this Dovecot, which knows the users; 75 without.
        """
        words = [str(LDA), "-c", str(self.path / "dovecot.conf"), "-d", recipient]
        return [*words, "-a", recipient, "-f", sender]


@contextmanager
def dovecot(path: Path) -> Iterator[Dovecot]:
    """Start one; skips where there is none, or where we may not."""
    lmtp = LDA.with_name("lmtp")
    if not DOVECOT or not lmtp.exists() or os.getuid() != 0:
        pytest.skip("needs Dovecot with LMTP, and to be root")
    for name in ("run", "state", "home"):
        (path / name).mkdir(parents=True)
    open_to_all(path)
    shutil.chown(path / "home", "mail", "mail")
    server = Dovecot(path, free_port())
    with running(path, _CONFIG.format(path=path, port=server.port), server.port):
        yield server


@contextmanager
def running(path: Path, config: str, port: int) -> Iterator[None]:
    """A Dovecot with a configuration, until the context ends; it listens on a port by then."""
    assert DOVECOT
    file, said = path / "dovecot.conf", path / "said"
    file.write_text(config)
    with (
        said.open("wb") as output,
        subprocess.Popen([DOVECOT, "-F", "-c", file], stdout=output, stderr=output) as process,
    ):
        try:
            await_port(port, process, said)
            yield
        finally:
            process.terminate()
            process.wait(30)
