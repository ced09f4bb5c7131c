"""What all tests share: no settings of the person's own, and the corpus."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("tests.traffic")
settings.register_profile("ci", max_examples=100, deadline=None, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True)
def _own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test has an empty HOME and none of the person's settings."""
    for name in list(os.environ):
        if name.startswith(("MDIR_SMTP", "XDG_")) or name in ("MDIRD", "MDIR_STORE", "MDIR_USERS"):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))


@pytest.fixture(autouse=True)
def _untraced(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests of time and memory run the same lines many times: coverage counts them elsewhere."""
    tracing = sys.gettrace()
    if request.node.get_closest_marker("untraced"):
        sys.settrace(None)
    yield
    sys.settrace(tracing)


@pytest.fixture(scope="session")
def corpus() -> list[Path]:
    """The mails of the folder that `$MDIR_TEST_CORPUS` names."""
    folder = os.environ.get("MDIR_TEST_CORPUS")
    if not folder:
        pytest.skip("MDIR_TEST_CORPUS does not name a folder of mails")
    mails = sorted(Path(folder).glob("*.eml"))
    assert mails, f"no *.eml in {folder}"
    return mails
