"""`mdir status`, `mdir check` and `mdir version`, as a person and a script call them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.mails import two_photos
from tests.system.commands import World

ACCOUNT = "SMTP/Accounts/jo@machin.com"


@pytest.fixture
def inbox(served: World) -> Path:
    """A synced folder in which a person has worked."""
    assert 0 == served.deliver(two_photos()).status
    served.right("mdir", "sync", ACCOUNT, "inbox")
    return served.path / "inbox"


def worked_in(inbox: Path) -> None:
    """Renamed, edited, added, spoilt."""
    (inbox / "photo.jpg").rename(inbox / "rabbit.jpg")
    (inbox / "photo (2).jpg").write_bytes(b"edited")
    (inbox / "\x1b[2Jmine\u202e").write_bytes(b"")
    (inbox / ".version").write_bytes(b"12abc")


def test_status_for_people_and_scripts(served: World, inbox: Path) -> None:
    """Nothing where nothing was changed; what a terminal would obey is escaped."""
    assert "" == served.right("mdir", "status", "inbox")
    worked_in(inbox)
    assert [
        "new       \\u001b[2Jmine\\u202e",
        "renamed   photo.jpg -> rabbit.jpg",
        "modified  photo (2).jpg",
    ] == served.right("mdir", "status", "inbox").splitlines()
    found = json.loads(served.right("mdir", "status", "--json", "inbox"))
    assert ["\x1b[2Jmine\u202e"] == found["new"]
    assert "rabbit.jpg" == found["renamed"][0]["new-name"]
    assert "photo (2).jpg" == found["modified"][0]["name"]


def test_check_and_repair(served: World, inbox: Path) -> None:
    """65 while something is broken; a dry run changes nothing; then all is right."""
    lines = served.right("mdir", "check", "inbox").splitlines()
    assert 1 == len(lines)
    assert lines[0].startswith("file system: ")
    worked_in(inbox)
    done = served.run("mdir", "check", "inbox")
    assert (65, "") == (done.status, done.errors)
    assert 2 == done.output.count("; remedy: ")
    assert 65 == served.run("mdir", "check", "--repair", "--dry-run", "inbox").status
    assert done == served.run("mdir", "check", "inbox")
    repaired = served.right("mdir", "check", "--repair", "--json", "inbox")
    assert ["version", "renamed"] == [f["kind"] for f in json.loads(repaired)["repaired"]]
    assert [] == json.loads(repaired)["findings"]
    assert 1 == len(served.right("mdir", "check", "inbox").splitlines())
    assert "0\n" == served.right("mdir", "version", "inbox")


def test_version(served: World, inbox: Path) -> None:
    """Shown, set whatever the file holds, and refused where it is none."""
    assert "4\n" == served.right("mdir", "version", "inbox")
    (inbox / ".version").write_bytes(b"")
    done = served.run("mdir", "version", "inbox")
    assert (65, "") == (done.status, done.output)
    assert "it must hold 1 to 18 decimal digits" in done.errors
    assert "2\n" == served.right("mdir", "version", "inbox", "2")
    assert "version 4: 0 fetched" in served.right("mdir", "sync", ACCOUNT, "inbox")
    for wrong in ("x", "+5", "-1", "1" * 19, "٣"):
        assert 64 == served.run("mdir", "version", "--", "inbox", wrong).status


def test_a_counter_above_that_of_the_server(served: World, inbox: Path) -> None:
    """It is an error that says so, not nothing new, and not a loop."""
    served.right("mdir", "version", "inbox", "99")
    done = served.run("mdir", "sync", ACCOUNT, "inbox")
    assert 65 == done.status
    assert "version 99" in done.errors
    assert "is above its own, 4" in done.errors
    assert "inbox/.version" in done.errors
    assert "99\n" == served.right("mdir", "version", "inbox")


@pytest.mark.parametrize("command", ["status", "check", "version"])
def test_a_directory_that_is_no_folder(served: World, command: str) -> None:
    """A vanished folder is not an empty one; nothing is made."""
    (served.path / "plain").mkdir()
    done = served.run("mdir", command, "plain")
    assert 73 == done.status
    assert "plain is not a folder" in done.errors
    assert [] == list((served.path / "plain").iterdir())


def test_a_name_cannot_command_the_terminal(served: World) -> None:
    """In errors neither."""
    done = served.run("mdir", "status", "\x1b]0;owned\x07\n2")
    assert "\x1b" not in done.errors
    assert 1 == done.errors.count("\n")
