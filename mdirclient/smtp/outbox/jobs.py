"""Jobs: the mails on their way out, as files in a directory that one sender has to itself.

Reads and writes that directory.
"""

from __future__ import annotations

import abc
import asyncio
import os
from typing import TYPE_CHECKING

from mdirclient import _fs
from mdirclient.smtp.outbox.outcome import Outcome
from mdirclient.smtp.outbox.runner import DONE, FINISHED, MAIL

if TYPE_CHECKING:
    from mdirclient.smtp.outbox.prepare import Prepared


class Jobs(abc.ABC):
    """A way of sending, and the files of its jobs. Used in one loop.

    Args:
        directory: of the jobs; one sender at a time has it.
    """

    def __init__(self, directory: str) -> None:
        self.directory = directory
        #: Job → outcome, of those that ended and are not forgotten, an earlier sender's included.
        self.ended: dict[str, Outcome] = {}

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """Where mails are handed to, for people."""

    async def start(self) -> None:
        """Make ready to send.

        Raises:
            StoreError: it does not start.
        """
        await asyncio.to_thread(_fs.make_directories, self.directory, mode=0o700)

    @abc.abstractmethod
    async def send(self, job: str, prepared: Prepared) -> Outcome:
        """Send the mail of a job. Its outcome is kept until `forget`."""

    @abc.abstractmethod
    async def stop(self) -> None:
        """Begin nothing any more."""

    def path(self, job: str) -> str:
        """Where the mail of a job is to be."""
        return os.path.join(self.directory, job + MAIL)

    def finished(self, job: str) -> str:
        """Where it is as it leaves, for a way of sending that changes it."""
        return os.path.join(self.directory, job + FINISHED)

    def beginning(self, job: str, size: int) -> bytes:
        """Up to so many bytes of the mail of a job; none if it was not prepared."""
        try:
            with open(self.path(job), "rb") as file:
                return file.read(size)
        except FileNotFoundError:
            return b""

    def forget(self, job: str) -> None:
        """The outcome of a job is kept elsewhere now."""
        self.ended.pop(job, None)
        for suffix in (DONE, FINISHED, MAIL):
            _fs.remove(os.path.join(self.directory, job + suffix))
