"""A process of its own that makes mails ready for the smarthost: mended, then signed.

Both take time that other conversations would wait for. Reads the keys; writes the files that it
is told.

Standard input: one mail a line, as JSON: `path`, `finished` (the file to make), `is_8bit` (what
the smarthost takes), `keys` (their directory), `domain` (of the author). Standard output: for each
`signatures` (how many), or `error`. It ends when its input does.
"""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

from mdirclient import _fs
from mdirclient.errors import MdirError
from mdirclient.mail.mend import mend
from mdirclient.smtp.relay.keys import find_keys
from mdirclient.smtp.relay.sign import sign


def main() -> None:
    """Finish mails until standard input ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends when its sender does
    for line in sys.stdin:
        try:
            said: dict[str, Any] = {"signatures": _finish(**json.loads(line))}
        except (MdirError, OSError, ValueError, MemoryError) as error:
            said = {"error": str(error) or type(error).__name__}
        print(json.dumps(said), flush=True)


def _finish(path: str, finished: str, is_8bit: bool, keys: str, domain: str) -> int:
    found = find_keys(keys, domain)
    with open(path, "rb") as file:
        data = mend(file.read(), is_8bit=is_8bit)
    _fs.remove(finished)
    with _fs.NewFile(finished, durable=False, mode=0o600) as file_made:
        for piece in (sign(data, found), data) if found else (data,):
            file_made.write(piece)
        file_made.close()
    return len(found)
