"""Rules of the code that no tool checks for us."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mdirclient

ROOT = Path(mdirclient.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

#: Calls that change the disk, whatever they are called on.
WRITERS = frozenset(
    "write_text write_bytes touch mkdir makedirs rmdir removedirs unlink rename renames replace "
    "link symlink symlink_to hardlink_to chmod chown utime truncate ftruncate mkfifo mknod "
    "copyfile copy copy2 copytree rmtree move mkstemp mkdtemp NamedTemporaryFile TemporaryFile "
    "TemporaryDirectory SpooledTemporaryFile fsync fdatasync sync pwrite sendfile".split()
)
#: Modules that only change the disk by such calls.
OWNERS = frozenset(["os", "shutil", "tempfile", "pathlib", "Path"])
#: The null device in the place of a closed pipe; and what a contract suite gives to a store.
ALLOWED = {"cli/arguments.py": {"os.open"}, "testing/mstore.py": {"path.write_bytes"}}


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """(name, call) of each call in a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def writes(name: str, call: ast.Call) -> bool:
    """Whether a call can change the disk."""
    owner, _, function = name.rpartition(".")
    if name in ("open", "io.open") or (owner and function == "open" and owner == "os"):
        mode = [ast.unparse(word) for word in call.args[1:2]] or ["'r'"]
        mode += [ast.unparse(word.value) for word in call.keywords if word.arg == "mode"]
        return any(set("wax+") & set(text.strip("'\"")) for text in mode) or name == "os.open"
    return function in WRITERS and (owner in OWNERS or function.startswith("write_"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_fs_changes_the_disk(path: Path) -> None:
    """SQLite's own files come through `_sqlite`, the only one that opens databases."""
    name = str(path.relative_to(ROOT))
    if name.startswith("_fs/"):
        return
    found = {called for called, call in calls(path) if writes(called, call)}
    assert set() == found - ALLOWED.get(name, set())
    opens_databases = any(called == "sqlite3.connect" for called, _ in calls(path))
    assert opens_databases == (name == "_sqlite.py")


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("open('x')", False),
        ("open('x', 'rb')", False),
        ("open('x', 'wb')", True),
        ("open('x', mode='a')", True),
        ("os.open('x', 0)", True),
        ("os.replace(a, b)", True),
        ("text.replace(a, b)", False),
        ("path.write_text(x)", True),
        ("shutil.copy(a, b)", True),
        ("mstore.open(url)", False),
    ],
)
def test_the_check_sees_writers(code: str, expected: bool) -> None:
    """A check that cannot fail is none."""
    (call,) = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    assert expected == writes(ast.unparse(call.func), call)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_are_small_and_say_their_job(path: Path) -> None:
    """At most 500 lines; a docstring; no names that say nothing."""
    text = path.read_text()
    assert len(text.splitlines()) <= 500
    assert ast.get_docstring(ast.parse(text))
    assert path.stem not in {"utils", "helpers", "common", "manager"}


def public_things(path: Path) -> Iterator[tuple[str, ast.ClassDef | ast.FunctionDef]]:
    """(name, definition) of all that has no underscore."""

    def inside(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.ClassDef | ast.FunctionDef]]:
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, (ast.ClassDef, ast.FunctionDef)):
                continue
            if not child.name.startswith("_"):
                yield prefix + child.name, child
                if isinstance(child, ast.ClassDef):
                    yield from inside(child, f"{child.name}.")

    yield from inside(ast.parse(path.read_text()), "")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_names_have_docstrings(path: Path) -> None:
    """Errors' `message` and the layout's paths speak for themselves."""
    silent = [
        name
        for name, node in public_things(path)
        if not ast.get_docstring(node)
        and not name.endswith(".message")
        and not name.startswith("Layout.")
        and not any(ast.unparse(d) in ("overload", "version.setter") for d in node.decorator_list)
    ]
    assert [] == silent


def test_exports_can_be_imported() -> None:
    """`__all__` is what there is, sorted, and lazy names are the real ones."""
    assert sorted(mdirclient.__all__) == list(mdirclient.__all__)
    assert set(mdirclient.__all__) == set(mdirclient._HOMES)
    for name in mdirclient.__all__:
        assert getattr(mdirclient, name) is not None
        assert name in dir(mdirclient)
    with pytest.raises(AttributeError):
        _ = mdirclient.nonsense


@pytest.mark.parametrize("first", ["mdirclient.sync.plan", "mdirclient.connect", "mdirclient"])
def test_functions_win_over_modules_of_their_name(first: str) -> None:
    """Whichever is imported first."""
    code = f"import {first}, mdirclient as m; print(callable(m.sync), callable(m.connect))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "True True\n" == done.stdout


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("mdirclient", ["attrs", "sqlite3", "portalocker", "platformdirs", "email", "rich"]),
        (
            "mdirclient.smtp.deliver, mdirclient.connect, mdirclient.mstore, mdirclient.mdird",
            ["portalocker", "platformdirs", "email", "rich", "tempfile", "asyncio"],
        ),
        ("mdirclient.folder, mdirclient.sync", ["portalocker", "platformdirs", "email", "rich"]),
    ],
)
def test_imports_are_lazy(module: str, absent: list[str]) -> None:
    """A program pays only for what it uses."""
    code = f"import sys, {module}; print(*[name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "\n" == done.stdout


def test_every_module_can_be_imported_alone() -> None:
    """No import depends on another having been made before."""
    for path in MODULES:
        name = ".".join(("mdirclient", *path.relative_to(ROOT).with_suffix("").parts))
        importlib.import_module(name.removesuffix(".__init__"))
