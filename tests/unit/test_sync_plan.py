"""What a sync will do, as values."""

from __future__ import annotations

import pytest

from mdirclient import Header, PartURL, Patch
from mdirclient.errors import MassRemovalError
from mdirclient.patch import Action
from mdirclient.sync.plan import Step, check_removals, plan


def header(number: int, sha256: str = "a", **fields: str) -> Header:
    """The header of an entry."""
    return Header([("url", f"mdir:{number}@x/1"), ("sha256", sha256), *fields.items()])


def url(number: int) -> PartURL:
    """Its url."""
    return PartURL.parse(header(number)["url"])


def patch(version: int, action: Action, changed: Header) -> Patch:
    """A change."""
    return Patch("f", version - 1, version, action, changed)


HELD = {url(1): header(1), url(2): header(2)}


@pytest.mark.parametrize(
    ("patches", "steps"),
    [
        ([], []),
        ([patch(5, "+", header(3))], [Step("fetch", url(3), 5, header(3))]),
        ([patch(5, "+", header(1))], []),
        ([patch(5, "+", header(1, flag="x"))], [Step("update", url(1), 5, header(1, flag="x"))]),
        ([patch(5, "+", header(1, "b"))], [Step("fetch", url(1), 5, header(1, "b"))]),
        ([patch(5, "-", header(1))], [Step("remove", url(1), 5)]),
        ([patch(5, "+", header(3)), patch(6, "-", header(3))], []),
        ([patch(5, "-", header(1)), patch(6, "+", header(1))], []),
        (
            [patch(4, "+", header(3)), patch(5, "+", header(4)), patch(6, "+", header(3, "b"))],
            [Step("fetch", url(4), 5, header(4)), Step("fetch", url(3), 6, header(3, "b"))],
        ),
        ([patch(5, "+", Header([("type", "dir"), ("id", "1"), ("name", "n")]))], []),
        ([patch(5, "+", Header([("url", "nonsense")]))], []),
    ],
)
def test_patches(patches: list[Patch], steps: list[Step]) -> None:
    """The last word on each url counts; what is there already costs nothing."""
    assert steps == plan(patches, HELD, {}, is_listing=False)


def test_a_listing_removes_what_is_not_in_it() -> None:
    """Pending entries too."""
    steps = plan([patch(5, "+", header(1))], HELD, {url(7): header(7)}, is_listing=True)
    assert [Step("remove", url(2), 5), Step("remove", url(7), 5)] == steps


def test_pending_entries_are_tried_again() -> None:
    """Unless something newer is said about them."""
    pending = {url(7): header(7), url(8): header(8)}
    steps = plan([patch(5, "-", header(8))], HELD, pending, is_listing=False)
    assert [Step("fetch", url(7), 0, header(7)), Step("remove", url(8), 5)] == steps


@pytest.mark.parametrize(
    ("entries", "removals", "stops"),
    [(40, 20, False), (41, 21, True), (42, 21, False), (21, 21, True), (20, 20, False)],
)
def test_mass_removal(entries: int, removals: int, stops: bool) -> None:
    """More than half and more than 20."""
    held = {url(number): header(number) for number in range(entries)}
    steps = [Step("remove", url(number), 0) for number in range(removals)]
    if stops:
        with pytest.raises(MassRemovalError):
            check_removals(steps, held, "f")
    else:
        check_removals(steps, held, "f")
