"""`mdir-smtp` with a clock that tests turn: `python -m tests.clocked FILE COMMAND...`.

All is as it is in `python -m mdirclient.cli.smtp`, but `time.time` is as far from the real one as
the file says. What measures durations (`time.monotonic`) and the times of files stay as they are.
libfaketime cannot do it: waiting with a time limit fails with it, or takes a processor.
"""

from __future__ import annotations

import mmap
import struct
import sys
import time
from pathlib import Path
from typing import Final

import attrs

_OFFSET: Final = struct.Struct("<d")


@attrs.define
class Clock:
    """A time of day; it goes on by itself.

    Attributes:
        file: says how many seconds it is from the real one.
    """

    file: Path
    _offset: float = 0.0

    @property
    def command(self) -> list[str]:
        """What runs `mdir-smtp` with it; words follow."""
        return [sys.executable, "-m", "tests.clocked", str(self.file)]

    @property
    def now(self) -> float:
        """What it shows; seconds since 1970."""
        return time.time() + self._offset

    def turn(self, at: float) -> None:
        """Turn it, for all of these processes at once."""
        self._offset = at - time.time()
        if not self.file.exists():
            self.file.write_bytes(bytes(_OFFSET.size))
        with self.file.open("r+b") as file:
            file.write(_OFFSET.pack(self._offset))


def _run() -> int:
    real = time.time
    with open(sys.argv[1], "rb") as file:
        offset = mmap.mmap(file.fileno(), _OFFSET.size, access=mmap.ACCESS_READ)

    def turned() -> float:
        return real() + float(_OFFSET.unpack(offset[:])[0])

    time.time = turned
    from mdirclient.cli.smtp import main

    return main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(_run())
