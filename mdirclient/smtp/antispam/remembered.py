"""What was found a moment ago, so that it need not be looked up again. Pure."""

from __future__ import annotations

from typing import Generic, TypeVar

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Remembered(Generic[_Key, _Value]):
    """Values that count for some seconds. Bounded: of too many the first are forgotten.

    Args:
        seconds: how long.
        most: values.
    """

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._kept: dict[_Key, tuple[_Value, float]] = {}

    def get(self, key: _Key, now: float) -> _Value | None:
        """The value of a key, or None."""
        found = self._kept.get(key)
        return found[0] if found and found[1] > now else None

    def put(self, key: _Key, value: _Value, now: float) -> _Value:
        """Remember a value from now on; gives it back."""
        self._kept.pop(key, None)
        self._kept[key] = value, now + self._seconds
        if len(self._kept) > self._most:
            del self._kept[next(iter(self._kept))]
        return value

    def forget(self, key: _Key) -> None:
        """It is different now."""
        self._kept.pop(key, None)
