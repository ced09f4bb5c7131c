"""A real sendmail on loopback, in namespaces of its own."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.mounted import PEERS, SENDER, Mta, open_to_all, running, users
from tests.ports import free_port

_ROOT = PEERS / "sendmail" / "usr"
_SENDMAIL = str(_ROOT / "libexec" / "sendmail" / "sendmail")
_M4 = shutil.which("m4")
_CONFIG = """
OSTYPE(`linux')
define(`confDOMAIN_NAME', `sendmail.test')
define(`confPID_FILE', `/var/spool/mqueue/pid')
define(`confSERVICE_SWITCH_FILE', `/etc/mail/service.switch')
define(`confTO_IDENT', `0s')
define(`confDEF_USER_ID', `mdir:mdir')
define(`ALIAS_FILE', `/etc/mail/aliases')
define(`STATUS_FILE', `')
FEATURE(`nocanonify')
FEATURE(`accept_unresolvable_domains')
DAEMON_OPTIONS(`Name=MTA, Addr=127.0.0.1, Port={port}')
{settings}
MAILER(`local')
MAILER(`smtp')
MAILER_DEFINITIONS
Msender, P={path}/keep, F=lsDFMPn, S=EnvFromL/HdrFromL, R=EnvToL/HdrToL, U=mail:mail,
  T=DNS/RFC822/X-Unix, A=keep $u
{mailers}
LOCAL_RULE_0
R$+ < @ {sender_domain} . >\t$#sender $: $1
R$+ < @ {sender_domain} >\t$#sender $: $1
{rules}
"""
_KEEP = """#!/bin/sh
cat >{maildir}/tmp/$$ && mv {maildir}/tmp/$$ {maildir}/new/$$
"""


class Sendmail(Mta):
    """Where it is, and what it has. Its log has what it said to others, and they to it."""

    def queued(self) -> int:
        """Mails on their way, those that wait to be tried again included."""
        return len(list((self.path / "queue").glob("qf*")))

    def retry(self) -> None:
        """Try now whatever is deferred; returns when that is done."""
        self.run(_SENDMAIL, "-qf")


@contextmanager
def sendmail(
    path: Path,
    *,
    mailers: str = "",
    rules: str = "",
    settings: str = "",
    aliases: str = "",
    accounts: str = "",
) -> Iterator[Sendmail]:
    """Start one; skips where there is none, or where we may not.

    Args:
        path: Where it keeps everything.
        mailers: Definitions, such as `Mmdir, P=...`. There is a user `mdir`.
        rules: Of ruleset 0, such as `R$+ < @ ours.test . >`, a tab, `$#mdir $: $1@ours.test`.
        settings: Further lines of its mc file.
        aliases: Lines of its table of aliases. The prog mailer runs as `mdir`.
        accounts: The text of /etc/mail/mdir-accounts.
    """
    if not _ROOT.is_dir() or not _M4:
        pytest.skip("needs sendmail, from .ci/peers")
    for name in ("etc", "queue", "mail/sender/new", "mail/sender/tmp"):
        (path / name).mkdir(parents=True)
    open_to_all(path)
    for name in ("mail", "mail/sender", "mail/sender/new", "mail/sender/tmp"):
        shutil.chown(path / name, "mail", "mail")
    (path / "queue").chmod(0o700)
    keep = path / "keep"
    keep.write_text(_KEEP.format(maildir=path / "mail" / "sender"))
    keep.chmod(0o755)
    hosts = path / "hosts"  # it looks for a dot in its own name, for a minute
    hosts.write_text(f"127.0.0.1 localhost sendmail.test {socket.gethostname()}\n")
    binds = users(path) | {
        hosts: "/etc/hosts",
        path / "etc": "/etc/mail",
        path / "queue": "/var/spool/mqueue",
    }
    server = Sendmail(path, free_port(), binds)
    config = _CONFIG.format(
        path=path,
        port=server.port,
        sender_domain=SENDER.partition("@")[2],
        settings=settings,
        mailers=mailers,
        rules=rules,
    )
    (path / "etc" / "sendmail.cf").write_text(_expanded(config))
    (path / "etc" / "service.switch").write_text("hosts files\naliases files\npasswd files\n")
    (path / "etc" / "aliases").write_text(f"postmaster: root\n{aliases}\n")
    (path / "etc" / "mdir-accounts").write_text(accounts)
    (path / "log").touch()
    server.run(_SENDMAIL, "-bi")
    words = [_SENDMAIL, "-bD", "-X", str(path / "log")]
    with running(words, binds, port=server.port, log=path / "said"):
        yield server


def _expanded(config: str) -> str:
    """The file that sendmail reads, of the one that people write."""
    assert _M4
    macros = _ROOT / "share" / "sendmail" / "cf"
    words = [_M4, f"-D_CF_DIR_={macros}/", str(macros / "m4" / "cf.m4"), "-"]
    done = subprocess.run(words, input=config, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
