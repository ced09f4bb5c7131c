"""Stops an operation at each of its system calls: by an error, or by the end of the process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from itertools import count

from mdirclient._fs import flush
from mdirclient.errors import MdirError

#: The calls that change the disk or make it durable.
CALLS = (
    *("open", "write", "fsync", "link", "unlink", "rename", "replace", "mkdir", "rmdir", "close"),
    *("utime", "syncfs"),
)

Fault = Callable[[], None]
#: Steps in a row that are not reached.
_ENOUGH = 4


class Counter:
    """Counts calls and, at the chosen one, does what it is told instead."""

    def __init__(self, stop_at: int | None, fault: Fault) -> None:
        self.count = 0
        self.calls: list[str] = []
        self._stop_at = stop_at
        self._fault = fault

    def before(self, name: str) -> None:
        """A call is about to be made."""
        self.count += 1
        self.calls.append(name)
        if self.count == self._stop_at:
            self._fault()


@contextlib.contextmanager
def counted(
    stop_at: int | None, fault: Fault, *, only: Callable[[], bool] = lambda: True
) -> Iterator[Counter]:
    """Count the calls made in the context; of several threads where `only` says so."""
    counter = Counter(stop_at, fault)
    # syncfs(2) is not in `os`.
    homes = {name: flush if name == "syncfs" else os for name in CALLS}
    originals = {name: getattr(homes[name], name) for name in CALLS}

    def wrapped(name: str) -> Callable[..., object]:
        original = originals[name]

        def call(*arguments: object, **options: object) -> object:
            if not only():
                return original(*arguments, **options)
            if name == "close":  # close(2) releases the descriptor, also when it fails
                original(*arguments, **options)
                counter.before(name)
                return None
            counter.before(name)
            return original(*arguments, **options)

        return call

    try:
        for name in CALLS:
            setattr(homes[name], name, wrapped(name))
        yield counter
    finally:
        for name, original in originals.items():
            setattr(homes[name], name, original)


def steps_of(operation: Callable[[], object]) -> int:
    """How many calls an operation makes."""
    with counted(None, lambda: None) as counter:
        operation()
    return counter.count


class Ladder:
    """The steps of an operation, from 1 until it has no more.

    The same operation makes more calls in one run than in another (what an index knows, what a
    killed run left), so a step that is not reached is the end only when others are not either.
    """

    def __init__(self) -> None:
        self._missed = 0

    def __iter__(self) -> Iterator[int]:
        for step in count(1):
            yield step
            if self._missed == _ENOUGH:
                return

    def note(self, *, is_reached: bool) -> None:
        """Whether the operation got to the step."""
        self._missed = 0 if is_reached else self._missed + 1


def killed_at(step: int, operation: Callable[[], object]) -> bool:
    """Run an operation in a child that ends without notice at a step; whether it got there."""
    child = os.fork()
    if child == 0:
        try:
            with counted(step, lambda: os._exit(9)):
                operation()
            os._exit(0)
        except BaseException:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 9), f"the child failed by itself at step {step}"
    return code == 9


def failed_at(step: int, number: int, operation: Callable[[], object]) -> bool:
    """Run an operation with an OSError at a step; whether it got there."""

    def fail() -> None:
        raise OSError(number, os.strerror(number))

    with counted(step, fail) as counter:
        with contextlib.suppress(OSError, MdirError):
            operation()
        return counter.count >= step
