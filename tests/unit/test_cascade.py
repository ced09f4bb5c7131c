"""Where a message ends, through the rules of several folders."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mdirclient import Header
from mdirclient.errors import ScriptError
from mdirclient.stribution import Item, Ruled, Script, Target, cascade, compile_script
from mdirclient.stribution.cascade import MAX_PLACES

NOW = datetime(2026, 11, 23, tzinfo=UTC)


class Tree:
    """Folders by path, some with rules; `closed` is one that nobody may file into."""

    def __init__(self, scripts: dict[str, str]) -> None:
        self.scripts = scripts

    def rules(self, place: str) -> Script | None:
        """See `Places.rules`."""
        script = self.scripts.get(place)
        if script is None:
            return None
        return compile_script(b'require ["fileinto", "copy", "variables"];' + script.encode())

    def find(self, place: str, target: Target) -> str:
        """See `Places.find`."""
        if target.names[-1] == "closed":
            raise ScriptError("it is closed")
        path = "/".join(target.names)
        return path if target.is_absolute or not place else f"{place}/{path}"

    def exists(self, place: str, target: Target) -> bool:
        """See `Places.exists`."""
        return True


def ruled(scripts: dict[str, str], start: str = "in") -> Ruled[str]:
    """What becomes of a message."""
    item = Item(Header([("subject", "one")]))
    return cascade(Tree(scripts), start, item, now=NOW)


@pytest.mark.parametrize(
    ("scripts", "expected", "reports"),
    [
        ({}, ["in"], 0),
        ({"in": 'fileinto "a";'}, ["in/a"], 0),
        ({"in": "discard;"}, [], 0),
        ({"in": 'fileinto "a"; keep;'}, ["in/a", "in"], 0),
        ({"in": 'fileinto :copy "a"; fileinto "b";'}, ["in/a", "in/b"], 0),
        # On to the rules of where it comes.
        ({"in": 'fileinto "a";', "in/a": 'fileinto "b";'}, ["in/a/b"], 0),
        ({"in": 'fileinto "a"; keep;', "in/a": "discard;"}, ["in"], 0),
        # Each folder counts once.
        ({"in": 'fileinto "/a"; fileinto "/b";', "b": 'fileinto "/a";'}, ["a"], 0),
        ({"in": 'fileinto "/a"; fileinto "/b";', "b": 'fileinto "/a"; keep;'}, ["a", "b"], 0),
        # To itself is to keep.
        ({"in": 'fileinto "/in";'}, ["in"], 0),
        # Loops end, nothing is lost.
        ({"in": 'fileinto "/a";', "a": 'fileinto "/in";'}, ["a"], 1),
        ({"in": 'fileinto "/a";', "a": 'fileinto "/b";', "b": 'fileinto "/in";'}, ["b"], 1),
        ({"in": 'fileinto "/a"; keep;', "a": 'fileinto "/in";'}, ["a", "in"], 1),
        # Errors keep.
        ({"in": "nonsense"}, ["in"], 1),
        ({"in": 'fileinto "a"; fileinto "${'}, ["in"], 1),
        ({"in": 'fileinto "a";', "in/a": 'fileinto "b"; oops;'}, ["in/a"], 1),
        ({"in": 'fileinto "closed";'}, ["in"], 1),
        ({"in": 'fileinto "a"; fileinto "closed";'}, ["in/a", "in"], 1),
    ],
)
def test_where_it_ends(scripts: dict[str, str], expected: list[str], reports: int) -> None:
    """Places in order, and how many reports."""
    found = ruled(scripts)
    assert expected == [filed.place for filed in found.filed]
    assert reports == len(found.reports)


def test_reports_say_where() -> None:
    """The folder whose rules they are, the line and the reason."""
    (report,) = ruled({"in": 'fileinto "/a";', "a": 'keep;\nfileinto "closed";'}).reports
    assert ("a", 2, "it is closed") == (report.place, report.line, report.reason)


def test_because_goes_all_the_way() -> None:
    """From the first rules to the last."""
    (filed,) = ruled({"in": 'if true { fileinto "a"; }', "in/a": "keep;"}).filed
    assert ("line 1: if true", 'line 1: fileinto "a"', "line 1: keep") == filed.because


def test_a_very_long_way_ends() -> None:
    """After so many folders a message stays where it is."""
    scripts = {f"a{n}": f'fileinto "/a{n + 1}";' for n in range(1000)}
    found = ruled(scripts, "a0")
    assert [f"a{MAX_PLACES - 1}"] == [filed.place for filed in found.filed]
    assert ["a message goes through more than 100 folders"] == [r.reason for r in found.reports]


def test_a_defect_of_ours_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message must be delivered, whatever rules do."""

    def broken(*_: object, **__: object) -> None:
        raise IndexError("oops")

    monkeypatch.setattr(Script, "evaluate", broken)
    found = ruled({"in": "keep;"})
    assert ["in"] == [filed.place for filed in found.filed]
    assert "oops" in found.reports[0].reason


def test_a_very_wide_way_ends() -> None:
    """Rules of rules of rules: the work of all together is bounded."""
    wide = "".join(f'fileinto "{n}";' for n in range(10))

    class Endless(Tree):
        def rules(self, place: str) -> Script | None:
            """Every folder has the same."""
            return compile_script(b'require "fileinto";' + wide.encode())

    found = cascade(Endless({}), "in", Item(Header()), now=NOW)
    assert len(found.filed) <= 10 * MAX_PLACES
