"""A process of its own that runs sendmail and writes down how it ended (docs: howto/outbox).

The sender may be killed at any moment. What it has given to sendmail must then not be given again:
so sendmail is no child of it, but of this process, which goes on until each job has ended, and
whose record of the end is durable. The next sender reads it. Writes to its directory only.

Standard input: one job a line, as JSON: `id`, `words` (never a shell), `seconds`; the mail is the
file `<id>.mail`. Standard output: first `null`, when no earlier runner is left; then for each job
`id`, `code` (exit code, negative for a signal; null if it did not end in time), `output`. The same
is in `<id>.done`, which the sender removes.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from typing import Any, Final

from mdirclient import _fs

LOCK: Final = "runner.lock"
MAIL, FINISHED, DONE, STAGED = ".mail", ".finished", ".done", ".new"
#: Bytes of what a program prints that are kept.
_MAX_OUTPUT: Final = 4096
#: Seconds that an earlier runner may take for its last job; more than a job may have.
_PATIENCE: Final = 3_700.0
#: Seconds between two looks whether a program has ended, where the system does not tell.
_LOOK: Final = 0.05
#: Seconds that a program has to end when it was killed.
_LAST: Final = 10.0
#: How often a record is tried to be written, a second apart.
_TRIES: Final = 600
_SAYING: Final = threading.Lock()
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def main() -> None:
    """Run jobs until standard input ends; the argument is the directory."""
    directory = sys.argv[1]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # It ends when its sender does. Not SIG_IGN: sendmail would inherit that.
        signal.signal(number, _ignore)
    with _fs.lock(os.path.join(directory, LOCK), timeout=_PATIENCE):
        _say(None)
        threads: list[threading.Thread] = []
        for line in sys.stdin:
            thread = threading.Thread(target=_run, args=(directory, json.loads(line)))
            thread.start()
            threads = [one for one in (*threads, thread) if one.is_alive()]
        for thread in threads:
            thread.join()


def read_done(path: str) -> dict[str, Any] | None:
    """What a job's record says; None if it is none."""
    with contextlib.suppress(ValueError):
        found = json.loads(_fs.read_file(path, 1 << 20)[0])
        if isinstance(found, dict) and isinstance(found.get("id"), str):
            return found
    return None


def _run(directory: str, job: dict[str, Any]) -> None:
    place = os.path.join(directory, job["id"])
    code, output = _call(job["words"], place + MAIL, job["seconds"])
    done = {"id": job["id"], "code": code, "output": output.decode("utf-8", "replace")}
    for left in range(_TRIES, 0, -1):
        try:
            _fs.replace(place + DONE, json.dumps(done).encode(), staged=place + STAGED)
            break
        except OSError:
            # The disk is full, or worse: the sender can write it down elsewhere.
            if left == _TRIES:
                _say(done)
            time.sleep(1)
    _say(done)


def _call(words: list[str], mail: str, seconds: float) -> tuple[int | None, bytes]:
    """Run a program with a file as its standard input."""
    reading, writing = os.pipe()
    try:
        with open(mail, "rb") as file:
            process = subprocess.Popen(
                words,
                stdin=file,
                stdout=writing,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={"PATH": os.environ.get("PATH") or _PATH, "LANG": "C.UTF-8", **_home()},
                start_new_session=True,
            )
    except (OSError, ValueError) as error:  # ValueError: a NUL in a word
        os.close(reading)
        reason = getattr(error, "strerror", None) or str(error)
        return 127, f"{words[0]}: {reason}".encode()
    finally:
        os.close(writing)
    try:
        return _wait(process, reading, seconds)
    finally:
        os.close(reading)


def _home() -> dict[str, str]:
    return {name: os.environ[name] for name in ("HOME", "USER", "LOGNAME") if name in os.environ}


def _wait(
    process: subprocess.Popen[bytes], reading: int, seconds: float
) -> tuple[int | None, bytes]:
    """Wait for the end of the program itself; what it started may go on, and keep the pipe."""
    deadline = time.monotonic() + seconds
    os.set_blocking(reading, False)
    output, is_open = b"", True
    while True:
        has_ended = process.poll() is not None
        with contextlib.suppress(BlockingIOError):
            while is_open:
                data = os.read(reading, _MAX_OUTPUT)
                output, is_open = (output + data)[:_MAX_OUTPUT], bool(data)
        if has_ended:
            return process.returncode, output
        left = deadline - time.monotonic()
        if left <= 0:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LAST)
            return None, output
        _until_something(process.pid, [reading] if is_open else [], left)


def _until_something(pid: int, reading: list[int], seconds: float) -> None:
    try:
        ended = os.pidfd_open(pid)
    except (AttributeError, OSError):
        select.select(reading, [], [], min(seconds, _LOOK))
        return
    try:
        select.select([ended, *reading], [], [], seconds)
    finally:
        os.close(ended)


def _ignore(_number: int, _frame: object) -> None:
    """A signal that says nothing."""


def _say(value: dict[str, Any] | None) -> None:
    # Whether the sender still listens is its own matter: it has the record.
    with _SAYING, contextlib.suppress(OSError):
        os.write(1, json.dumps(value).encode() + b"\n")


if __name__ == "__main__":
    main()
