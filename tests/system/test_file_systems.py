"""Real file systems that differ: case, normal forms, hard links, times, lengths of names.

Each is mounted from a file where that is permitted and the kernel or a FUSE program has it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from mdirclient import Folder
from tests.folders import header, names


@attrs.frozen
class Kind:
    """How a file system is made and mounted; `{image}`, `{place}` and `{source}` are filled in."""

    name: str
    make: str
    mount: str
    mebibytes: int = 64


KINDS = [
    Kind("vfat", "mkfs.vfat {image}", "mount -o loop,utf8 {image} {place}"),
    Kind(
        "ext4 casefold",
        "mke2fs -q -t ext4 -O casefold -E encoding=utf8 {image}",
        "mount -o loop {image} {place}",
    ),
    Kind("xfs ci", "mkfs.xfs -q -n version=ci {image}", "mount -o loop {image} {place}", 320),
    Kind(
        "ext4, whole seconds", "mke2fs -q -t ext4 -I 128 {image}", "mount -o loop {image} {place}"
    ),
    Kind("xfs", "mkfs.xfs -q {image}", "mount -o loop {image} {place}", 320),
    Kind("btrfs", "mkfs.btrfs -q {image}", "mount -o loop {image} {place}", 128),
    Kind("exfat", "mkfs.exfat {image}", "mount.exfat-fuse -o loop {image} {place}"),
    Kind(
        "ntfs, no case",
        "mkntfs -q -F -f {image}",
        "lowntfs-3g -o windows_names,ignore_case {image} {place}",
    ),
]


@attrs.define
class Place:
    """A mounted file system."""

    kind: Kind
    image: Path
    path: Path
    device: str = ""

    def mount(self) -> None:
        """Mount it, or skip."""
        words = self.kind.mount.format(image=self.image, place=self.path).split()
        if words[:3] == ["mount.exfat-fuse", "-o", "loop"]:
            self.device = run(["losetup", "-f", "--show", str(self.image)], self.kind).strip()
            words = [words[0], self.device, str(self.path)]
        run(words, self.kind)

    def unmount(self) -> None:
        """Everything is on the disk, and nothing in memory."""
        subprocess.run(["umount", str(self.path)], check=True)
        if self.device:
            subprocess.run(["losetup", "-d", self.device], check=True)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def mounted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Skipped with the reason where there is none."""
    kind: Kind = request.param
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    image, path = tmp_path / "image", tmp_path / "place"
    path.mkdir()
    with image.open("wb") as file:
        file.truncate(kind.mebibytes << 20)
    run(kind.make.format(image=image).split(), kind)
    made = Place(kind, image, path)
    made.mount()
    try:
        yield made
    finally:
        made.unmount()


@pytest.fixture
def place(mounted: Place) -> Path:
    """Where it is mounted."""
    return mounted.path


def run(words: list[str], kind: Kind) -> str:
    """Run a command, or skip."""
    if not shutil.which(words[0]):
        pytest.skip(f"{kind.name}: {words[0]} is not installed")
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"{kind.name}: {' '.join(words)}: {done.stderr.strip()[:200]}")
    return done.stdout


def test_a_life_of_a_folder(place: Path) -> None:
    """Adds, collisions, odd names, renames, removals, hand edits, repair, another process."""
    folder = Folder(place / "inbox")
    suggested = ["photo.jpg", "PHOTO.JPG", "été.pdf", "e\u0301te\u0301.pdf", "a:b?.txt", "con.txt"]
    suggested += ["x. ", "漢" * 60, "a" * 300 + ".tar.gz", "META~1", "🐇.png", "photo.jpg"]
    for number, name in enumerate(suggested):
        folder.add(header(number, name, b"%d" % number), b"%d" % number)
    assert len(suggested) == len(folder) == len(names(folder))
    for number in range(len(suggested)):
        assert b"%d" % number == folder.resolve(f"mdir:{number}@x.org/1").read_bytes()
    assert folder.status().is_clean
    assert () == folder.check()

    folder.rename("mdir:0@x.org/1", "Photo.jpg")
    assert b"0" == folder.resolve("mdir:0@x.org/1").read_bytes()
    assert folder.rename("mdir:1@x.org/1", "other.jpg").name == "other.jpg"
    folder.remove("mdir:2@x.org/1")
    with folder.batch() as batch:
        batch.replace(header(3, "x", b"replaced"), b"replaced")
        for number in range(100, 140):
            batch.add(header(number, "image001.png", b"same"), b"same")
    assert b"replaced" == folder.resolve("mdir:3@x.org/1").read_bytes()
    assert 40 + len(suggested) - 1 == len(folder)
    folder.version = 7

    other = Folder(place / "inbox")
    entry = other["mdir:4@x.org/1"]
    entry.path.rename(entry.path.with_name("renamed by hand"))
    other["mdir:5@x.org/1"].path.unlink()
    assert "mdir:4@x.org/1" not in folder
    assert {"renamed", "missing"} == {finding.kind for finding in folder.check()}
    folder.repair()
    assert () == other.check()
    assert "renamed by hand" == other["mdir:4@x.org/1"].name
    folder.close()
    other.close()


def test_it_is_the_same_after_a_remount(mounted: Place) -> None:
    """Inodes and times may be others; nothing that the index says is believed blindly."""
    path = mounted.path / "inbox"
    with Folder(path) as folder:
        for number in range(5):
            folder.add(header(number, "a.txt", b"%d" % number), b"%d" % number)
        before = names(folder)
    mounted.unmount()
    assert not path.exists()
    mounted.mount()
    with Folder(path) as folder:
        assert before == names(folder)
        assert 5 == len(list(folder)) == len(folder)
        assert folder.status().is_clean
        assert () == folder.check()


def test_the_probe_tells_what_the_file_system_does(place: Path) -> None:
    """And what it says of case is so."""
    with Folder(place / "inbox") as folder:
        folder.add(header(1, "a.txt"), b"1")
        found = folder.file_system()
    print(found)
    assert found.is_writable
    assert found.is_case_sensitive == (not (place / "INBOX").exists())
    os.mkdir(place / "probe")
    (place / "probe" / "one").write_bytes(b"")
    try:
        os.link(place / "probe" / "one", place / "probe" / "two")
        assert found.has_hard_links
    except OSError:
        assert not found.has_hard_links
