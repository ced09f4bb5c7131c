"""Hands mails to a sendmail program, and what its end means. Starts the runner.

Sources: sysexits(3); what Postfix, Exim and msmtp really exit with (docs: howto/outbox).
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from mdirclient.errors import SettingsError, StoreError
from mdirclient.smtp.outbox.jobs import Jobs
from mdirclient.smtp.outbox.outcome import Outcome, Refused
from mdirclient.smtp.outbox.runner import DONE

if TYPE_CHECKING:
    from mdirclient.smtp.outbox.prepare import Prepared

#: Exit codes that say that the same again will not help. 64 and 78 are mistakes of the settings, 68
#: is what msmtp says when it has no network, 69 what Postfix says when it is down: with time these
#: may go, so they are tried again.
PERMANENT: Final = {
    65: ("5.6.0", "the mail or an address is not accepted"),
    67: ("5.1.1", "there is no such user"),
}
_MEANINGS: Final = {
    64: "its command line is not understood",
    66: "it cannot read the mail",
    68: "a host is not known",
    69: "it is not available",
    70: "it has a defect",
    71: "the system has an error",
    72: "a file of the system is missing",
    73: "it cannot make a file",
    74: "reading or writing failed",
    75: "it wants to be asked again",
    76: "the other side broke the protocol",
    77: "it is not permitted",
    78: "its settings are wrong",
    126: "it cannot be run",
    127: "it is not there",
}
#: What msmtp prints when the server refuses a mail, whatever the code; it exits with 69 then.
_SERVER_SAID = re.compile(r"server message: ([45])\d\d(?:[ -]([45]\.\d{1,3}\.\d{1,3}))?")
_UNAVAILABLE: Final = 69
_LINE_LIMIT: Final = 1 << 20
_RUNNER: Final = "from mdirclient.smtp.outbox.runner import main; main()"


def outcome_of(code: int | None, output: str) -> Outcome:
    """What the end of a sendmail program means.

    Args:
        code: its exit code, negative for a signal, None if it did not end in time.
        output: what it printed.
    """
    if code == 0:
        return Outcome("2.0.0")
    said = f": {text}" if (text := " ".join(output.split())) else ""
    if code is None:
        return Outcome("4.4.7", f"sendmail did not end in time{said}")
    if code < 0:
        return Outcome("4.3.0", f"sendmail was ended by signal {-code}{said}")
    status, meaning = PERMANENT.get(code, ("4.3.0", _MEANINGS.get(code, "nobody knows why")))
    if code == _UNAVAILABLE and (server := _SERVER_SAID.search(output)) and server[1] == "5":
        status = server[2] or "5.0.0"
    return Outcome(status, f"sendmail exited with {code}, {meaning}{said}")


def parse_words(text: str) -> tuple[str, ...]:
    """The words of a program, with quotes as in a shell.

    Raises:
        SettingsError: there are none, or a quote is open.
    """
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise SettingsError("MDIR_SMTP_SENDMAIL", text, str(error)) from None
    if not words or not words[0].startswith("/"):
        raise SettingsError("MDIR_SMTP_SENDMAIL", text, "expected the path of a program, from /")
    return words


class Sendmail(Jobs):
    """Runs a sendmail program in the runner. Used in one loop.

    Args:
        words: the program, and its own first words.
        directory: of the jobs; one sender at a time has it.
        seconds: that the program may take.
    """

    def __init__(self, words: Sequence[str], directory: str, *, seconds: float) -> None:
        super().__init__(directory)
        self._words = words
        self._seconds = seconds
        self._process: asyncio.subprocess.Process | None = None
        self._waiting: dict[str, asyncio.Future[Outcome]] = {}
        self._reading: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()

    @property
    def name(self) -> str:
        """The program."""
        return self._words[0]

    async def start(self) -> None:
        """Start the runner, and learn what an earlier one left.

        Raises:
            StoreError: it does not start.
        """
        await super().start()
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-c", _RUNNER, self.directory,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            start_new_session=True, limit=_LINE_LIMIT,
        )  # fmt: skip
        assert self._process.stdout
        if await self._process.stdout.readline() != b"null\n":
            raise StoreError(f"{self.directory}: the process that runs sendmail does not start")
        self._reading = asyncio.create_task(self._read(self._process.stdout))
        self.ended.update(await asyncio.to_thread(left_outcomes, self.directory))

    async def send(self, job: str, prepared: Prepared) -> Outcome:
        """Send the mail of a job. Its outcome is kept until `forget`."""
        async with self._starting:
            if self._process is None or self._reading is None or self._reading.done():
                await self.start()
        assert self._process
        assert self._process.stdin
        words = [*self._words, "-i", "-f", prepared.sender, "--", *prepared.recipients]
        waiting = self._waiting[job] = asyncio.get_running_loop().create_future()
        line = json.dumps({"id": job, "words": words, "seconds": self._seconds})
        try:
            self._process.stdin.write(line.encode() + b"\n")
            await self._process.stdin.drain()
            outcome: Outcome = await waiting
            self.ended[job] = outcome
            return outcome
        except ConnectionError:
            return _GONE
        finally:
            self._waiting.pop(job, None)

    async def stop(self) -> None:
        """Let the runner end after the jobs that it has, which nobody waits for here."""
        if self._process and self._process.stdin:
            self._process.stdin.close()
        if self._reading:
            self._reading.cancel()

    async def _read(self, lines: asyncio.StreamReader) -> None:
        """Hand out what the runner says, until it ends."""
        while line := await lines.readline():
            found: dict[str, Any] | None = json.loads(line)
            waiting = self._waiting.get(found["id"]) if found else None
            if found and waiting and not waiting.done():
                waiting.set_result(outcome_of(found["code"], found["output"]))
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result(_GONE)


_GONE: Final[Outcome] = Outcome("4.3.0", "the process that runs sendmail ended itself")


def left_outcomes(directory: str) -> dict[str, Outcome]:
    """Outcomes that an earlier sender of a directory left, in whatever way it sent."""
    from mdirclient.smtp.outbox.runner import read_done

    found = {}
    for name in os.listdir(directory):
        if name.endswith(DONE) and (done := read_done(os.path.join(directory, name))):
            found[done["id"]] = _outcome_left(done)
    return found


def _outcome_left(done: dict[str, Any]) -> Outcome:
    if "status" not in done:
        return outcome_of(done.get("code"), str(done.get("output") or ""))
    refused = tuple(Refused(**one) for one in done["refused"])
    return Outcome(done["status"], done["reason"], refused, tuple(done.get("relayed", ())))
