"""What a sync will do, as a list of steps. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Literal

import attrs

from mdirclient.errors import PartURLError, check_mass_removal
from mdirclient.header import EMPTY, Header
from mdirclient.patch import Patch
from mdirclient.url import PartURL

_WITHOUT_CONTENT: Final = frozenset(["dir", "report", "rights"])

Action = Literal["fetch", "update", "remove"]


@attrs.frozen
class Step:
    """One step.

    Attributes:
        action: `fetch`: content and header; `update`: the header only; `remove`.
        url: of the entry.
        version: of the folder when this step and all before it are done.
        header: of the entry; with `remove` empty.
    """

    action: Action
    url: PartURL
    version: int
    header: Header = EMPTY


def plan(
    patches: Iterable[Patch],
    held: Mapping[PartURL, Header],
    pending: Mapping[PartURL, Header],
    *,
    is_listing: bool,
) -> list[Step]:
    """The steps that bring a folder from what it holds to what the patches say.

    Of several patches for one url the last counts: a lowered counter replays history and
    must not remove and fetch again what is there in the end. Items without content of
    their own (`dir`, `report`, `rights`) are no files and are left out.

    Args:
        patches: in order.
        held: the entries of the local folder; those of the patches' urls are enough if it is
            no listing.
        pending: entries whose content could not be had before; they are tried again.
        is_listing: the patches are all live entries: what is not among them is gone.
    """
    last = patched(patches)
    steps = [step for url, patch in last.items() if (step := _step(url, patch, held, pending))]
    version = max((patch.new_version for patch in last.values()), default=0)
    if is_listing:
        gone = [url for url in (*held, *pending) if url not in last]
        steps += [Step("remove", url, version) for url in gone]
    retried = [url for url in pending if url not in last and not is_listing]
    return [Step("fetch", url, 0, pending[url]) for url in retried] + steps


def patched(patches: Iterable[Patch]) -> dict[PartURL, Patch]:
    """The last patch of each url, in the order of these."""
    last: dict[PartURL, Patch] = {}
    for patch in patches:
        url = _url(patch.header)
        if url:
            last.pop(url, None)
            last[url] = patch
    return last


def check_removals(steps: Iterable[Step], held: Mapping[PartURL, Header], path: str) -> None:
    """Stop a listing that would empty the folder by accident.

    Raises:
        MassRemovalError: more than half of the folder and more than 20 entries.
    """
    removals = sum(step.action == "remove" and step.url in held for step in steps)
    check_mass_removal(path, removals, len(held))


def _step(
    url: PartURL,
    patch: Patch,
    held: Mapping[PartURL, Header],
    pending: Mapping[PartURL, Header],
) -> Step | None:
    if patch.action == "-":
        return Step("remove", url, patch.new_version)
    mine = held.get(url)
    if mine is None or mine.get("sha256") != patch.header.get("sha256"):
        return Step("fetch", url, patch.new_version, patch.header)
    if mine != patch.header or url in pending:
        return Step("update", url, patch.new_version, patch.header)
    return None


def _url(header: Header) -> PartURL | None:
    if header.get("type") in _WITHOUT_CONTENT or "url" not in header:
        return None
    try:
        return PartURL.parse(header["url"])
    except PartURLError:
        return None
