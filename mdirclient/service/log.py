"""The log of a daemon: one line for each event, for people or as JSON, on standard error."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Callable
from typing import Final, TextIO

Log = Callable[..., None]
#: Longer values are cut: strangers choose some of them.
_MAX_VALUE: Final = 500


def make_log(*, as_json: bool, stream: TextIO | None = None) -> Log:
    """A function that takes the name of an event and its fields.

    Args:
        as_json: one object a line, with the time; else words, without it where a service
            manager adds it.
        stream: None: standard error.
    """

    def log(event: str, **fields: object) -> None:
        shown = {name: _shown(value) for name, value in fields.items() if value is not None}
        if as_json:
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
            line = json.dumps({"time": now, "event": event, **shown})
        else:
            line = " ".join([event, *(f"{name}={value}" for name, value in shown.items())])
        try:
            print(line, file=stream or sys.stderr, flush=True)
        except (OSError, ValueError):
            return  # whoever read it is gone

    return log


def _shown(value: object) -> object:
    if isinstance(value, bool | int | float):
        return value
    text = str(value)[:_MAX_VALUE]
    return "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in text)
