"""The process that makes mails ready, seen from the loop that sends them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import Any, Final

from mdirclient.errors import StoreError

_CODE: Final = "from mdirclient.smtp.relay.finish import main; main()"
#: Seconds that one mail may take: 50 MiB take some 15.
_TIMEOUT: Final = 300.0


class Worker:
    """See the module. Used in one loop; mails are made ready one after the other.

    Args:
        keys: directory of the keys that mails are signed with.
    """

    def __init__(self, keys: str) -> None:
        self._keys = keys
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()

    async def finish(self, path: str, finished: str, *, domain: str, is_8bit: bool) -> int:
        """Mend a mail, and sign it with the keys of its author's domain.

        Args:
            path: of the mail.
            finished: of the file to make; one that is there is removed.
            domain: of the author.
            is_8bit: whether the smarthost takes 8 bits.

        Returns:
            How many signatures it got.

        Raises:
            StoreError: it cannot be made ready now.
        """
        asked = {
            "path": path,
            "finished": finished,
            "is_8bit": is_8bit,
            "keys": self._keys,
            "domain": domain,
        }
        async with self._turn:
            try:
                async with asyncio.timeout(_TIMEOUT):
                    said = await self._ask(json.dumps(asked).encode() + b"\n")
            except BaseException as error:
                # Its next answer would be that of another mail.
                self._kill()
                if isinstance(error, (OSError, TimeoutError, ValueError)):
                    text = "the process that signs mails does not answer"
                    raise StoreError(f"{text}: {error}") from error
                raise
        if "error" in said:
            raise StoreError(f"the mail cannot be made ready: {said['error']}")
        return int(said["signatures"])

    async def close(self) -> None:
        """End the process, when it has answered."""
        async with self._turn:
            process, self._process = self._process, None
        if process and process.stdin:
            process.stdin.close()
            await process.wait()

    async def _ask(self, line: bytes) -> dict[str, Any]:
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-c", _CODE,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                start_new_session=True,
            )  # fmt: skip
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(line)
        await self._process.stdin.drain()
        answer = await self._process.stdout.readline()
        if not answer:
            raise BrokenPipeError("it ended")
        found: dict[str, Any] = json.loads(answer)
        return found

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
