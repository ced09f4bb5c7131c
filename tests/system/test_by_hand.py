"""What becomes of each thing that people do by hand: the rows of docs/howto/sync, each a test."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import attrs
import pytest

from mdirclient import Folder, Header, Mdird, SyncReport, connect, make_folder, sync, sync_tree
from mdirclient.errors import ConflictReplyError, FolderNotFoundError, MassRemovalError
from mdirclient.settings import file_url

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "sync.md"


@attrs.frozen
class World:
    """Two people with a mirror of the same tree: `Box` and `Box/Old`."""

    path: Path
    mdird: Mdird

    def sync(self, who: str = "mine", name: str = "Box", *, push: bool = True) -> SyncReport:
        """One person's sync of one folder."""
        with Folder(self.place(who, name)) as folder:
            return sync(folder, self.mdird, name, push=push)

    def place(self, who: str, name: str = "Box") -> Path:
        """The local folder."""
        return self.path / who / name

    def files(self, who: str, name: str = "Box") -> dict[str, str]:
        """Names and contents that somebody sees."""
        return {
            path.name: path.read_text()
            for path in self.place(who, name).iterdir()
            if path.is_file() and not path.name.startswith(".")
        }

    def put(self, name: str, content: str, folder: str = "Box") -> Header:
        """Another program adds an entry."""
        stored = self.mdird.store.add_file(
            content.encode(), media_type="text/plain", suggested_name=name
        )
        self.mdird.put(folder, stored.headers()[0])
        return stored.headers()[0]

    def live(self, folder: str = "Box") -> dict[str, Header]:
        """The entries of the mdir by suggested name."""
        found = self.mdird.lookup(folder)
        return {h["suggested-name"]: h for h in found if h.get("type") != "dir"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Everybody has `a.txt`."""
    with connect(file_url(str(tmp_path / "mdir"))) as mdird:
        make_folder(mdird, "Box/Old")
        world = World(tmp_path, mdird)
        world.put("a.txt", "first")
        for who in ("mine", "yours"):
            sync_tree(world.place(who), mdird, "Box")
        yield world


Scenario = Callable[[World], None]
SCENARIOS: dict[str, Scenario] = {}


def row(text: str) -> Callable[[Scenario], Scenario]:
    """A row of the table: what somebody does."""

    def add(scenario: Scenario) -> Scenario:
        SCENARIOS[text] = scenario
        return scenario

    return add


@row("You put a file there")
def new(world: World) -> None:
    """It becomes an entry."""
    (world.place("mine") / "n.pdf").write_text("new")
    assert 1 == world.sync().pushed
    world.sync("yours")
    assert {"a.txt": "first", "n.pdf": "new"} == world.files("yours")
    assert "application/pdf" == world.live()["n.pdf"]["content-type"]
    assert 0 == world.sync().pushed


@row("You change a file")
def edit(world: World) -> None:
    """Another url under the same name; the header of a person's mail stays with it."""
    before = world.live()["a.txt"]["url"]
    (world.place("mine") / "a.txt").write_text("second")
    world.sync()
    world.sync("yours")
    assert {"a.txt": "second"} == world.files("yours") == world.files("mine")
    header = world.live()["a.txt"]
    assert before != header["url"]
    assert before == header["replaces"]
    assert 1 == len(world.live())


@row("Your editor saves by writing another file and renaming it")
def saved_by_rename(world: World) -> None:
    """That is a change."""
    other = world.place("mine") / ".a.txt.swp"
    other.write_text("second")
    other.rename(world.place("mine") / "a.txt")
    world.sync()
    assert ["a.txt"] == list(world.live())


@row("You rename a file")
def rename(world: World) -> None:
    """It is suggested your name from now on."""
    url = world.live()["a.txt"]["url"]
    (world.place("mine") / "a.txt").rename(world.place("mine") / "b.txt")
    world.sync()
    world.sync("yours")
    assert {"b.txt": "first"} == world.files("yours") == world.files("mine")
    assert url == world.live()["b.txt"]["url"]


@row("You remove a file")
def remove(world: World) -> None:
    """The entry goes."""
    (world.place("mine") / "a.txt").unlink()
    world.sync()
    world.sync("yours")
    assert {} == world.live()
    assert {} == world.files("yours")


@row("You remove more than half of a folder (and more than 20 files)")
def remove_many(world: World) -> None:
    """That may be a disk that is not mounted: it stops."""
    for number in range(30):
        world.put(f"{number}.txt", str(number))
    world.sync()
    for path in world.place("mine").glob("*.txt"):
        path.unlink()
    with pytest.raises(MassRemovalError):
        world.sync()
    assert 31 == len(world.live())
    with Folder(world.place("mine")) as folder:
        sync(folder, world.mdird, "Box", push=True, allow_mass_removal=True)
    assert {} == world.live()


@row("You copy a file")
def copy(world: World) -> None:
    """Two entries."""
    shutil.copy(world.place("mine") / "a.txt", world.place("mine") / "b.txt")
    world.sync()
    assert {"a.txt", "b.txt"} == world.live().keys()
    assert 2 == len({header["url"] for header in world.live().values()})


@row("You move a file to another folder of the tree, and sync with `--recursive`")
def move(world: World) -> None:
    """The same entry."""
    url = world.live()["a.txt"]["url"]
    (world.place("mine") / "a.txt").rename(world.place("mine", "Box/Old") / "a.txt")
    sync_tree(world.place("mine"), world.mdird, "Box", push=True)
    assert {} == world.live()
    assert url == world.live("Box/Old")["a.txt"]["url"]
    sync_tree(world.place("yours"), world.mdird, "Box")
    assert {"a.txt": "first"} == world.files("yours", "Box/Old")


@row("You move a file to another folder, and sync each of them")
def move_apart(world: World) -> None:
    """Nobody knows that it is the same."""
    url = world.live()["a.txt"]["url"]
    (world.place("mine") / "a.txt").rename(world.place("mine", "Box/Old") / "a.txt")
    world.sync()
    world.sync(name="Box/Old")
    assert {} == world.live()
    assert url != world.live("Box/Old")["a.txt"]["url"]


@row("You make a directory, and sync with `--recursive`")
def directory(world: World) -> None:
    """It becomes a folder."""
    (world.place("mine") / "New").mkdir()
    (world.place("mine") / "New" / "n.txt").write_text("new")
    assert ("Box/New",) == sync_tree(world.place("mine"), world.mdird, "Box", push=True).made
    assert ["n.txt"] == list(world.live("Box/New"))


@row("You remove a directory")
def no_directory(world: World) -> None:
    """A vanished folder is not an empty one: it comes back."""
    world.put("o.txt", "old", "Box/Old")
    sync_tree(world.place("mine"), world.mdird, "Box", push=True)
    shutil.rmtree(world.place("mine", "Box/Old"))
    sync_tree(world.place("mine"), world.mdird, "Box", push=True)
    assert ["o.txt"] == list(world.live("Box/Old"))
    assert {"o.txt": "old"} == world.files("mine", "Box/Old")


@row("You copy a directory, and sync with `--recursive`")
def copied_directory(world: World) -> None:
    """It is no folder of its own."""
    world.put("o.txt", "old", "Box/Old")
    sync_tree(world.place("mine"), world.mdird, "Box", push=True)
    shutil.copytree(world.place("mine", "Box/Old"), world.place("mine", "Box/Copy"))
    (world.place("mine", "Box/Copy") / "o.txt").unlink()
    report = sync_tree(world.place("mine"), world.mdird, "Box", push=True)
    assert (world.place("mine", "Box/Copy"),) == report.gone
    assert ["o.txt"] == list(world.live("Box/Old"))


@row("You rename a directory, and sync with `--recursive`")
def renamed_directory(world: World) -> None:
    """It goes on mirroring its folder, whose name stays."""
    world.place("mine", "Box/Old").rename(world.place("mine", "Box/Older"))
    (world.place("mine", "Box/Older") / "n.txt").write_text("new")
    assert () == sync_tree(world.place("mine"), world.mdird, "Box", push=True).made
    assert ["n.txt"] == list(world.live("Box/Old"))


@row("You put a hidden file, a link or a directory there")
def not_sent(world: World) -> None:
    """They are yours alone."""
    (world.place("mine") / ".hidden").write_text("x")
    (world.place("mine") / "link.txt").symlink_to("/etc/passwd")
    (world.place("mine") / "directory").mkdir()
    assert 0 == world.sync().pushed
    assert ["a.txt"] == list(world.live())


@row("You put a file there whose name is no UTF-8")
def strange_name(world: World) -> None:
    """`mdir check` tells of it; it does not stop the others."""
    (world.place("mine") / "n.txt").write_text("new")
    (world.place("mine") / "bad\udcff.txt").write_text("x")
    world.sync()
    assert {"a.txt", "n.txt"} == world.live().keys()
    with Folder(world.place("mine")) as folder:
        assert ["not-utf8"] == [finding.kind for finding in folder.check()]


@row("You lower `.version`")
def lower(world: World) -> None:
    """History comes again; nothing goes, and nothing is sent twice."""
    (world.place("mine") / "n.txt").write_text("new")
    world.sync()
    (world.place("mine") / ".version").write_text("1")
    report = world.sync()
    assert (0, 0) == (report.fetched, report.pushed)
    assert {"a.txt": "first", "n.txt": "new"} == world.files("mine")


@row("You raise `.version` above the folder's own")
def raised(world: World) -> None:
    """It is an error that says what to do."""
    (world.place("mine") / ".version").write_text("99")
    with pytest.raises(ConflictReplyError, match="remove it to list everything"):
        world.sync()


@row("You remove `.version`")
def no_version(world: World) -> None:
    """Everything is listed; what is here stays, what you removed comes back."""
    (world.place("mine") / ".version").unlink()
    assert 0 == world.sync().fetched
    (world.place("mine") / "a.txt").unlink()
    (world.place("mine") / ".version").unlink()
    assert 1 == world.sync().fetched


@row("You remove `.meta`")
def no_meta(world: World) -> None:
    """A sync without `--push` makes it anew, and finds the files that are here."""
    (world.place("mine") / "mine.txt").write_text("mine")
    shutil.rmtree(world.place("mine") / ".meta")
    with pytest.raises(FolderNotFoundError):
        world.sync()
    report = world.sync(push=False)
    assert (0, 1) == (report.fetched, report.updated)
    assert {"a.txt": "first", "mine.txt": "mine"} == world.files("mine")
    assert 1 == world.sync().pushed


@row("You remove a header in `.meta`")
def no_header(world: World) -> None:
    """The file counts as one that you put there."""
    (world.place("mine") / ".meta" / "a.txt").unlink()
    assert 1 == world.sync().pushed
    assert 2 == len(list(world.mdird.lookup("Box", Header([("suggested-name", "a.txt")]))))


@row("You and somebody else change a file")
def both_edit(world: World) -> None:
    """Both are kept."""
    (world.place("mine") / "a.txt").write_text("mine")
    (world.place("yours") / "a.txt").write_text("yours")
    days = [date.today()]  # noqa: DTZ011 - the user's own day
    for who in ("mine", "yours", "mine"):
        world.sync(who)
    days.append(date.today())  # noqa: DTZ011 - midnight may have been meanwhile
    expected = [{"a.txt": "mine", f"a (conflict {day}).txt": "yours"} for day in days]
    assert world.files("mine") == world.files("yours")
    assert world.files("mine") in expected


@row("You change a file that somebody else removes")
def edit_and_remove(world: World) -> None:
    """Your version stays, as a new entry."""
    (world.place("mine") / "a.txt").write_text("mine")
    (world.place("yours") / "a.txt").unlink()
    for who in ("yours", "mine", "yours"):
        world.sync(who)
    assert {"a.txt": "mine"} == world.files("mine") == world.files("yours")


@row("You remove a file that somebody else changes")
def remove_and_edit(world: World) -> None:
    """Their version comes."""
    (world.place("mine") / "a.txt").unlink()
    (world.place("yours") / "a.txt").write_text("yours")
    for who in ("yours", "mine"):
        world.sync(who)
    assert {"a.txt": "yours"} == world.files("mine") == world.files("yours")


@row("You rename a file that somebody else changes")
def rename_and_edit(world: World) -> None:
    """Their version under your name."""
    (world.place("mine") / "a.txt").rename(world.place("mine") / "b.txt")
    (world.place("yours") / "a.txt").write_text("yours")
    for who in ("yours", "mine", "yours"):
        world.sync(who)
    assert {"b.txt": "yours"} == world.files("mine") == world.files("yours")


@row("You rename a file that somebody else removes")
def rename_and_remove(world: World) -> None:
    """It goes."""
    (world.place("mine") / "a.txt").rename(world.place("mine") / "b.txt")
    (world.place("yours") / "a.txt").unlink()
    for who in ("yours", "mine", "yours"):
        world.sync(who)
    assert {} == world.files("mine") == world.files("yours")


@row("You and somebody else rename a file")
def both_rename(world: World) -> None:
    """The name that came last counts."""
    (world.place("mine") / "a.txt").rename(world.place("mine") / "b.txt")
    (world.place("yours") / "a.txt").rename(world.place("yours") / "c.txt")
    for who in ("mine", "yours", "mine", "yours"):
        world.sync(who)
    assert {"c.txt": "first"} == world.files("mine") == world.files("yours")


@row("You and somebody else put different files of one name there")
def both_new(world: World) -> None:
    """Both are kept; on each side the other one has a suffix."""
    (world.place("mine") / "n.txt").write_text("mine")
    (world.place("yours") / "n.txt").write_text("yours")
    for who in ("mine", "yours", "mine"):
        world.sync(who)
    assert {"a.txt": "first", "n.txt": "mine", "n (2).txt": "yours"} == world.files("mine")
    assert {"a.txt": "first", "n.txt": "yours", "n (2).txt": "mine"} == world.files("yours")


@pytest.mark.parametrize("text", SCENARIOS)
def test_by_hand(world: World, text: str) -> None:
    """What the page says."""
    SCENARIOS[text](world)


def test_the_page_has_the_same_rows() -> None:
    """Each row is a test, and each test a row."""
    rows = re.findall(r"^\| (You[^|]*) \|", PAGE.read_text(), re.MULTILINE)
    assert list(SCENARIOS) == rows
