"""Free names for the entries of one change. Reads the folder's index."""

from __future__ import annotations

import os
from typing import Final

from mdirclient.folder.index import Index
from mdirclient.naming import fold, safe_name, suffix_key, with_suffix

#: Collision suffixes count up to this; then they are drawn at random.
_LAST_SUFFIX: Final = 999_999_999


class Names:
    """The names that are taken: those in the index, and those that were chosen since."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._numbers: dict[str, int] = {}
        self._folds: set[str] = set()

    def choose(self, wanted: str) -> str:
        """A free name for a suggested one; it counts as taken from now on. O(1)."""
        name = candidate = safe_name(wanted)
        key, number = suffix_key(name)
        while self._is_taken(candidate, key, number):
            candidate = with_suffix(name, self._next_number(key))
            number = suffix_key(candidate)[1]
        self._folds.add(fold(candidate))
        self._numbers[key] = max(self._numbers.get(key, 0), number)
        return candidate

    def _next_number(self, key: str) -> int:
        # Pitfall: probing (2), (3), (4) is quadratic.
        if key not in self._numbers or self._numbers[key] < 2:
            self._numbers[key] = max(self._index.highest_number(key) or 1, 1)
        number = self._numbers[key] + 1
        if number > _LAST_SUFFIX:
            # Somebody has taken the last one, so there is no next.
            return 2 + int.from_bytes(os.urandom(8)) % (_LAST_SUFFIX - 1)
        self._numbers[key] = number
        return number

    def _is_taken(self, name: str, key: str, number: int) -> bool:
        folded = fold(name)
        if folded in self._folds:
            return True
        return any(fold(found) == folded for found in self._index.same_numbers(key, number))
