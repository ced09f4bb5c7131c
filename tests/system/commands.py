"""Runs the installed commands as processes, as an MTA or a person would."""

from __future__ import annotations

import os
import subprocess
import sysconfig
from pathlib import Path

import attrs

SCRIPTS = Path(sysconfig.get_path("scripts"))


@attrs.frozen
class Done:
    """A process that has ended."""

    status: int
    output: str
    errors: str


@attrs.frozen
class World:
    """An mdir of its own, and the commands on it."""

    path: Path

    @property
    def environ(self) -> dict[str, str]:
        """As an MTA leaves it, and where the mdir is."""
        return {
            "PATH": f"{SCRIPTS}:/usr/bin:/bin",
            "HOME": os.environ["HOME"],
            "MDIRD": f"file://{self.path}/mdir",
        }

    def run(self, *words: str, mail: bytes = b"", **environ: str) -> Done:
        """Run a command to its end."""
        done = subprocess.run(
            words,
            input=mail,
            capture_output=True,
            env=self.environ | environ,
            cwd=self.path,
            timeout=100,
            check=False,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def right(self, *words: str, mail: bytes = b"") -> str:
        """Run a command that has to succeed; its output."""
        done = self.run(*words, mail=mail)
        assert (0, "") == (done.status, done.errors), done
        return done.output

    def account(self, address: str) -> str:
        """Make an account; its folder."""
        return self.right("mdir-smtp", "account", "add", address).strip()

    def deliver(self, mail: bytes, recipient: str = "jo@machin.com", **environ: str) -> Done:
        """Deliver a mail as an MTA calls it."""
        return self.run("mdir-smtp", "deliver", "--recipient", recipient, mail=mail, **environ)
