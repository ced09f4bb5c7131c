"""Whether values are what a test looks for: its keys, match type and comparator. Pure.

Sources: RFC 5228 §2.7, RFC 5229 §3.2 (what `:matches` sets), RFC 5231 (relational).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from mdirclient.stribution.matching import COMPARATORS, PARTIAL, RELATIONS, Pattern
from mdirclient.stribution.script import Run
from mdirclient.stribution.variables import MAX_MATCH, MAX_VALUE, Text

#: Whether one of some values is what a test looks for.
Match = Callable[[Run, Sequence[str]], bool]

T = TypeVar("T")
#: So many characters are looked through in the time that others take for one.
_QUICK: Final = 16


def match_of(
    keys: tuple[Text, ...], kind: str, *, comparator: str, relation: str, sets_variables: bool
) -> Match:
    """The match of a test.

    Args:
        keys: what is looked for.
        kind: `is`, `contains`, `matches`, `count` or `value`.
        comparator: one of `COMPARATORS`.
        relation: of `count` and `value`: one of `RELATIONS`.
        sets_variables: whether `matches` notes what its wildcards stand for.
    """
    if kind == "is":
        return _is(keys, COMPARATORS[comparator])
    if kind == "contains":
        return _contains(keys, PARTIAL[comparator])
    if kind == "matches":
        return _matches(keys, PARTIAL[comparator], sets_variables=sets_variables)
    return _relational(keys, COMPARATORS[comparator], relation, is_count=kind == "count")


def _prepared(
    keys: tuple[Text, ...], prepare: Callable[[str], T]
) -> Callable[[Run], tuple[T, ...]]:
    """What keys become to be compared: once, if no variable is in them."""
    fixed = [text.fixed for text in keys if text.fixed is not None]
    if len(fixed) == len(keys):
        ready = tuple(map(prepare, fixed))
        return lambda _: ready
    return lambda run: tuple(prepare(run.expand(key)) for key in keys)


def _is(keys: tuple[Text, ...], fold: Callable[[str], object]) -> Match:
    wanted = _prepared(keys, fold)

    def match(run: Run, values: Sequence[str]) -> bool:
        expected = wanted(run)
        for value in values:
            run.spend(len(value) // _QUICK + len(expected))
            if fold(value) in expected:
                return True
        return False

    return match


def _contains(keys: tuple[Text, ...], fold: Callable[[str], str]) -> Match:
    wanted = _prepared(keys, fold)

    def match(run: Run, values: Sequence[str]) -> bool:
        expected = wanted(run)
        for value in values:
            run.spend((len(value) // _QUICK + 1) * len(expected))
            folded = fold(value)
            if any(key in folded for key in expected):
                return True
        return False

    return match


def _matches(keys: tuple[Text, ...], fold: Callable[[str], str], *, sets_variables: bool) -> Match:
    wanted = _prepared(keys, lambda key: Pattern.parse(fold(key)))

    def match(run: Run, values: Sequence[str]) -> bool:
        for value in values:
            folded = fold(value)
            for pattern in wanted(run):
                run.spend(pattern.cost(len(value)))
                spans = pattern.match(folded)
                if spans is not None:
                    if sets_variables:
                        _note(run, value, spans)
                    return True
        return False

    return match


def _note(run: Run, value: str, spans: list[tuple[int, int]]) -> None:
    for number in range(MAX_MATCH + 1):
        run.values.pop(number, None)
    run.values[0] = value[:MAX_VALUE]
    for number, (start, end) in enumerate(spans[:MAX_MATCH], 1):
        run.values[number] = value[start:end][:MAX_VALUE]


def _relational(
    keys: tuple[Text, ...], fold: Callable[[str], object], relation: str, *, is_count: bool
) -> Match:
    wanted = _prepared(keys, fold)
    holds = RELATIONS[relation]

    def match(run: Run, values: Sequence[str]) -> bool:
        expected = wanted(run)
        for value in [str(len(values))] if is_count else values:
            run.spend((len(value) + 1) * len(expected))
            found = fold(value)
            if any(holds(found, key) for key in expected):
                return True
        return False

    return match
