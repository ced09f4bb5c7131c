"""The programs in docs/examples: run as a person would, with public names only."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mdirclient
from mdirclient import Folder, connect, sync
from mdirclient.mdird.rules import install_rules
from mdirclient.settings import file_url
from tests.docs.test_examples import DOCS

PROGRAMS = sorted((DOCS / "examples").glob("*.py"))


def run(name: str, *arguments: str, mdird: str = "") -> list[str]:
    """Run a program; the lines that it prints."""
    done = subprocess.run(
        [sys.executable, str(DOCS / "examples" / name), *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"MDIRD": mdird},
    )
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout.splitlines()


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_only_public_names(path: Path) -> None:
    """Of this package `mdirclient` alone, and what it exports; about fifty lines."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mdirclient"):
            assert "mdirclient" == node.module
            assert set(mdirclient.__all__).issuperset(alias.name for alias in node.names)
        if isinstance(node, ast.Import):
            assert not [a.name for a in node.names if a.name.startswith("mdirclient.")]
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "mdirclient":
            assert node.attr in mdirclient.__all__
    assert len(path.read_text().splitlines()) <= 60


def test_push_files(tmp_path: Path) -> None:
    """New and changed files go, once; the rules of the folder file them."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.pdf").write_bytes(b"a")
    (source / "b.txt").write_bytes(b"b")
    url = file_url(str(tmp_path / "mdir"))
    assert ["a.pdf", "b.txt"] == run("push_files.py", str(source), "In", mdird=url)
    assert [] == run("push_files.py", str(source), "In", mdird=url)
    with connect(url) as mdird:
        rules = b'require "fileinto"; if header :matches "suggested-name" "*.png"'
        install_rules(mdird, "In", rules + b' { fileinto "Pictures"; }')
        (source / "b.txt").write_bytes(b"changed")
        (source / "c.png").write_bytes(b"c")
        assert ["b.txt", "c.png"] == run("push_files.py", str(source), "In", mdird=url)
        with Folder(tmp_path / "in") as folder:
            sync(folder, mdird, "In")
            names = [entry.name for entry in folder]
        assert ["a.pdf", "b (2).txt", "b.txt", "rules.sieve"] == sorted(names)
        (header,) = mdird.lookup("In/Pictures")
        assert ("c.png", "image/png") == (header["suggested-name"], header["content-type"])


def test_repair_version(tmp_path: Path) -> None:
    """It tells what is there, and mends what is no counter."""
    path = tmp_path / "f"
    with connect(file_url(str(tmp_path / "mdir"))) as mdird, Folder(path) as folder:
        mdirclient.make_folder(mdird, "A")
        for name in ("one", "two"):
            stored = mdird.store.add_file(
                name.encode(), media_type="text/plain", suggested_name=f"{name}.txt"
            )
            mdird.put("A", stored.headers()[0])
        sync(folder, mdird, "A")
        assert [f"{path}: version 2, 2 entries"] == run("repair_version.py", str(path))
        (path / ".version").write_text("12abc\n")
        (path / "mine.txt").write_text("mine")
        (path / "one.txt").rename(path / "uno.txt")
        (path / "two.txt").unlink()
        expected = [
            f"{path}: it held b'12abc\\n', and is 0 now: everything is listed again",
            f"{path}: new: mine.txt",
            f"{path}: missing: two.txt",
            f"{path}: renamed: one.txt to uno.txt",
        ]
        assert expected == run("repair_version.py", str(path))
        assert 0 == folder.version
        assert 2 == sync(folder, mdird, "A").version
    missing = run("repair_version.py", str(tmp_path / "none"))
    assert "is not a folder" in missing[0]
