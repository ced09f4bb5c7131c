"""`mdir-smtp outbox` as a process, with a sendmail that does what a test says."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from mdirclient import Header, connect
from mdirclient.interfaces import Mdird
from mdirclient.smtp.accounts import add_account
from tests.places import PLACES
from tests.ports import free_port, is_listening
from tests.smtped import eventually

JO, LI = "jo@ours.test", "li@ours.test"
#: What a sendmail does that ends when the test says so: with a file `go`.
UNTIL_GO = 'touch "$W/begun"; while [ ! -e "$W/go" ]; do sleep 0.05; done'
OUTBOX, ACCOUNT = f"{PLACES.outbox}/{JO}", f"{PLACES.accounts}/{JO}"
#: Keeps each mail and its words, then does what the file `does` says.
SCRIPT = """#!/bin/sh
W={path}
name=$W/sent/$(date +%s%N).$$
printf '%s\\n' "$@" >"$name.words"
cat >"$name.part"
mv "$name.part" "$name.mail"
. "$W/does"
"""


@attrs.define
class Outboxed:
    """An mdir with an outbox, and its senders."""

    path: Path
    environ: dict[str, str]
    processes: list[subprocess.Popen[bytes]] = attrs.field(factory=list)

    def does(self, lines: str) -> None:
        """What sendmail does next: lines of sh."""
        (self.path / "does.new").write_text(lines)
        (self.path / "does.new").replace(self.path / "does")

    def start(self, *words: str, **environ: str) -> subprocess.Popen[bytes]:
        """Start a sender."""
        times = ["--first-retry", "0.1", "--most-retry", "1"]
        return self.start_command("outbox", *times, *words, **environ)

    def start_command(self, *words: str, **environ: str) -> subprocess.Popen[bytes]:
        """Start a command of `mdir-smtp` that goes on until it is stopped."""
        command = [sys.executable, "-m", "mdirclient.cli.smtp", *words]
        with (self.path / "log").open("ab") as log:
            process = subprocess.Popen(
                command, env=self.environ | environ, stderr=log, start_new_session=True
            )
        self.processes.append(process)
        return process

    @contextmanager
    def serving(self, *words: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
        """`mdir-smtp serve` in place of a sender, and its port; it ends with the context."""
        port = free_port()
        command = [sys.executable, "-m", "mdirclient.cli.smtp", "serve", "--no-tls"]
        with (self.path / "log").open("ab") as log:
            process = subprocess.Popen(
                [*command, "--listen", f"smtp://127.0.0.1:{port}", *words],
                env=self.environ, stderr=log,
            )  # fmt: skip
        try:
            eventually(lambda: is_listening(port))
            yield process, port
        finally:
            process.terminate()
            process.wait(60)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Kill a sender without notice."""
        process.send_signal(signal.SIGKILL)
        process.wait(20)
        self.processes.remove(process)

    def stop(self) -> None:
        """End all senders."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            assert process.wait(60) == 0, self.log
        self.processes.clear()

    @property
    def log(self) -> str:
        """What the senders said."""
        return (self.path / "log").read_text()

    def connect(self) -> Mdird:
        """The mdir."""
        return connect(self.environ["MDIRD"], create=False)

    def entries(self, folder: str = OUTBOX) -> list[Header]:
        """The parts in a folder."""
        with self.connect() as mdird:
            return [one for one in mdird.lookup(folder) if "part" in one]

    def sent(self) -> list[tuple[list[str], bytes]]:
        """The words and the mail of each call of sendmail that read it all."""
        files = sorted((self.path / "sent").glob("*.mail"))
        return [
            (file.with_suffix(".words").read_text().splitlines(), file.read_bytes())
            for file in files
        ]

    def queue(self, *words: str) -> list[dict[str, Any]]:
        """`mdir-smtp outbox` as a tool."""
        done = self.run("outbox", *words)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `mdir-smtp` to its end."""
        command = [sys.executable, "-m", "mdirclient.cli.smtp", *words]
        return subprocess.run(command, env=self.environ, capture_output=True, text=True, timeout=60)

    def compose(
        self, *fields: tuple[str, str], attach: Sequence[bytes] = (), hold_back: int = 0
    ) -> str:
        """Put a mail of parts into the outbox, as a mail client does; the url of its anchor.

        Args:
            fields: of the anchor, before those that every mail has.
            attach: contents of attachments.
            hold_back: attachments that are put later, by `put_rest`.
        """
        with self.connect() as mdird:
            stored = mdird.store.add_file(b"Hello\n", media_type="text/plain; charset=utf-8")
            (anchor,) = stored.headers()
            count = str(1 + len(attach))
            given = {name for name, _ in fields}
            usual = [("from", f"Jo <{JO}>"), ("to", "x@there.test"), ("subject", "Hi")]
            headers = [
                Header(
                    [
                        *anchor.replace("parts", count),
                        *fields,
                        *(one for one in usual if one[0] not in given),
                    ]
                )
            ]
            for number, content in enumerate(attach, 2):
                name = f"file {number}.bin"
                part = mdird.store.add_file(
                    content, media_type="application/octet-stream", suggested_name=name
                )
                (header,) = part.headers()
                for field, value in (
                    ("anchor", anchor["url"]), ("part", str(number)), ("parts", count)
                ):  # fmt: skip
                    header = header.replace(field, value)
                headers.append(header)
            self._rest = headers[len(headers) - hold_back :]
            self._put(mdird, headers[: len(headers) - hold_back])
            return anchor["url"]

    _rest: list[Header] = attrs.field(factory=list)

    def put_rest(self) -> None:
        """Put what was held back."""
        with self.connect() as mdird:
            self._put(mdird, self._rest)

    def _put(self, mdird: Mdird, headers: Sequence[Header]) -> None:
        with mdird.batch() as batch:
            for header in headers:
                batch.put(OUTBOX, header)

    def put_mail(self, data: bytes, *fields: tuple[str, str], folder: str = OUTBOX) -> str:
        """Put a whole mail into the outbox; the url of its part 0."""
        with self.connect() as mdird:
            stored = mdird.store.add(data)
            url = str(attrs.evolve(stored.anchor, part=0))
            mdird.put(folder, Header([("url", url), ("part", "0"), *fields]))
            return url

    def until(self, count: int, timeout: float = 30) -> None:
        """Wait until so many mails are in the account."""
        eventually(lambda: self.received() >= count, timeout)

    def received(self) -> int:
        """Mails in the account: what was sent, and notifications."""
        return sum(one["part"] == "1" for one in self.entries(ACCOUNT))

    def status(self, url: str) -> str | None:
        """The state of a mail in the outbox; None: it is not there."""
        found = [one for one in self.entries() if one["url"] == url]
        return (found[0].get("status") or "queued") if found else None


@contextmanager
def outboxed(path: Path, does: str = "exit 0") -> Iterator[Outboxed]:
    """Make the mdir and the sendmail; what was started is stopped at the end."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "sent").mkdir()
    (path / "sendmail").write_text(SCRIPT.format(path=path))
    (path / "sendmail").chmod(0o755)
    environ = os.environ | {
        "MDIRD": f"file://{path}/mdir",
        "MDIR_SMTP_STATE": f"{path}/smtp.sqlite3",
        "MDIR_SMTP_SENDMAIL": str(path / "sendmail"),
        "MDIR_SMTP_HOSTNAME": "mx.test",
    }
    with connect(environ["MDIRD"]) as mdird:
        for address in (JO, LI):
            add_account(mdird, PLACES, address)
    world = Outboxed(path, environ)
    world.does(does)
    try:
        yield world
    finally:
        world.stop()
