"""The main job, end to end: a mail on stdin becomes files in a folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mdirclient import Folder, Header, connect
from tests.mails import JPEG, small, two_photos
from tests.system.commands import World

ACCOUNT = "SMTP/Accounts/jojolapin@machin.com"
NAMES = ["photo (2).jpg", "photo.jpg", "photos@example.org-1.txt"]
LISTED = ["photo.jpg", "photo (2).jpg", "photos@example.org-1.txt"]


def visible(folder: Path) -> list[str]:
    """The files a person sees."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


@pytest.fixture
def inbox(world: World) -> Path:
    """A mail with two photos delivered and mirrored."""
    world.account("jojolapin@machin.com")
    deliver(world, two_photos())
    world.right("mdir", "sync", ACCOUNT, "inbox")
    return world.path / "inbox"


def deliver(world: World, mail: bytes) -> None:
    """It has to succeed."""
    world.right("mdir-smtp", "deliver", "--recipient", "jojolapin@machin.com", mail=mail)


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and time of all files that are not caches."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_files_headers_and_version(world: World, inbox: Path) -> None:
    """Text, `photo.jpg`, `photo (2).jpg`, three headers, each with url and anchor."""
    assert NAMES == visible(inbox) == visible(inbox / ".meta")
    assert b"4\n" == (inbox / ".version").read_bytes()
    assert [(inbox / name).read_bytes() for name in NAMES] == [JPEG * 30, JPEG, b"Two photos.\r\n"]
    for part, name in zip((3, 2, 1), NAMES, strict=True):
        header = Header.parse((inbox / ".meta" / name).read_bytes())
        assert f"mdir:photos@example.org/{part}" == header["url"]
        assert "mdir:photos@example.org/1" == header["anchor"]
        assert '"Lapin, Jö" <jo@example.org>' == header["from"]
        assert "Été 2026" == header["subject"]
        assert "jojolapin@machin.com" == header["envelope-to"]


def test_delivering_and_syncing_again_changes_nothing(world: World, inbox: Path) -> None:
    """Idempotent."""
    before = snapshot(inbox)
    deliver(world, two_photos())
    report = json.loads(world.right("mdir", "sync", "--json", ACCOUNT, "inbox"))
    assert (4, 0, []) == (report["version"], report["fetched"], report["steps"])
    assert before == snapshot(inbox)


def test_another_mail_of_the_same_id_is_kept_beside(world: World, inbox: Path) -> None:
    """Three more files; none is replaced."""
    before = snapshot(inbox)
    deliver(world, two_photos("Other photos.\r\n"))
    world.right("mdir", "sync", ACCOUNT, "inbox")
    after = snapshot(inbox)
    assert before.items() - after.items() == {(".version", before[".version"])}
    assert 6 == len(visible(inbox))
    texts = [path.read_bytes() for path in inbox.glob("*.txt")]
    assert sorted([b"Two photos.\r\n", b"Other photos.\r\n"]) == sorted(texts)


def test_ls_and_resolve(world: World, inbox: Path) -> None:
    """For people and for scripts."""
    lines = world.right("mdir", "ls", "inbox").splitlines()
    assert LISTED == [line.split("  ")[-2] for line in lines]
    entries = [
        json.loads(line) for line in world.right("mdir", "ls", "--json", "inbox").splitlines()
    ]
    assert LISTED == [entry["name"] for entry in entries]
    assert "image/jpeg" == entries[0]["header"]["content-type"]
    path = world.right("mdir", "resolve", "inbox", "mdir:photos@example.org/3").strip()
    assert "inbox/photo (2).jpg" == path


def test_mount_is_the_same_folder(world: World) -> None:
    """`account add --mount` gives the account's folder a second name."""
    for _ in range(2):
        world.right(
            "mdir-smtp", "account", "add", "jojolapin@machin.com", "--mount", "Home/Jo/Emails"
        )
    deliver(world, small(1))
    world.right("mdir", "sync", "Home/Jo/Emails", "mounted")
    world.right("mdir", "sync", ACCOUNT, "mounted")
    assert ["1@example.org-1.txt"] == visible(world.path / "mounted")


def test_account_has_user_outbox_and_spam(world: World) -> None:
    """Made once, whatever the case; a user can have several addresses."""
    for address in ("Jo@Machin.com", "jo@machin.com", "jo@other.org"):
        world.right("mdir-smtp", "account", "add", address, "--user", "JojoLapin")
    with connect(world.environ["MDIRD"]) as mdird:
        (user,) = mdird.lookup("Users")
        assert ("user", "JojoLapin") == (user["type"], user["name"])
        assert ("jo@machin.com", "jo@other.org") == user.get_all("address")
        for place in ("SMTP/Accounts", "SMTP/Outbox", "SMTP/Spam", "SMTP/Delayed"):
            assert ["jo@machin.com", "jo@other.org"] == [h["name"] for h in mdird.lookup(place)]
        (account, _) = mdird.lookup("SMTP/Accounts")
        assert ("jo@machin.com", "JojoLapin") == (account["address"], account["user"])


def test_removed_in_mdird_goes_from_the_folder(world: World, inbox: Path) -> None:
    """A file that a person changed stays as their own."""
    (inbox / "photo.jpg").write_bytes(b"edited")
    with connect(world.environ["MDIRD"]) as mdird:
        assert 3 == mdird.remove(ACCOUNT, Header([("anchor", "mdir:photos@example.org/1")]))
    plan = world.right("mdir", "sync", "--dry-run", ACCOUNT, "inbox")
    assert 3 == plan.count("remove ")
    assert NAMES == visible(inbox)
    world.right("mdir", "sync", ACCOUNT, "inbox")
    assert ["photo.jpg"] == visible(inbox)
    assert [] == visible(inbox / ".meta")


def test_a_lowered_counter_replays_and_changes_nothing(world: World, inbox: Path) -> None:
    """A raised one is an error that says so."""
    before = snapshot(inbox)
    for lowered in ("0", "1", " 2\r\n"):
        (inbox / ".version").write_text(lowered)
        world.right("mdir", "sync", ACCOUNT, "inbox")
        assert {".version"} == {name for name, _ in before.items() ^ snapshot(inbox).items()}
    (inbox / ".version").write_text("99\n")
    done = world.run("mdir", "sync", ACCOUNT, "inbox")
    assert 65 == done.status
    assert "version 99" in done.errors
    assert "above its own, 4" in done.errors


def test_a_folder_mirrors_one_folder_only(world: World, inbox: Path) -> None:
    """Its counter is never applied to another."""
    world.account("other@machin.com")
    done = world.run("mdir", "sync", "SMTP/Accounts/other@machin.com", "inbox")
    assert 73 == done.status
    assert "mirrors SMTP/Accounts/jojolapin@machin.com" in done.errors


def test_content_that_cannot_be_had_is_pending(world: World, inbox: Path) -> None:
    """It does not stop the others, and is tried again."""
    deliver(world, small(1))
    deliver(world, small(2))
    part = world.path / "mdir/store/messages/1@example.org/1"
    held = part.read_bytes()
    part.write_bytes(b"damaged")
    assert "1 fetched, 0 updated, 0 removed, 1 pending" in world.right(
        "mdir", "sync", ACCOUNT, "inbox"
    )
    assert "2@example.org-1.txt" in visible(inbox)
    assert "1@example.org-1.txt" not in visible(inbox)
    part.write_bytes(held)
    assert "1 fetched, 0 updated, 0 removed\n" in world.right("mdir", "sync", ACCOUNT, "inbox")
    assert held == (inbox / "1@example.org-1.txt").read_bytes()


def test_a_listing_does_not_empty_the_folder(world: World) -> None:
    """More than half of it, and more than 20, is asked for."""
    world.account("jojolapin@machin.com")
    with connect(world.environ["MDIRD"]) as mdird:
        for number in range(30):
            for header in mdird.store.add(small(number)).headers():
                mdird.put(ACCOUNT, header)
        world.right("mdir", "sync", ACCOUNT, "inbox")
        for number in range(25):
            mdird.remove(ACCOUNT, Header([("url", f"mdir:{number}@example.org/1")]))
    (world.path / "inbox" / ".version").unlink()
    done = world.run("mdir", "sync", ACCOUNT, "inbox")
    assert 77 == done.status
    assert "25 of 30 entries" in done.errors
    assert 30 == len(visible(world.path / "inbox"))
    world.right("mdir", "sync", "--allow-mass-removal", ACCOUNT, "inbox")
    assert 5 == len(visible(world.path / "inbox"))


def test_a_large_first_sync_goes_on_where_it_was_cut(world: World) -> None:
    """More entries than a batch; cut in the middle by a full disk, which is none of theirs."""
    world.account("jojolapin@machin.com")
    with connect(world.environ["MDIRD"]) as mdird:
        with mdird.batch() as batch:
            for number in range(1500):
                stored = mdird.store.add_file(b"%d" % number, media_type="text/plain")
                batch.put(ACCOUNT, stored.headers()[0])
        folder = Folder(world.path / "inbox")
        calls = 0

        def cut(done: int, total: int) -> None:
            nonlocal calls
            calls += 1
            if 1200 == calls:
                raise OSError(28, "No space left on device")

        from mdirclient import sync

        with pytest.raises(OSError, match="No space left"):
            sync(folder, mdird, ACCOUNT, progress=cut)
        assert (1000, 0, None) == (len(folder), folder.version, folder.origin)
        report = sync(folder, mdird, ACCOUNT)
        assert (500, 1500) == (report.fetched, len(folder))
        assert 1501 == folder.version


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["mdir", "ls", "none"], 73, "none is not a folder"),
        (["mdir", "resolve", "inbox", "nonsense"], 65, "is not the url of a part"),
        (["mdir", "resolve", "inbox", "mdir:no@x/1"], 66, "no entry of inbox"),
        (["mdir", "sync", "No/Such", "x"], 66, "there is no folder 'No/Such'"),
        (["mdir", "frobnicate"], 64, "see `mdir --help`"),
        (["mdir"], 64, "see `mdir --help`"),
        (["mdir", "sync", "--config", "none.toml", "A", "b"], 78, "none.toml"),
        (["mdir-smtp", "account", "add", "nonsense"], 65, "local@domain"),
        (["mdir-smtp", "account", "add", "a/b@x.org"], 65, "cannot name a folder"),
    ],
)
def test_errors_are_one_line(
    world: World, inbox: Path, words: list[str], status: int, says: str
) -> None:
    """What happened, where, what to do; and an exit code of the table."""
    done = world.run(*words)
    assert (status, "") == (done.status, done.output)
    assert says in done.errors
    assert 1 == done.errors.count("\n")


def test_a_closed_pipe_is_no_error(world: World, inbox: Path) -> None:
    """`mdir ls | head -1`."""
    done = world.run("sh", "-c", "mdir ls inbox | head -c 1; mdir ls inbox >&-; true")
    assert "Traceback" not in done.errors


def test_names_that_a_terminal_cannot_show(world: World, inbox: Path) -> None:
    """Do not end the listing."""
    deliver(
        world, small(1).replace(b"Subject", b'Content-Disposition: x; filename="\xe2\x82\xac"\nS')
    )
    world.right("mdir", "sync", ACCOUNT, "inbox")
    done = world.run("mdir", "ls", "inbox", PYTHONIOENCODING="ascii")
    assert (0, "") == (done.status, done.errors)
    assert "\\u20ac" in done.output


def test_without_an_mdir_a_sync_says_so(world: World) -> None:
    """It never makes one."""
    done = world.run("mdir", "sync", ACCOUNT, "x")
    assert 74 == done.status
    assert not (world.path / "mdir").exists()
    assert not (world.path / "x").exists()


def test_a_config_file_replaces_the_environment_that_mtas_strip(world: World) -> None:
    """`--config` works with nothing else set."""
    config = world.path / "mdir.toml"
    config.write_text(f'MDIRD = "file://{world.path}/else%77here"\nMDIR_SMTP_ACCOUNTS = "Mail"\n')
    bare: dict[str, Any] = {"MDIRD": "", "HOME": "/nonexistent"}
    words = ["mdir-smtp", "account", "add", "--config", str(config), "jo@x.org"]
    done = world.run(*words, **bare)
    assert (0, "Mail/jo@x.org\n") == (done.status, done.output)
    done = world.run(
        "mdir-smtp", "deliver", "--config", str(config), mail=small(1), RECIPIENT="jo@x.org", **bare
    )
    assert 0 == done.status, done
    assert (world.path / "elsewhere" / "mdird.sqlite3").exists()
    assert not os.path.exists("/nonexistent")
