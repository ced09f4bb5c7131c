"""What a sync will do, as a list of steps. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final, Literal

import attrs

from mdirclient.errors import PartURLError, check_mass_removal
from mdirclient.header import EMPTY, Header
from mdirclient.patch import Patch
from mdirclient.url import PartURL

_WITHOUT_CONTENT: Final = frozenset(["dir", "lease", "report", "rights"])
#: In a header: urls of the entries that this one replaces, the last one first.
REPLACES: Final = "replaces"

#: From the mdir: `fetch`: content and header; `adopt`: the header of a file that is here already;
#: `update`: the header only; `remove`. To the mdir: `upload`: a new file; `edit`: a file with
#: another content; `rename`; `delete`; `move`: a file that came from another folder.
Action = Literal["fetch", "adopt", "update", "remove", "upload", "edit", "rename", "delete", "move"]


@attrs.frozen
class Step:
    """One step.

    Attributes:
        action: what to do.
        url: of the entry; None: it gets one when it is done.
        version: of the folder when this step and all before it are done.
        header: of the entry; with `remove` empty.
        name: of the file here, where it is known.
        instead_of: the entry here whose place it takes.
    """

    action: Action
    url: PartURL | None
    version: int = 0
    header: Header = EMPTY
    name: str = ""
    instead_of: PartURL | None = None


def plan(
    patches: Iterable[Patch],
    held: Mapping[PartURL, Header],
    pending: Mapping[PartURL, Header],
    *,
    is_listing: bool,
    orphans: Collection[PartURL] = (),
) -> list[Step]:
    """The steps that bring a folder from what it holds to what the patches say.

    Of several patches for one url the last counts: a lowered counter replays history and
    must not remove and fetch again what is there in the end. Items without content of
    their own (`dir`, `report`, `rights`) are no files and are left out. An entry that replaces
    one which goes takes its place.

    Args:
        patches: in order.
        held: the entries of the local folder; those of the patches' urls are enough if it is
            no listing.
        pending: entries whose content could not be had before; they are tried again.
        is_listing: the patches are all live entries: what is not among them is gone.
        orphans: entries whose file a person removed.
    """
    last = patched(patches)
    version = max((patch.new_version for patch in last.values()), default=0)
    here = {*held, *pending, *orphans}
    going = {url for url in here if url in last and last[url].action == "-"}
    if is_listing:
        going |= here - last.keys()
    steps: list[Step] = []
    replaced: set[PartURL] = set()
    for url, patch in last.items():
        if patch.action == "-":
            continue
        if step := _step(url, patch, held, pending):
            before = _replaced(step, held, going - replaced)
            replaced |= {before} if before else set()
            steps.append(attrs.evolve(step, instead_of=before))
    removals = [
        Step("remove", url, last[url].new_version if url in last else version)
        for url in dict.fromkeys([*last, *held, *pending, *orphans])
        if url in going and url not in replaced
    ]
    retried = [url for url in pending if url not in last and not is_listing]
    ordered = sorted([*steps, *removals], key=lambda step: step.version)
    return [Step("fetch", url, 0, pending[url]) for url in retried] + ordered


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


@attrs.frozen
class Here:
    """An entry of the local folder: its url, its header, and the name of its file."""

    url: PartURL
    header: Header
    name: str


def plan_push(
    *,
    new: Iterable[str],
    renamed: Iterable[Here],
    edited: Iterable[Here],
    missing: Iterable[Here],
) -> list[Step]:
    """The steps that bring to the mdir what the user did in a folder.

    Args:
        new: names of files without a header.
        renamed: entries whose file has a name of the user's own.
        edited: entries whose file is not what the header says.
        missing: entries whose file is gone.
    """
    steps = [Step("rename", one.url, 0, one.header, one.name) for one in renamed]
    steps += [Step("edit", one.url, 0, one.header, one.name) for one in edited]
    steps += [Step("upload", None, 0, EMPTY, name) for name in new]
    steps += [Step("delete", one.url, 0, one.header, one.name) for one in missing]
    return steps


def plan_moves(
    missing: Iterable[tuple[str, Here]], new: Iterable[tuple[str, str, int, str]]
) -> list[tuple[str, str, Step]]:
    """Files that went missing in one folder and appeared in another: the same entry moved.

    Args:
        missing: (folder, entry) of each.
        new: (folder, name, size, SHA-256) of each.

    Returns:
        (folder it left, folder it came to, step) of each; the step has its name there.
    """
    by_name: dict[tuple[str | None, ...], list[tuple[str, Here]]] = {}
    by_content: dict[tuple[str | None, ...], list[tuple[str, Here]]] = {}
    for folder, one in missing:
        if "sha256" in one.header:
            key = one.header.get("size"), one.header.get("sha256")
            by_name.setdefault((*key, one.name), []).append((folder, one))
            by_content.setdefault(key, []).append((folder, one))
    moves = []
    moved: set[tuple[str, PartURL]] = set()
    for folder, name, size, sha256 in new:
        # One that kept its name first.
        for waiting in (
            by_name.get((str(size), sha256, name)),
            by_content.get((str(size), sha256)),
        ):
            while waiting and (waiting[-1][0], waiting[-1][1].url) in moved:
                waiting.pop()
            if waiting and waiting[-1][0] != folder:
                source, one = waiting.pop()
                moved.add((source, one.url))
                moves.append((source, folder, Step("move", one.url, 0, one.header, name)))
                break
    return moves


def _step(
    url: PartURL,
    patch: Patch,
    held: Mapping[PartURL, Header],
    pending: Mapping[PartURL, Header],
) -> Step | None:
    mine = held.get(url)
    if mine is None or mine.get("sha256") != patch.header.get("sha256"):
        return Step("fetch", url, patch.new_version, patch.header)
    if mine != patch.header or url in pending:
        return Step("update", url, patch.new_version, patch.header)
    return None


def _replaced(step: Step, held: Mapping[PartURL, Header], going: set[PartURL]) -> PartURL | None:
    """The entry here that goes because this one comes."""
    if step.action != "fetch" or step.url in held:
        return None
    for value in step.header.get_all(REPLACES):
        try:
            url = PartURL.parse(value)
        except PartURLError:
            continue
        if url in going:
            return url
    return None


def _url(header: Header) -> PartURL | None:
    if header.get("type") in _WITHOUT_CONTENT or "url" not in header:
        return None
    try:
        return PartURL.parse(header["url"])
    except PartURLError:
        return None
